use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{Access, AuditSink, Body, Position, Reason, Record, Service, Signal, Verdict};
use countersign_model::facts::Principal;
use countersign_model::query::Judged;
use countersign_model::{Clock, Request, Tally, TokenId};
use tokio::time::Instant;

use crate::bearer::Bearer;
use crate::observe::{Observation, Observe};
use crate::refusal::Refusal;
use crate::state::State;

/// Proof that a request was admitted, with the judged request inside (the second law).
///
/// Only [`Guard::admit`](crate::Guard::admit) makes one. It serves one request and ends in [`Permit::settle`].
#[must_use = "a permit that is not settled leaves a request without its record"]
pub struct Permit {
    pub(crate) inner: Box<Inner>,
}

pub(crate) struct Inner {
    pub(crate) service: Service,
    pub(crate) bearer: Bearer,
    pub(crate) request: Request,
    pub(crate) judged: Judged,
    pub(crate) principal: Principal,
    pub(crate) state: Arc<State>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deadline: Instant,
    pub(crate) began: Instant,
    /// Taken when the request's end was seen.
    pub(crate) observe: Option<Arc<dyn Observe>>,
}

/// Proof that a request's record is durable. An answer can't be made without one (the third law).
#[derive(Debug)]
pub struct Receipt {
    position: Position,
}

impl Receipt {
    /// Where the record stands in the ledger.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }
}

/// How a request ended.
#[derive(Debug, Default)]
pub struct Settlement {
    /// What was seen or changed, per record type.
    pub accesses: Vec<Access>,
    /// How many records were made, changed or removed; `None` for reading.
    pub affected: Option<u64>,
    /// Why it failed; `None` if it did not.
    pub failed: Option<Reason>,
    /// The arguments of a control request, secrets left out.
    pub detail: Option<String>,
    /// What the request came to, for the other services' counts to be held against. `None` for control requests.
    pub tally: Option<Tally>,
    /// The token that was made from the caller's, if one was.
    pub made: Option<TokenId>,
}

impl Permit {
    /// What was admitted.
    #[must_use]
    pub fn judged(&self) -> &Judged {
        &self.inner.judged
    }

    /// Who was admitted.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.inner.principal
    }

    /// The request as it was asked, for callees that judge it again.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.inner.request
    }

    /// The token, for callees that verify it again.
    #[must_use]
    pub fn bearer(&self) -> &Bearer {
        &self.inner.bearer
    }

    /// The epoch under which it was admitted.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.inner.state.facts.epoch
    }

    /// Until when somebody waits for the answer. What is called for the request is not worked on for longer.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.inner.deadline
    }

    /// The facts under which it was admitted.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.inner.state
    }

    /// Makes durable what is about to be changed, before it is.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`] if the record can't be written: the change must not be made.
    pub async fn intend(&self, accesses: Vec<Access>, detail: Option<String>) -> Result<(), Refusal> {
        let settlement = Settlement { accesses, detail, ..Settlement::default() };
        self.append(Verdict::Intent, settlement).await.map(|_| ())
    }

    /// Makes durable how the request ended, before its answer leaves.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`] if the record can't be written: nothing may be answered from the records read.
    pub async fn settle(self, settlement: Settlement) -> Result<Receipt, Refusal> {
        let verdict = match (&settlement.failed, settlement.affected) {
            (Some(Reason::Unknown), _) => Verdict::Unknown,
            (Some(_), _) => Verdict::Failed,
            (None, Some(_)) => Verdict::Changed,
            (None, None) => Verdict::Released,
        };
        let observed = self.inner.seen(verdict, settlement.failed).of_tally(settlement.tally.as_ref());
        let written = self.append(verdict, settlement).await;
        let mut inner = self.inner;
        let Some(observe) = inner.observe.take() else { return written.map(|position| Receipt { position }) };
        let elapsed = inner.began.elapsed();
        observe.observe(&match written {
            Ok(_) => Observation { elapsed, ..observed },
            Err(_) => Observation { elapsed, ..inner.seen(Verdict::Failed, Some(Reason::Unavailable)) },
        });
        written.map(|position| Receipt { position })
    }

    async fn append(&self, verdict: Verdict, settlement: Settlement) -> Result<Position, Refusal> {
        let Inner { request, principal, state, audit, clock, service, .. } = &*self.inner;
        let record = Record {
            time: clock.now(),
            request: request.id,
            service: *service,
            door: Some(request.door),
            verdict,
            tenant: Some(principal.tenant),
            tally: settlement.tally,
            body: Body {
                reason: settlement.failed,
                accesses: settlement.accesses,
                affected: settlement.affected,
                detail: settlement.detail,
                credential: settlement.made.map(Signal::made),
                ..body_of(principal, request, state.facts.epoch)
            },
        };
        audit.append(record).await.map_err(|_| Refusal::AuditUnavailable)
    }
}

impl Inner {
    /// All but how long it took.
    fn seen(&self, verdict: Verdict, reason: Option<Reason>) -> Observation {
        Observation {
            request: self.request.id,
            service: self.service,
            door: Some(self.request.door),
            action: self.request.operation.action(),
            verdict,
            reason,
            entry: true,
            elapsed: Duration::ZERO,
            token_age_ms: Some(self.clock.now().since(self.principal.issued)),
            rows: 0,
            cells: 0,
        }
    }
}

/// A request that nobody brought to its end is seen too.
impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(observe) = self.observe.take() {
            let elapsed = self.began.elapsed();
            observe.observe(&Observation { elapsed, ..self.seen(Verdict::Failed, None) });
        }
    }
}

/// The part of an audit record that says who asked for what. Who asks is whoever acts; the user they act for is whom
/// they did it on behalf of. The login is the user's in either case: it is what ends the token.
pub(crate) fn body_of(principal: &Principal, request: &Request, epoch: u64) -> Body {
    let (user, facts) = principal.acting();
    Body {
        user: Some(user),
        user_name: Some(facts.name.to_string()),
        on_behalf_of: principal.actor.as_ref().map(|_| principal.user),
        session: Some(principal.session),
        token: Some(principal.token),
        action: request.operation.action().to_owned(),
        reason: None,
        purpose: purpose(principal.narrowing.purpose.as_deref(), request.purpose.as_deref()),
        epoch,
        accesses: Vec::new(),
        affected: None,
        detail: None,
        credential: None,
    }
}

/// The purpose that the token was given, and what its holder adds to it: a token for one thing does not leave a
/// record of another.
fn purpose(of_token: Option<&str>, of_request: Option<&str>) -> Option<String> {
    match (of_token, of_request) {
        (Some(token), Some(request)) if token != request => Some(format!("{token} ({request})")),
        (Some(only), _) | (None, Some(only)) => Some(only.to_owned()),
        (None, None) => None,
    }
}
