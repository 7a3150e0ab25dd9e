//! Executes permits: the only code that brings keys and sealed records together.
//!
//! [`Engine::execute`] takes a [`Permit`], asks the key service for keys and the store for sealed rows (passing the
//! same token and request on to each, which judge them again by guards of their own), opens what the caller may see,
//! and answers only after the audit record is durable. What it is not: it decides nothing. Which fields and rows are
//! permitted stands in the plans inside the permit.
//!
//! There is no way to it but a permit:
//!
//! ```compile_fail,E0308
//! async fn around(engine: &countersign_engine::Engine, request: countersign_model::Request) {
//!     let _ = engine.execute(request).await;
//! }
//! ```

mod answer;
mod embed;
mod history;
mod lookup;
mod opened;
mod order;
mod read;
mod spent;
mod superseded;
mod trace;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_audit::Reason;
use countersign_guard::{Permit, Refusal, Settlement};
use countersign_model::query::Judged;
use countersign_model::request::Operation;
use countersign_model::{Clock, Entropy, RecordTypes, Tally};
use countersign_services::{Call, CellError, KeyRelease, Keyring, Records, ServiceFailure};
use countersign_store::{Batch, Rejected, Scan, SealedRow};
use parking_lot::Mutex;

pub use answer::{Answer, Failure};
pub use write::once::Once;

use spent::Spent;
use superseded::Superseded;
use trace::Trace;
use write::once::UnderWay;

/// Bounds on the work of one request.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// The most rows looked at where no index helps; past it the request is refused and the index named.
    pub scan_rows_max: u64,
    /// The most records that one request changes or removes.
    pub change_rows_max: u64,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { scan_rows_max: 100_000, change_rows_max: 10_000 }
    }
}

/// Executes permits against a key service and a store.
#[derive(Clone)]
pub struct Engine {
    keys: Arc<dyn KeyRelease>,
    records: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    limits: EngineLimits,
    under_way: UnderWay,
}

/// What executing one permit has at hand.
struct Work<'a> {
    engine: &'a Engine,
    call: Call<'a>,
    types: &'a RecordTypes,
    keys: Keyring,
    spent: Spent,
    tally: &'a Mutex<Tally>,
    /// Nobody waits for the answer any more.
    given_up: &'a AtomicBool,
    /// The change is to be made at most once.
    once: Option<Once>,
    superseded: Superseded,
    /// The intent of the change is on record.
    intended: &'a AtomicBool,
}

/// Somebody waits for an answer, until this is dropped.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Work<'_> {
    /// Sealed rows of the store, counted.
    async fn read_rows(&self, scan: &Scan) -> Result<Vec<SealedRow>, Failure> {
        let reads = matches!(self.call.request.operation, Operation::Read(_) | Operation::History(_));
        if reads && self.given_up.load(Ordering::Relaxed) {
            return Err(Failure::Unavailable);
        }
        let rows = self.engine.records.read(&self.call, scan).await?;
        self.tally.lock().open(scan.record_type, scan.cells, rows.len() as u64);
        Ok(rows)
    }

    /// Changes records, counted if it did.
    async fn write_batch(&self, batch: Batch) -> Result<Result<(), Rejected>, Failure> {
        let changes = batch.changes.len() as u64;
        let batch = Batch { epoch: self.keys.epoch(), ..batch };
        let written = self.engine.records.write(&self.call, batch).await?;
        if written == Err(Rejected::Epoch) {
            self.superseded.batch();
            return Err(Failure::Contention);
        }
        if written.is_ok() {
            let mut tally = self.tally.lock();
            tally.written = tally.written.saturating_add(changes);
        }
        Ok(written)
    }
}

impl Engine {
    /// An engine over these services.
    #[must_use]
    pub fn new(
        keys: Arc<dyn KeyRelease>,
        records: Arc<dyn Records>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        limits: EngineLimits,
    ) -> Self {
        Self { keys, records, clock, entropy, limits, under_way: UnderWay::default() }
    }

    /// Does what the permit permits. The audit record is durable before this returns.
    ///
    /// When the caller stops waiting, a change goes on to its end: otherwise who hangs up at the right moment would
    /// leave the record of an intent and none of what came of it. A read ends before its next call to the store, and
    /// what the store has given until then is on record as a failed read.
    ///
    /// # Errors
    /// [`Failure`]; the failure is on record too.
    pub async fn execute(&self, permit: Permit) -> Result<Answer, Failure> {
        self.execute_once(permit, None).await
    }

    /// The same. A change that comes with a `once` is made at most once: who asks for it again gets the first answer,
    /// with records as they are now.
    ///
    /// # Errors
    /// [`Failure`]; the failure is on record too.
    pub async fn execute_once(&self, permit: Permit, once: Option<Once>) -> Result<Answer, Failure> {
        let waiting = Waiting::default();
        let (engine, waited_for) = (self.clone(), Arc::clone(&waiting.0));
        let reads = matches!(permit.judged(), Judged::Read(_) | Judged::History(_));
        let to_the_end = tokio::spawn(async move { engine.to_the_end(permit, once, &waited_for).await });
        let broken = if reads { Failure::Unavailable } else { Failure::Unknown };
        let answer = to_the_end.await.unwrap_or(Err(broken));
        drop(waiting);
        answer
    }

    async fn to_the_end(&self, permit: Permit, once: Option<Once>, given_up: &AtomicBool) -> Result<Answer, Failure> {
        let mut trace = Trace::default();
        let tally = Mutex::new(Tally::new(permit.principal().token, permit.epoch()));
        let begun = once.map(|once| self.under_way.begin(permit.principal(), &once));
        let done = match begun {
            Some(None) => Err(Failure::UnderWay),
            _ => self.perform(&permit, once, &mut trace, &tally, given_up).await,
        };
        let accesses = trace.into_accesses();
        let tally = tally.into_inner();
        let written = tally.written > 0;
        let done = done.map_err(|failure| if written { failure.after_a_change() } else { failure });
        let tally = Some(tally);
        let done = match done {
            Ok(done) => done,
            Err(failure) => {
                let failed = Some(failure.reason());
                let detail = matches!(permit.judged(), Judged::History(_)).then(|| HISTORY.to_owned());
                permit.settle(Settlement { accesses, failed, tally, detail, ..Settlement::default() }).await?;
                return Err(failure);
            }
        };
        let request = permit.request().id;
        let detail = matches!(permit.judged(), Judged::History(_)).then(|| HISTORY.to_owned());
        let settlement = if done.replayed {
            Settlement { accesses, tally, detail: Some(REPLAYED.to_owned()), ..Settlement::default() }
        } else {
            Settlement { accesses, affected: done.affected, tally, detail, ..Settlement::default() }
        };
        let receipt = permit.settle(settlement).await.map_err(|refusal| {
            let failure = Failure::from(refusal);
            if written { failure.after_a_change() } else { failure }
        })?;
        Ok(Answer {
            request,
            columns: done.columns,
            rows: done.rows,
            affected: done.affected,
            created: done.created,
            replayed: done.replayed,
            receipt,
        })
    }
}

impl Work<'_> {
    async fn execute(&self, permit: &Permit, trace: &mut Trace) -> Result<Done, Failure> {
        match permit.judged() {
            Judged::Read(query) => {
                let rows = self.read(query, trace).await?;
                Ok(Done { columns: query.columns.clone(), rows, affected: None, created: None, replayed: false })
            }
            Judged::History(past) => {
                let (columns, rows) = self.history(past, trace).await?;
                Ok(Done { columns, rows, affected: None, created: None, replayed: false })
            }
            Judged::Insert(insertion) => self.insert(permit, insertion, trace).await,
            Judged::Change(change) => self.change(permit, change, trace).await,
            // The authority executes these; a door that sends one here is refused, not obeyed.
            Judged::Control(_) => Err(Failure::Refused(Refusal::Forbidden)),
        }
    }
}

/// An answer that is not on record yet.
struct Done {
    columns: Vec<countersign_model::query::Column>,
    rows: countersign_model::RowSet,
    affected: Option<u64>,
    created: Option<u64>,
    /// It was made before.
    replayed: bool,
}

/// What the record says of a read of what was.
const HISTORY: &str = "history";

/// What the record of an answer says that was given before.
const REPLAYED: &str = "idempotency key: answered before";

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AuditUnavailable => Self::AuditUnavailable,
            other => Self::Refused(other),
        }
    }
}

impl From<ServiceFailure> for Failure {
    fn from(failure: ServiceFailure) -> Self {
        match failure {
            ServiceFailure::Refused(refusal) => refusal.into(),
            ServiceFailure::Unavailable => Self::Unavailable,
            ServiceFailure::Kms(failure) => Self::Kms(failure),
            ServiceFailure::Damaged => Self::Damaged,
            ServiceFailure::Unknown => Self::Unknown,
        }
    }
}

impl From<CellError> for Failure {
    fn from(error: CellError) -> Self {
        match error {
            CellError::NoKey | CellError::Epoch => Self::Unavailable,
            CellError::Damaged => Self::Damaged,
        }
    }
}

impl Failure {
    /// What it means to the caller once records were changed. A refusal to give them back stays what it is.
    fn after_a_change(self) -> Self {
        match self {
            Self::Unavailable | Self::AuditUnavailable | Self::Kms(_) | Self::Damaged | Self::Contention => {
                Self::Unknown
            }
            other => other,
        }
    }

    /// The word for it in audit records.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::ScanLimit { .. } | Self::TooManyAffected { .. } | Self::SealLimit => Reason::Limit,
            Self::UniqueTaken { .. }
            | Self::MissingReference { .. }
            | Self::StillReferenced
            | Self::Contention
            | Self::KeyReused
            | Self::UnderWay => Reason::Conflict,
            Self::AuditUnavailable | Self::Unavailable | Self::Kms(_) => Reason::Unavailable,
            Self::Unknown => Reason::Unknown,
            Self::Damaged => Reason::Damaged,
        }
    }
}
