//! Removes audit records whose time is over.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::Ledger;
use countersign_model::Clock;
use tokio::task::JoinHandle;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Looks after these ledgers for as long as it is polled. 0 days keeps all records for ever.
pub(super) fn look_after(ledgers: Vec<Arc<Ledger>>, clock: Arc<dyn Clock>, keep_days: u64) -> Option<JoinHandle<()>> {
    (keep_days > 0).then(|| {
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(EVERY);
            loop {
                looks.tick().await;
                for ledger in &ledgers {
                    let service = ledger.service().as_str();
                    match ledger.retain(clock.now(), keep_days).await {
                        Ok(None) => {}
                        Ok(Some(removed)) => {
                            tracing::info!(service, first = removed.first, end = removed.end, "audit records removed");
                        }
                        Err(error) => tracing::error!(service, %error, "audit records could not be removed"),
                    }
                }
            }
        })
    })
}
