//! Where certificates come from.

use std::fmt;

use async_trait::async_trait;
use countersign_crypto::x509::{CertificateRequest, Issued, JoinToken};
use zeroize::Zeroizing;

/// How a service proves who it is at first contact.
pub enum Proof {
    /// With a token that an operator gave it.
    Token(JoinToken),
    /// With a token of the platform that runs it.
    Platform(Zeroizing<String>),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => token.fmt(f),
            Self::Platform(_) => f.write_str("Platform(..)"),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// The first certificate. The authority is known by what the proof says, or by what the issuer was told.
    Join {
        /// Why it should be given.
        proof: &'a Proof,
        /// What the service wants to be.
        role: &'a str,
    },
    /// The next certificate, over a connection made with the present one.
    Renew,
}

/// Why no certificate came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueFailure {
    /// The authority does not accept the proof or the present certificate. Trying again with it is no use, unless
    /// somebody changes their mind.
    #[error("the authority does not accept who this service says it is")]
    Refused,
    /// The authority can't be reached or can't answer now.
    #[error("the authority is not available")]
    Unavailable,
}

/// Gets certificates from the authority.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// A certificate for the key of `request`.
    ///
    /// # Errors
    /// [`IssueFailure`].
    async fn issue(&self, ask: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure>;
}
