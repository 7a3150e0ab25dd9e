//! Whether a request comes from who holds the key that its token is bound to.

use countersign_crypto::dpop::{DpopError, Proof};
use countersign_model::UnixMs;

use crate::{Binding, Presented, Replay, ReplayWindow, Verified};

/// What came with a request beside its token.
#[derive(Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The SHA-256 of the client certificate whose key was proved on this connection.
    pub certificate: Option<[u8; 32]>,
    /// A DPoP proof.
    pub proof: Option<ProofOf<'a>>,
}

/// A DPoP proof as it came, and what it has to be a proof of.
#[derive(Clone, Copy)]
pub struct ProofOf<'a> {
    /// The proof.
    pub proof: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's URL.
    pub url: &'a str,
}

/// Why a bound token is no good with this request. All of them are the caller's, and say nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotProved {
    /// There is no proof, or no certificate.
    #[error("the request doesn't prove the key that the token is bound to")]
    Missing,
    /// The proof is no good.
    #[error(transparent)]
    Proof(#[from] DpopError),
    /// The proof, or the certificate, is of another key.
    #[error("the request proves another key than the token is bound to")]
    OtherKey,
    /// The proof was used before.
    #[error(transparent)]
    Replay(#[from] Replay),
}

impl Verified {
    /// Checks that the request which presents this token proves the key that it is bound to, and uses up its proof.
    /// A token that is bound to none needs no proof; one that comes with it is not looked at.
    ///
    /// For where requests come in. Behind it the proof means nothing: it is for another URL, and used.
    ///
    /// # Errors
    /// [`NotProved`].
    pub fn check_possession(
        &self,
        presented: &Presented,
        evidence: &Evidence<'_>,
        used: &ReplayWindow,
        now: UnixMs,
    ) -> Result<(), NotProved> {
        match self.binding() {
            None => Ok(()),
            Some(Binding::Certificate(digest)) => match evidence.certificate {
                None => Err(NotProved::Missing),
                Some(certificate) if certificate == *digest => Ok(()),
                Some(_) => Err(NotProved::OtherKey),
            },
            Some(Binding::Jkt(jkt)) => {
                let ProofOf { proof, method, url } = evidence.proof.ok_or(NotProved::Missing)?;
                let proof = Proof::verify(proof, method, url, Some(presented.as_str()), now)?;
                if proof.jkt() != *jkt {
                    return Err(NotProved::OtherKey);
                }
                // Last, so that only who holds the key can fill the window.
                Ok(used.spend(proof.digest(), proof.expires(), now)?)
            }
        }
    }
}

/// Without the proof.
impl std::fmt::Debug for ProofOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProofOf").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Without the proof.
impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evidence").field("proof", &self.proof).finish_non_exhaustive()
    }
}
