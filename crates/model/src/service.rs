//! The services that a deployment is made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A service. Each has a guard, a certificate and a ledger of its own, in one process with the others or apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The doors and the engine behind them.
    Gateway,
    /// The key service.
    Keys,
    /// The record store.
    Store,
    /// Logins, tokens, and everything that manages a deployment.
    Authority,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Keys, Self::Store, Self::Authority];

    /// The word used in answers, certificates and configuration, and as the name of the ledger's folder.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Keys => "keys",
            Self::Store => "store",
            Self::Authority => "authority",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAService;

impl fmt::Display for NotAService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a service is one of gateway, keys, store, authority")
    }
}

impl std::error::Error for NotAService {}

impl FromStr for Service {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        Self::ALL.into_iter().find(|service| service.as_str() == text).ok_or(NotAService)
    }
}
