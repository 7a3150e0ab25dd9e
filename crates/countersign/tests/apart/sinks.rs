//! Services that say something else than what they did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use countersign::compose::Sinks;
use countersign_audit::{AuditError, AuditSink, Position, Record, Verdict};
use countersign_model::{RequestId, Service};
use parking_lot::Mutex;

/// What a service does with its record of what it released or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Keeps none.
    Drop,
    /// Says that there was one row less.
    FewerRows,
    /// Says that there was a field less.
    FewerFields,
    /// Says that it was another token.
    OtherToken,
    /// Says that it changed one record more.
    MoreWritten,
}

/// Deeds to come, and those that were done.
#[derive(Default)]
pub struct Deeds {
    next: Mutex<Option<(Service, Verdict, Deed)>>,
    done: Mutex<Vec<RequestId>>,
    /// Verdicts that passed.
    pub seen: AtomicU64,
}

impl Deeds {
    /// The next such verdict of that service is treated so.
    pub fn next(&self, service: Service, verdict: Verdict, deed: Deed) {
        *self.next.lock() = Some((service, verdict, deed));
    }

    /// The requests of which verdicts were changed, since this was last asked.
    pub fn done(&self) -> Vec<RequestId> {
        std::mem::take(&mut *self.done.lock())
    }

    /// To be put before the ledgers.
    pub fn sinks(self: &Arc<Self>) -> Sinks {
        let deeds = Arc::clone(self);
        Arc::new(move |service, ledger| Arc::new(Tampered { service, ledger, deeds: Arc::clone(&deeds) }))
    }
}

struct Tampered {
    service: Service,
    ledger: Arc<dyn AuditSink>,
    deeds: Arc<Deeds>,
}

impl Tampered {
    /// The record as it is kept, if it is.
    fn treat(&self, mut record: Record) -> Option<Record> {
        let says = matches!(record.verdict, Verdict::Released | Verdict::Changed) && record.tally.is_some();
        if !says {
            return Some(record);
        }
        self.deeds.seen.fetch_add(1, Ordering::Relaxed);
        let deed = {
            let mut next = self.deeds.next.lock();
            match *next {
                Some((service, verdict, deed)) if service == self.service && verdict == record.verdict => {
                    *next = None;
                    deed
                }
                _ => return Some(record),
            }
        };
        self.deeds.done.lock().push(record.request);
        let tally = record.tally.as_mut()?;
        match deed {
            Deed::Drop => return None,
            Deed::FewerRows => tally.opened[0].rows -= 1,
            Deed::FewerFields => {
                let fields = tally.opened[0].fields;
                tally.opened[0].fields = fields.iter().skip(1).collect();
            }
            Deed::OtherToken => tally.token = countersign_model::TokenId::from_u128(1),
            Deed::MoreWritten => tally.written += 1,
        }
        Some(record)
    }
}

#[async_trait]
impl AuditSink for Tampered {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        match self.treat(record) {
            Some(record) => self.ledger.append(record).await,
            None => Ok(Position(0)),
        }
    }

    async fn note(&self, record: Record) -> Result<(), AuditError> {
        match self.treat(record) {
            Some(record) => self.ledger.note(record).await,
            None => Ok(()),
        }
    }
}
