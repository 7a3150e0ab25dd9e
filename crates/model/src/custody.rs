//! Requests about data at rest as a whole: its keys, its backups, and its end.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::control::ControlAction;
use crate::id::RequestId;
use crate::name::Name;

/// What is to be sealed under new keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// The deployment's own key is wrapped anew. Nothing that is sealed under it changes.
    Deployment,
    /// A tenant gets a new key, and all its cells and tags are made anew under it.
    Tenant(Name),
    /// One field of a tenant gets new keys under the tenant's key.
    Field {
        /// The tenant.
        tenant: Name,
        /// The record type's name.
        record_type: String,
        /// The field's name.
        field: String,
    },
}

/// A request about keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyControl {
    /// Keys, their ages and what is sealed under them; with a tenant, its own.
    List {
        /// The tenant; `None` is the deployment and every tenant.
        tenant: Option<Name>,
    },
    /// Begins a rotation. It goes on in the background.
    Rotate {
        /// Of what.
        scope: KeyScope,
    },
    /// Destroys a key of a tenant that was rotated away. What is still sealed under it, in backups too, never opens again.
    Destroy {
        /// The tenant.
        tenant: Name,
        /// The first key epoch of the key to destroy.
        epoch: u32,
    },
}

/// A request about backups. Repositories are named in the deployment's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupControl {
    /// Begins a backup. It goes on in the background.
    Create {
        /// Where to.
        repository: Name,
        /// One tenant; `None` is the whole deployment.
        tenant: Option<Name>,
    },
    /// The backups in a repository, held against the deployment's own record of them.
    List {
        /// The repository.
        repository: Name,
    },
    /// Begins to restore a backup into a scratch deployment and to compare it.
    Verify {
        /// The repository.
        repository: Name,
        /// The backup's id; `None` is the newest.
        backup: Option<String>,
    },
    /// Begins to remove a backup.
    Remove {
        /// The repository.
        repository: Name,
        /// The backup's id; `None` is every one, which can only be forgotten.
        backup: Option<String>,
        /// Only to forget what is known of it: the repository is gone for good.
        forget: bool,
    },
    /// Begins to put one tenant's records back to what they were.
    Restore {
        /// The tenant.
        tenant: Name,
        /// From a backup, as (repository, the backup's id); `None` is from the change history.
        from: Option<(Name, String)>,
        /// To this moment; `None` is the moment of the backup.
        to: Option<UnixMs>,
    },
    /// Work that was begun, and how far it is.
    Jobs,
    /// One piece of it, by the request that began it.
    Job {
        /// That request.
        job: RequestId,
    },
    /// Ends it where it is.
    Cancel {
        /// The request that began it.
        job: RequestId,
    },
}

/// A request to erase something for good. No restore brings it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseControl {
    /// A tenant, by destroying its keys, and everything that is stored of it.
    Tenant {
        /// Its name.
        tenant: Name,
    },
    /// One record of the caller's tenant, with its history.
    Record {
        /// The record type's name.
        record_type: String,
        /// The record's key in text form.
        key: String,
    },
    /// A principal: everything that is known of it beyond its id.
    Principal {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
        /// Its name.
        user: Name,
    },
    /// The receipts of what was erased.
    Receipts {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
    },
    /// Looks for what was erased, in the deployment and in the repositories.
    Prove {
        /// The receipt.
        receipt: RequestId,
    },
}

impl KeyControl {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        ControlAction::ManageKeys
    }

    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::List { .. })
    }

    /// The tenant that it names.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::List { tenant } => tenant.as_ref(),
            Self::Rotate { scope: KeyScope::Deployment } => None,
            Self::Rotate { scope: KeyScope::Tenant(tenant) | KeyScope::Field { tenant, .. } }
            | Self::Destroy { tenant, .. } => Some(tenant),
        }
    }
}

impl BackupControl {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        ControlAction::ManageBackups
    }

    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::List { .. } | Self::Jobs | Self::Job { .. })
    }

    /// The tenant that it names.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::Create { tenant, .. } => tenant.as_ref(),
            Self::Restore { tenant, .. } => Some(tenant),
            _ => None,
        }
    }
}

impl EraseControl {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        match self {
            Self::Tenant { .. } => ControlAction::ManageTenants,
            _ => ControlAction::Erase,
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::Receipts { .. } | Self::Prove { .. })
    }

    /// The tenant that it names.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::Tenant { tenant } => Some(tenant),
            Self::Principal { tenant, .. } | Self::Receipts { tenant } => tenant.as_ref(),
            Self::Record { .. } | Self::Prove { .. } => None,
        }
    }
}
