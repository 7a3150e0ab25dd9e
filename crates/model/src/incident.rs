//! Requests about breaches: what one came to, what is done about it, and who is told.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::control::ControlAction;
use crate::id::{IncidentId, SessionId, TenantId, TokenId};
use crate::name::Name;

/// What was in the wrong hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Culprit {
    /// One token, and what was narrowed or exchanged from it.
    Token(TokenId),
    /// One login.
    Session(SessionId),
    /// A principal.
    Principal {
        /// The tenant that it belongs to.
        tenant: Name,
        /// Its name.
        name: Name,
    },
    /// A service.
    Service {
        /// What it is.
        role: Name,
        /// Its name in that role; `None` is every one, as in a deployment that is one process.
        name: Option<Name>,
    },
    /// The key that wraps a tenant's keys.
    TenantKey(Name),
    /// What belonged to this tenant, and was erased since. Nobody can ask for it.
    Erased(TenantId),
}

/// A request about breaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentControl {
    /// Computes from the ledgers what was reached, and opens an incident with it.
    Open {
        /// What was in the wrong hands.
        culprit: Culprit,
        /// From when on.
        since: UnixMs,
        /// Until when; `None` is now.
        until: Option<UnixMs>,
    },
    /// All incidents.
    List,
    /// One incident, whole.
    Show {
        /// Which.
        incident: IncidentId,
    },
    /// Ends what was in the wrong hands.
    Contain {
        /// Which.
        incident: IncidentId,
    },
    /// Drafts the notices to the tenants concerned, or gives them out.
    Notices {
        /// Which.
        incident: IncidentId,
        /// Whether they are sent; otherwise they are only drafted.
        send: bool,
    },
    /// The notices that concern the caller's tenant.
    Received,
    /// One of them, with the records concerned. This counts as delivered.
    Receive {
        /// Of which incident.
        incident: IncidentId,
    },
    /// Says that it was read and understood.
    Acknowledge {
        /// Of which incident.
        incident: IncidentId,
    },
}

impl IncidentControl {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        match self {
            Self::Open { .. } | Self::List | Self::Show { .. } | Self::Contain { .. } | Self::Notices { .. } => {
                ControlAction::ManageIncidents
            }
            Self::Received | Self::Receive { .. } | Self::Acknowledge { .. } => ControlAction::ReadNotices,
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::List | Self::Show { .. } | Self::Received)
    }
}
