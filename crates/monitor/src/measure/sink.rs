//! What stands before a service's ledger and measures how it takes records.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_audit::{AuditError, AuditSink, Position, Record};
use countersign_guard::{Observation, Observe};
use tokio::time::Instant;

use super::counters::Measures;

/// An audit sink that is measured: how long a record takes until it is durable, and whether records can't be written.
/// It also sees the records that no guard makes, such as logins.
pub struct MeasuredSink {
    sink: Arc<dyn AuditSink>,
    measures: Arc<Measures>,
    observe: Arc<dyn Observe>,
}

impl MeasuredSink {
    /// Measures what goes to `sink`. `observe` is what watches the same service's guard.
    #[must_use]
    pub fn new(sink: Arc<dyn AuditSink>, measures: Arc<Measures>, observe: Arc<dyn Observe>) -> Self {
        Self { sink, measures, observe }
    }
}

/// What is seen of a record that no guard made. The names are those of [`Body::action`](countersign_audit::Body).
fn without_guard(record: &Record) -> Option<Observation> {
    let action = match record.body.action.as_str() {
        "login" => "login",
        "join_service" => "join_service",
        "renew_certificate" => "renew_certificate",
        "end_access" => "end_access",
        "reconcile" => "reconcile",
        _ => return None,
    };
    Some(Observation {
        request: record.request,
        service: record.service,
        door: record.door,
        action,
        verdict: record.verdict,
        reason: record.body.reason,
        entry: true,
        elapsed: Duration::ZERO,
        token_age_ms: None,
        rows: 0,
        cells: 0,
    })
}

#[async_trait]
impl AuditSink for MeasuredSink {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        let (began, seen) = (Instant::now(), without_guard(&record));
        let appended = self.sink.append(record).await;
        let elapsed = began.elapsed();
        match &appended {
            Ok(_) => self.measures.appended(elapsed),
            Err(_) => self.measures.append_failed(),
        }
        if let Some(seen) = seen {
            self.observe.observe(&Observation { elapsed, ..seen });
        }
        appended
    }

    async fn note(&self, record: Record) -> Result<(), AuditError> {
        let seen = without_guard(&record);
        let noted = self.sink.note(record).await;
        if noted.is_err() {
            self.measures.append_failed();
        }
        if let Some(seen) = seen {
            self.observe.observe(&seen);
        }
        noted
    }
}
