mod noted;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditSink, Verdict};
use countersign_model::control::{Control, ControlAction};
use countersign_model::custody::EraseControl;
use countersign_model::facts::{OPERATORS, Principal};
use countersign_model::query::Judged;
use countersign_model::request::{Action, Operation};
use countersign_model::{Clock, Predicate, Request, RequestId, Service, Tally};
use countersign_token::{Binding, ReplayWindow, Verifier};
use tokio::time::Instant;

use crate::bearer::Bearer;
use crate::observe::{Observation, Observe};
use crate::permit::{Inner, Permit};
use crate::plans::Plans;
use crate::principal::principal_of;
use crate::refusal::Refusal;
use crate::resolve::{Limits, Resolver};
use crate::state::{EpochGap, FactsCell, State};

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its address, where there is one.
    pub address: Option<IpAddr>,
    /// The SHA-256 of the certificate that it proved to have the key of, if it did.
    pub certificate: Option<[u8; 32]>,
    /// A proof of possession that came with the request, looked at by nobody yet.
    pub dpop: Option<Dpop>,
    /// Until when it waits for an answer; [`REQUEST_TIME`] from now if nobody said.
    pub deadline: Option<Instant>,
}

/// How long a request may take of which nobody said how long its caller waits.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);

/// A DPoP proof (RFC 9449) and what it has to be a proof for.
#[derive(Clone)]
pub struct Dpop {
    /// The `DPoP` header, as it came.
    pub proof: String,
    /// The request's method.
    pub method: String,
    /// The request's URL, without query and fragment.
    pub url: String,
}

/// Without the proof.
impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop").field("method", &self.method).finish_non_exhaustive()
    }
}

/// How a token came here, and so what has to be proved of one that is bound to a key.
#[derive(Clone, Copy)]
enum Came<'a> {
    /// From its holder: at this end of a connection.
    From(&'a Peer),
    /// From its holder, who proved this key, or none.
    Proving(Option<Binding>),
    /// From a service that may carry tokens, which its certificate has shown.
    Carried,
}

impl Came<'_> {
    /// Until when somebody waits for an answer.
    fn deadline(self) -> Instant {
        let said = match self {
            Self::From(peer) => peer.deadline,
            Self::Proving(_) | Self::Carried => None,
        };
        let now = Instant::now();
        said.unwrap_or_else(|| now.checked_add(REQUEST_TIME).unwrap_or(now))
    }
}

/// What a [`Guard`] is made of.
pub struct GuardParts {
    /// The service that this guard stands in front of; each has its own.
    pub service: Service,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// The newest facts.
    pub facts: Arc<FactsCell>,
    /// Takes the records.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds on requests.
    pub limits: Limits,
    /// How many plans to keep.
    pub plan_capacity: usize,
    /// Watches what it decides.
    pub observe: Arc<dyn Observe>,
}

/// How many proofs of possession are remembered. Each is for about a minute, so this is 17,000 requests with one in a
/// second, in some 50 MB.
const PROOFS_MAX: usize = 1 << 20;

/// Verifies, decides and records. Every service has one of its own and trusts no other's verdict.
pub struct Guard {
    parts: GuardParts,
    plans: Plans,
    proofs: ReplayWindow,
}

/// A verdict in favour, without the power to act on it: what a callee needs to check what it is asked for.
#[derive(Clone)]
pub struct Judgement {
    /// Who asks.
    pub principal: Principal,
    /// What is asked, resolved.
    pub judged: Judged,
    /// The facts under which it was decided.
    pub state: Arc<State>,
    /// When the guard was asked.
    pub began: Instant,
}

impl Judgement {
    /// An empty tally of the request, to be filled with what it came to.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::new(self.principal.token, self.state.facts.epoch)
    }
}

impl Guard {
    /// A guard made of these parts.
    #[must_use]
    pub fn new(parts: GuardParts) -> Self {
        let plans = Plans::new(parts.plan_capacity);
        Self { parts, plans, proofs: ReplayWindow::new(PROOFS_MAX) }
    }

    /// Admits a request or refuses it. A refusal is on record before it is answered.
    ///
    /// This is where a request comes in, so it is where a token that is bound to a key needs the proof of it. Services
    /// behind are shown the token only together with the certificate of one that may carry it.
    ///
    /// # Errors
    /// [`Refusal`] says why; [`Refusal::AuditUnavailable`] also stands in for a refusal that could not be recorded.
    pub async fn admit(&self, bearer: Option<Bearer>, peer: &Peer, request: Request) -> Result<Permit, Refusal> {
        self.admit_from(bearer, Came::From(peer), request).await
    }

    /// As [`Self::admit`], for an endpoint that takes several tokens with one request: it has verified the request's
    /// only proof itself, and used it up, and says here of which key that was.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn admit_proved(
        &self,
        bearer: Option<Bearer>,
        proved: Option<Binding>,
        request: Request,
    ) -> Result<Permit, Refusal> {
        self.admit_from(bearer, Came::Proving(proved), request).await
    }

    async fn admit_from(&self, bearer: Option<Bearer>, came: Came<'_>, request: Request) -> Result<Permit, Refusal> {
        let began = Instant::now();
        let state = self.parts.facts.load();
        let mut known = None;
        let outcome = match &bearer {
            None => Err(Refusal::NoToken),
            Some(bearer) => self.judge_under(&state, bearer, came, &request, &mut known),
        };
        match (outcome, bearer, known) {
            (Ok(judged), Some(bearer), Some(principal)) => {
                let GuardParts { service, audit, clock, observe, .. } = &self.parts;
                let inner = Inner {
                    service: *service,
                    bearer,
                    request,
                    judged,
                    principal,
                    state,
                    audit: Arc::clone(audit),
                    clock: Arc::clone(clock),
                    deadline: came.deadline(),
                    began,
                    observe: Some(Arc::clone(observe)),
                };
                Ok(Permit { inner: Box::new(inner) })
            }
            (Err(refusal), _, known) => {
                let record = self.refused(&refusal, known.as_ref(), &request, state.facts.epoch);
                let issued = known.as_ref().map(|principal| principal.issued);
                let token_age_ms = issued.map(|issued| record.time.since(issued));
                let written = self.parts.audit.append(record).await;
                let refusal = written.map_or(Refusal::AuditUnavailable, |_| refusal);
                let seen = self.seen(&request, Verdict::Refused, Some(refusal.reason()), began);
                self.parts.observe.observe(&Observation { entry: true, token_age_ms, ..seen });
                Err(refusal)
            }
            (Ok(_), _, _) => Err(Refusal::NoToken),
        }
    }

    /// Decides under the newest facts, without recording or granting anything.
    ///
    /// # Errors
    /// [`Refusal`] says why.
    pub fn judge(&self, bearer: &Bearer, request: &Request) -> Result<Judgement, Refusal> {
        self.judgement(self.parts.facts.load(), bearer, request, &mut None, Instant::now())
    }

    /// Decides again what another service has admitted under `epoch`, under the same epoch: what every service
    /// behind the gateway does with a request that is passed on to it. A refusal is noted.
    ///
    /// # Errors
    /// [`Refusal`] says why.
    pub async fn judge_again(&self, bearer: &Bearer, request: &Request, epoch: u64) -> Result<Judgement, Refusal> {
        let (mut known, began) = (None, Instant::now());
        let judged = match self.parts.facts.at_or_soon(epoch, self.parts.clock.now()).await {
            Ok(state) => self.judgement(state, bearer, request, &mut known, began),
            Err(EpochGap::Behind) => Err(Refusal::Stale),
            Err(EpochGap::Superseded) => Err(Refusal::Superseded),
        };
        if let Err(refusal) = &judged {
            let record = self.refused(refusal, known.as_ref(), request, epoch);
            self.note_seen(record, self.seen(request, Verdict::Refused, Some(refusal.reason()), began)).await?;
        }
        judged
    }

    /// Who holds a token, if it is good now. For what belongs to a tenant as such, such as the key of its cursors:
    /// there is no request then, so `id` and `action` name the call where it is refused, which is noted.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub async fn identify(&self, bearer: &Bearer, id: RequestId, action: &'static str) -> Result<Principal, Refusal> {
        let (state, mut known) = (self.parts.facts.load(), None);
        let refusal = match self.know(&state, bearer, Came::Carried, &mut known) {
            Ok(principal) => return Ok(principal.clone()),
            Err(refusal) => refusal,
        };
        self.note_refused_call(&refusal, known.map(|principal| principal.tenant), id, action).await?;
        Err(refusal)
    }

    /// The newest facts that this guard decides by.
    #[must_use]
    pub const fn facts(&self) -> &Arc<FactsCell> {
        &self.parts.facts
    }

    /// The time, as this guard has it.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    fn judgement(
        &self,
        state: Arc<State>,
        bearer: &Bearer,
        request: &Request,
        known: &mut Option<Principal>,
        began: Instant,
    ) -> Result<Judgement, Refusal> {
        let judged = self.judge_under(&state, bearer, Came::Carried, request, known)?;
        let principal = known.clone().ok_or(Refusal::UnknownPrincipal)?;
        Ok(Judgement { principal, judged, state, began })
    }

    /// `known` is set as soon as the caller is, so that a refusal's record can say who it was.
    fn know<'k>(
        &self,
        state: &State,
        bearer: &Bearer,
        came: Came<'_>,
        known: &'k mut Option<Principal>,
    ) -> Result<&'k Principal, Refusal> {
        let now = self.parts.clock.now();
        if !self.parts.facts.is_fresh(now) {
            return Err(Refusal::Stale);
        }
        if bearer.as_str().is_empty() {
            return Err(Refusal::NoToken);
        }
        let verified = self.parts.verifier.verify_presented(bearer.presented(), now).map_err(Refusal::Token)?;
        let principal = known.insert(principal_of(&verified, state)?);
        if verified.revoked_by(&state.facts.revocations) {
            return Err(Refusal::Revoked);
        }
        if !(principal.facts.is_there(now) && principal.acting().1.is_there(now)) {
            return Err(Refusal::UnknownPrincipal);
        }
        let actor = principal.actor.as_ref().map(|actor| actor.user);
        if !self.parts.facts.are_known(std::iter::once(principal.user).chain(actor)) {
            return Err(Refusal::UnknownPrincipal);
        }
        let proved = match came {
            Came::From(peer) => {
                verified.check_possession(bearer.presented(), &peer.evidence(), &self.proofs, now).is_ok()
            }
            Came::Proving(key) => verified.binding().is_none_or(|bound| Some(*bound) == key),
            Came::Carried => true,
        };
        if proved { Ok(principal) } else { Err(Refusal::Unbound) }
    }

    fn judge_under(
        &self,
        state: &State,
        bearer: &Bearer,
        came: Came<'_>,
        request: &Request,
        known: &mut Option<Principal>,
    ) -> Result<Judged, Refusal> {
        let principal = self.know(state, bearer, came, known)?;
        if let Some(named) = &request.tenant
            && named.as_str() != principal.tenant_name.as_str()
        {
            return Err(Refusal::OtherTenant);
        }
        let resolver = Resolver { state, caller: principal, plans: &self.plans, limits: &self.parts.limits };
        match &request.operation {
            Operation::Read(read) => resolver.read(read).map(Judged::Read),
            Operation::Insert(insert) => resolver.insert(insert).map(Judged::Insert),
            Operation::Update(update) => resolver.update(update).map(Judged::Change),
            Operation::Delete(delete) => resolver.delete(delete).map(Judged::Change),
            Operation::History(history) => resolver.history(history).map(Judged::History),
            Operation::Control(control) => self.control(state, principal, control),
        }
    }

    fn control(&self, state: &State, principal: &Principal, control: &Control) -> Result<Judged, Refusal> {
        let action = control.action();
        // Limits are written in actions on records, so a limited token manages nothing but itself: not the login
        // either, from which the wider token of whoever limited it comes. Nor does who acts for somebody end a login
        // that is not theirs.
        let whole_session = matches!(control, Control::RevokeOwn { session: true });
        let limited = principal.narrowing.is_limiting();
        // Who is here for a time came for records: whoever could manage users would stay.
        let for_a_time = principal.facts.expires.is_some() || principal.acting().1.expires.is_some();
        if for_a_time && action != ControlAction::UseOwnToken {
            return Err(Refusal::Forbidden);
        }
        if limited && action != ControlAction::UseOwnToken || whole_session && (limited || principal.actor.is_some()) {
            return Err(Refusal::Forbidden);
        }
        let named = control.tenant().unwrap_or(&principal.tenant_name);
        // Another tenant is refused before it is looked for, so that it takes no longer if there is one.
        if *named != principal.tenant_name && principal.tenant_name.as_str() != OPERATORS {
            return Err(Refusal::OtherTenant);
        }
        if !state.facts.tenant_names.contains_key(named) {
            return Err(Refusal::Forbidden);
        }
        // What is erased is deleted first. Nobody is told of a record that they may not see, so this takes the right to delete
        // every one of its type, whole.
        if let Control::Erase(EraseControl::Record { record_type, .. }) = control {
            let found = state.facts.types.find(record_type);
            let (id, found) = found.ok_or(Refusal::Forbidden)?;
            let plan = state.policies.plan(principal, Action::Delete, id).map_err(|_| Refusal::PolicyFault)?;
            if plan.rows_with_all(found.all()) != Predicate::TRUE {
                return Err(Refusal::Forbidden);
            }
        }
        match state.policies.control(principal, action, named) {
            Ok(true) => Ok(Judged::Control(control.clone())),
            Ok(false) => Err(Refusal::Forbidden),
            Err(_) => Err(Refusal::PolicyFault),
        }
    }
}

#[cfg(test)]
mod tests;
