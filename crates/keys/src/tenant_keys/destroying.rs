//! The end of a tenant's keys.

use countersign_model::TenantId;

use super::TenantKeys;
use crate::key_set::KeySet;
use crate::kms::KmsError;

impl TenantKeys {
    /// Destroys every own key under which any of the tenant's keys was ever wrapped, forgets what was unwrapped, and gives
    /// how many there were. A tenant that is not known has none. Doing it twice is doing it once. Blocks.
    ///
    /// A key that was wrapped by a provider's key for all (the forms before 4) is not destroyed by that: what wrapped it is
    /// there for others.
    ///
    /// # Errors
    /// [`KmsError`] of the first that could not be destroyed; those before it are.
    pub fn destroy_all(&self, tenant: TenantId) -> Result<u64, KmsError> {
        let Some(wrapped) = self.wrapped.wrapped(tenant) else { return Ok(0) };
        let set = KeySet::decode(&wrapped)?;
        let mut destroyed = 0_u64;
        for own in set.generations().iter().flat_map(|generation| &generation.own) {
            self.kms.provider(own.provider.as_ref())?.destroy_own(own.id)?;
            destroyed = destroyed.saturating_add(1);
        }
        self.forget(tenant);
        Ok(destroyed)
    }
}
