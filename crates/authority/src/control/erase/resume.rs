//! What a crash has cut off is finished when the deployment is next opened; what had to wait, a little later.

use std::sync::Arc;
use std::time::Duration;

use countersign_model::erasure::{Counts, Erased};
use countersign_model::{FieldSet, UnixMs};
use countersign_services::erase_records;
use countersign_store::{Access, Scan, Store};

use super::counts;
use crate::authority::Authority;
use crate::registry::erasure::ErasureFact;

/// How often it is looked whether any is left.
const AGAIN: Duration = Duration::from_secs(30);
/// For so long whoever was asked to erase may still be at it.
const UNDER_WAY_MS: u64 = 60_000;

impl Authority {
    /// Finishes erasures that were begun: to be called before anybody is served. One that can't be finished now stays as it is,
    /// for later.
    pub async fn finish_erasures(&self) {
        self.finish_erasures_from_before(self.registry.clock().now()).await;
    }

    /// Ends, now and then, erasures that could not be ended when they were asked for: something still read what was there, or
    /// what they needed did not answer. For as long as it is polled.
    pub async fn look_after_erasures(self: Arc<Self>) {
        loop {
            tokio::time::sleep(AGAIN).await;
            let now = self.registry.clock().now();
            // A younger one has somebody who is at it.
            self.finish_erasures_from_before(UnixMs(now.0.saturating_sub(UNDER_WAY_MS))).await;
        }
    }

    async fn finish_erasures_from_before(&self, moment: UnixMs) {
        let Some(store) = self.store.clone().filter(|_| !self.is_apart) else { return };
        let unfinished = self.registry.unfinished_erasures().into_iter();
        for fact in unfinished.filter(|fact| fact.receipt.begun <= moment) {
            let finished = match &fact.receipt.erased {
                Erased::Records { .. } => self.finish_records(&*store, fact).await,
                Erased::Tenant => self.finish_tenant(&*store, fact).await,
                // That is one change of the facts.
                Erased::Principal { .. } => Some(()),
            };
            // Whoever asks for the receipt sees that it is not finished.
            let _ = finished;
        }
    }

    async fn finish_records(&self, store: &dyn Store, mut fact: ErasureFact) -> Option<()> {
        let Erased::Records { record_type, records } = &fact.receipt.erased else { return None };
        let (record_type, tenant) = (*record_type, fact.receipt.tenant);
        let access = Access::Records(records.clone());
        let scan = Scan { record_type, access, cells: FieldSet::EMPTY, limit: records.len(), after: None };
        let rows = store.read(tenant, &scan).await.ok()?;
        let version = |record| rows.iter().find(|row| row.record == record).map(|row| row.version);
        let records: Vec<_> = records.iter().map(|record| (*record, version(*record))).collect();
        let now = self.registry.clock().now();
        let erased = erase_records(store, tenant, record_type, &records, fact.required(), now).await.ok()?;
        if erased.is_ok() && !store.erasing()?.sweep(tenant).await.ok()? {
            return None;
        }
        let mut change = self.registry.begin().await;
        match erased {
            Ok(traces) => {
                // Of one that only waited for its files it is known already what it came to.
                if fact.receipt.counts == Counts::default() {
                    fact.receipt.counts = counts(&traces);
                    // Cut off after they were deleted, and before that was known.
                    fact.receipt.counts.records = fact.receipt.counts.records.max(records.len() as u64);
                }
                fact.receipt.finished = Some(now);
                fact.absent.clear();
                change.put_erasure(fact.clone()).ok()?;
            }
            // Something may refer to it by now, and nobody was told that it was erased.
            Err(_) => change.forget_erasure(fact.receipt.id).ok()?,
        }
        change.commit().await.ok()?;
        if fact.receipt.finished.is_some() {
            self.copy_receipt(&fact.receipt).await;
        }
        Some(())
    }
}
