//! Since when the deployment's own key is wrapped by the version of the wrapping key that wraps it now.

use countersign_keys::wrapped_version;
use countersign_model::UnixMs;
use serde::{Deserialize, Serialize};

use super::Registry;
use super::fact::{Kind, Write};
use crate::error::RegistryError;

/// Noted when another version takes over. A deployment without it has the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrappingFact {
    /// The version that wrapped it.
    pub version: u32,
    /// Since when.
    pub since: UnixMs,
}

impl WrappingFact {
    pub(super) fn of(wrapped: &[u8], since: UnixMs) -> Self {
        Self { version: wrapped_version(wrapped).map_or(0, |version| version.0), since }
    }

    pub(super) fn to_write(self) -> Result<Write, RegistryError> {
        Write::put(Kind::WrappingKey, &[], &self)
    }
}

impl Registry {
    /// Since when the key that wraps the deployment's own is in use; `None` is since the deployment was made.
    #[must_use]
    pub fn wrapping_since(&self) -> Option<UnixMs> {
        self.wrapping.lock().map(|fact| fact.since)
    }
}
