//! New and newly wrapped keys, for whoever stores them.

use countersign_crypto::SecretKey;
use countersign_model::{Entropy, Name, TenantId};

use super::{KeyError, TenantKeys, tenant_key_aad};
use crate::set::wrapped_by;

impl TenantKeys {
    /// A new random key for `tenant`, wrapped by the deployment's own provider, to be stored where [`WrappedKeys`](super::WrappedKeys)
    /// finds it.
    ///
    /// # Errors
    /// [`KeyError::Kms`].
    pub fn wrap_new(&self, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        self.wrap_new_by(None, entropy, tenant)
    }

    /// As [`Self::wrap_new`], by the provider of that name.
    ///
    /// # Errors
    /// [`KeyError::Kms`]; with [`KmsError::UnknownProvider`](crate::KmsError::UnknownProvider) if there is none of that name.
    pub fn wrap_new_by(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
    ) -> Result<Vec<u8>, KeyError> {
        self.wrap(provider, entropy, tenant, &SecretKey::generate(entropy))
    }

    /// The tenant's key, wrapped again by the provider that wraps it now, under the newest version of its key, which
    /// another process may have made. To be stored in place of the old one; nothing that is sealed changes.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rewrap(&self, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        let wrapped = self.wrapped.wrapped(tenant).ok_or(KeyError::UnknownTenant)?;
        self.wrap_again(wrapped_by(&wrapped).as_ref(), entropy, tenant, &wrapped)
    }

    /// The tenant's key, wrapped by another provider: how a subscriber brings its own key, or leaves. To be stored in
    /// place of the old one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rewrap_by(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
    ) -> Result<Vec<u8>, KeyError> {
        let wrapped = self.wrapped.wrapped(tenant).ok_or(KeyError::UnknownTenant)?;
        self.wrap_again(provider, entropy, tenant, &wrapped)
    }

    fn wrap_again(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
        wrapped: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        self.kms.provider(provider)?.probe()?;
        let key = self.kms.unwrap_key(&tenant_key_aad(tenant), wrapped);
        self.health.note(wrapped_by(wrapped).as_ref(), &key, self.clock.now());
        self.wrap(provider, entropy, tenant, &key?)
    }

    fn wrap(
        &self,
        provider: Option<&Name>,
        entropy: &dyn Entropy,
        tenant: TenantId,
        key: &SecretKey,
    ) -> Result<Vec<u8>, KeyError> {
        let wrapped = self.kms.wrap(provider, entropy, &tenant_key_aad(tenant), key);
        self.health.note(provider, &wrapped, self.clock.now());
        Ok(wrapped?)
    }
}
