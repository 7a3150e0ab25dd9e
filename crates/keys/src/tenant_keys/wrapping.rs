//! New and newly wrapped keys, for whoever stores them.
//!
//! Each gives the tenant's wrapped key ([`KeySet`]) as it is to be stored in place of the old one, and changes nothing
//! itself but what it makes or destroys in a key management service. What is made there and then not stored does no harm.

use countersign_crypto::SecretKey;
use countersign_model::{Entropy, FieldId, Name, TenantId, TypeId};

use super::{KeyError, TenantKeys, tenant_key_aad};
use crate::key_set::KeySet;
use crate::kms::KmsError;
use crate::set::wrapped_by;

impl TenantKeys {
    /// A new random key for `tenant`, wrapped by the deployment's own provider, to be stored where
    /// [`WrappedKeys`](super::WrappedKeys) finds it.
    ///
    /// # Errors
    /// [`KeyError::Kms`].
    pub fn wrap_new(&self, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        self.wrap_new_by(None, entropy, tenant)
    }

    /// As [`Self::wrap_new`], by the provider of that name.
    ///
    /// # Errors
    /// [`KeyError::Kms`]; with [`KmsError::UnknownProvider`] if there is none of that name.
    pub fn wrap_new_by(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
    ) -> Result<Vec<u8>, KeyError> {
        let wrapped = self.wrap(provider, entropy, tenant, &SecretKey::generate(entropy))?;
        Ok(KeySet::first(self.clock.now(), wrapped).encode())
    }

    /// The tenant's keys, each wrapped again by the provider that wraps it now, by a new key that is for it alone. Nothing
    /// that is sealed changes. What wrapped them before stays on the list of own keys, until it is destroyed.
    /// A key that is destroyed already and not off the list yet ([`Self::destroy`] was cut off) stays as it is.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rewrap(&self, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        self.wrap_again(None, entropy, tenant)
    }

    /// The tenant's keys, wrapped by another provider: how a subscriber brings its own key, or leaves.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rewrap_by(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
    ) -> Result<Vec<u8>, KeyError> {
        self.wrap_again(Some(provider), entropy, tenant)
    }

    /// With a new random key from the next epoch on, by the provider that wraps the present one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rotate(&self, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        let set = self.set(tenant)?;
        let provider = set.generations().last().and_then(|newest| wrapped_by(&newest.wrapped));
        let wrapped = self.wrap(provider.as_ref(), entropy, tenant, &SecretKey::generate(entropy))?;
        Ok(set.with_generation(self.clock.now(), wrapped)?.encode())
    }

    /// With new keys for one field from the next epoch on. No key management service is asked.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rotate_field(&self, tenant: TenantId, record_type: TypeId, field: FieldId) -> Result<Vec<u8>, KeyError> {
        Ok(self.set(tenant)?.with_rotated(record_type, field, self.clock.now())?.encode())
    }

    /// Without the key that begins with `first_epoch`, once the own keys that ever wrapped it are destroyed. What is sealed
    /// under it opens never again: audit records of then, and copies of cells.
    ///
    /// # Errors
    /// [`KeyError::Set`] while cells may be sealed under it; [`KeyError::Kms`], and then some may be destroyed: to be
    /// called again.
    pub fn destroy(&self, tenant: TenantId, first_epoch: u32) -> Result<Vec<u8>, KeyError> {
        let set = self.set(tenant)?;
        let without = set.clone().without(first_epoch)?;
        for (_, own) in set.own_keys().filter(|(epoch, _)| *epoch == first_epoch) {
            self.kms.destroy_own(own)?;
        }
        Ok(without.encode())
    }

    fn wrap_again(
        &self,
        by: Option<Option<&Name>>,
        entropy: &dyn Entropy,
        tenant: TenantId,
    ) -> Result<Vec<u8>, KeyError> {
        let mut set = self.set(tenant)?;
        let there = set.generations().iter().filter(|one| !one.is_destroyed());
        let there: Vec<(u32, Vec<u8>)> = there.map(|one| (one.first_epoch, one.wrapped.clone())).collect();
        let live: Vec<u32> = set.live().map(|one| one.first_epoch).collect();
        for (first_epoch, wrapped) in there {
            let now = wrapped_by(&wrapped);
            let by = by.unwrap_or(now.as_ref());
            // Notices a version that another process made.
            self.kms.provider(by)?.probe()?;
            let key = match self.unwrap_one(tenant, &wrapped) {
                // It was being destroyed when the program ended: it stays on the list until that is done again.
                Err(KmsError::Destroyed) if !live.contains(&first_epoch) => continue,
                unwrapped => unwrapped?,
            };
            set.rewrapped(first_epoch, self.wrap(by, entropy, tenant, &key)?);
        }
        Ok(set.encode())
    }

    fn wrap(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
        key: &SecretKey,
    ) -> Result<Vec<u8>, KeyError> {
        let wrapped = self.kms.wrap_own(provider, entropy, &tenant_key_aad(tenant), key);
        self.health.note(provider, &wrapped, self.clock.now());
        Ok(wrapped?)
    }
}
