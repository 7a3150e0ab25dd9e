//! What a guard puts on record and shows, beside what ends with a permit.

use std::time::Duration;

use countersign_audit::{Access, Body, Reason, Record, Verdict};
use countersign_model::facts::Principal;
use countersign_model::request::Operation;
use countersign_model::{Request, RequestId, Tally, TenantId};
use tokio::time::Instant;

use super::{Guard, Judgement};
use crate::observe::Observation;
use crate::permit::body_of;
use crate::refusal::Refusal;

impl Guard {
    /// Notes that a request was refused for a reason that is not in the request itself, such as who brought it.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`].
    pub async fn note_refusal(&self, refusal: &Refusal, request: &Request, epoch: u64) -> Result<(), Refusal> {
        let seen = self.seen(request, Verdict::Refused, Some(refusal.reason()), Instant::now());
        self.note_seen(self.refused(refusal, None, request, epoch), seen).await
    }

    /// Notes that a request which was admitted is refused all the same, for what it would take.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`].
    pub async fn note_refusal_of(
        &self,
        refusal: &Refusal,
        judgement: &Judgement,
        request: &Request,
    ) -> Result<(), Refusal> {
        let epoch = judgement.state.facts.epoch;
        let seen = self.seen(request, Verdict::Refused, Some(refusal.reason()), judgement.began);
        self.note_seen(self.refused(refusal, Some(&judgement.principal), request, epoch), seen).await
    }

    /// Notes this service's verdict on a request that it judged again.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`] if verdicts can't be recorded at present: nothing may be given out then.
    pub async fn countersign(
        &self,
        judgement: &Judgement,
        request: &Request,
        verdict: Verdict,
        accesses: Vec<Access>,
        tally: Tally,
    ) -> Result<(), Refusal> {
        let epoch = judgement.state.facts.epoch;
        let seen = self.seen(request, verdict, None, judgement.began).of_tally(Some(&tally));
        let record = Record {
            time: self.parts.clock.now(),
            request: request.id,
            service: self.parts.service,
            door: Some(request.door),
            verdict,
            tenant: Some(judgement.principal.tenant),
            tally: Some(tally),
            body: Body { accesses, ..body_of(&judgement.principal, request, epoch) },
        };
        self.note_seen(record, seen).await
    }

    /// Notes that a call was refused that is not part of a request.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`].
    pub async fn note_refused_call(
        &self,
        refusal: &Refusal,
        tenant: Option<TenantId>,
        id: RequestId,
        action: &'static str,
    ) -> Result<(), Refusal> {
        let epoch = self.parts.facts.load().facts.epoch;
        let seen = Observation {
            request: id,
            service: self.parts.service,
            door: None,
            action,
            verdict: Verdict::Refused,
            reason: Some(refusal.reason()),
            entry: false,
            elapsed: Duration::ZERO,
            token_age_ms: None,
            rows: 0,
            cells: 0,
        };
        let record = Record {
            time: self.parts.clock.now(),
            request: id,
            service: self.parts.service,
            door: None,
            verdict: Verdict::Refused,
            tenant,
            tally: None,
            body: Body { action: action.to_owned(), reason: Some(refusal.reason()), epoch, ..Body::default() },
        };
        self.note_seen(record, seen).await
    }

    /// Notes a record, and what was seen: with the failure, where it could not be noted.
    pub(super) async fn note_seen(&self, record: Record, seen: Observation) -> Result<(), Refusal> {
        let noted = self.parts.audit.note(record).await;
        let failed =
            Observation { verdict: Verdict::Failed, reason: Some(Reason::Unavailable), rows: 0, cells: 0, ..seen };
        self.parts.observe.observe(if noted.is_ok() { &seen } else { &failed });
        noted.map_err(|_| Refusal::AuditUnavailable)
    }

    /// What is to be seen of a request that another service passed on.
    pub(super) fn seen(
        &self,
        request: &Request,
        verdict: Verdict,
        reason: Option<Reason>,
        began: Instant,
    ) -> Observation {
        Observation {
            request: request.id,
            service: self.parts.service,
            door: Some(request.door),
            action: request.operation.action(),
            verdict,
            reason,
            entry: false,
            elapsed: began.elapsed(),
            token_age_ms: None,
            rows: 0,
            cells: 0,
        }
    }

    pub(super) fn refused(
        &self,
        refusal: &Refusal,
        known: Option<&Principal>,
        request: &Request,
        epoch: u64,
    ) -> Record {
        let body = match known {
            Some(principal) => body_of(principal, request, epoch),
            None => Body { action: request.operation.action().to_owned(), epoch, ..Body::default() },
        };
        Record {
            time: self.parts.clock.now(),
            request: request.id,
            service: self.parts.service,
            door: Some(request.door),
            verdict: Verdict::Refused,
            tenant: known.map(|principal| principal.tenant),
            tally: None,
            body: Body { reason: Some(refusal.reason()), detail: asked_for(request), ..body },
        }
    }
}

/// The record type that a refused request named, if it is a name at all: it may be one that doesn't exist.
fn asked_for(request: &Request) -> Option<String> {
    let named = match &request.operation {
        Operation::Read(read) => &read.record_type,
        Operation::Insert(insert) => &insert.record_type,
        Operation::Update(update) => &update.record_type,
        Operation::Delete(delete) => &delete.record_type,
        Operation::History(history) => &history.record_type,
        Operation::Control(_) => return None,
    };
    countersign_model::Name::new(named).ok().map(|name| name.to_string())
}
