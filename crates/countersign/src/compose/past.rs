//! Removes what records were once it need not be kept any more: a few at a time, while others read and write.

use std::sync::Arc;
use std::time::Duration;

use countersign_guard::FactsCell;
use countersign_model::{Clock, TypeId};
use countersign_store::{Histories, Store, StoreError};
use tokio::task::JoinHandle;

/// How often it looks through all tenants.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// States removed in one transaction, and the time that others have until the next.
const TOGETHER: usize = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// Looks after all tenants of the store for as long as it is polled.
pub(super) fn look_after(store: Arc<dyn Store>, facts: Arc<FactsCell>, clock: Arc<dyn Clock>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut looks = tokio::time::interval(EVERY);
        loop {
            looks.tick().await;
            let Some(history) = store.history() else { return };
            let removed = look(history, &facts, &*clock).await;
            if removed > 0 {
                tracing::info!(removed, "earlier states of records removed");
            }
        }
    })
}

async fn look(history: &dyn Histories, facts: &FactsCell, clock: &dyn Clock) -> u64 {
    let facts = Arc::clone(&facts.load().facts);
    let (mut all, mut failed) = (0u64, None);
    for tenant in facts.tenants.keys() {
        for record_type in (0..=u16::MAX).map(TypeId).take(facts.types.types.len()) {
            loop {
                match history.prune(*tenant, record_type, clock.now(), TOGETHER).await {
                    Ok(removed) => {
                        all = all.saturating_add(u64::try_from(removed).unwrap_or(0));
                        tokio::time::sleep(PAUSE).await;
                        if removed < TOGETHER {
                            break;
                        }
                    }
                    // The operators' tenant has no records, and neither has one that is being added or erased.
                    Err(StoreError::UnknownTenant) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
    }
    if let Some(error) = failed {
        tracing::warn!(%error, "earlier states of some records could not be removed; it is tried again");
    }
    all
}
