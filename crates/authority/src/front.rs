//! The authority as a gateway calls it, in the authority's own process.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_guard::{Bearer, Guard, Peer};
use countersign_model::Request;
use countersign_services::{ControlFault, ControlRefused, ControlReply, Front, PublicCall, PublicReply};

use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::public::Public;

/// The authority behind its own guard.
pub struct LocalFront {
    authority: Arc<Authority>,
    guard: Arc<Guard>,
    public: Public,
}

impl LocalFront {
    /// This authority, with the guard that stands in front of it.
    #[must_use]
    pub fn new(authority: Arc<Authority>, guard: Arc<Guard>) -> Self {
        let public = Public::new(Arc::clone(&authority), Arc::clone(&guard));
        Self { authority, guard, public }
    }

    fn epoch(&self) -> u64 {
        self.authority.facts().epoch
    }
}

#[async_trait]
impl Front for LocalFront {
    async fn control(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> Result<ControlReply, ControlRefused> {
        if !self.authority.registry.is_held() {
            return Err(not_held());
        }
        let permit = self.guard.admit(bearer, &peer, request).await.map_err(ControlRefused::Refused)?;
        let answer = self.authority.execute(permit).await?;
        let created = matches!(answer, ControlAnswer::Tenant(_) | ControlAnswer::Invitation(_));
        // What another may have changed since is not answered from here.
        if !self.authority.registry.is_held() {
            return Err(not_held());
        }
        let failed = |_| ControlRefused::Failed { fault: ControlFault::Internal, message: "no answer".to_owned() };
        let json = serde_json::to_vec(&answer).map_err(failed)?;
        Ok(ControlReply { json, created, epoch: self.epoch() })
    }

    async fn public(&self, call: PublicCall) -> PublicReply {
        let reply = self.public.answer(call).await;
        PublicReply { epoch: self.epoch(), ..reply }
    }
}

/// This process may not act as the authority at this moment.
fn not_held() -> ControlRefused {
    ControlFailure::Unavailable("authority").into()
}

impl From<ControlFailure> for ControlRefused {
    fn from(failure: ControlFailure) -> Self {
        let message = failure.to_string();
        let fault = match failure {
            ControlFailure::Refused(refusal) => return Self::Refused(refusal),
            ControlFailure::NotFound { .. } => ControlFault::NotFound,
            ControlFailure::Exists { .. } => ControlFault::Exists,
            ControlFailure::Losses(_)
            | ControlFailure::PoliciesInForce(_)
            | ControlFailure::LastPerson
            | ControlFailure::TooManyRevocations => ControlFault::Conflict,
            ControlFailure::Invalid { .. }
            | ControlFailure::Types(_)
            | ControlFailure::Policies(_)
            | ControlFailure::Token(_) => ControlFault::Invalid,
            ControlFailure::NotControl => ControlFault::Internal,
            ControlFailure::Unavailable(_) | ControlFailure::NoMonitor => ControlFault::Unavailable,
        };
        Self::Failed { fault, message }
    }
}
