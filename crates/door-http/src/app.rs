//! What really stands behind the door: the gateway's guard, the engine, and the authority wherever it is.

use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_engine::{Engine, Once};
use countersign_guard::{Bearer, EpochGap, Guard, Peer};
use countersign_model::Service;
use countersign_model::{Clock, Entropy, Request, TenantId, UserId};
use countersign_services::{
    ControlFault, ControlRefused, ControlReply, Front, KeyRelease, PublicCall, PublicReply, SealPurpose,
};
use countersign_token::Verifier;
use quick_cache::sync::Cache;

use crate::backend::{Backend, Reply};
use crate::problem::{ControlProblem, Problem};
use crate::rest::answer::Answer;

/// What an [`App`] is made of.
pub struct AppParts {
    /// The gateway's guard, which requests about records pass.
    pub guard: Arc<Guard>,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Executes what the gateway's guard admits.
    pub engine: Arc<Engine>,
    /// The key service, for the keys of cursors.
    pub keys: Arc<dyn KeyRelease>,
    /// The authority: executes what its guard admits, and lets people in.
    pub front: Arc<dyn Front>,
    /// The names and addresses that the server is known by.
    pub names: Vec<String>,
    /// How many tenants' cursor keys to keep.
    pub key_capacity: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The backend of a real server.
pub struct App {
    parts: AppParts,
    /// INVARIANT tenant-in-key: found by the tenant of a verified token.
    cursor_keys: Cache<TenantId, Arc<SealKey>>,
}

impl App {
    /// A backend made of these parts.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        let cursor_keys = Cache::new(parts.key_capacity.max(1));
        Self { parts, cursor_keys }
    }
}

impl App {
    /// Waits until this gateway decides by the facts that the authority answered from, so that whoever made a user or
    /// got a token finds that it works. Not for long: what is late comes by itself.
    async fn catch_up(&self, epoch: u64) {
        let late = self.parts.guard.facts().at_or_soon(epoch, self.parts.clock.now()).await.err();
        if late == Some(EpochGap::Behind) {
            tracing::warn!(epoch, "answered before this gateway has the facts of the answer");
        }
    }
}

impl Backend for App {
    async fn records(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
        once: Option<Once>,
    ) -> Result<Answer, Problem> {
        let permit = self.parts.guard.admit(bearer, &peer, request).await?;
        let (tenant, user) = (permit.principal().tenant, permit.principal().user);
        let answer = self.parts.engine.execute_once(permit, once).await?;
        let countersign_engine::Answer { columns, rows, affected, created, replayed, .. } = answer;
        Ok(Answer { tenant, user, columns, rows, affected, created, replayed })
    }

    async fn control(&self, bearer: Option<Bearer>, peer: Peer, request: Request) -> Result<Reply, Problem> {
        match self.parts.front.control(bearer, peer, request).await {
            Ok(ControlReply { json, created, epoch }) => {
                self.catch_up(epoch).await;
                Ok(if created { Reply::Created(json) } else { Reply::Json(json) })
            }
            Err(ControlRefused::Refused(refusal)) => Err(Problem::Refused(refusal)),
            Err(ControlRefused::Failed { fault, message }) => Err(control_problem(fault, message)),
        }
    }

    async fn public(&self, call: PublicCall) -> PublicReply {
        let reply = self.parts.front.public(call).await;
        self.catch_up(reply.epoch).await;
        reply
    }

    fn caller(&self, bearer: &Bearer) -> Option<(TenantId, UserId)> {
        let verified = self.parts.verifier.verify_presented(bearer.presented(), self.parts.clock.now()).ok()?;
        Some((verified.tenant(), verified.user()))
    }

    async fn cursor_key(&self, bearer: &Bearer) -> Option<Arc<SealKey>> {
        let (tenant, _) = self.caller(bearer)?;
        if let Some(key) = self.cursor_keys.get(&tenant) {
            return Some(key);
        }
        let grant = self.parts.keys.seal_key(bearer, Service::Gateway, SealPurpose::Cursor).await.ok()?;
        if grant.tenant != tenant {
            return None;
        }
        let key = Arc::new(SealKey::with_epoch(&grant.secret, grant.epoch));
        self.cursor_keys.insert(tenant, Arc::clone(&key));
        Some(key)
    }

    fn is_known_as(&self, host: &str) -> bool {
        self.parts.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    fn entropy(&self) -> &dyn Entropy {
        &*self.parts.entropy
    }
}

fn control_problem(fault: ControlFault, message: String) -> Problem {
    let kind = match fault {
        ControlFault::NotFound => ControlProblem::NotFound,
        ControlFault::Exists => ControlProblem::Exists,
        ControlFault::Invalid => ControlProblem::Invalid,
        ControlFault::Conflict => ControlProblem::Conflict,
        ControlFault::Unavailable => ControlProblem::Unavailable,
        ControlFault::Internal => return Problem::Internal,
    };
    Problem::Control { kind, message }
}
