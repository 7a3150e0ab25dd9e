//! How many sealed cells may be opened: limits that bound what a stolen token or a curious user can take.

use serde::{Deserialize, Serialize};

/// Limits on the cells that are released in plain text. A limit of 0 releases nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLimits {
    /// Cells that one token may open while it lives.
    pub per_token: u64,
    /// Cells that one principal may open in 12 hours, over all its tokens.
    pub per_principal: u64,
    /// Cells that one principal may open in one hour, over all its tokens.
    pub per_hour: u64,
}

impl BudgetLimits {
    /// No limits.
    pub const NONE: Self = Self { per_token: u64::MAX, per_principal: u64::MAX, per_hour: u64::MAX };

    /// The smaller of the two in each limit.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            per_token: self.per_token.min(other.per_token),
            per_principal: self.per_principal.min(other.per_principal),
            per_hour: self.per_hour.min(other.per_hour),
        }
    }
}

/// Which limit a release would go past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetKind {
    /// [`BudgetLimits::per_token`].
    PerToken,
    /// [`BudgetLimits::per_principal`].
    PerPrincipal,
    /// [`BudgetLimits::per_hour`].
    PerHour,
}

impl BudgetKind {
    /// The limit's name in policy and in audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerToken => "per_token",
            Self::PerPrincipal => "per_principal",
            Self::PerHour => "per_hour",
        }
    }
}
