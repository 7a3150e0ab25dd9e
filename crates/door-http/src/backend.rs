//! What stands behind the door, as far as the door can see.

use std::future::Future;
use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_guard::{Bearer, Peer};
use countersign_model::{Clock, Entropy, Name, Request, RequestId, TenantId, UnixMs, UserId};

use crate::problem::Problem;
use crate::rest::answer::Answer;

/// Takes lowered requests. [`App`](crate::App) is the real one; tests have others.
///
/// A request without a token is passed on like any other: refusing it, and putting that on record, is the guard's.
pub trait Backend: Send + Sync + 'static {
    /// Answers a request about records.
    fn records(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> impl Future<Output = Result<Answer, Problem>> + Send;

    /// Answers a control request.
    fn control(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Problem>> + Send;

    /// Gives a text to sign.
    fn challenge(&self, user: &Name, tenant: &Name) -> impl Future<Output = Result<Challenge, Problem>> + Send;

    /// Lets somebody in who signed it. `request` names the attempt in its record.
    fn login(
        &self,
        request: RequestId,
        login: Login,
        peer: Peer,
    ) -> impl Future<Output = Result<Grant, Problem>> + Send;

    /// Whose token this is, if it is any good: what cursors are bound to. Grants nothing.
    fn caller(&self, bearer: &Bearer) -> Option<(TenantId, UserId)>;

    /// The key that a tenant's cursors are sealed under, derived for [`cursor::KEY_LABEL`](crate::rest::cursor::KEY_LABEL).
    fn cursor_key(&self, tenant: TenantId) -> Option<Arc<SealKey>>;

    /// The issuer's metadata, as JSON (RFC 8414).
    fn metadata(&self) -> Vec<u8>;

    /// The JSON Web Key Set that tokens are verified with.
    fn jwks(&self) -> Vec<u8>;

    /// The time.
    fn clock(&self) -> &dyn Clock;

    /// Randomness.
    fn entropy(&self) -> &dyn Entropy;
}

/// A text to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Names it when it comes back signed.
    pub id: String,
    /// What is to be signed.
    pub text: String,
    /// When it dies.
    pub expires: UnixMs,
}

/// A challenge that was signed.
pub struct Login {
    /// Who wants in.
    pub user: Name,
    /// To which tenant.
    pub tenant: Name,
    /// Which challenge.
    pub id: String,
    /// SSHSIG, in PEM.
    pub signature: String,
    /// How long the token is to live at most.
    pub lifetime_ms: Option<u64>,
}

/// A token for its holder. Has no debug form and leaves in one response only.
pub struct Grant {
    /// The token.
    pub token: Bearer,
    /// How many seconds it lives.
    pub expires_in: u64,
}

/// What a control request gives.
pub enum Reply {
    /// A JSON document.
    Json(Vec<u8>),
    /// The same, for something new.
    Created(Vec<u8>),
}
