//! What stands behind the door, as far as the door can see.

use std::future::Future;
use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_engine::Once;
use countersign_guard::{Bearer, Peer};
use countersign_model::{Clock, Entropy, Request, TenantId, UserId};
use countersign_services::{PublicCall, PublicReply};

use crate::problem::Problem;
use crate::rest::answer::Answer;

/// Takes lowered requests. [`App`](crate::App) is the real one; tests have others.
///
/// A request without a token is passed on like any other: refusing it, and putting that on record, is the guard's.
pub trait Backend: Send + Sync + 'static {
    /// Answers a request about records; a change with a `once` is made at most once.
    fn records(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
        once: Option<Once>,
    ) -> impl Future<Output = Result<Answer, Problem>> + Send;

    /// Answers a control request.
    fn control(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Problem>> + Send;

    /// Answers a request to one of the authority's own endpoints: logging in, tokens, what is public about it.
    fn public(&self, call: PublicCall) -> impl Future<Output = PublicReply> + Send;

    /// Whose token this is, if it is any good: what cursors are bound to. Grants nothing.
    fn caller(&self, bearer: &Bearer) -> Option<(TenantId, UserId)>;

    /// The key that the cursors of this token's tenant are sealed under.
    fn cursor_key(&self, bearer: &Bearer) -> impl Future<Output = Option<Arc<SealKey>>> + Send;

    /// Whether this server is known by that name: what proofs of possession may be made for.
    fn is_known_as(&self, host: &str) -> bool;

    /// The time.
    fn clock(&self) -> &dyn Clock;

    /// Randomness.
    fn entropy(&self) -> &dyn Entropy;
}

/// What a control request gives.
pub enum Reply {
    /// A JSON document.
    Json(Vec<u8>),
    /// The same, for something new.
    Created(Vec<u8>),
}
