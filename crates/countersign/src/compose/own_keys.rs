//! The keys that a service's audit records are sealed under when the tenants' keys are elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{AuditError, AuditKeys};
use countersign_crypto::{Aad, SealKey, SecretKey, TenantKey};
use countersign_guard::Bearer;
use countersign_keys::{KmsProvider, TenantKeys, wrapped_version};
use countersign_model::{Clock, Entropy, Opened, Service, TenantId};
use countersign_postgres::PgError;
use countersign_services::{Call, KeyRelease, Keyring, SealGrant, SealPurpose, ServiceFailure, Unlock};
use countersign_token::Verifier;
use quick_cache::sync::Cache;

use super::own_row::Row;
use super::{Base, database};
use crate::deployment::new_file;
use crate::problem::{Problem, io};

/// Where a service's own key is.
pub(super) enum KeyPlace {
    /// In a file of its folder.
    File(PathBuf),
    /// In the database; a key that is in a file still, from before the deployment moved, is taken over.
    Row {
        /// The row.
        row: Row,
        /// The file.
        before: PathBuf,
    },
}

impl KeyPlace {
    /// The place of this service's key.
    ///
    /// # Errors
    /// If the service has no certificate for the database.
    pub(super) fn of(base: &Base, service: Service, instance: &str) -> Result<Self, Problem> {
        let path = base.deployment.service_key(service);
        let Some(database) = base.ledger_database() else { return Ok(Self::File(path)) };
        let row = Row { database: database.blocking(service)?, instance: instance.to_owned() };
        Ok(Self::Row { row, before: path })
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Problem> {
        let file = |path: &Path| match path.exists() {
            true => std::fs::read(path).map(Some).map_err(io("read", path)),
            false => Ok(None),
        };
        match self {
            Self::File(path) => file(path),
            Self::Row { row, before } => {
                let failed = |error: PgError| database::problem(&error).during("a service's key");
                match (row.read().map_err(failed)?, file(before)?) {
                    (Some(wrapped), _) => Ok(Some(wrapped)),
                    (None, Some(wrapped)) => row.keep(wrapped).map(Some).map_err(failed),
                    (None, None) => Ok(None),
                }
            }
        }
    }

    /// Keeps the first key, and gives the one that is there then: another process may have been quicker.
    fn keep(&self, wrapped: Vec<u8>) -> Result<Vec<u8>, Problem> {
        match self {
            Self::File(path) => new_file(path, &wrapped, true).map(|()| wrapped),
            Self::Row { row, .. } => row.keep(wrapped).map_err(|error| database::problem(&error)),
        }
    }

    fn replace(&self, wrapped: Vec<u8>) -> Result<(), Problem> {
        match self {
            Self::File(path) => {
                let beside = path.with_extension("new");
                drop(std::fs::remove_file(&beside));
                new_file(&beside, &wrapped, true)?;
                std::fs::rename(&beside, path).map_err(io("write", path))
            }
            Self::Row { row, .. } => row.replace(wrapped).map_err(|error| database::problem(&error)),
        }
    }
}

/// A service's own key, which its own key management service has wrapped.
///
/// # Errors
/// If its place can't be read or written, or another key management service wrapped it.
pub(super) fn own_key(
    place: &KeyPlace,
    service: Service,
    kms: &dyn KmsProvider,
    entropy: &dyn Entropy,
) -> Result<TenantKey, Problem> {
    let aad = Aad::new("service-key.1").part(service.as_str().as_bytes());
    let failed = |error: countersign_keys::KmsError| Problem::failed(format!("the {service}'s own key: {error}"));
    let wrapped = match place.read()? {
        Some(wrapped) => wrapped,
        None => place.keep(kms.wrap(entropy, &aad, &SecretKey::generate(entropy)).map_err(failed)?)?,
    };
    let secret = kms.unwrap_key(&aad, &wrapped).map_err(failed)?;
    if wrapped_version(&wrapped) != Some(kms.version().map_err(failed)?) {
        // Whoever rotated the wrapping key may take the old one away some day.
        place.replace(kms.wrap(entropy, &aad, &secret).map_err(failed)?)?;
    }
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

    fn audit_key_at(&self, tenant: Option<TenantId>, epoch: u32) -> Result<Arc<SealKey>, AuditError> {
        match tenant {
            Some(tenant) if self.tenants.is_open(tenant) => {
                self.tenants.seal_key_at(tenant, "audit-keys", epoch).map_err(|_| AuditError::NoKey)
            }
            _ => self.audit_key(tenant),
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

    fn newest_epoch(&self, tenant: TenantId) -> Option<u32> {
        self.keys.newest_epoch(tenant)
    }

    async fn issued_epoch(&self, call: &Call<'_>) -> Result<u32, ServiceFailure> {
        self.keys.issued_epoch(call).await
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
