//! What really stands behind the door: guards, the engine and the authority.

use std::sync::Arc;

use countersign_authority::{Authority, ControlAnswer, ControlFailure, LoginRefused};
use countersign_crypto::SealKey;
use countersign_engine::Engine;
use countersign_guard::{Bearer, Guard, Peer};
use countersign_model::request::Door;
use countersign_model::{Clock, Entropy, Name, Request, RequestId, TenantId, UserId};

use crate::backend::{Backend, Challenge, Grant, Login, Reply};
use crate::problem::{ControlProblem, Problem};
use crate::rest::answer::Answer;
use crate::rest::cursor;

/// What an [`App`] is made of.
pub struct AppParts {
    /// The gateway's guard, which requests about records pass.
    pub guard: Arc<Guard>,
    /// The authority's guard, which control requests pass.
    pub control: Arc<Guard>,
    /// Executes what the gateway's guard admits.
    pub engine: Arc<Engine>,
    /// Executes what the authority's guard admits, and lets people in.
    pub authority: Arc<Authority>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The backend of a real server.
pub struct App {
    parts: AppParts,
}

impl App {
    /// A backend made of these parts.
    #[must_use]
    pub const fn new(parts: AppParts) -> Self {
        Self { parts }
    }
}

impl Backend for App {
    async fn records(&self, bearer: Option<Bearer>, peer: Peer, request: Request) -> Result<Answer, Problem> {
        let permit = self.parts.guard.admit(bearer, &peer, request).await?;
        let (tenant, user) = (permit.principal().tenant, permit.principal().user);
        let answer = self.parts.engine.execute(permit).await?;
        let countersign_engine::Answer { columns, rows, affected, created, .. } = answer;
        Ok(Answer { tenant, user, columns, rows, affected, created })
    }

    async fn control(&self, bearer: Option<Bearer>, peer: Peer, request: Request) -> Result<Reply, Problem> {
        let permit = self.parts.control.admit(bearer, &peer, request).await?;
        let answer = self.parts.authority.execute(permit).await.map_err(control_problem)?;
        let document = serde_json::to_vec(&answer).map_err(|_| Problem::Internal)?;
        Ok(if matches!(answer, ControlAnswer::Tenant(_)) { Reply::Created(document) } else { Reply::Json(document) })
    }

    async fn challenge(&self, user: &Name, tenant: &Name) -> Result<Challenge, Problem> {
        let challenge = self.parts.authority.challenge(user, tenant);
        Ok(Challenge { id: challenge.id, text: challenge.text, expires: challenge.expires })
    }

    async fn login(&self, request: RequestId, login: Login, _: Peer) -> Result<Grant, Problem> {
        let Login { user, tenant, id, signature, lifetime_ms } = login;
        let door = Some(Door::Http);
        let login = countersign_authority::Login { request, door, user, tenant, challenge: id, signature, lifetime_ms };
        let minted = self.parts.authority.login(login).await.map_err(|refused| match refused {
            LoginRefused::Refused => Problem::LoginRefused,
            LoginRefused::Lifetime => Problem::TokenRequest("a token lives from 1 second to 12 hours"),
            LoginRefused::Unavailable => unavailable(refused.to_string()),
        })?;
        let expires_in = minted.expires().since(self.parts.clock.now()) / 1000;
        Ok(Grant { token: Bearer::new(minted.into_token()), expires_in })
    }

    fn caller(&self, bearer: &Bearer) -> Option<(TenantId, UserId)> {
        let verified =
            self.parts.authority.verifier().verify_presented(bearer.presented(), self.parts.clock.now()).ok()?;
        Some((verified.tenant(), verified.user()))
    }

    fn cursor_key(&self, tenant: TenantId) -> Option<Arc<SealKey>> {
        self.parts.authority.registry().tenant_keys().seal_key(tenant, cursor::KEY_LABEL).ok()
    }

    fn metadata(&self) -> Vec<u8> {
        self.parts.authority.metadata().to_string().into_bytes()
    }

    fn jwks(&self) -> Vec<u8> {
        self.parts.authority.jwks().to_string().into_bytes()
    }

    fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    fn entropy(&self) -> &dyn Entropy {
        &*self.parts.entropy
    }
}

const fn unavailable(message: String) -> Problem {
    Problem::Control { kind: ControlProblem::Unavailable, message }
}

fn control_problem(failure: ControlFailure) -> Problem {
    let message = failure.to_string();
    let kind = match failure {
        ControlFailure::Refused(refusal) => return Problem::Refused(refusal),
        ControlFailure::NotFound { .. } => ControlProblem::NotFound,
        ControlFailure::Exists { .. } => ControlProblem::Exists,
        ControlFailure::Losses(_)
        | ControlFailure::PoliciesInForce(_)
        | ControlFailure::LastPerson
        | ControlFailure::TooManyRevocations => ControlProblem::Conflict,
        ControlFailure::Invalid { .. }
        | ControlFailure::Types(_)
        | ControlFailure::Policies(_)
        | ControlFailure::Token(_) => ControlProblem::Invalid,
        ControlFailure::NotControl => return Problem::Internal,
        _ => ControlProblem::Unavailable,
    };
    Problem::Control { kind, message }
}
