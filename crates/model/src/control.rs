//! Requests that manage a deployment or a tenant. They pass the same guard as requests for records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::facts::UserKind;
use crate::id::{RequestId, SessionId, TokenId};
use crate::name::Name;

/// What a control request does; the action that policies name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAction {
    /// Add and list tenants. For operators.
    ManageTenants,
    /// Read record types.
    ReadTypes,
    /// Apply record types. For operators.
    ManageTypes,
    /// Read policies.
    ReadPolicies,
    /// Apply policies. For operators.
    ManagePolicies,
    /// List a tenant's users.
    ReadUsers,
    /// Add and change a tenant's users and their roles.
    ManageUsers,
    /// Revoke other people's tokens.
    RevokeTokens,
    /// Look at, narrow and revoke one's own token.
    UseOwnToken,
    /// Read a tenant's audit records.
    ReadAudit,
}

impl ControlAction {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::ManageTenants,
        Self::ReadTypes,
        Self::ManageTypes,
        Self::ReadPolicies,
        Self::ManagePolicies,
        Self::ReadUsers,
        Self::ManageUsers,
        Self::RevokeTokens,
        Self::UseOwnToken,
        Self::ReadAudit,
    ];

    /// The word used in policies and audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ManageTenants => "manage_tenants",
            Self::ReadTypes => "read_types",
            Self::ManageTypes => "manage_types",
            Self::ReadPolicies => "read_policies",
            Self::ManagePolicies => "manage_policies",
            Self::ReadUsers => "read_users",
            Self::ManageUsers => "manage_users",
            Self::RevokeTokens => "revoke_tokens",
            Self::UseOwnToken => "use_own_token",
            Self::ReadAudit => "read_audit",
        }
    }
}

/// One control request. A tenant is named where the caller may mean another than its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// Who am I, for how long, and what may I do.
    WhoAmI,
    /// Exchange the token for a narrower one (RFC 8693).
    Narrow {
        /// The limits to add.
        narrowing: crate::request::Narrowing,
        /// How long the new token lives at most, from now; `None` is as long as the old one.
        lifetime_ms: Option<u64>,
    },
    /// Revoke the caller's own token or session.
    RevokeOwn {
        /// The whole session rather than the token alone.
        session: bool,
    },
    /// Revoke somebody's tokens.
    Revoke(Revoke),
    /// All tenants.
    TenantList,
    /// A new tenant.
    TenantAdd {
        /// Its name.
        name: Name,
    },
    /// The users of a tenant.
    UserList {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
    },
    /// Adds a user, or replaces roles, attributes and keys of one that exists.
    UserPut {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
        /// The user.
        user: NewUser,
    },
    /// Ends a user's access.
    UserRemove {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
        /// The user's name.
        user: Name,
    },
    /// The types file in force.
    TypesRead,
    /// A new types file.
    TypesApply {
        /// The file's text.
        text: String,
        /// Only say what would change.
        dry_run: bool,
    },
    /// The policies in force.
    PoliciesRead,
    /// New policies in place of all that are in force.
    PoliciesApply {
        /// File names and texts.
        files: Vec<PolicyFile>,
        /// Only check.
        dry_run: bool,
    },
    /// Audit records.
    AuditRead(AuditQuery),
}

impl Control {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        match self {
            Self::WhoAmI | Self::Narrow { .. } | Self::RevokeOwn { .. } => ControlAction::UseOwnToken,
            Self::Revoke(_) => ControlAction::RevokeTokens,
            Self::TenantList | Self::TenantAdd { .. } => ControlAction::ManageTenants,
            Self::UserList { .. } => ControlAction::ReadUsers,
            Self::UserPut { .. } | Self::UserRemove { .. } => ControlAction::ManageUsers,
            Self::TypesRead => ControlAction::ReadTypes,
            Self::TypesApply { .. } => ControlAction::ManageTypes,
            Self::PoliciesRead => ControlAction::ReadPolicies,
            Self::PoliciesApply { .. } => ControlAction::ManagePolicies,
            Self::AuditRead(_) => ControlAction::ReadAudit,
        }
    }

    /// The tenant that the request names, if it names one.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::UserList { tenant } | Self::UserPut { tenant, .. } | Self::UserRemove { tenant, .. } => {
                tenant.as_ref()
            }
            _ => None,
        }
    }
}

/// Whose tokens to revoke, within the caller's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoke {
    /// One token.
    Token(TokenId),
    /// One login and everything narrowed from it.
    Session(SessionId),
    /// Everything that a person holds now.
    Person(Name),
}

/// A policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// Its name, for error messages.
    pub name: String,
    /// Cedar text.
    pub text: String,
}

/// A user to add or to replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// The name, unique in the tenant.
    pub name: Name,
    /// Roles, by the names that policies use.
    #[serde(default)]
    pub roles: Vec<Name>,
    /// Attributes in text form, of the kinds that the types file declares for principals.
    #[serde(default)]
    pub attributes: BTreeMap<Name, String>,
    /// Public keys in OpenSSH's one-line form.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// A person, a service or an agent.
    #[serde(default)]
    pub kind: UserKind,
}

/// Which audit records to give.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Records about this record, as (type name, key in text form).
    pub record: Option<(String, String)>,
    /// Records of this request.
    pub request: Option<RequestId>,
    /// Not before this moment.
    pub since: Option<UnixMs>,
    /// Only records after this place, as an earlier answer gave it. There is a ledger for each service, so it is
    /// a position in each of them: opaque to whoever passes it on.
    pub after: Option<String>,
    /// At most this many, newest last; `None` is 100.
    pub limit: Option<u64>,
}
