//! The keys that a service's audit records are sealed under when the tenants' keys are elsewhere.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{AuditError, AuditKeys};
use countersign_crypto::{Aad, SealKey, SecretKey, TenantKey};
use countersign_guard::Bearer;
use countersign_keys::{KmsProvider, TenantKeys, wrapped_version};
use countersign_model::{Clock, Entropy, Opened, Service, TenantId};
use countersign_services::{Call, KeyRelease, Keyring, SealGrant, SealPurpose, ServiceFailure, Unlock};
use countersign_token::Verifier;
use quick_cache::sync::Cache;

use crate::deployment::new_file;
use crate::problem::{Problem, io};

/// A service's own key, which its own key management service has wrapped.
///
/// # Errors
/// If the file can't be read or made, or another key management service wrapped it.
pub(super) fn own_key(
    path: &Path,
    service: Service,
    kms: &dyn KmsProvider,
    entropy: &dyn Entropy,
) -> Result<TenantKey, Problem> {
    let aad = Aad::new("service-key.1").part(service.as_str().as_bytes());
    let failed = |error: countersign_keys::KmsError| Problem::failed(format!("{}: {error}", path.display()));
    let secret = if path.exists() {
        let wrapped = std::fs::read(path).map_err(io("read", path))?;
        let secret = kms.unwrap_key(&aad, &wrapped).map_err(failed)?;
        if wrapped_version(&wrapped) != Some(kms.version().map_err(failed)?) {
            // Whoever rotated the wrapping key may take the old one away some day.
            let beside = path.with_extension("new");
            drop(std::fs::remove_file(&beside));
            new_file(&beside, &kms.wrap(entropy, &aad, &secret).map_err(failed)?, true)?;
            std::fs::rename(&beside, path).map_err(io("write", path))?;
        }
        secret
    } else {
        let secret = SecretKey::generate(entropy);
        new_file(path, &kms.wrap(entropy, &aad, &secret).map_err(failed)?, true)?;
        secret
    };
    Ok(TenantKey::new(secret))
}

/// What a service's records are sealed under where no tenant's key is to be had.
pub(super) fn audit_key(own: &TenantKey) -> Arc<SealKey> {
    Arc::new(own.seal_key("audit", 1))
}

/// The audit keys of a service that has the tenants' from the key service, as far as it was given them.
pub(super) struct LearnedKeys {
    own: Arc<SealKey>,
    /// INVARIANT tenant-in-key.
    tenants: Cache<TenantId, Arc<SealKey>>,
}

impl LearnedKeys {
    pub(super) fn new(own: Arc<SealKey>, capacity: usize) -> Self {
        Self { own, tenants: Cache::new(capacity.max(1)) }
    }
}

impl AuditKeys for LearnedKeys {
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        match tenant {
            None => Ok(Arc::clone(&self.own)),
            Some(tenant) => self.tenants.get(&tenant).ok_or(AuditError::NoKey),
        }
    }
}

/// The audit keys of the key service itself.
pub(super) struct KeeperKeys {
    pub(super) own: Arc<SealKey>,
    pub(super) tenants: Arc<TenantKeys>,
}

impl AuditKeys for KeeperKeys {
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        match tenant {
            None => Ok(Arc::clone(&self.own)),
            // Records don't wait for a key management service.
            Some(tenant) if self.tenants.is_open(tenant) => {
                self.tenants.seal_key(tenant, "audit-keys").map_err(|_| AuditError::NoKey)
            }
            Some(_) => Err(AuditError::NoKey),
        }
    }
}

#[async_trait]
impl Unlock for KeeperKeys {
    async fn unlock(&self, _: &Bearer, tenant: TenantId) {
        let tenants = Arc::clone(&self.tenants);
        // Without it the query says that the records can't be opened.
        drop(tokio::task::spawn_blocking(move || tenants.open(tenant)).await);
    }
}

/// The key service elsewhere, from which this service also learns under which key to seal its records of a tenant.
pub(super) struct Learning {
    pub(super) service: Service,
    pub(super) keys: Arc<dyn KeyRelease>,
    pub(super) learned: Arc<LearnedKeys>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Learning {
    /// Learns the key of the token's tenant, if it is not known. Without it records are sealed under the service's
    /// own key, so a failure here is none of the caller's.
    async fn learn(&self, bearer: &Bearer) {
        let verified = self.verifier.verify_presented(bearer.presented(), self.clock.now());
        let Ok(tenant) = verified.map(|verified| verified.tenant()) else { return };
        if self.learned.tenants.get(&tenant).is_some() {
            return;
        }
        match self.keys.seal_key(bearer, self.service, SealPurpose::Audit).await {
            Ok(grant) if grant.tenant == tenant => {
                let key = Arc::new(SealKey::with_epoch(&grant.secret, grant.epoch));
                self.learned.tenants.insert(tenant, key);
            }
            Ok(_) => tracing::error!("the key service answered for another tenant"),
            Err(error) => tracing::debug!(%error, "no audit key"),
        }
    }
}

#[async_trait]
impl Unlock for Learning {
    async fn unlock(&self, bearer: &Bearer, _: TenantId) {
        self.learn(bearer).await;
    }
}

#[async_trait]
impl KeyRelease for Learning {
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        let ring = self.keys.release(call).await?;
        self.learn(call.bearer).await;
        Ok(ring)
    }

    async fn count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), ServiceFailure> {
        self.keys.count(call, opened).await?;
        self.learn(call.bearer).await;
        Ok(())
    }

    async fn seal_key(
        &self,
        bearer: &Bearer,
        caller: Service,
        purpose: SealPurpose,
    ) -> Result<SealGrant, ServiceFailure> {
        self.keys.seal_key(bearer, caller, purpose).await
    }

    async fn new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        self.keys.new_tenant_key(call, tenant).await
    }

    async fn rewrap_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        self.keys.rewrap_tenant_key(call, tenant).await
    }
}
