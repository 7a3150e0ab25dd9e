//! What is said of a token to services that can't, or won't, verify it themselves (RFC 7662).

use countersign_model::facts::Facts;
use countersign_model::{Name, SessionId, TenantId, TokenId, UnixMs, UserId};
use serde::Serialize;

use crate::claims::{CLIENT, Detail, details};
use crate::{Binding, Verified, Verifier};

/// The answer of RFC 7662, section 2.2. Of a token that isn't active it says nothing else.
///
/// Beside the registered members: `tenant` and `sid` as in the token, `cnf` (RFC 8705, section 3.2; RFC 9449,
/// section 6.2), `act` with the actor's `sub` and `username`, and `authorization_details` (RFC 9396, section 9.2).
#[derive(Clone, Serialize)]
pub struct Introspection {
    active: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    known: Option<Known>,
}

#[derive(Clone, Serialize)]
struct Known {
    sub: UserId,
    username: Name,
    client_id: &'static str,
    token_type: &'static str,
    iss: String,
    aud: String,
    iat: u64,
    exp: u64,
    auth_time: u64,
    jti: TokenId,
    tenant: TenantId,
    sid: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<[Detail; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Acting>,
}

#[derive(Clone, Serialize)]
struct Acting {
    sub: UserId,
    username: Name,
}

impl Introspection {
    /// The answer for a token that isn't good, of whatever kind: which of the many reasons it is, is not said.
    pub const INACTIVE: Self = Self { active: false, known: None };

    /// Whether the token is good.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }
}

impl Verifier {
    /// What to say of a token that this verifier verified: active if under these facts its user, and whoever acts for
    /// them, exist in its tenant, nothing of it was revoked, and it is still good at `now`.
    #[must_use]
    pub fn introspect(&self, token: &Verified, facts: &Facts, now: UnixMs) -> Introspection {
        let username = |user: &UserId| {
            facts.users.get(user).filter(|facts| facts.tenant == token.tenant()).map(|facts| facts.name.clone())
        };
        let Some(name) = username(&token.user()) else { return Introspection::INACTIVE };
        let act = match token.actor() {
            None => None,
            Some(sub) => match username(&sub) {
                Some(username) => Some(Acting { sub, username }),
                None => return Introspection::INACTIVE,
            },
        };
        let exists = facts.tenants.contains_key(&token.tenant());
        if !exists || token.revoked_by(&facts.revocations) || token.check_times(now).is_err() {
            return Introspection::INACTIVE;
        }
        let known = Known {
            sub: token.user(),
            username: name,
            client_id: CLIENT,
            token_type: Binding::scheme(token.binding()),
            iss: self.issuer().to_owned(),
            aud: self.audience().to_owned(),
            iat: token.issued().seconds(),
            exp: token.expires().seconds(),
            auth_time: token.logged_in().seconds(),
            jti: token.token(),
            tenant: token.tenant(),
            sid: token.session(),
            authorization_details: details(token.narrowing()),
            cnf: token.binding().copied(),
            act,
        };
        Introspection { active: true, known: Some(known) }
    }
}

/// Whether it is active.
impl std::fmt::Debug for Introspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspection").field("active", &self.active).finish_non_exhaustive()
    }
}
