//! Group commit: batches that wait while the disk is busy are committed together, with one sync for all.
//!
//! There is no writer thread. A caller that finds nobody writing becomes the leader: it commits its own batch and
//! whatever has queued up meanwhile, on a thread where blocking is allowed, until the queue is empty.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::connection::Counted;
use super::epoch::Known;
use super::failure::fault;
use super::tenant::Tenant;
use super::write;
use crate::batch::{Batch, Rejected};
use crate::error::StoreError;
use crate::layout::Layout;

/// The most batches in one transaction, so that the first of them does not wait for ever.
const GROUP_MAX: usize = 256;

type Verdict = Result<Result<(), Rejected>, StoreError>;

struct Pending {
    batch: Batch,
    reply: oneshot::Sender<Verdict>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    led: bool,
}

/// Batches of one tenant that are not committed yet.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

impl Queue {
    /// Adds a batch. Gives where its verdict will come, and whether the caller must see to it that it is led.
    pub(super) fn push(&self, batch: Batch) -> (oneshot::Receiver<Verdict>, bool) {
        let (reply, verdict) = oneshot::channel();
        let mut state = self.state.lock();
        state.waiting.push_back(Pending { batch, reply });
        let must_lead = !state.led;
        state.led = true;
        (verdict, must_lead)
    }

    /// The next group; an empty one ends the leadership.
    fn take(&self) -> Vec<Pending> {
        let mut state = self.state.lock();
        let count = state.waiting.len().min(GROUP_MAX);
        state.led = count > 0;
        state.waiting.drain(..count).collect()
    }
}

/// Whoever commits for the others. Dropped before its time (the program ends, or a panic), it gives up all that
/// waits, so that nobody waits for ever and the next caller leads again.
pub(super) struct Leader {
    tenant: Arc<Tenant>,
    done: bool,
}

impl Leader {
    pub(super) const fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, done: false }
    }

    /// Commits until nothing waits. `prepare` brings the file up to the record types in force, and gives those
    /// and whether what was before a change is kept.
    ///
    /// Whoever gets the last answers may close the store at once, so everything that keeps it open is let go
    /// before they are sent.
    pub(super) fn run(mut self, prepare: impl Fn(&Tenant) -> Result<(Arc<Layout>, bool), StoreError>) {
        let mut group = self.tenant.queue.take();
        while !group.is_empty() {
            let made = prepare(&self.tenant).and_then(|(layout, keeps)| commit(&self.tenant, (&layout, keeps), &group));
            let answers = Answers::new(std::mem::take(&mut group), made);
            group = self.tenant.queue.take();
            if group.is_empty() {
                self.done = true;
                drop(prepare);
                drop(self);
                answers.send();
                return;
            }
            answers.send();
        }
        self.done = true;
    }
}

/// The verdicts of a group on their way to those who wait for them.
struct Answers(Vec<(oneshot::Sender<Verdict>, Verdict)>);

impl Answers {
    fn new(group: Vec<Pending>, made: Result<Vec<Verdict>, StoreError>) -> Self {
        let replies = group.into_iter().map(|pending| pending.reply);
        Self(match made {
            Ok(verdicts) => replies.zip(verdicts).collect(),
            Err(error) => replies.map(|reply| (reply, Err(error))).collect(),
        })
    }

    fn send(self) {
        for (reply, verdict) in self.0 {
            // A caller that has gone away does not want to know.
            let _ = reply.send(verdict);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.tenant.queue.state.lock();
            state.led = false;
            state.waiting.clear();
        }
    }
}

/// Commits a group. If anything but a batch itself is at fault, all of it fails and nothing of it is made; the
/// connection is closed then, which takes back whatever it had begun.
fn commit(tenant: &Tenant, layout: (&Layout, bool), group: &[Pending]) -> Result<Vec<Verdict>, StoreError> {
    tenant.with_writer(|connection| {
        execute(connection, "BEGIN IMMEDIATE")?;
        let mut known = tenant.seals.begin(connection)?;
        if let [only] = group {
            // Alone, it needs no savepoint, for which SQLite would copy every page that it changes.
            let verdict = match before(tenant, connection, layout.0, only, &mut known)? {
                Some(verdict) => verdict,
                None => Ok(apply(tenant, connection, layout, &only.batch, &mut known)?),
            };
            let made = matches!(verdict, Ok(Ok(())));
            execute(connection, if made { "COMMIT" } else { "ROLLBACK" })?;
            tenant.seals.end(known, made);
            return Ok(vec![verdict]);
        }
        let mut verdicts = Vec::with_capacity(group.len());
        for pending in group {
            // What is set aside for it stays, whatever becomes of it.
            if let Some(verdict) = before(tenant, connection, layout.0, pending, &mut known)? {
                verdicts.push(verdict);
                continue;
            }
            execute(connection, "SAVEPOINT batch")?;
            let verdict = apply(tenant, connection, layout, &pending.batch, &mut known)?;
            if verdict.is_err() {
                execute(connection, "ROLLBACK TO batch")?;
            }
            execute(connection, "RELEASE batch")?;
            verdicts.push(Ok(verdict));
        }
        execute(connection, "COMMIT")?;
        tenant.seals.end(known, true);
        Ok(verdicts)
    })
}

/// What can be said of a batch before it is made. Its own faults are in the verdict; what it met on the disk is the error.
fn before(
    tenant: &Tenant,
    connection: &Counted,
    layout: &Layout,
    pending: &Pending,
    known: &mut Known,
) -> Result<Option<Verdict>, StoreError> {
    // Nobody waits for it any more, so it is not begun.
    if pending.reply.is_closed() {
        return Ok(Some(Ok(Ok(()))));
    }
    if let Err(error) = layout.check_batch(&pending.batch) {
        return Ok(Some(Err(error)));
    }
    let admitted = tenant.seals.admit(connection, known, &pending.batch)?;
    Ok(admitted.err().map(|rejected| Ok(Err(rejected))))
}

/// Makes it. What is not made raises no epoch.
fn apply(
    tenant: &Tenant,
    connection: &Counted,
    layout: (&Layout, bool),
    batch: &Batch,
    known: &mut Known,
) -> Result<Result<(), Rejected>, StoreError> {
    let made = write::apply(connection, layout, batch)?;
    if made.is_ok() {
        tenant.seals.raise(connection, known, batch.epoch)?;
    }
    Ok(made)
}

fn execute(connection: &Counted, sql: &str) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(fault)?;
    statement.execute([]).map(drop).map_err(fault)
}
