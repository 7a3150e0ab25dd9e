//! Tenants' keys in new forms, put in force one after the other; and the deployment's own.

use std::sync::Arc;

use countersign_keys::{KeyError, KeySet, TenantKeys, wrapped_version};
use countersign_model::{Entropy, TenantId};

use super::wrapping::WrappingFact;
use super::{Registry, deployment_key_aad};
use crate::error::RegistryError;

/// How often a change is made again because another came in between.
const TRIES: usize = 8;

impl Registry {
    /// Puts a tenant's keys in force that were made from `before`; `false` if they are others by now, and then nothing is
    /// changed. INVARIANT key-succession: no key of a tenant is lost because two changes were made from the same keys.
    ///
    /// # Errors
    /// As every change of facts.
    pub(crate) async fn replace_key(
        self: &Arc<Self>,
        tenant: TenantId,
        before: Option<&[u8]>,
        key: Vec<u8>,
    ) -> Result<bool, RegistryError> {
        let mut change = self.begin().await;
        if self.receipts().is_tenant_erased(tenant) {
            return Err(RegistryError::Keys(KeyError::UnknownTenant));
        }
        if self.wrapped_key(tenant).as_deref() != before {
            return Ok(false);
        }
        change.rewrap_tenant(tenant, key)?;
        change.commit().await?;
        Ok(true)
    }

    /// Has a tenant's keys made anew by this process itself, and puts them in force. For deployments in one process.
    ///
    /// # Errors
    /// As every change of facts; [`RegistryError::Keys`].
    pub async fn change_keys(
        self: &Arc<Self>,
        tenant: TenantId,
        make: impl Fn(&TenantKeys, &dyn Entropy) -> Result<Vec<u8>, KeyError> + Clone + Send + 'static,
    ) -> Result<KeySet, RegistryError> {
        for _ in 0..TRIES {
            let before = self.wrapped_key(tenant);
            let (registry, make) = (Arc::clone(self), make.clone());
            let made = move || make(&registry.tenant_keys, registry.entropy());
            let made = tokio::task::spawn_blocking(made).await;
            let made = made.map_err(|_| RegistryError::Storage("it was interrupted"))?.map_err(RegistryError::Keys)?;
            if before.as_deref() == Some(made.as_slice())
                || self.replace_key(tenant, before.as_deref(), made.clone()).await?
            {
                return Ok(KeySet::decode(&made)?);
            }
        }
        Err(RegistryError::Keys(KeyError::UnknownTenant))
    }

    /// Notes that everything of a tenant is sealed under what counted in `epoch`, or newer.
    ///
    /// # Errors
    /// As [`Self::change_keys`].
    pub async fn resealed(self: &Arc<Self>, tenant: TenantId, epoch: u32) -> Result<KeySet, RegistryError> {
        self.change_keys(tenant, move |keys, _| Ok(keys.set(tenant)?.resealed(epoch).encode())).await
    }

    /// Has the deployment's own key wrapped again, by the newest version of what wraps it. What is sealed under it stays.
    ///
    /// # Errors
    /// [`RegistryError::Kms`]; as every change of facts.
    pub async fn rewrap_own(self: &Arc<Self>) -> Result<(), RegistryError> {
        let _alone = Arc::clone(&self.changing).lock_owned().await;
        let registry = Arc::clone(self);
        let rewrap = move || {
            let (kms, aad) = (registry.kms.default_provider(), deployment_key_aad());
            // Notices a version that another process made.
            kms.probe()?;
            let secret = kms.unwrap_key(&aad, &registry.wrapped_own_key())?;
            let wrapped = kms.wrap(&*registry.entropy, &aad, &secret)?;
            let fact = WrappingFact::of(&wrapped, registry.clock.now());
            let is_newer = wrapped_version(&registry.wrapped_own_key()).is_none_or(|before| before.0 != fact.version);
            let mut db = registry.db.lock();
            db.rewrap(&*registry.entropy, &wrapped)?;
            if is_newer {
                db.write(&*registry.entropy, &[fact.to_write()?])?;
                *registry.wrapping.lock() = Some(fact);
            }
            drop(db);
            *registry.wrapped_own_key.write() = wrapped;
            match &registry.bootstrap {
                // By which the authority comes to the database. Read at the next start, and written again then if this
                // fails.
                Some(path) => registry.keep_bootstrap(path),
                None => Ok(()),
            }
        };
        tokio::task::spawn_blocking(rewrap).await.map_err(|_| RegistryError::Storage("it was interrupted"))?
    }
}
