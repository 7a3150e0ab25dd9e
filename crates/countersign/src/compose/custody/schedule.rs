//! What is done by the clock: backups, trials, and alerts where there has been no good backup for long.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use countersign_audit::Verdict;
use countersign_authority::custodian::{Custodian as _, Task, Work};
use countersign_model::{Name, RequestId, UnixMs};
use tokio::task::JoinHandle;

use super::Custody;
use super::jobs::{Kind, State};
use super::{list, receipts};

const LOOK: Duration = Duration::from_secs(1);

/// How long after a failure it is tried again, at least.
const AGAIN_MS: u64 = 300_000;
/// How often it is seen to that repositories have every receipt, whatever kept one from getting there.
const RECEIPTS_MS: u64 = 600_000;
/// How often the same is alerted.
const ALERT_MS: u64 = 86_400_000;

/// Looks after it for as long as it is polled.
pub(super) async fn run(custody: Weak<Custody>) {
    let Some(first) = custody.upgrade() else { return };
    for job in &first.cut_off {
        first.on_record(job).await;
    }
    let started = first.parts.clock.now();
    drop(first);
    let mut alerted: HashMap<Name, UnixMs> = HashMap::new();
    let (mut kept, mut keeping): (Option<UnixMs>, Option<JoinHandle<()>>) = (None, None);
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(custody) = custody.upgrade() else { return };
        let now = custody.parts.clock.now();
        if kept.is_none_or(|at| now.since(at) >= RECEIPTS_MS) {
            kept = Some(now);
            // A repository that does not answer keeps nothing else from being done.
            if keeping.as_ref().is_none_or(JoinHandle::is_finished) {
                let custody = Arc::clone(&custody);
                keeping = Some(tokio::spawn(async move { receipts::keep_all(&custody.parts).await }));
            }
        }
        custody.due(started, &mut alerted).await;
    }
}

impl Custody {
    async fn due(&self, started: UnixMs, alerted: &mut HashMap<Name, UnixMs>) {
        let now = self.parts.clock.now();
        for (name, repository) in &self.parts.config.backups {
            let made = self.newest(name);
            let since = |at: Option<UnixMs>| at.map_or(u64::MAX, |at| now.since(at));
            let every = repository.every_ms.number();
            if every > 0 && since(made) >= every && self.may(Kind::Backup, name, now) {
                self.by_the_clock(Task::Backup { repository: name.clone(), tenant: None }).await;
            }
            let every = repository.verify_every_ms.number();
            let tried = self.tried(name);
            if every > 0 && made.is_some() && since(tried) >= every && self.may(Kind::Verify, name, now) {
                self.by_the_clock(Task::Verify { repository: name.clone(), backup: None }).await;
            }
            let old = repository.old_ms.number();
            // A deployment that has just begun had no time to make one.
            let age = made.map_or_else(|| now.since(started), |at| now.since(at));
            if old > 0 && age > old && alerted.get(name).is_none_or(|at| now.since(*at) >= ALERT_MS) {
                alerted.insert(name.clone(), now);
                let detail = match made {
                    Some(_) => format!("the newest backup in {name} is {} s old", age / 1000),
                    None => format!("there is no backup in {name}"),
                };
                let request = RequestId::new(now, &*self.parts.entropy);
                self.record(request, "backup_old", Verdict::Failed, detail, None).await;
            }
        }
    }

    /// When the newest whole backup was made that no trial has found bad.
    fn newest(&self, repository: &Name) -> Option<UnixMs> {
        let known = self.parts.registry.backups();
        let whole = known.values().filter(|known| known.repository == *repository && known.tenant.is_none());
        whole.filter(|known| known.verified.is_none_or(|(_, good)| good)).map(|known| known.at).max()
    }

    /// When a backup was last tried.
    fn tried(&self, repository: &Name) -> Option<UnixMs> {
        let known = self.parts.registry.backups();
        known
            .values()
            .filter(|known| known.repository == *repository && !list::is_incomplete(known))
            .filter_map(|known| known.verified)
            .map(|v| v.0)
            .max()
    }

    /// Whether none is under way, and none has just failed.
    fn may(&self, kind: Kind, repository: &Name, now: UnixMs) -> bool {
        let jobs = self.jobs.all();
        if jobs.iter().any(|job| job.kind == kind && job.state == State::Running) {
            return false;
        }
        let mut of = jobs.iter().filter(|job| job.kind == kind && job.repository.as_ref() == Some(repository));
        of.next().is_none_or(|newest| match newest.state {
            State::Running | State::Done | State::CutOff => true,
            State::Failed | State::Cancelled => newest.ended.is_none_or(|at| now.since(at) >= AGAIN_MS),
        })
    }

    async fn by_the_clock(&self, task: Task) {
        let job = RequestId::new(self.parts.clock.now(), &*self.parts.entropy);
        let what = match &task {
            Task::Backup { repository, .. } => format!("back up to {repository}, by the clock"),
            Task::Verify { repository, .. } => format!("verify the newest backup in {repository}, by the clock"),
            Task::Restore { .. } | Task::Remove { .. } => return,
        };
        self.record(job, "backup_begun", Verdict::Intent, what, None).await;
        if let Err(error) = self.begin(Work { job, by: None, task }).await {
            tracing::error!(%error, "work could not be begun by the clock");
        }
    }
}
