//! The log over a ledger of this process.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::Ledger;
use countersign_audit::ledger::log::{CosignatureRefused, Log as AuditLog, WitnessFailure};
use countersign_tlog::Hash;

use super::{AddCheckpoint, Log, LogFailure, TileName};

/// A ledger's log, and its service as a witness.
#[derive(Debug, Clone)]
pub struct LedgerLog(Arc<AuditLog>);

impl LedgerLog {
    /// Of a ledger that was opened as a log; `None` of one that was not.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Option<Self> {
        ledger.log().map(Self)
    }

    /// Runs what reads or writes the disk where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&AuditLog) -> Result<T, LogFailure> + Send + 'static,
    ) -> Result<T, LogFailure> {
        let log = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || run(&log)).await.map_err(|_| LogFailure::Unavailable)?
    }
}

#[async_trait]
impl Log for LedgerLog {
    async fn keys(&self) -> Result<[String; 2], LogFailure> {
        Ok(self.0.verifier_keys().map(|key| key.to_string()))
    }

    async fn checkpoint(&self) -> Result<String, LogFailure> {
        Ok(self.0.newest().text.to_string())
    }

    async fn tile(&self, name: TileName) -> Result<Vec<u8>, LogFailure> {
        self.blocking(move |log| match log.tile(name.level, name.index, name.width) {
            Ok(Some(tile)) => Ok(tile),
            Ok(None) => Err(LogFailure::NotFound),
            Err(_) => Err(LogFailure::Unavailable),
        })
        .await
    }

    async fn cosign(&self, key: &str, asked: &AddCheckpoint) -> Result<String, LogFailure> {
        let AddCheckpoint { old_size, proof, checkpoint } = asked.clone();
        let proof = proof.into_iter().map(Hash).collect();
        let (key, asked) = (key.to_owned(), countersign_tlog::AddCheckpoint { old_size, proof, checkpoint });
        self.blocking(move |log| {
            log.cosign(&key, &asked).map_err(|failure| match failure {
                WitnessFailure::Seen { size } => LogFailure::Seen { size },
                WitnessFailure::Contradicts { size } => LogFailure::Contradicts { size },
                WitnessFailure::NotTaken => LogFailure::NotTaken,
                WitnessFailure::Unavailable => LogFailure::Unavailable,
            })
        })
        .await
    }

    async fn cosigned(&self, size: u64, key: &str, lines: &str) -> Result<(), LogFailure> {
        let (key, lines) = (key.to_owned(), lines.to_owned());
        self.blocking(move |log| {
            log.cosigned(size, &key, &lines).map_err(|refused| match refused {
                CosignatureRefused::OtherSize => LogFailure::NotFound,
                CosignatureRefused::NotValid => LogFailure::NotTaken,
                CosignatureRefused::Unavailable => LogFailure::Unavailable,
            })
        })
        .await
    }
}
