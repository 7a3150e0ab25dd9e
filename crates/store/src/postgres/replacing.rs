//! Tenants of which everything is being replaced, by this store: a restore of one holds the tenant's lock alone for as long as it
//! takes. Whoever writes to such a tenant waits here, and not for that lock with a connection that others need.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_model::TenantId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{StoreError, Unavailable};

/// How long a writer waits for a replacement: as long as for the tenant's lock.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many replacements of each tenant are under way or waited for.
#[derive(Debug, Default)]
pub(super) struct Replacing {
    tenants: Mutex<HashMap<TenantId, usize>>,
    ended: Notify,
}

impl Replacing {
    /// One begins; it ends when this is dropped.
    pub(super) fn begin(self: &Arc<Self>, tenant: TenantId) -> Replaces {
        let mut tenants = self.tenants.lock();
        let count = tenants.entry(tenant).or_default();
        *count = count.saturating_add(1);
        Replaces { all: Arc::clone(self), tenant }
    }

    /// Waits until none is under way.
    pub(super) async fn over(&self, tenant: TenantId) -> Result<(), StoreError> {
        let mut until = None;
        loop {
            let ended = self.ended.notified();
            if !self.tenants.lock().contains_key(&tenant) {
                return Ok(());
            }
            let now = Instant::now();
            let until = *until.get_or_insert(now.checked_add(PATIENCE).unwrap_or(now));
            let waited = tokio::time::timeout_at(until, ended).await;
            waited.map_err(|_| StoreError::Unavailable(Unavailable::Busy))?;
        }
    }
}

/// A replacement.
#[derive(Debug)]
pub(super) struct Replaces {
    all: Arc<Replacing>,
    tenant: TenantId,
}

impl Drop for Replaces {
    fn drop(&mut self) {
        let mut tenants = self.all.tenants.lock();
        if let Some(count) = tenants.get_mut(&self.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                tenants.remove(&self.tenant);
                self.all.ended.notify_waiters();
            }
        }
    }
}
