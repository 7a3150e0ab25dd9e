//! Making tokens: from a login, and from another token.

use std::fmt;
use std::sync::Arc;

use countersign_crypto::jws::{JwsError, SigningKey};
use countersign_model::request::Narrowing;
use countersign_model::{Entropy, SessionId, TenantId, TokenId, UnixMs, UserId};

use crate::claims::{CLIENT, Claims, details};
use crate::{MAX_LIFETIME_MS, MAX_PURPOSE_BYTES, TOKEN_TYPE, Verified};

/// Why no token was made. All but [`MintError::Signing`] are the caller's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Asked for more than [`MAX_LIFETIME_MS`].
    #[error("a token lives at most 12 hours")]
    TooLong,
    /// Nothing is left of the life: under a second, or the token to narrow has expired.
    #[error("a token lives at least one second")]
    TooShort,
    /// The limits do not fit into a token of [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    #[error("the limits do not fit into a token of 8 KiB")]
    TooLarge,
    /// The purpose is longer than [`MAX_PURPOSE_BYTES`] or has control characters.
    #[error("a purpose is one line of at most 256 bytes")]
    Purpose,
    /// The signing key failed.
    #[error("the token could not be signed")]
    Signing,
}

/// A new token.
pub struct Minted {
    token: String,
    id: TokenId,
    expires: UnixMs,
}

impl Minted {
    /// The token itself: a secret.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The token itself, to be sent.
    #[must_use]
    pub fn into_token(self) -> String {
        self.token
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// The first moment at which it is no longer good.
    #[must_use]
    pub const fn expires(&self) -> UnixMs {
        self.expires
    }
}

/// Without the token.
impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Makes tokens of one issuer for one audience.
#[derive(Clone)]
pub struct Minter {
    issuer: String,
    audience: String,
    key: Arc<SigningKey>,
}

impl Minter {
    /// A minter that signs with `key`.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, key: Arc<SigningKey>) -> Self {
        Self { issuer: issuer.into(), audience: audience.into(), key }
    }

    /// A token for a person who has just logged in.
    ///
    /// # Errors
    /// [`MintError::TooLong`] over [`MAX_LIFETIME_MS`] (INVARIANT twelve-hours), [`MintError::TooShort`] under a
    /// second.
    pub fn mint(
        &self,
        user: UserId,
        tenant: TenantId,
        session: SessionId,
        lifetime_ms: u64,
        now: UnixMs,
        entropy: &dyn Entropy,
    ) -> Result<Minted, MintError> {
        if lifetime_ms > MAX_LIFETIME_MS {
            return Err(MintError::TooLong);
        }
        self.sign(Claims {
            iss: self.issuer.clone(),
            sub: user,
            aud: self.audience.clone(),
            exp: now.plus_ms(lifetime_ms).seconds(),
            iat: now.seconds(),
            auth_time: now.seconds(),
            jti: TokenId::new(now, entropy),
            client_id: CLIENT.to_owned(),
            tenant,
            sid: session,
            authorization_details: None,
        })
    }

    /// A token of the same session that may do no more and lives no longer than `parent` (RFC 8693).
    ///
    /// The limits of both apply; a new purpose takes the place of the old. `lifetime_ms` counts from now and is
    /// cut at the parent's expiry; `None` keeps that expiry.
    ///
    /// # Errors
    /// [`MintError::TooShort`] if nothing is left, [`MintError::Purpose`] and [`MintError::TooLarge`] for limits
    /// that a token can't carry.
    pub fn narrow(
        &self,
        parent: &Verified,
        narrowing: &Narrowing,
        lifetime_ms: Option<u64>,
        now: UnixMs,
        entropy: &dyn Entropy,
    ) -> Result<Minted, MintError> {
        if narrowing.purpose.as_deref().is_some_and(|text| !is_purpose(text)) {
            return Err(MintError::Purpose);
        }
        // A parent from a clock slightly ahead of ours is older than it says; the child is not older than it.
        let issued = now.max(parent.issued());
        let asked = lifetime_ms.map_or(parent.expires(), |ms| now.plus_ms(ms));
        self.sign(Claims {
            iss: self.issuer.clone(),
            sub: parent.user(),
            aud: self.audience.clone(),
            exp: asked.min(parent.expires()).seconds(),
            iat: issued.seconds(),
            auth_time: parent.logged_in().seconds(),
            jti: TokenId::new(now, entropy),
            client_id: CLIENT.to_owned(),
            tenant: parent.tenant(),
            sid: parent.session(),
            authorization_details: details(&parent.narrowing().intersect(narrowing)),
        })
    }

    fn sign(&self, claims: Claims) -> Result<Minted, MintError> {
        if claims.exp <= claims.iat {
            return Err(MintError::TooShort);
        }
        let token = self.key.sign(TOKEN_TYPE, &claims).map_err(|error| match error {
            JwsError::TooLong => MintError::TooLarge,
            _ => MintError::Signing,
        })?;
        Ok(Minted { token, id: claims.jti, expires: UnixMs::from_seconds(claims.exp) })
    }
}

fn is_purpose(text: &str) -> bool {
    text.len() <= MAX_PURPOSE_BYTES && !text.chars().any(char::is_control)
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
