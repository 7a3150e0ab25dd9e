//! Requests that a rotation of keys overtakes: released again, and decided anew.
//!
//! Keys are released once for a request. What is sealed and tagged under newer ones since then it can't open, does not find,
//! and must not write beside: the store refuses its batch (INVARIANT epoch-floor), a cell names an epoch that is not on the
//! ring, or the key service has a newer epoch when a read is done. Nothing of such an attempt is given to anybody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_guard::Permit;
use countersign_model::query::Judged;
use countersign_model::{FieldId, Kind, RecordId, Tally, TypeId, Value};
use countersign_services::{Call, CellError};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::answer::Failure;
use crate::spent::Spent;
use crate::trace::Trace;
use crate::write::once::Once;
use crate::{Done, Engine, Work};

/// How long a request waits for the keys that it needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// And for the keys of a cell that names an epoch which nobody knows: it may be damaged.
const PATIENCE_WITH_A_CELL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What a request learned of keys that are newer than its own.
#[derive(Default)]
pub(crate) struct Superseded {
    batch: AtomicBool,
    cell: AtomicBool,
}

impl Superseded {
    pub(crate) fn batch(&self) {
        self.batch.store(true, Ordering::Relaxed);
    }

    fn patience(&self) -> Option<Duration> {
        if self.batch.load(Ordering::Relaxed) {
            return Some(PATIENCE);
        }
        self.cell.load(Ordering::Relaxed).then_some(PATIENCE_WITH_A_CELL)
    }
}

impl Work<'_> {
    /// Opens a cell, and notes if its keys are newer than those that were released.
    pub(crate) fn open_cell(
        &self,
        (type_id, field): (TypeId, FieldId),
        kind: Kind,
        record: RecordId,
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Value, Failure> {
        self.keys.open(type_id, field, kind, record, sealed, plain).map_err(|error| {
            if error == CellError::Epoch {
                self.superseded.cell.store(true, Ordering::Relaxed);
            }
            error.into()
        })
    }

    /// For how long it is worth to try again with the newest keys; `None` if they are what it had.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let newest = || self.engine.keys.newest_epoch(self.keys.tenant());
        let has_keys = self.keys.epoch() > 0;
        self.superseded
            .patience()
            .or_else(|| (has_keys && newest().is_some_and(|newest| newest > self.keys.epoch())).then_some(PATIENCE))
    }

    /// The same work with the newest keys.
    pub(crate) async fn released_again(&self) -> Result<Self, Failure> {
        let keys = self.engine.keys.release(&self.call).await?;
        let spent = Spent::new(&self.engine.limits);
        Ok(Self { keys, spent, superseded: Superseded::default(), ..*self })
    }
}

/// Pauses that grow, until patience is over.
pub(crate) struct Pauses {
    began: Instant,
    deadline: Instant,
    next: Duration,
}

impl Pauses {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { began: Instant::now(), deadline, next: FIRST_PAUSE }
    }

    /// Waits, unless that would be longer than `patience` since the beginning; says whether.
    pub(crate) async fn wait(&mut self, patience: Duration) -> bool {
        let Some(over) = Instant::now().checked_add(self.next) else { return false };
        if over >= self.deadline || over.duration_since(self.began) > patience {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(PAUSE_MAX);
        true
    }
}

impl Engine {
    /// Does what the permit permits, with keys that are the newest when it is done.
    pub(crate) async fn perform(
        &self,
        permit: &Permit,
        once: Option<Once>,
        trace: &mut Trace,
        tally: &Mutex<Tally>,
        given_up: &AtomicBool,
    ) -> Result<Done, Failure> {
        let call = Call::of(permit, countersign_model::Service::Gateway);
        let (types, intended) = (&permit.state().facts.types, AtomicBool::new(false));
        let mut pauses = Pauses::until(call.deadline);
        let reads = matches!(permit.judged(), Judged::Read(_) | Judged::History(_));
        loop {
            let keys = self.keys.release(&call).await?;
            let (spent, superseded) = (Spent::new(&self.limits), Superseded::default());
            let (engine, intended) = (self, &intended);
            let work = Work { engine, call, types, keys, spent, tally, given_up, once, superseded, intended };
            let done = work.execute(permit, trace).await;
            // What is written was written under keys that were the newest, and stays.
            let is_final = tally.lock().written > 0 || done.is_ok() && !reads;
            let Some(patience) = work.patience().filter(|_| !is_final) else { return done };
            if !pauses.wait(patience).await {
                return done;
            }
            *trace = Trace::default();
        }
    }
}
