//! Data keys in use: unwrapped, derived, and kept within a bound.

use std::sync::Arc;

use countersign_crypto::{Aad, FieldKeys, SealKey, SecretKey, TenantKey};
use countersign_model::{Entropy, FieldId, TenantId, TypeId};
use parking_lot::RwLock;
use quick_cache::sync::Cache;

use crate::kms::{KmsError, KmsProvider};

/// The epoch under which values are sealed now. Sealed values carry theirs, so that older ones still open.
pub const CURRENT_EPOCH: u32 = 1;

/// Why there is no key. Carries no key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No wrapped key is stored for the tenant.
    #[error("the tenant has no key")]
    UnknownTenant,
    /// The key management service didn't unwrap or wrap the tenant's key.
    #[error(transparent)]
    Kms(#[from] KmsError),
}

/// Where the tenants' wrapped keys are stored.
pub trait WrappedKeys: Send + Sync {
    /// The wrapped key of `tenant`, as [`new_tenant_key`] made it; `None` for a tenant that doesn't exist any more.
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>>;
}

/// What a tenant's wrapped key is bound to: it doesn't unwrap as another tenant's.
fn tenant_key_aad(tenant: TenantId) -> Aad {
    Aad::new("tenant-key.1").part(tenant.as_bytes())
}

/// A new random key for `tenant`, wrapped, to be stored.
///
/// # Errors
/// [`KmsError`].
pub fn new_tenant_key(kms: &dyn KmsProvider, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KmsError> {
    kms.wrap(entropy, &tenant_key_aad(tenant), &SecretKey::generate(entropy))
}

/// The tenants' data keys.
///
/// Keys are derived once and kept, up to a number of them; those used least make room.
pub struct TenantKeys {
    kms: Arc<dyn KmsProvider>,
    wrapped: Arc<dyn WrappedKeys>,
    tenants: Cache<TenantId, Arc<TenantKey>>,
    /// INVARIANT tenant-in-key: whatever finds a key in memory names the tenant whose key it is.
    fields: Cache<(TenantId, TypeId, FieldId, u32), Arc<FieldKeys>>,
    seals: Cache<(TenantId, &'static str, u32), Arc<SealKey>>,
    /// INVARIANT forget-is-final: held shared from looking up a wrapped key until what came of it is cached,
    /// and alone while forgetting, so that no key is cached from a wrapped key read before it was forgotten.
    filling: RwLock<()>,
}

impl TenantKeys {
    /// Keeps at most about `capacity` keys of each kind (tenants, fields, others), at least one.
    #[must_use]
    pub fn new(kms: Arc<dyn KmsProvider>, wrapped: Arc<dyn WrappedKeys>, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            kms,
            wrapped,
            tenants: Cache::new(capacity),
            fields: Cache::new(capacity),
            seals: Cache::new(capacity),
            filling: RwLock::new(()),
        }
    }

    /// A new random key for `tenant`, wrapped, to be stored where [`WrappedKeys`] finds it.
    ///
    /// # Errors
    /// [`KeyError::Kms`].
    pub fn wrap_new(&self, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        Ok(new_tenant_key(self.kms.as_ref(), entropy, tenant)?)
    }

    /// The keys of one field in the current epoch.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn field(&self, tenant: TenantId, record_type: TypeId, field: FieldId) -> Result<Arc<FieldKeys>, KeyError> {
        self.field_at(tenant, record_type, field, CURRENT_EPOCH)
    }

    /// The keys of one field in the epoch that a sealed value names.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn field_at(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        epoch: u32,
    ) -> Result<Arc<FieldKeys>, KeyError> {
        let place = (tenant, record_type, field, epoch);
        if let Some(keys) = self.fields.get(&place) {
            return Ok(keys);
        }
        let _filling = self.filling.read();
        let keys = Arc::new(self.tenant(tenant)?.field_keys(tenant, record_type, field, epoch));
        self.fields.insert(place, Arc::clone(&keys));
        Ok(keys)
    }

    /// A key for something else that belongs to the tenant, such as its audit records; told apart by `label`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn seal_key(&self, tenant: TenantId, label: &'static str) -> Result<Arc<SealKey>, KeyError> {
        let place = (tenant, label, CURRENT_EPOCH);
        if let Some(key) = self.seals.get(&place) {
            return Ok(key);
        }
        let _filling = self.filling.read();
        let key = Arc::new(self.tenant(tenant)?.seal_key(label, CURRENT_EPOCH));
        self.seals.insert(place, Arc::clone(&key));
        Ok(key)
    }

    /// Drops every key of `tenant` from memory. Keys that a running request holds last until it ends.
    ///
    /// Waits for keys that are being unwrapped, so it must not be called with a lock held that
    /// [`WrappedKeys::wrapped`] needs.
    pub fn forget(&self, tenant: TenantId) {
        let _filling = self.filling.write();
        self.tenants.remove(&tenant);
        self.fields.retain(|place, _| place.0 != tenant);
        self.seals.retain(|place, _| place.0 != tenant);
    }

    /// Called with `filling` held.
    fn tenant(&self, tenant: TenantId) -> Result<Arc<TenantKey>, KeyError> {
        if let Some(key) = self.tenants.get(&tenant) {
            return Ok(key);
        }
        let wrapped = self.wrapped.wrapped(tenant).ok_or(KeyError::UnknownTenant)?;
        let key = Arc::new(TenantKey::new(self.kms.unwrap_key(&tenant_key_aad(tenant), &wrapped)?));
        self.tenants.insert(tenant, Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
