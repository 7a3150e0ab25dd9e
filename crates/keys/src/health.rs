//! How the key management services are.

use std::collections::HashMap;

use countersign_model::{Name, UnixMs};
use parking_lot::Mutex;

use crate::kms::KmsError;
use crate::set::KmsSet;

/// How the key management services are, as far as they were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsHealth {
    /// Each provider, the deployment's own first.
    pub providers: Vec<ProviderHealth>,
    /// How many tenants' keys are in memory.
    pub tenants_open: usize,
}

/// How one provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderHealth {
    /// Its name in configuration; `None` for the deployment's own.
    pub name: Option<Name>,
    /// Its kind, such as `file`.
    pub kind: &'static str,
    /// What is wrong; `None` if it answered when it was last asked.
    pub down: Option<Down>,
}

/// A provider that did not answer when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Since when.
    pub since: UnixMs,
    /// Why, in words for the operator. Carries no key material.
    pub why: String,
}

impl KmsHealth {
    /// Whether every provider answered when it was last asked.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.providers.iter().all(|provider| provider.down.is_none())
    }
}

/// What is wrong with which provider.
#[derive(Default)]
pub(crate) struct Health(Mutex<HashMap<Option<Name>, Down>>);

impl Health {
    /// A key that is not authentic says nothing about the provider.
    pub(crate) fn note<T>(&self, name: Option<&Name>, result: &Result<T, KmsError>, now: UnixMs) {
        match result {
            Ok(_) => {
                self.0.lock().remove(&name.cloned());
            }
            Err(error @ (KmsError::Unavailable(_) | KmsError::File { .. })) => {
                let why = error.to_string();
                let mut down = self.0.lock();
                let since = down.get(&name.cloned()).map_or(now, |earlier| earlier.since);
                down.insert(name.cloned(), Down { since, why });
            }
            Err(_) => {}
        }
    }

    pub(crate) fn is_down(&self, name: Option<&Name>) -> bool {
        self.0.lock().contains_key(&name.cloned())
    }

    pub(crate) fn of(&self, set: &KmsSet) -> Vec<ProviderHealth> {
        let down = self.0.lock();
        set.providers()
            .map(|(name, kms)| ProviderHealth {
                name: name.cloned(),
                kind: kms.name(),
                down: down.get(&name.cloned()).cloned(),
            })
            .collect()
    }
}
