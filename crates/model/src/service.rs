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
    /// Watches the others: measures, detects, alerts. It sees no record and no key.
    Monitor,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 5] = [Self::Gateway, Self::Keys, Self::Store, Self::Authority, Self::Monitor];

    /// The word used in answers, certificates and configuration, and as the name of the ledger's folder.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Keys => "keys",
            Self::Store => "store",
            Self::Authority => "authority",
            Self::Monitor => "monitor",
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
        f.write_str("a service is one of gateway, keys, store, authority, monitor")
    }
}

impl std::error::Error for NotAService {}

impl FromStr for Service {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        Self::ALL.into_iter().find(|service| service.as_str() == text).ok_or(NotAService)
    }
}
