//! A token that was verified.

use std::fmt;
use std::sync::Arc;

use countersign_model::facts::Revocations;
use countersign_model::request::Narrowing;
use countersign_model::{SessionId, TenantId, TokenId, UnixMs, UserId};

use crate::claims::{Act, Claims};
use crate::{Binding, CLOCK_SKEW_MS, MAX_LIFETIME_MS, TokenError};

/// What a token says, after its signature, type, issuer, audience and times were checked.
///
/// Only [`Verifier::verify`](crate::Verifier::verify) makes one; nothing outside this crate can:
///
/// ```compile_fail
/// let forged = countersign_token::Verified { ..todo!() };
/// ```
#[derive(Clone)]
pub struct Verified {
    user: UserId,
    tenant: TenantId,
    session: SessionId,
    token: TokenId,
    issued: UnixMs,
    logged_in: UnixMs,
    expires: UnixMs,
    narrowing: Arc<Narrowing>,
    binding: Option<Binding>,
    act: Option<Arc<Act>>,
}

impl Verified {
    /// Only for claims whose signature, issuer and audience were checked.
    pub(crate) fn of(claims: Claims) -> Self {
        Self {
            user: claims.sub,
            tenant: claims.tenant,
            session: claims.sid,
            token: claims.jti,
            issued: UnixMs::from_seconds(claims.iat),
            logged_in: UnixMs::from_seconds(claims.auth_time),
            expires: UnixMs::from_seconds(claims.exp),
            narrowing: Arc::new(crate::claims::narrowing(claims.authorization_details)),
            binding: claims.cnf,
            act: claims.act.map(Arc::new),
        }
    }

    /// Whose token it is.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The only tenant that it can reach.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The login that it comes from, also after narrowing.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// The token's own identifier.
    #[must_use]
    pub const fn token(&self) -> TokenId {
        self.token
    }

    /// When it was issued, in whole seconds.
    #[must_use]
    pub const fn issued(&self) -> UnixMs {
        self.issued
    }

    /// When the person logged in, in whole seconds. Narrowing keeps it.
    #[must_use]
    pub const fn logged_in(&self) -> UnixMs {
        self.logged_in
    }

    /// The first moment at which it is no longer good.
    #[must_use]
    pub const fn expires(&self) -> UnixMs {
        self.expires
    }

    /// The limits that it carries beyond its user's own.
    #[must_use]
    pub const fn narrowing(&self) -> &Arc<Narrowing> {
        &self.narrowing
    }

    /// The key that whoever presents it has to hold.
    ///
    /// Nothing in this crate asks for it: a token is verified on its way through several services, and only the first
    /// of them can be shown a proof.
    #[must_use]
    pub const fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// Who acts for [`Self::user`] with it, in the same tenant.
    #[must_use]
    pub fn actor(&self) -> Option<UserId> {
        self.act.as_ref().map(|act| act.sub)
    }

    pub(crate) fn act(&self) -> Option<&Act> {
        self.act.as_deref()
    }

    /// Whether the token, its session, or its user's tokens up to then were revoked; with an actor, also whether
    /// the actor's were, or one of the two tokens that were exchanged for this one.
    ///
    /// For a user, the moment of the login counts, which a narrowed token inherits: a token that is narrowed just
    /// while its person is revoked does not slip through. Token times are whole seconds, so a login in the very
    /// second of the revocation is refused too.
    #[must_use]
    pub fn revoked_by(&self, revocations: &Revocations) -> bool {
        let token = |token| revocations.tokens.contains_key(&(self.tenant, token));
        let login = |session, user, logged_in: UnixMs| {
            revocations.sessions.contains_key(&(self.tenant, session))
                || revocations.users.get(&user).is_some_and(|revoked| logged_in.seconds() <= revoked.seconds())
        };
        token(self.token)
            || login(self.session, self.user, self.logged_in)
            || self.act().is_some_and(|act| {
                token(act.jti) || token(act.subject_jti) || login(act.sid, act.sub, UnixMs::from_seconds(act.auth_time))
            })
    }

    /// INVARIANT twelve-hours, at every verification: whatever the token says, a life longer than
    /// [`MAX_LIFETIME_MS`] is refused, and so is one that has ended or not begun.
    pub(crate) fn check_times(&self, now: UnixMs) -> Result<(), TokenError> {
        if self.issued >= self.expires || self.logged_in > self.issued {
            return Err(TokenError::Malformed);
        }
        // The login is never later than the issue, so this bounds the life of the single token as well.
        if self.expires.since(self.logged_in) > MAX_LIFETIME_MS {
            return Err(TokenError::TooLong);
        }
        if let Some(act) = self.act() {
            let logged_in = UnixMs::from_seconds(act.auth_time);
            if logged_in > self.issued || act.sub == self.user {
                return Err(TokenError::Malformed);
            }
            if self.expires.since(logged_in) > MAX_LIFETIME_MS {
                return Err(TokenError::TooLong);
            }
        }
        if self.issued > now.plus_ms(CLOCK_SKEW_MS) {
            return Err(TokenError::NotYetValid);
        }
        if now >= self.expires {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// Identifiers only: the purpose is a person's words.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("tenant", &self.tenant)
            .field("user", &self.user)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
