//! The keys of audit records, as the registry has them.

use std::sync::Arc;

use countersign_audit::{AuditError, AuditKeys};
use countersign_crypto::SealKey;
use countersign_keys::{KeyError, KmsError};
use countersign_model::TenantId;

use super::Registry;

impl AuditKeys for Registry {
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        match tenant {
            None => Ok(Arc::clone(&self.audit_key)),
            // Records wait for no key management service that is known not to answer.
            Some(tenant) if self.tenant_keys.is_out_of_reach(tenant) => Err(AuditError::NoKey),
            Some(tenant) => self.tenant_keys.seal_key(tenant, "audit").map_err(|error| match error {
                // As when it was erased.
                KeyError::UnknownTenant => AuditError::Destroyed,
                error => without_key(error),
            }),
        }
    }

    fn audit_key_at(&self, tenant: Option<TenantId>, epoch: u32) -> Result<Arc<SealKey>, AuditError> {
        let Some(tenant) = tenant else { return self.audit_key(None) };
        if self.tenant_keys.is_out_of_reach(tenant) {
            return Err(AuditError::NoKey);
        }
        self.tenant_keys.seal_key_at(tenant, "audit", epoch).map_err(without_key)
    }
}

/// Why a record of an older key is not read.
fn without_key(error: KeyError) -> AuditError {
    match error {
        KeyError::UnknownEpoch | KeyError::Kms(KmsError::Destroyed) => AuditError::Destroyed,
        _ => AuditError::NoKey,
    }
}
