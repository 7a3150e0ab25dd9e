//! A backend for tests: notes what reaches it and answers with one row.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_engine::{Failure, Once};
use countersign_guard::{Bearer, Peer, Refusal, TokenError};
use countersign_model::clock::ManualClock;
use countersign_model::query::Column;
use countersign_model::request::Operation;
use countersign_model::row::{Cell, Position, Row};
use countersign_model::{Clock, Entropy, FieldId, RecordId, Request, RowSet, TenantId, UnixMs, UserId, Value};
use countersign_services::{PublicCall, PublicReply};
use parking_lot::Mutex;

use crate::backend::{Backend, Reply};
use crate::problem::Problem;
use crate::rest::answer::Answer;

/// The only token that is any good.
pub(crate) const GOOD: &str = "good";

const TENANT: TenantId = TenantId::from_u128(1);
const USER: UserId = UserId::from_u128(2);

pub(crate) struct Fake {
    state: Mutex<State>,
    clock: ManualClock,
    key: Arc<SealKey>,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    next: Option<Position>,
    failure: Option<Failure>,
    delay: Duration,
    finished: usize,
    peer: Option<Peer>,
    public: Option<PublicCall>,
    reply: Option<PublicReply>,
}

impl Default for Fake {
    fn default() -> Self {
        let key = Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)));
        Self { state: Mutex::default(), clock: ManualClock::at(UnixMs(1_800_000_000_000)), key }
    }
}

impl Fake {
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().requests.clone()
    }

    pub(crate) fn last(&self) -> Request {
        self.requests().pop().unwrap()
    }

    /// The next answer says that there is more after this.
    pub(crate) fn next(&self, position: Position) {
        self.state.lock().next = Some(position);
    }

    /// The next answer is this.
    pub(crate) fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
    }

    /// Every answer takes this long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// How many delayed answers were made.
    pub(crate) fn finished(&self) -> usize {
        self.state.lock().finished
    }

    /// Where the last request about records came from.
    pub(crate) fn peer(&self) -> Option<std::net::IpAddr> {
        self.state.lock().peer.as_ref().and_then(|peer| peer.address)
    }

    /// The certificate that its connection proved.
    pub(crate) fn certificate(&self) -> Option<[u8; 32]> {
        self.state.lock().peer.as_ref().and_then(|peer| peer.certificate)
    }

    /// The proof of possession that came with it.
    pub(crate) fn dpop(&self) -> Option<countersign_guard::Dpop> {
        self.state.lock().peer.as_ref().and_then(|peer| peer.dpop.clone())
    }

    /// What was last asked of the authority's own endpoints.
    pub(crate) fn public(&self) -> Option<PublicCall> {
        self.state.lock().public.take()
    }

    /// The next answer of the authority's own endpoints is this.
    pub(crate) fn reply(&self, reply: PublicReply) {
        self.state.lock().reply = Some(reply);
    }

    async fn admit(&self, bearer: Option<&Bearer>, request: &Request) -> Result<(), Problem> {
        self.state.lock().requests.push(request.clone());
        match bearer.map(Bearer::as_str) {
            None => return Err(Refusal::NoToken.into()),
            Some(GOOD) => {}
            Some(_) => return Err(Refusal::Token(TokenError::Malformed).into()),
        }
        let delay = self.state.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            let mut state = self.state.lock();
            state.finished = state.finished.saturating_add(1);
        }
        self.state.lock().failure.take().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

impl Backend for Fake {
    async fn records(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
        once: Option<Once>,
    ) -> Result<Answer, Problem> {
        self.state.lock().peer = Some(peer);
        self.admit(bearer.as_ref(), &request).await?;
        let (record_type, count, reads) = match &request.operation {
            Operation::Read(read) => (&read.record_type, read.count, true),
            Operation::Insert(insert) => (&insert.record_type, false, false),
            Operation::Update(update) => (&update.record_type, false, false),
            Operation::Delete(delete) => (&delete.record_type, false, false),
            Operation::History(history) => (&history.record_type, false, true),
            Operation::Control(_) => return Err(Problem::Internal),
        };
        if !["customer", "employee"].contains(&record_type.as_str()) {
            return Err(Refusal::Forbidden.into());
        }
        let row = Row { record: RecordId::from_u128(1), cells: vec![Cell::Value(Value::Integer(1))] };
        let next = self.state.lock().next.take();
        Ok(Answer {
            tenant: TENANT,
            user: USER,
            columns: vec![Column::Field { label: "id".into(), field: FieldId(0) }],
            rows: RowSet { rows: vec![row], total: count.then_some(1), next },
            affected: (!reads).then_some(1),
            created: (!reads).then_some(1),
            replayed: once.is_some(),
        })
    }

    async fn control(&self, bearer: Option<Bearer>, _: Peer, request: Request) -> Result<Reply, Problem> {
        use countersign_model::control::Control;
        self.admit(bearer.as_ref(), &request).await?;
        let Operation::Control(control) = &request.operation else { return Err(Problem::Internal) };
        let document = format!("{{\"done\":\"{}\"}}", control.action().as_str()).into_bytes();
        Ok(match control {
            Control::TenantAdd { .. } => Reply::Created(document),
            _ => Reply::Json(document),
        })
    }

    async fn public(&self, call: PublicCall) -> PublicReply {
        let delay = self.state.lock().delay;
        tokio::time::sleep(delay).await;
        let mut state = self.state.lock();
        state.finished = state.finished.saturating_add(1);
        state.public = Some(call);
        state.reply.take().unwrap_or_else(|| {
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            PublicReply { status: 200, headers, body: b"{}".to_vec(), epoch: 0 }
        })
    }

    fn caller(&self, bearer: &Bearer) -> Option<(TenantId, UserId)> {
        (bearer.as_str() == GOOD).then_some((TENANT, USER))
    }

    async fn cursor_key(&self, _: &Bearer) -> Option<Arc<SealKey>> {
        Some(Arc::clone(&self.key))
    }

    fn is_known_as(&self, host: &str) -> bool {
        host == "here"
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn entropy(&self) -> &dyn Entropy {
        &SystemEntropy
    }
}
