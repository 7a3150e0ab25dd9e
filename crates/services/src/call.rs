//! What travels with every call between services, and how one fails.

use countersign_guard::{Bearer, Permit, Refusal};
use countersign_model::{Request, Service};
use tokio::time::Instant;

/// What travels with every call between services: the same token, the same request.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The user's token.
    pub bearer: &'a Bearer,
    /// What the user asked.
    pub request: &'a Request,
    /// The epoch of the facts under which it was admitted.
    pub epoch: u64,
    /// Who calls. Apart, the callee takes this from the caller's certificate and from nothing else.
    pub caller: Service,
    /// Until when the caller waits. It goes along, so that nobody works for an answer that nobody waits for; a callee that
    /// calls on says no later one.
    pub deadline: Instant,
}

impl<'a> Call<'a> {
    /// A call on behalf of an admitted request.
    #[must_use]
    pub fn of(permit: &'a Permit, caller: Service) -> Self {
        Self {
            bearer: permit.bearer(),
            request: permit.request(),
            epoch: permit.epoch(),
            caller,
            deadline: permit.deadline(),
        }
    }
}

/// Why a service did not do what it was called for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ServiceFailure {
    /// Its own guard refused the request, or what was called for goes beyond it.
    #[error(transparent)]
    Refused(Refusal),
    /// It can't work at present.
    #[error("the service is not available")]
    Unavailable,
    /// The key service can't reach what wraps the tenant's key.
    #[error(transparent)]
    Kms(#[from] KmsFailure),
    /// A change was asked for and its answer was lost: it is made or it isn't.
    #[error("it is unknown whether the change was made")]
    Unknown,
    /// What it keeps is damaged.
    #[error("stored data is damaged")]
    Damaged,
}

/// What is the matter with a key management service, as far as callers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KmsFailure {
    /// It doesn't answer at present.
    #[error("the key management service is not available")]
    Unavailable,
    /// None of that name is configured.
    #[error("there is no key management service of that name")]
    Unknown,
}

impl From<Refusal> for ServiceFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What is called for goes beyond the request, or comes from a service that may not call for it.
pub(crate) const BEYOND: ServiceFailure = ServiceFailure::Refused(Refusal::Forbidden);
