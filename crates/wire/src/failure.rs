//! How calls fail, and what of it travels.

use countersign_guard::Refusal;
use countersign_services::{KmsFailure, ServiceFailure};
use prost::Message;
use tonic::{Code, Status};

use crate::convert::failure::{failure_in, failure_out};
use crate::pb;

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failed {
    /// The callee's own guard refused, or what was called for goes beyond the request.
    #[error(transparent)]
    Refused(Refusal),
    /// The callee can't be reached, or can't work at present.
    #[error("the service is not available")]
    Unavailable,
    /// The key service can't reach what wraps the tenant's key.
    #[error(transparent)]
    Kms(KmsFailure),
    /// A change was asked for and its answer was lost: it is made or it isn't.
    #[error("it is unknown whether the change was made")]
    Unknown,
    /// What the callee keeps is damaged.
    #[error("stored data is damaged")]
    Damaged,
    /// The call itself was not accepted; nobody judged the request.
    #[error("the call was not accepted: {0}")]
    Call(CallRefused),
}

/// Why a call was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CallRefused {
    /// The caller's role may not make it.
    #[error("the caller's role may not make it")]
    Role,
    /// The caller's identity was removed.
    #[error("the caller's identity was removed")]
    Removed,
    /// The message can't be read, or is over a bound.
    #[error("the message can't be read")]
    Malformed,
    /// The request is older than [`crate::REQUEST_AGE_MAX_MS`].
    #[error("the request is too old")]
    Old,
    /// The request is from the future, by more than [`crate::REQUEST_EARLY_MAX_MS`].
    #[error("the request is from the future")]
    Early,
    /// Request and sequence were seen before.
    #[error("the call was seen before")]
    Replay,
    /// Too many calls at once.
    #[error("too many calls at once")]
    Busy,
    /// The service is not served there.
    #[error("the service is not served there")]
    NotHere,
    /// The time was over.
    #[error("the time was over")]
    Late,
}

impl CallRefused {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Role,
        Self::Removed,
        Self::Malformed,
        Self::Old,
        Self::Early,
        Self::Replay,
        Self::Busy,
        Self::NotHere,
        Self::Late,
    ];
}

impl From<ServiceFailure> for Failed {
    fn from(failure: ServiceFailure) -> Self {
        match failure {
            ServiceFailure::Refused(refusal) => Self::Refused(refusal),
            ServiceFailure::Unavailable => Self::Unavailable,
            ServiceFailure::Kms(failure) => Self::Kms(failure),
            ServiceFailure::Damaged => Self::Damaged,
            ServiceFailure::Unknown => Self::Unknown,
        }
    }
}

/// A call that was not accepted is nothing that the user did: the service is not available to it.
impl From<Failed> for ServiceFailure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(refusal) => Self::Refused(refusal),
            Failed::Kms(failure) => Self::Kms(failure),
            Failed::Damaged => Self::Damaged,
            Failed::Unknown => Self::Unknown,
            Failed::Unavailable | Failed::Call(_) => Self::Unavailable,
        }
    }
}

impl From<CallRefused> for Failed {
    fn from(why: CallRefused) -> Self {
        Self::Call(why)
    }
}

impl Failed {
    /// The closest gRPC code, for those who look at nothing else.
    const fn code(&self) -> Code {
        match self {
            Self::Refused(Refusal::NoToken | Refusal::Token(_) | Refusal::Revoked | Refusal::UnknownPrincipal) => {
                Code::Unauthenticated
            }
            Self::Refused(Refusal::Invalid(_)) | Self::Call(CallRefused::Malformed) => Code::InvalidArgument,
            Self::Refused(Refusal::Budget) | Self::Call(CallRefused::Busy) => Code::ResourceExhausted,
            Self::Refused(Refusal::Superseded) => Code::Aborted,
            Self::Refused(Refusal::Stale | Refusal::PolicyFault | Refusal::AuditUnavailable)
            | Self::Unavailable
            | Self::Kms(KmsFailure::Unavailable) => Code::Unavailable,
            Self::Refused(Refusal::Forbidden | Refusal::OtherTenant | Refusal::Unbound)
            | Self::Call(CallRefused::Role | CallRefused::Removed) => Code::PermissionDenied,
            Self::Call(CallRefused::Old | CallRefused::Early) => Code::FailedPrecondition,
            Self::Call(CallRefused::Replay) => Code::AlreadyExists,
            Self::Call(CallRefused::NotHere) => Code::Unimplemented,
            Self::Call(CallRefused::Late) => Code::DeadlineExceeded,
            Self::Kms(KmsFailure::Unknown) => Code::NotFound,
            Self::Damaged => Code::DataLoss,
            Self::Unknown => Code::Unknown,
        }
    }

    /// As it travels. The details say exactly what it is; the message says nothing.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let details = failure_out(self).encode_to_vec();
        Status::with_details(self.code(), "", details.into())
    }

    /// What a status says. Without details that can be read, it says no more than that nothing was done.
    #[must_use]
    pub fn of_status(status: &Status) -> Self {
        if !status.details().is_empty() {
            return pb::Failure::decode(status.details()).map_or(Self::Unavailable, failure_in);
        }
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => Self::Call(CallRefused::Late),
            Code::Unimplemented => Self::Call(CallRefused::NotHere),
            Code::InvalidArgument | Code::OutOfRange => Self::Call(CallRefused::Malformed),
            Code::ResourceExhausted => Self::Call(CallRefused::Busy),
            _ => Self::Unavailable,
        }
    }
}

impl From<Failed> for Status {
    fn from(failed: Failed) -> Self {
        failed.to_status()
    }
}
