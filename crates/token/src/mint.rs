//! Making tokens: from a login, and from another token.

use std::fmt;
use std::sync::Arc;

use countersign_crypto::jws::{JwsError, SigningKey};
use countersign_model::request::Narrowing;
use countersign_model::{Entropy, SessionId, TenantId, TokenId, UnixMs, UserId};

use crate::claims::{Act, CLIENT, Claims, details};
use crate::{Binding, MAX_LIFETIME_MS, MAX_PURPOSE_BYTES, TOKEN_TYPE, Verified};

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
    /// Both tokens have to be of one tenant, of two users, and neither may have an actor already.
    #[error("these two tokens can't be exchanged for one")]
    Parties,
    /// A bound token can be exchanged only where the request proved its key.
    #[error("the request doesn't prove the key that the token is bound to")]
    Unbound,
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
    binding: Option<Binding>,
}

impl Minter {
    /// A minter that signs with `key`.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, key: Arc<SigningKey>) -> Self {
        Self { issuer: issuer.into(), audience: audience.into(), key, binding: None }
    }

    /// The same minter for one answer, whose token is bound to a key. Whether the caller holds that key, or may hand
    /// the token on to who does, is for whoever asks to find out.
    #[must_use]
    pub fn bound_to(&self, binding: Option<Binding>) -> Self {
        Self { binding, ..self.clone() }
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
            cnf: self.binding,
            act: None,
        })
    }

    /// A token of the same session that may do no more and lives no longer than `parent` (RFC 8693).
    ///
    /// The limits of both apply; a new purpose takes the place of the old. `lifetime_ms` counts from now and is
    /// cut at the parent's expiry; `None` keeps that expiry. It is bound to the minter's key, or else to the parent's:
    /// an unbound child of a bound parent doesn't exist. Who acts for its user stays.
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
            cnf: self.binding.or(parent.binding().copied()),
            act: parent.act().cloned(),
        })
    }

    /// A token with which `actor`'s user acts for `subject`'s user (RFC 8693, section 1.1: delegation).
    ///
    /// It belongs to the subject's login, has the limits of both tokens and of `narrowing`, and lives no longer than
    /// either. What both users may is not written in tokens: whoever decides intersects the policies of both.
    ///
    /// The minter's binding is the key that this very request proved. The result is bound to it, and where one of the
    /// two tokens is bound it has to be that key: otherwise an exchange would be the way to make a bound token that
    /// was stolen into one that isn't. A person who delegates narrows a token to the actor's key first.
    ///
    /// # Errors
    /// [`MintError::Parties`] for tokens of two tenants, of one user, or with an actor; [`MintError::Unbound`]; and as
    /// [`Self::narrow`].
    pub fn exchange(
        &self,
        subject: &Verified,
        actor: &Verified,
        narrowing: &Narrowing,
        lifetime_ms: Option<u64>,
        now: UnixMs,
        entropy: &dyn Entropy,
    ) -> Result<Minted, MintError> {
        if narrowing.purpose.as_deref().is_some_and(|text| !is_purpose(text)) {
            return Err(MintError::Purpose);
        }
        let acted_for = subject.actor().is_some() || actor.actor().is_some();
        if subject.tenant() != actor.tenant() || subject.user() == actor.user() || acted_for {
            return Err(MintError::Parties);
        }
        if [subject, actor].into_iter().filter_map(Verified::binding).any(|key| Some(*key) != self.binding) {
            return Err(MintError::Unbound);
        }
        let expires = subject.expires().min(actor.expires());
        let asked = lifetime_ms.map_or(expires, |ms| now.plus_ms(ms));
        // The subject's purpose is why it was handed out; the actor's would hide it.
        let limits = actor.narrowing().intersect(subject.narrowing()).intersect(narrowing);
        self.sign(Claims {
            iss: self.issuer.clone(),
            sub: subject.user(),
            aud: self.audience.clone(),
            exp: asked.min(expires).seconds(),
            iat: now.max(subject.issued()).max(actor.issued()).seconds(),
            auth_time: subject.logged_in().seconds(),
            jti: TokenId::new(now, entropy),
            client_id: CLIENT.to_owned(),
            tenant: subject.tenant(),
            sid: subject.session(),
            authorization_details: details(&limits),
            cnf: self.binding,
            act: Some(Act {
                sub: actor.user(),
                sid: actor.session(),
                auth_time: actor.logged_in().seconds(),
                jti: actor.token(),
                subject_jti: subject.token(),
            }),
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
