//! Short reads of one tenant that are asked together.
//!
//! Beginning a transaction, telling it whose rows it may see and ending it cost the database more than the read of one
//! record. So reads of a tenant that arrive while others of that tenant are with the database go along in the next
//! transaction: one for several requests, all of the same tenant. There is no waiting for company; a read that is alone
//! goes alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use countersign_model::TenantId;
use countersign_postgres::{PgError, Row, Scope, ToSql};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Shared;
use super::failure::fault;
use super::read::Reading;
use crate::access::SealedRow;
use crate::error::{StoreError, Unavailable};

/// Transactions that read for one tenant's groups at a time.
const LEADERS_MAX: usize = 4;
/// Reads in one of them, so that the first does not wait long for the last.
const READS_MAX: usize = 16;

struct Waiting {
    reading: Reading,
    answer: oneshot::Sender<Result<Vec<SealedRow>, StoreError>>,
}

#[derive(Default)]
struct Group {
    waiting: VecDeque<Waiting>,
    leaders: usize,
}

/// Reads that wait, by tenant. Tenants that nobody reads are not in it.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<TenantId, Group>>);

#[cfg(test)]
impl Groups {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Shared {
    /// Asks together with others of the same tenant.
    pub(super) async fn read_in_group(
        self: &Arc<Self>,
        tenant: TenantId,
        reading: Reading,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let leads = {
            let mut groups = self.groups.0.lock();
            let group = groups.entry(tenant).or_default();
            group.waiting.push_back(Waiting { reading, answer });
            let leads = group.leaders < LEADERS_MAX;
            group.leaders = group.leaders.saturating_add(usize::from(leads));
            leads
        };
        if leads {
            let leader = Leader { shared: Arc::clone(self), tenant, done: false };
            tokio::spawn(leader.run());
        }
        answered.await.map_err(|_| StoreError::Unavailable(Unavailable::Interrupted))?
    }
}

/// Whoever asks for the others. Dropped before its time (the program ends, or a panic), it makes room for another.
struct Leader {
    shared: Arc<Shared>,
    tenant: TenantId,
    done: bool,
}

impl Leader {
    async fn run(mut self) {
        while let Some(group) = self.take() {
            // Nobody waits any more for those whose callers went away.
            let group: Vec<Waiting> = group.into_iter().filter(|one| !one.answer.is_closed()).collect();
            self.ask(group).await;
        }
    }

    /// The next reads. `None` ends the leadership.
    fn take(&mut self) -> Option<Vec<Waiting>> {
        let mut groups = self.shared.groups.0.lock();
        let group = groups.get_mut(&self.tenant)?;
        let count = group.waiting.len().min(READS_MAX);
        if count > 0 {
            return Some(group.waiting.drain(..count).collect());
        }
        self.done = true;
        leave(&mut groups, self.tenant);
        None
    }

    async fn ask(&self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let asked = self.shared.pool.patiently(async || self.ask_together(&group).await).await;
        match asked {
            Ok(answers) => {
                for (one, rows) in group.into_iter().zip(answers) {
                    let rows = one.reading.rows(&rows);
                    // A caller that has gone away does not want to know.
                    let _ = one.answer.send(rows);
                }
            }
            // One of them is at fault: each is told by itself.
            Err(PgError::Refused { .. } | PgError::Damaged | PgError::TimedOut) if group.len() > 1 => {
                for one in group {
                    let asked = one.reading.ask(&self.shared.pool, self.tenant).await;
                    let _ = one.answer.send(asked.map_err(fault).and_then(|rows| one.reading.rows(&rows)));
                }
            }
            Err(error) => {
                for one in group {
                    let _ = one.answer.send(Err(fault(error.clone())));
                }
            }
        }
    }

    async fn ask_together(&self, group: &[Waiting]) -> Result<Vec<Vec<Row>>, PgError> {
        let params: Vec<Vec<&(dyn ToSql + Sync)>> = group.iter().map(|one| one.reading.params()).collect();
        let questions: Vec<_> =
            group.iter().zip(&params).map(|(one, params)| (one.reading.text(), params.as_slice())).collect();
        self.shared.pool.begin(Scope::Tenant(self.tenant)).await?.read_each(&questions).await
    }
}

fn leave(groups: &mut HashMap<TenantId, Group>, tenant: TenantId) {
    let Some(group) = groups.get_mut(&tenant) else { return };
    group.leaders = group.leaders.saturating_sub(1);
    if group.leaders == 0 {
        // Whoever still waits here has nobody to ask for it, and is told so by that.
        groups.remove(&tenant);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.done {
            leave(&mut self.shared.groups.0.lock(), self.tenant);
        }
    }
}
