//! Work in the background: what there is, how far it is, and what came of it. Kept in one sealed file, so that a job that
//! was cut off is known as such when the deployment is opened again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use countersign_authority::custodian::{CustodyFailure, Task, Work};
use countersign_authority::rfc3339;
use countersign_crypto::{Aad, SealKey};
use countersign_model::beside::Served;
use countersign_model::facts::Facts;
use countersign_model::{Clock, Entropy, Name, RequestId, TenantId, UnixMs, UserId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::problem::{Exit, Problem};

/// So many jobs are remembered.
const KEPT: usize = 200;

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A backup.
    Backup,
    /// One restored on trial.
    Verify,
    /// A tenant put back.
    Restore,
    /// A backup removed.
    Remove,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Remove => "remove",
        }
    }
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    #[serde(rename = "running")]
    Running,
    #[serde(rename = "done")]
    Done,
    #[serde(rename = "failed")]
    Failed,
    #[serde(rename = "cancelled")]
    Cancelled,
    /// Its process ended before it did.
    #[serde(rename = "cut off")]
    CutOff,
}

/// One job, without the names of tenants and people: what is erased leaves none behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: RequestId,
    pub(crate) kind: Kind,
    /// Who asked; `None` is nobody, but the clock.
    pub(crate) by: Option<UserId>,
    pub(crate) repository: Option<Name>,
    pub(crate) backup: Option<String>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) to: Option<UnixMs>,
    pub(crate) begun: UnixMs,
    pub(crate) ended: Option<UnixMs>,
    pub(crate) state: State,
    pub(crate) said: Option<String>,
    /// Whether it may be another time.
    pub(crate) unavailable: bool,
}

impl Job {
    fn of(work: &Work, now: UnixMs) -> Self {
        let (kind, repository, backup, tenant, to) = match &work.task {
            Task::Backup { repository, tenant } => {
                (Kind::Backup, Some(repository.clone()), None, tenant.as_ref().map(|(id, _)| *id), None)
            }
            Task::Verify { repository, backup } => (Kind::Verify, Some(repository.clone()), backup.clone(), None, None),
            Task::Remove { repository, backup, .. } => {
                (Kind::Remove, Some(repository.clone()), backup.clone(), None, None)
            }
            Task::Restore { tenant: (tenant, _), from, to } => {
                let (repository, backup) = from.clone().unzip();
                (Kind::Restore, repository, backup, Some(*tenant), *to)
            }
        };
        Self {
            id: work.job,
            kind,
            by: work.by,
            repository,
            backup,
            tenant,
            to,
            begun: now,
            ended: None,
            state: State::Running,
            said: None,
            unavailable: false,
        }
    }
}

/// How far a job is, and whether it shall go on. Shared between who does it and who asks.
#[derive(Default)]
pub(crate) struct Reach {
    phase: Mutex<String>,
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
    /// What goes first, if anything does.
    served: Option<Served>,
}

impl Reach {
    /// The next phase, that ends at `total`, if that is known.
    pub(crate) fn phase(&self, name: &str, total: u64) {
        name.clone_into(&mut self.phase.lock());
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// It has come so far in it.
    pub(crate) fn reached(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// It has come further.
    pub(crate) fn add(&self, more: u64) {
        self.done.fetch_add(more, Ordering::Relaxed);
    }

    /// Whether somebody wants it to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// For how long what goes first was served.
    pub(crate) fn beside(&self) -> Served {
        self.served.clone().unwrap_or_else(|| Arc::new(|| Duration::ZERO))
    }

    /// Fails if somebody wants it to end.
    pub(crate) fn go_on(&self) -> Result<(), Problem> {
        if self.is_stopped() { Err(Problem::new(Exit::Conflict, "it was ended")) } else { Ok(()) }
    }

    /// Phase, what is done of it, and what there is.
    pub(crate) fn now(&self) -> (String, u64, u64) {
        (self.phase.lock().clone(), self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

struct Running {
    reach: Arc<Reach>,
    cancelled: bool,
    task: Option<JoinHandle<()>>,
}

/// All jobs.
pub(crate) struct Jobs {
    path: PathBuf,
    key: SealKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    known: Mutex<Vec<Job>>,
    running: Mutex<HashMap<RequestId, Running>>,
}

fn aad() -> Aad {
    Aad::new("jobs.1")
}

impl Jobs {
    /// Those that are kept in the file. What was running when a process ended was cut off, and is given back.
    pub(crate) fn open(
        path: PathBuf,
        key: SealKey,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
    ) -> (Self, Vec<Job>) {
        // Work that nobody remembers is begun again, so a file that can't be read costs no more than that.
        let read = std::fs::read(&path).ok().and_then(|sealed| key.open(&aad(), &sealed).ok());
        let mut known: Vec<Job> = read.and_then(|plain| serde_json::from_slice(&plain).ok()).unwrap_or_default();
        let mut cut_off = Vec::new();
        for job in known.iter_mut().filter(|job| job.state == State::Running) {
            job.state = State::CutOff;
            job.said = Some("the process that did it ended; the same command goes on with it".to_owned());
            cut_off.push(job.clone());
        }
        let jobs = Self { path, key, clock, entropy, known: Mutex::new(known), running: Mutex::default() };
        if !cut_off.is_empty() {
            jobs.keep(&jobs.known.lock());
        }
        (jobs, cut_off)
    }

    fn keep(&self, known: &[Job]) {
        let sealed = self.key.seal(&*self.entropy, &aad(), &serde_json::to_vec(known).unwrap_or_default());
        if let Err(error) = crate::relocate::replace(&self.path, &sealed) {
            tracing::warn!(error = %error.kind(), "the list of jobs can't be written");
        }
    }

    /// A new job, if none of its kind is under way.
    pub(crate) fn begin(&self, work: &Work, served: &Served) -> Result<Arc<Reach>, CustodyFailure> {
        let job = Job::of(work, self.clock.now());
        let (mut known, mut running) = (self.known.lock(), self.running.lock());
        if let Some(busy) = known.iter().find(|one| one.kind == job.kind && one.state == State::Running) {
            return Err(CustodyFailure::Busy { job: busy.id.to_string() });
        }
        // Somebody waits for a restore.
        let served = (job.kind != Kind::Restore).then(|| Arc::clone(served));
        let reach = Arc::new(Reach { served, ..Reach::default() });
        running.insert(job.id, Running { reach: Arc::clone(&reach), cancelled: false, task: None });
        known.push(job);
        let over = known.len().saturating_sub(KEPT);
        known.drain(..over);
        self.keep(&known);
        Ok(reach)
    }

    /// Who does it.
    pub(crate) fn doing(&self, job: RequestId, task: JoinHandle<()>) {
        match self.running.lock().get_mut(&job) {
            Some(running) => running.task = Some(task),
            // It is over already.
            None => drop(task),
        }
    }

    /// It is over, with these words or that problem. Gives the job as it now is.
    pub(crate) fn end(&self, id: RequestId, outcome: &Result<Ended, Problem>) -> Option<Job> {
        let (mut known, mut running) = (self.known.lock(), self.running.lock());
        let was = running.remove(&id);
        let job = known.iter_mut().find(|job| job.id == id)?;
        job.ended = Some(self.clock.now());
        match outcome {
            Ok(ended) => {
                job.state = State::Done;
                job.said = Some(ended.said.clone());
                job.backup = ended.backup.clone().or_else(|| job.backup.take());
            }
            Err(_) if was.as_ref().is_some_and(|was| was.cancelled) => {
                job.state = State::Cancelled;
                job.said = Some("it was ended before it was done".to_owned());
            }
            Err(_) if was.is_some_and(|was| was.reach.is_stopped()) => {
                job.state = State::CutOff;
                job.said = Some("the process ended; the same command goes on with it".to_owned());
            }
            Err(problem) => {
                job.state = State::Failed;
                job.said = Some(problem.to_string());
                job.unavailable = problem.exit == Exit::Unavailable;
            }
        }
        let job = job.clone();
        self.keep(&known);
        Some(job)
    }

    /// Has a job end where it is. `false` if it is not under way.
    pub(crate) fn cancel(&self, job: RequestId) -> bool {
        match self.running.lock().get_mut(&job) {
            Some(running) => {
                running.cancelled = true;
                running.reach.stopped.store(true, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    /// Has every job end, and waits until they have.
    pub(crate) async fn stop(&self) {
        let tasks: Vec<JoinHandle<()>> = {
            let mut running = self.running.lock();
            running.values().for_each(|one| one.reach.stopped.store(true, Ordering::Relaxed));
            running.values_mut().filter_map(|one| one.task.take()).collect()
        };
        for task in tasks {
            drop(task.await);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.lock().is_empty()
    }

    /// Newest first.
    pub(crate) fn all(&self) -> Vec<Job> {
        self.known.lock().iter().rev().cloned().collect()
    }

    /// One of them, as it is shown, by what tenants and people are called now; those that are no more, by their identifiers.
    pub(crate) fn view(&self, job: &Job, facts: &Facts) -> Value {
        let at = self.running.lock().get(&job.id).map(|running| running.reach.now());
        let (phase, done, total) = at.unwrap_or_default();
        let tenant_name =
            |id: TenantId| facts.tenants.get(&id).map_or_else(|| id.to_string(), |one| one.name.to_string());
        let tenant = job.tenant.map(tenant_name);
        let by = match job.by.map(|id| (id, facts.users.get(&id))) {
            Some((_, Some(user))) => format!("{}@{}", user.name, tenant_name(user.tenant)),
            Some((id, None)) => id.to_string(),
            None => "schedule".to_owned(),
        };
        let mut view = json!({
            "id": job.id, "kind": job.kind, "state": job.state, "by": by, "begun": rfc3339(job.begun),
            "done": done, "total": total,
        });
        let more = [
            ("repository", job.repository.as_ref().map(|name| json!(name))),
            ("backup", job.backup.as_ref().map(|id| json!(id))),
            ("tenant", tenant.map(Value::String)),
            ("to", job.to.map(|to| json!(rfc3339(to)))),
            ("ended", job.ended.map(|at| json!(rfc3339(at)))),
            ("phase", (!phase.is_empty()).then(|| json!(phase))),
            ("said", job.said.as_ref().map(|said| json!(said))),
            ("fault", job.unavailable.then(|| json!("unavailable"))),
        ];
        if let Some(object) = view.as_object_mut() {
            object.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        }
        view
    }
}

/// Does work on a task of its own, so that a mistake of ours that ends it is what came of it.
pub(crate) async fn watched(
    work: impl Future<Output = Result<Ended, Problem>> + Send + 'static,
) -> Result<Ended, Problem> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| Err(Problem::failed("it ended in the middle by a mistake of this program")))
}

/// What came of a job that was done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended {
    /// In words.
    pub(crate) said: String,
    /// The backup that it was about, or made.
    pub(crate) backup: Option<String>,
}

#[cfg(test)]
mod tests {
    use countersign_crypto::SecretKey;
    use countersign_model::clock::ManualClock;
    use countersign_model::facts::{Tenant, User, UserKind};

    use super::*;

    #[tokio::test]
    async fn work_that_panics_has_ended() {
        let said = watched(async { panic!("a mistake") }).await.unwrap_err().to_string();
        assert!(said.contains("mistake of this program"), "{said}");
        assert!(watched(async { Ok(Ended::default()) }).await.is_ok());
    }

    /// A job knows who asked by an identifier, which is all that is left of somebody who was erased.
    #[test]
    fn a_job_has_no_names() {
        let (name, tenant, user) = (|text| Name::new(text).unwrap(), TenantId::from_u128(1), UserId::from_u128(2));
        let folder = tempfile::tempdir().unwrap();
        let with: (Arc<dyn Clock>, Arc<dyn Entropy>) =
            (Arc::new(ManualClock::at(UnixMs(7))), Arc::new(countersign_crypto::SystemEntropy));
        let key = SealKey::new(&SecretKey::generate(&*with.1));
        let (jobs, _) = Jobs::open(folder.path().join("jobs"), key, with);
        let task = Task::Restore { tenant: (tenant, name("northwind")), from: None, to: Some(UnixMs(1)) };
        let work = Work { job: RequestId::from_u128(3), by: Some(user), task };
        jobs.begin(&work, &(Arc::new(|| Duration::ZERO) as Served)).unwrap();
        let job = jobs.all().remove(0);
        let stored = serde_json::to_string(&job).unwrap();
        assert!(!stored.contains("northwind") && stored.contains(&user.to_string()), "{stored}");

        let vince = User {
            tenant,
            name: name("vince"),
            roles: vec![],
            attributes: Default::default(),
            ssh_keys: vec![],
            changed: UnixMs(1),
            kind: UserKind::Person,
            external: None,
            expires: None,
        };
        let northwind = Tenant { name: name("northwind"), created: UnixMs(1) };
        let facts = Facts {
            tenants: Arc::new([(tenant, northwind)].into()),
            users: Arc::new([(user, Arc::new(vince))].into()),
            ..Facts::default()
        };
        assert_eq!(jobs.view(&job, &facts)["by"], "vince@northwind");
        let shown = jobs.view(&job, &Facts::default());
        assert_eq!((&shown["by"], &shown["tenant"]), (&json!(user), &json!(tenant)));
        assert_eq!(jobs.view(&Job { by: None, ..job }, &facts)["by"], "schedule");
    }
}
