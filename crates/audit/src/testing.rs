//! Keys and chance for this crate's own tests.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::TenantId;
use parking_lot::Mutex;

use crate::{AuditError, AuditKeys};

/// A key for each tenant, and which were asked for.
#[derive(Default)]
pub(crate) struct TestKeys {
    keys: Mutex<HashMap<Option<TenantId>, Arc<SealKey>>>,
    withheld: Mutex<Vec<Option<TenantId>>>,
}

impl TestKeys {
    pub(crate) fn withhold(&self, tenant: Option<TenantId>) {
        self.withheld.lock().push(tenant);
    }

    pub(crate) fn give_back(&self) {
        self.withheld.lock().clear();
    }
}

impl AuditKeys for TestKeys {
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        if self.withheld.lock().contains(&tenant) {
            return Err(AuditError::NoKey);
        }
        let fresh = || Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)));
        Ok(Arc::clone(self.keys.lock().entry(tenant).or_insert_with(fresh)))
    }
}

/// The keys of the stored ledgers in `ledger/tests`: the last byte of the tenant's id, 0 for the deployment, 32
/// times.
pub(crate) struct FixedKeys;

impl FixedKeys {
    pub(crate) fn key(tenant: Option<TenantId>) -> SealKey {
        let byte = tenant.map_or(0, |tenant| tenant.as_bytes()[15]);
        SealKey::new(&SecretKey::from_bytes([byte; 32]))
    }
}

impl AuditKeys for FixedKeys {
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::new(Self::key(tenant)))
    }
}

/// Repeatable chance (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or_default()
    }
}
