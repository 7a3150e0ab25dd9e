//! How a service of this process is.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::tls::CertificateSlot;
use countersign_guard::FactsCell;
use countersign_model::{Clock, Service, UnixMs};
use countersign_services::{LogFailure, Report, ServiceStatus};

use super::counters::Watching;

/// How a ledger is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerState {
    /// Its durable records.
    pub records: u64,
    /// How many its newest checkpoint covers.
    pub integrated: u64,
    /// How many witnesses have cosigned that checkpoint.
    pub cosigned: u64,
    /// Whether it takes records.
    pub is_writable: bool,
}

/// What a service of this process is known by.
pub struct LocalParts {
    /// What it is.
    pub service: Service,
    /// When it started.
    pub started: UnixMs,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// The facts that it decides by.
    pub facts: Arc<FactsCell>,
    /// The process's measures.
    pub watching: Watching,
    /// How its ledger is now.
    pub ledger: Box<dyn Fn() -> LedgerState + Send + Sync>,
    /// Its certificate, if it has one of its own.
    pub certificate: Option<Arc<CertificateSlot>>,
    /// Its key management services by name, and whether each answers; none but the key service has any.
    pub kms: Box<dyn Fn() -> Vec<(String, bool)> + Send + Sync>,
}

/// A service of this process that says how it is.
pub struct LocalReport(LocalParts);

impl LocalReport {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: LocalParts) -> Arc<Self> {
        Arc::new(Self(parts))
    }

    /// How it is now.
    #[must_use]
    pub fn now(&self) -> ServiceStatus {
        let parts = &self.0;
        let (now, ledger) = (parts.clock.now(), (parts.ledger)());
        ServiceStatus {
            service: parts.service,
            now,
            started: parts.started,
            epoch: parts.facts.load().facts.epoch,
            facts_age_ms: parts.facts.last_heard().map_or(0, |heard| now.since(heard)),
            is_ready: parts.facts.is_fresh(now),
            ledger_records: ledger.records,
            ledger_integrated: ledger.integrated,
            ledger_cosigned: ledger.cosigned,
            ledger_is_writable: ledger.is_writable,
            certificate_expires: parts.certificate.as_ref().map(|slot| slot.expires()),
            kms: (parts.kms)(),
            measures: parts.watching.to_bytes(parts.service),
        }
    }
}

#[async_trait]
impl Report for LocalReport {
    async fn status(&self) -> Result<ServiceStatus, LogFailure> {
        Ok(self.now())
    }
}
