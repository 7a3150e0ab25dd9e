//! Why a caller is refused, and how a caller is told (RFC 6750, section 3).

use countersign_token::TokenError;
use http::StatusCode;

/// Why a request is refused. Says nothing of what is in its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The request has no bearer token.
    #[error("a token is required")]
    NoToken,
    /// The request has more than one `Authorization` header; which of them counts is nobody's to guess.
    #[error("exactly one Authorization header is expected")]
    Repeated,
    /// The token is no good.
    #[error("{0}")]
    Invalid(Reason),
    /// The token has expired.
    #[error("the token expired")]
    Expired,
    /// Countersign refuses the token: it was revoked, or its owner is not there any more.
    #[error("the token is not accepted any more")]
    Revoked,
    /// The token is bound to its owner's key, and comes without proof that the owner sent it.
    #[error("the token is bound to a key, and the proof of it is missing")]
    Bound,
    /// Policy doesn't let the caller ask what it may do.
    #[error("not permitted")]
    Forbidden,
    /// Whether the token is good can't be found out at present. The doubt counts against it.
    #[error("the token can't be checked at present")]
    Unavailable,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub(crate) TokenError);

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::Expired,
            other => Self::Invalid(Reason(other)),
        }
    }
}

impl Refused {
    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::Invalid(_) | Self::Expired | Self::Revoked | Self::Bound => StatusCode::UNAUTHORIZED,
            Self::Repeated => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `WWW-Authenticate` to answer with; 503 has none.
    #[must_use]
    pub const fn challenge(self) -> Option<&'static str> {
        Some(match self {
            Self::NoToken => r#"Bearer realm="countersign""#,
            Self::Repeated => r#"Bearer realm="countersign", error="invalid_request""#,
            Self::Invalid(_) | Self::Revoked => r#"Bearer realm="countersign", error="invalid_token""#,
            Self::Expired => {
                r#"Bearer realm="countersign", error="invalid_token", error_description="the token expired""#
            }
            Self::Bound => {
                r#"Bearer realm="countersign", error="invalid_token", error_description="the token is bound to a key""#
            }
            Self::Forbidden => r#"Bearer realm="countersign", error="insufficient_scope""#,
            Self::Unavailable => return None,
        })
    }

    /// The gRPC status that says the same: 16 unauthenticated, 7 permission denied, 14 unavailable.
    pub(crate) const fn grpc_status(self) -> &'static str {
        match self {
            Self::Forbidden => "7",
            Self::Unavailable => "14",
            _ => "16",
        }
    }
}
