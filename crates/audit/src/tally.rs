//! What a ledger tells those who hold the services' ledgers against each other.

use countersign_model::{RequestId, Service, Tally, TenantId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::record::{Record, Verdict};

/// What one record says of a request, without who asked and which records it was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyEntry {
    /// The request.
    pub request: RequestId,
    /// Who says so.
    pub service: Service,
    /// What it decided, or what came of it.
    pub verdict: Verdict,
    /// Whose data it was about.
    pub tenant: Option<TenantId>,
    /// When it decided, by its own clock.
    pub time: UnixMs,
    /// What it came to. `None` in records of requests that were refused, and in those about no data.
    pub tally: Option<Tally>,
}

impl TallyEntry {
    /// What a record says.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let Record { time, request, service, door: _, verdict, tenant, tally, body: _ } = record;
        Self {
            request: *request,
            service: *service,
            verdict: *verdict,
            tenant: *tenant,
            time: *time,
            tally: tally.clone(),
        }
    }
}
