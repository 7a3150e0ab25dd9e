//! What waits to be written.
//!
//! One line for all records, so that those of one request keep their order. A record somebody waits for is urgent
//! and wakes the writer; a lazy one is taken along with the next urgent one, or written when it has waited its
//! time. So lazy records cost no sync of their own where there are urgent ones, and few where there are none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};

use super::answer::Answer;
use crate::codec::SealedLeaf;
use crate::error::AuditError;

/// Bytes of leaves that one write takes, at least one record.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of lazy leaves that wait at most.
const LAZY_BYTES_MAX: usize = 64 << 20;
/// How long lazy records may wait past their time before no more are taken: the disk hangs.
const HANGS: Duration = Duration::from_secs(2);
/// How long records may wait before they count as late.
const LATE: Duration = Duration::from_secs(1);
/// How long to leave a failing disk alone, while nobody waits for it.
const RETRY: Duration = Duration::from_secs(1);

/// One record, waiting.
pub(super) struct Pending {
    /// One, or the parts of a long record.
    pub(super) leaves: Vec<SealedLeaf>,
    /// Who waits until it is durable; nobody for a lazy record.
    pub(super) done: Option<oneshot::Sender<Answer>>,
}

impl Pending {
    pub(super) fn is_lazy(&self) -> bool {
        self.done.is_none()
    }

    fn bytes(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.bytes.len()).fold(0, usize::saturating_add)
    }
}

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) urgent: usize,
    pub(super) urgent_per_batch: usize,
    pub(super) lazy: usize,
    /// How long a lazy record is to wait at the longest.
    pub(super) lazy_wait: Duration,
    /// How long the storage may take for a write that succeeds in the end.
    pub(super) patience: Duration,
}

pub(super) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
    wake: Condvar,
    /// The next write begins a new segment.
    ends_segment: AtomicBool,
    /// Room for urgent records. Lazy ones don't wait for room: they are refused.
    room: Semaphore,
}

#[derive(Default)]
struct State {
    line: VecDeque<Pending>,
    urgent: usize,
    lazy_bytes: usize,
    /// When the lazy record came that has waited longest.
    lazy_since: Option<Instant>,
    /// When the last write failed, until one succeeds.
    failed: Option<Instant>,
    /// Since when the oldest record in line waits, about.
    since: Option<Instant>,
    /// Since when the oldest waited of those that are being written.
    writing: Option<Instant>,
    closed: bool,
}

impl State {
    fn lazy(&self) -> usize {
        self.line.len().saturating_sub(self.urgent)
    }

    /// When the writer should begin although nobody waits.
    fn due(&self, lazy_wait: Duration) -> Option<Instant> {
        match self.failed {
            Some(failed) => failed.checked_add(RETRY),
            None => self.lazy_since.and_then(|since| since.checked_add(lazy_wait)),
        }
    }
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (state, wake, room) = (Mutex::default(), Condvar::new(), Semaphore::new(bounds.urgent));
        Self { bounds, state, wake, ends_segment: AtomicBool::new(false), room }
    }

    /// Queues an urgent record as soon as there is room.
    pub(super) async fn append(
        &self,
        leaves: Vec<SealedLeaf>,
        done: oneshot::Sender<Answer>,
    ) -> Result<(), AuditError> {
        self.room.acquire().await.map_err(|_| AuditError::Unavailable)?.forget();
        let mut state = self.state.lock();
        if state.closed {
            return Err(AuditError::Unavailable);
        }
        state.line.push_back(Pending { leaves, done: Some(done) });
        state.since.get_or_insert_with(Instant::now);
        state.urgent = state.urgent.saturating_add(1);
        let first = state.urgent == 1;
        drop(state);
        if first {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Whether records are taken: the last write succeeded, and nobody closed it.
    pub(super) fn is_writable(&self) -> bool {
        let state = self.state.lock();
        !state.closed && state.failed.is_none()
    }

    /// Whether what came more than a second ago may not be durable yet.
    pub(super) fn is_late(&self) -> bool {
        let state = self.state.lock();
        state.failed.is_some() || [state.since, state.writing].iter().flatten().any(|since| since.elapsed() > LATE)
    }

    /// What was taken is written, or refused.
    pub(super) fn is_done(&self) {
        self.state.lock().writing = None;
    }

    /// Queues a lazy record, or refuses it: because the last write failed, or because too many wait, or for too long.
    pub(super) fn note(&self, leaves: Vec<SealedLeaf>) -> Result<(), AuditError> {
        let pending = Pending { leaves, done: None };
        let mut state = self.state.lock();
        let bytes = state.lazy_bytes.saturating_add(pending.bytes());
        let patience = self.bounds.lazy_wait.saturating_add(HANGS).saturating_add(self.bounds.patience);
        let hangs = state.lazy_since.is_some_and(|since| since.elapsed() > patience);
        let full = state.lazy() >= self.bounds.lazy || bytes > LAZY_BYTES_MAX;
        if state.closed || state.failed.is_some() || hangs || full {
            return Err(AuditError::Unavailable);
        }
        state.lazy_bytes = bytes;
        state.line.push_back(pending);
        state.since.get_or_insert_with(Instant::now);
        let first = state.lazy_since.is_none();
        if first {
            state.lazy_since = Some(Instant::now());
        }
        drop(state);
        if first {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    /// Waits until there is something to write, and takes it. Nothing to write means that a failed disk should
    /// be tried. `None` at the end.
    pub(super) fn next(&self, lazy_wait: Duration) -> Option<Vec<Pending>> {
        let mut state = self.state.lock();
        while state.urgent == 0 && !state.closed {
            match state.due(lazy_wait) {
                None => self.wake.wait(&mut state),
                Some(due) if due > Instant::now() => {
                    self.wake.wait_until(&mut state, due);
                }
                Some(_) => break,
            }
        }
        if state.closed && state.line.is_empty() {
            return None;
        }
        let mut batch = Vec::new();
        self.take(state, &mut batch);
        Some(batch)
    }

    /// Adds to `batch` what came meanwhile, as far as it goes.
    pub(super) fn more(&self, batch: &mut Vec<Pending>) {
        self.take(self.state.lock(), batch);
    }

    fn take(&self, mut state: MutexGuard<'_, State>, batch: &mut Vec<Pending>) {
        let mut urgent = batch.iter().filter(|pending| !pending.is_lazy()).count();
        let mut bytes = batch.iter().map(Pending::bytes).fold(0, usize::saturating_add);
        let mut freed = 0usize;
        while let Some(pending) = state.line.pop_front() {
            let (is_urgent, its_bytes) = (!pending.is_lazy(), pending.bytes());
            let full = bytes.saturating_add(its_bytes) > BATCH_BYTES_MAX && !batch.is_empty();
            if full || (is_urgent && urgent >= self.bounds.urgent_per_batch) {
                state.line.push_front(pending);
                break;
            }
            bytes = bytes.saturating_add(its_bytes);
            if is_urgent {
                urgent = urgent.saturating_add(1);
                freed = freed.saturating_add(1);
            } else {
                state.lazy_bytes = state.lazy_bytes.saturating_sub(its_bytes);
            }
            batch.push(pending);
        }
        state.urgent = state.urgent.saturating_sub(freed);
        let since = state.since.take();
        state.writing = state.writing.or(since);
        state.since = (!state.line.is_empty()).then(Instant::now);
        if state.lazy() == 0 {
            state.lazy_since = None;
        }
        drop(state);
        self.room.add_permits(freed);
    }

    /// Has the next write begin a new segment.
    pub(super) fn end_segment(&self) {
        self.ends_segment.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wanted that since the last time this was asked.
    pub(super) fn takes_end_of_segment(&self) -> bool {
        self.ends_segment.swap(false, Ordering::Relaxed)
    }

    /// How many wait for their records to be durable.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().urgent
    }

    /// The last write went well.
    pub(super) fn recovered(&self) {
        self.state.lock().failed = None;
    }

    /// The last write failed, and these lazy records of it were not written: they come first next time. Gives
    /// back how many were given up, because there is no next time.
    pub(super) fn failed(&self, lazy: Vec<Pending>) -> usize {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.failed = Some(now);
        if state.closed {
            return lazy.len();
        }
        if !lazy.is_empty() {
            state.since.get_or_insert(now);
            state.lazy_since.get_or_insert(now);
        }
        for pending in lazy.into_iter().rev() {
            state.lazy_bytes = state.lazy_bytes.saturating_add(pending.bytes());
            state.line.push_front(pending);
        }
        0
    }

    /// Nobody writes any more: whoever waits is told so.
    pub(super) fn end(&self) {
        self.close();
        let line = std::mem::take(&mut self.state.lock().line);
        drop(line);
    }
}
