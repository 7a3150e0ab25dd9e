//! Operators' access to tenants: asked for with a reason, given by the tenant, for a time.
//!
//! An operator has no access to any tenant's records. What a grant gives is a principal of the tenant's own, for that
//! operator alone, with one of the tenant's roles, until a moment: so the tenant's policies, budgets and audit log hold
//! for it as for anybody.

use serde::{Deserialize, Serialize};

use crate::control::ControlAction;
use crate::id::GrantId;
use crate::name::Name;

/// The longest that a grant lasts: twelve hours, like a token.
pub const GRANT_MAX_MS: u64 = 12 * 3_600_000;

/// A request about operators' access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessControl {
    /// Asks a tenant for access.
    Request {
        /// The tenant.
        tenant: Name,
        /// The tenant's role to act in.
        role: Name,
        /// What it is for: one line, shown to the tenant.
        reason: String,
        /// How long, from the moment it is given, in milliseconds.
        lifetime_ms: u64,
        /// Whether the tenant can't be asked: then another operator must confirm, and the tenant is told at once.
        break_glass: bool,
    },
    /// Confirms another operator's breaking of the glass.
    Confirm {
        /// The grant.
        grant: GrantId,
    },
    /// The tenant's answer.
    Decide {
        /// The grant.
        grant: GrantId,
        /// Whether access is given.
        approve: bool,
        /// Another role than the one asked for.
        role: Option<Name>,
    },
    /// Ends access that was given: by the operator or by the tenant.
    Close {
        /// The grant.
        grant: GrantId,
        /// Whether it is the tenant that ends it.
        as_tenant: bool,
    },
    /// What was asked and given: of the caller's tenant, and for operators of every tenant.
    List,
}

impl AccessControl {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        match self {
            Self::Request { break_glass: true, .. } | Self::Confirm { .. } => ControlAction::BreakGlass,
            Self::Request { break_glass: false, .. } | Self::Close { as_tenant: false, .. } => {
                ControlAction::RequestAccess
            }
            Self::Decide { .. } | Self::Close { as_tenant: true, .. } => ControlAction::DecideAccess,
            Self::List => ControlAction::ReadAccess,
        }
    }

    /// The tenant that the request names, if it names one.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::Request { tenant, .. } => Some(tenant),
            _ => None,
        }
    }
}
