//! Looking after data at rest as a whole: backups, trials of them, and restores, each a job in the background.
//!
//! Only a process that is all services does this: it has the records, the facts, the ledgers and the keys at hand.

mod about;
mod asked;
mod cells;
mod create;
mod facts;
mod jobs;
mod lay;
mod ledgers;
mod list;
mod prune;
mod receipts;
mod records;
mod repository;
mod schedule;
mod scratch;
mod tenant;
mod verify;
pub(crate) mod whole;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use countersign_audit::{AuditSink, Body, Ledger, Reason, Record, Verdict};
use countersign_authority::custodian::{Custodian, CustodyFailure, Task, Work};
use countersign_authority::{Finding, Registry};
use countersign_keys::KmsSet;
use countersign_model::beside::Served;
use countersign_model::erasure::Receipt;
use countersign_model::facts::OPERATORS;
use countersign_model::{Clock, Entropy, Name, RequestId, Service, TenantId};
use serde_json::Value;
use tokio::task::JoinHandle;

use self::jobs::{Ended, Job, Jobs, Kind, Reach};
use super::side::Stored;
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};
use crate::relocate::Wish;

/// What jobs are done with.
pub(crate) struct Parts {
    pub(crate) deployment: Deployment,
    pub(crate) config: Config,
    pub(crate) kms: KmsSet,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stored: Stored,
    /// Of every service.
    pub(crate) ledgers: Vec<Arc<Ledger>>,
    /// The authority's.
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) served: Served,
}

/// Who does them.
pub(crate) struct Custody {
    parts: Parts,
    jobs: Jobs,
    cut_off: Vec<Job>,
    this: Weak<Self>,
}

impl Custody {
    /// Knows again what was under way when the deployment was last open, and removes what that has left on the disk.
    pub(crate) fn open(parts: Parts) -> Arc<Self> {
        scratch::clear(&parts.deployment);
        let key = parts.registry.deployment_key("jobs");
        let made_with = (Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
        let (jobs, cut_off) = Jobs::open(parts.deployment.data().join("jobs"), key, made_with);
        Arc::new_cyclic(|this| Self { parts, jobs, cut_off, this: Weak::clone(this) })
    }

    /// Puts on record what was cut off, and does what the configuration says shall be done by the clock.
    pub(crate) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let custody = Arc::downgrade(self);
        tokio::spawn(schedule::run(custody))
    }

    /// Ends what is under way, and waits until it has.
    pub(crate) async fn stop(&self) {
        self.jobs.stop().await;
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_idle()
    }

    async fn run(&self, work: &Work, reach: &Arc<Reach>) -> Result<Ended, Problem> {
        match &work.task {
            Task::Backup { repository, tenant } => {
                create::run(&self.parts, repository, tenant.as_ref().map(|(id, _)| *id), reach).await
            }
            Task::Verify { repository, backup } => verify::run(&self.parts, repository, backup.as_deref(), reach).await,
            Task::Remove { repository, backup, forget } => {
                prune::remove(&self.parts, repository, backup.as_deref(), *forget).await
            }
            Task::Restore { tenant: (tenant, _), from, to } => {
                tenant::run(&self.parts, *tenant, from.as_ref(), *to, reach).await
            }
        }
    }

    /// Does it, and puts on record what came of it.
    async fn do_it(self: Arc<Self>, work: Work, reach: Arc<Reach>) {
        let (custody, id) = (Arc::clone(&self), work.job);
        let outcome = jobs::watched(async move { custody.run(&work, &reach).await }).await;
        if let Err(problem) = &outcome {
            tracing::error!(job = %id, %problem, "work in the background has failed");
        }
        // The scratch deployment of a trial that failed goes with it.
        if let Some(job) = self.jobs.end(id, &outcome) {
            self.on_record(&job).await;
        }
    }

    async fn on_record(&self, job: &Job) {
        let verdict = if job.state == jobs::State::Done { Verdict::Changed } else { Verdict::Failed };
        let said = job.said.as_deref().unwrap_or_default();
        let detail = format!("{} {}: {said}", job.kind.as_str(), job.id);
        // Nobody need be woken because one could not be removed.
        let action = if job.kind == Kind::Remove { "removal_ended" } else { "backup_ended" };
        self.record(job.id, action, verdict, detail.clone(), None).await;
        if let (Kind::Restore, Some(tenant)) = (job.kind, job.tenant) {
            self.record(job.id, "backup_ended", verdict, detail, Some(tenant)).await;
        }
    }

    /// What is about no tenant is the operators'.
    async fn record(&self, request: RequestId, action: &str, verdict: Verdict, detail: String, of: Option<TenantId>) {
        let facts = Arc::clone(&self.parts.registry.facts().load().facts);
        let operators = || facts.tenant_names.iter().find(|(name, _)| name.as_str() == OPERATORS).map(|(_, id)| *id);
        let record = Record {
            time: self.parts.clock.now(),
            request,
            service: Service::Authority,
            door: None,
            verdict,
            tenant: of.or_else(operators),
            tally: None,
            body: Body {
                action: action.to_owned(),
                reason: (verdict == Verdict::Failed).then_some(Reason::Unavailable),
                epoch: facts.epoch,
                detail: Some(shortened(detail)),
                ..Body::default()
            },
        };
        if let Err(error) = self.parts.audit.append(record).await {
            tracing::error!(%request, %error, "what came of work in the background could not be put on record");
        }
    }

    fn view(&self, job: &Job) -> Value {
        let facts = Arc::clone(&self.parts.registry.facts().load().facts);
        self.jobs.view(job, &facts)
    }

    fn seek(&self, id: RequestId) -> Option<Value> {
        self.jobs.all().iter().find(|job| job.id == id).map(|job| self.view(job))
    }
}

/// An audit record has a bound.
fn shortened(mut detail: String) -> String {
    const MAX: usize = 2_000;
    let end = (0..=MAX.min(detail.len())).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or_default();
    detail.truncate(end);
    detail
}

/// Which of them a failure is, for whoever asked.
fn refused(problem: &Problem) -> CustodyFailure {
    match problem.exit {
        Exit::Unavailable => CustodyFailure::Unavailable("repository"),
        _ => CustodyFailure::Invalid { field: "repository", expected: format!("one that can be used: {problem}") },
    }
}

#[async_trait]
impl Custodian for Custody {
    async fn begin(&self, work: Work) -> Result<Value, CustodyFailure> {
        if matches!(Wish::read(&self.parts.deployment), Ok(Some(_))) {
            return Err(CustodyFailure::Busy { job: "move".to_owned() });
        }
        let named = match &work.task {
            Task::Backup { repository, .. } | Task::Verify { repository, .. } => Some(repository),
            // One that is named no more can be forgotten.
            Task::Remove { forget: true, .. } => None,
            Task::Remove { repository, .. } => Some(repository),
            Task::Restore { from, .. } => from.as_ref().map(|(repository, _)| repository),
        };
        if let Some(name) = named.filter(|name| !self.parts.config.backups.contains_key(*name)) {
            return Err(CustodyFailure::NotFound { what: "repository", name: name.to_string() });
        }
        let custody = self.this.upgrade().ok_or(CustodyFailure::Unavailable("custody"))?;
        let reach = self.jobs.begin(&work, &self.parts.served)?;
        let job = work.job;
        self.jobs.doing(job, tokio::spawn(custody.do_it(work, reach)));
        self.seek(job).ok_or(CustodyFailure::Unavailable("custody"))
    }

    fn jobs(&self) -> Value {
        Value::Array(self.jobs.all().iter().map(|job| self.view(job)).collect())
    }

    fn job(&self, job: RequestId) -> Option<Value> {
        self.seek(job)
    }

    async fn cancel(&self, job: RequestId) -> Result<Value, CustodyFailure> {
        let is_under_way = self.jobs.cancel(job);
        let found = self.seek(job).filter(|_| is_under_way);
        found.ok_or_else(|| CustodyFailure::NotFound { what: "job under way", name: job.to_string() })
    }

    async fn keep_receipt(&self, receipt: &Receipt) -> Vec<(Name, Option<String>)> {
        receipts::keep(&self.parts, receipt).await
    }

    async fn look_for(&self, receipt: &Receipt) -> Vec<Finding> {
        receipts::look_for(&self.parts, receipt).await
    }

    async fn backups(&self, repository: &Name) -> Result<Value, CustodyFailure> {
        if !self.parts.config.backups.contains_key(repository) {
            return Err(CustodyFailure::NotFound { what: "repository", name: repository.to_string() });
        }
        list::run(&self.parts, repository).await.map_err(|problem| refused(&problem))
    }
}
