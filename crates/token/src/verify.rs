//! Verifying tokens, with a cache of those that were good.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use countersign_crypto::jws::{JwsError, VerifyingKeys};
use countersign_crypto::sha256;
use countersign_model::UnixMs;
use quick_cache::sync::Cache;

use crate::claims::{CLIENT, Claims};
use crate::{MAX_TOKEN_BYTES, Presented, TOKEN_TYPE, Verified};

/// Why a token is refused. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this profile: three base64url parts, a plain header, every claim once, none unknown.
    #[error("the token is malformed")]
    Malformed,
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is too large")]
    TooLarge,
    /// The header is not exactly `alg`, `typ` and `kid`, or asks for something other than Ed25519.
    #[error("the token's header is not one that is accepted")]
    Header,
    /// The header's `typ` is not [`TOKEN_TYPE`].
    #[error("the token is not an access token")]
    WrongType,
    /// No published key has the header's `kid`.
    #[error("the token's signing key is unknown")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// From another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// For another audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// Past its expiry, which is exclusive.
    #[error("the token has expired")]
    Expired,
    /// Issued in the future, by more than [`CLOCK_SKEW_MS`](crate::CLOCK_SKEW_MS).
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Says that it lives longer than [`MAX_LIFETIME_MS`](crate::MAX_LIFETIME_MS).
    #[error("the token lives longer than 12 hours")]
    TooLong,
}

/// Verifies tokens of one issuer for one audience.
///
/// Tokens that were good are remembered by their SHA-256, so that the signature is checked once. The times are
/// checked at every call, and a change of keys forgets all: the cache can't extend a life.
pub struct Verifier {
    issuer: String,
    audience: String,
    keys: ArcSwap<Keys>,
    generations: AtomicU64,
    cache: Cache<[u8; 32], Remembered>,
}

struct Keys {
    /// Counts changes of keys. What was verified under other keys is verified again: clearing the cache would
    /// not do, as a call that still uses the old keys could fill it again.
    generation: u64,
    keys: VerifyingKeys,
}

#[derive(Clone)]
struct Remembered {
    generation: u64,
    verified: Arc<Verified>,
}

impl Verifier {
    /// A verifier that remembers about `capacity` tokens.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, keys: VerifyingKeys, capacity: usize) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys: ArcSwap::from_pointee(Keys { generation: 0, keys }),
            generations: AtomicU64::new(0),
            cache: Cache::new(capacity),
        }
    }

    /// Verifies from now on with these keys only.
    pub fn replace_keys(&self, keys: VerifyingKeys) {
        let generation = self.generations.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.keys.store(Arc::new(Keys { generation, keys }));
        self.cache.clear();
    }

    /// The issuer whose tokens it accepts.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// For whom the tokens have to be.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// Checks a token at the moment `now`.
    ///
    /// # Errors
    /// [`TokenError`] with the first thing that is wrong.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Arc<Verified>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge);
        }
        self.verify_digested(token, sha256(token.as_bytes()), now)
    }

    /// As [`Self::verify`], for a token that several verifiers of one process look at in turn.
    ///
    /// # Errors
    /// [`TokenError`] with the first thing that is wrong.
    pub fn verify_presented(&self, presented: &Presented, now: UnixMs) -> Result<Arc<Verified>, TokenError> {
        let digest = presented.digest().ok_or(TokenError::TooLarge)?;
        self.verify_digested(presented.as_str(), digest, now)
    }

    fn verify_digested(&self, token: &str, digest: [u8; 32], now: UnixMs) -> Result<Arc<Verified>, TokenError> {
        let keys = self.keys.load();
        if let Some(known) = self.cache.get(&digest)
            && known.generation == keys.generation
        {
            known.verified.check_times(now)?;
            return Ok(known.verified);
        }
        let verified = Arc::new(self.verify_signed(token, &keys.keys)?);
        verified.check_times(now)?;
        self.cache.insert(digest, Remembered { generation: keys.generation, verified: Arc::clone(&verified) });
        Ok(verified)
    }

    fn verify_signed(&self, token: &str, keys: &VerifyingKeys) -> Result<Verified, TokenError> {
        let claims: Claims = keys.verify(TOKEN_TYPE, token)?;
        if claims.iss != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if claims.aud != self.audience {
            return Err(TokenError::WrongAudience);
        }
        if claims.client_id != CLIENT {
            return Err(TokenError::Malformed);
        }
        Ok(Verified::of(claims))
    }
}

impl From<JwsError> for TokenError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::TooLong => Self::TooLarge,
            JwsError::Malformed | JwsError::Claims => Self::Malformed,
            JwsError::Header => Self::Header,
            JwsError::WrongType => Self::WrongType,
            JwsError::UnknownKey | JwsError::Key => Self::UnknownKey,
            JwsError::BadSignature => Self::BadSignature,
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
