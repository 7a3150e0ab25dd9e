//! The key that facts about a tenant are sealed under: random, wrapped by a key of its own in the deployment's key management
//! service, and destroyed with the tenant. Whoever has an old copy of the control data and every key that exists afterwards
//! reads nothing of the tenant.

use std::sync::Arc;

use countersign_crypto::{Aad, SealKey, SecretKey, TenantKey};
use countersign_keys::{KeySet, KmsError, KmsSet, OwnKeyId, WrappedKeys as _, own_of};
use countersign_model::facts::OPERATORS;
use countersign_model::{Entropy, Name, TenantId};

use super::Registry;
use super::change::Change;
use super::fact::{Kind, TenantFact, TenantFactsKeyFact, Write};
use crate::error::RegistryError;

fn aad(tenant: TenantId) -> Aad {
    Aad::new("tenant-facts-key.1").part(tenant.as_bytes())
}

fn of_secret(secret: SecretKey) -> SealKey {
    TenantKey::new(secret).seal_key("facts", 1)
}

/// A new one; none from a service that has no keys of that kind. Blocks for as long as the key management service takes.
fn make(
    kms: &KmsSet,
    entropy: &dyn Entropy,
    tenant: TenantId,
) -> Result<Option<(TenantFactsKeyFact, SealKey)>, RegistryError> {
    let (secret, kms) = (SecretKey::generate(entropy), kms.default_provider());
    let own = match kms.make_own(entropy) {
        Err(KmsError::NoOwnKeys) => return Ok(None),
        own => own?,
    };
    let wrapped = kms.wrap_own(own, entropy, &aad(tenant), &secret)?;
    Ok(Some((TenantFactsKeyFact { wrapped }, of_secret(secret))))
}

/// The key, or none if it was destroyed.
pub(super) fn unwrap(
    kms: &KmsSet,
    tenant: TenantId,
    fact: &TenantFactsKeyFact,
) -> Result<Option<SealKey>, RegistryError> {
    match kms.unwrap_key(&aad(tenant), &fact.wrapped) {
        Ok(secret) => Ok(Some(of_secret(secret))),
        Err(KmsError::Destroyed) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Registry {
    /// Begins to seal what is known of a tenant under a key of its own. Blocks.
    pub(crate) fn new_facts_key(&self, tenant: TenantId) -> Result<Option<Write>, RegistryError> {
        let Some((fact, key)) = make(&self.kms, &*self.entropy, tenant)? else { return Ok(None) };
        self.db.lock().own(tenant, Some((key, fact.wrapped.clone())));
        Write::put(Kind::TenantFactsKey, tenant.as_bytes(), &fact).map(Some)
    }

    /// Gives every tenant that has none such a key, and seals what is known of it anew: for what was stored before there
    /// were any. Blocks.
    pub(super) fn own_facts(&self) -> Result<(), RegistryError> {
        let facts = Arc::clone(&self.latest().facts);
        let wrapped = self.wrapped_keys();
        for (id, tenant) in facts.tenants.iter().filter(|(_, tenant)| tenant.name.as_str() != OPERATORS) {
            if self.db.lock().has_own(*id) {
                continue;
            }
            let Some(key) = self.new_facts_key(*id)? else { return Ok(()) };
            let mut writes = vec![key];
            if let Some(key) = wrapped.get(id) {
                let fact = TenantFact { tenant: tenant.clone(), wrapped_key: key.to_vec() };
                writes.push(Write::put_of(*id, Kind::Tenant, id.as_bytes(), &fact)?);
            }
            for (user, fact) in facts.users.iter().filter(|(_, user)| user.tenant == *id) {
                writes.push(Write::put_of(*id, Kind::User, user.as_bytes(), &**fact)?);
            }
            if let Some(provider) = self.provider(*id) {
                writes.push(Write::put_of(*id, Kind::Provider, id.as_bytes(), &*provider)?);
            }
            if let Some(contacts) = self.contacts(*id) {
                writes.push(Write::put_of(*id, Kind::Contacts, id.as_bytes(), &*contacts)?);
            }
            for (grant, fact) in self.grants().iter().filter(|(_, grant)| grant.tenant == *id) {
                writes.push(Write::put_of(*id, Kind::Grant, grant.as_bytes(), &**fact)?);
            }
            let written = self.db.lock().write(&*self.entropy, &writes);
            if written.is_err() {
                self.db.lock().own(*id, None);
            }
            written?;
        }
        Ok(())
    }
}

/// A key in a key management service that is to be destroyed: the provider's name, the key's id.
pub(crate) type OwnKeyRef = (Option<Name>, [u8; OwnKeyId::BYTES]);

impl Registry {
    /// Every key of its own that a tenant has in a key management service, and how many of its keys are wrapped by one that
    /// others have too.
    pub(crate) fn own_keys(&self, tenant: TenantId) -> (Vec<OwnKeyRef>, u64) {
        let (mut keys, mut shared) = (Vec::new(), 0_u64);
        let set = self.wrapped.wrapped(tenant).and_then(|wrapped| KeySet::decode(&wrapped).ok());
        for generation in set.iter().flat_map(|set| set.generations()).filter(|one| !one.is_destroyed()) {
            shared = shared.saturating_add(u64::from(own_of(&generation.wrapped).is_none()));
            keys.extend(generation.own.iter().map(|own| (own.provider.clone(), own.id.0)));
        }
        keys.extend(self.facts_key_of(tenant));
        (keys, shared)
    }

    #[cfg(test)]
    pub(crate) fn sealed_rows(&self) -> Result<Vec<super::db::Row>, RegistryError> {
        self.db.lock().rows()
    }

    #[cfg(test)]
    pub(crate) const fn kms(&self) -> &KmsSet {
        &self.kms
    }

    /// The one that wraps the key of its facts.
    fn facts_key_of(&self, tenant: TenantId) -> Option<OwnKeyRef> {
        let own = own_of(&self.db.lock().wrapped_own(tenant)?)?;
        Some((own.provider, own.id.0))
    }

    /// Destroys these keys, and forgets what was unwrapped by them. Blocks.
    pub(crate) fn destroy_keys(&self, tenant: TenantId, keys: &[OwnKeyRef]) -> Result<u64, RegistryError> {
        for (provider, id) in keys {
            self.kms.provider(provider.as_ref())?.destroy_own(OwnKeyId(*id))?;
        }
        self.tenant_keys.forget(tenant);
        Ok(keys.len() as u64)
    }

    /// How many of these keys are still there. Blocks.
    pub(crate) fn keys_left(&self, keys: &[OwnKeyRef]) -> Result<u64, RegistryError> {
        let mut left = 0_u64;
        for (provider, id) in keys {
            let there = self.kms.provider(provider.as_ref())?.own()?;
            left = left.saturating_add(u64::from(there.contains(&OwnKeyId(*id))));
        }
        Ok(left)
    }
}

impl Change {
    /// The key of a tenant that this adds.
    pub(crate) fn add_facts_key(&mut self, key: Option<Write>) {
        key.into_iter().for_each(|key| self.write(key));
    }
}
