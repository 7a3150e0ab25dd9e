//! The authority's own HTTP endpoints: logging in, tokens, and what is public about it.
//!
//! A door passes such a request on as it came ([`PublicCall`]) and gives the answer back as it is ([`PublicReply`]).
//! Errors have the form that all of Countersign's HTTP errors have (PostgREST's), with the members of RFC 6749, section
//! 5.2, beside it where OAuth clients look for them.
//!
//! Tokens that are presented pass the authority's guard, like every control request. A token that is made answers to the
//! key that a `DPoP` field proves (RFC 9449, section 5), or else to the client certificate of the caller's connection
//! (RFC 8705, section 3), if there is one.

mod fields;
mod log;
mod login;
mod oidc;
mod reply;
mod token;

use std::sync::Arc;

use countersign_crypto::dpop::Proof;
use countersign_guard::{Dpop, Guard, Peer};
use countersign_model::control::Control;
use countersign_model::request::{Door, Operation};
use countersign_model::{Request, RequestId, UnixMs};
use countersign_services::{PublicCall, PublicReply};
use countersign_token::Binding;

use self::fields::Fields;
use self::reply::Trouble;
use crate::authority::{Authority, Remembered};

/// Every endpoint: method and path.
pub const ENDPOINTS: &[(&str, &str)] = &[
    ("POST", "/v1/login/challenge"),
    ("POST", "/v1/login"),
    ("POST", "/v1/login/oidc/start"),
    ("POST", "/v1/login/oidc/finish"),
    ("POST", "/v1/login/oidc/device"),
    ("POST", "/v1/login/oidc/device/poll"),
    ("POST", "/v1/token"),
    ("POST", "/v1/token/revoke"),
    ("POST", "/v1/token/introspect"),
    ("GET", "/v1/log"),
    ("GET", "/v1/jwks.json"),
    ("GET", "/.well-known/oauth-authorization-server"),
];

/// The longest body that any of them reads: a token and its limits.
pub const BODY_MAX_BYTES: usize = 64 * 1024;

/// The longest body of a login: names and a signature, or a code.
const LOGIN_MAX_BYTES: usize = 16 * 1024;

/// The authority with its guard, behind the endpoints.
pub struct Public {
    authority: Arc<Authority>,
    guard: Arc<Guard>,
    logs: log::Shown,
}

impl Public {
    /// The endpoints of `authority`; `guard` is the one that its control requests pass.
    #[must_use]
    pub fn new(authority: Arc<Authority>, guard: Arc<Guard>) -> Self {
        Self { authority, guard, logs: log::Shown::default() }
    }

    /// Answers. What goes wrong is in the reply.
    ///
    /// What is begun here is finished even if nobody waits for it any more only if the caller sees to that, by running
    /// it as a task of its own.
    pub async fn answer(&self, call: PublicCall) -> PublicReply {
        let with_oauth = call.path != "/v1/login/challenge";
        let is_held = || self.authority.registry.is_held();
        let answered = if is_held() { self.respond(call).await } else { Err(Trouble::not_held()) };
        // A token that was made for somebody whom another authority has revoked meanwhile is not given out.
        match if is_held() { answered } else { Err(Trouble::not_held()) } {
            Ok(reply) => reply,
            Err(trouble) => trouble.reply(with_oauth),
        }
    }

    async fn respond(&self, call: PublicCall) -> Result<PublicReply, Trouble> {
        let method = if call.method == "HEAD" { "GET" } else { call.method.as_str() };
        match (method, call.path.as_str()) {
            ("GET", "/v1/jwks.json") => Ok(reply::json(200, &self.authority.jwks())),
            ("GET", "/.well-known/oauth-authorization-server") => Ok(reply::json(200, &self.authority.metadata())),
            ("POST", "/v1/login/challenge") => self.challenge(&call),
            ("POST", "/v1/login") => self.login(&call).await,
            ("POST", "/v1/login/oidc/start") => self.oidc_start(&call).await,
            ("POST", "/v1/login/oidc/finish") => self.oidc_finish(&call).await,
            ("POST", "/v1/login/oidc/device") => self.oidc_device(&call).await,
            ("POST", "/v1/login/oidc/device/poll") => self.oidc_device_poll(&call).await,
            ("POST", "/v1/token") => self.exchange(call).await,
            ("POST", "/v1/token/revoke") => self.revoke(call).await,
            ("POST", "/v1/token/introspect") => self.introspect(call).await,
            ("GET", "/v1/log") => self.log_list(&call).await,
            (method, path) if path.starts_with(log::PREFIX) => self.log(method, &call).await,
            (_, path) => Err(match ENDPOINTS.iter().find(|(_, known)| *known == path) {
                Some((allow, _)) => Trouble::method(allow),
                None => Trouble::no_such_path(),
            }),
        }
    }

    fn now(&self) -> UnixMs {
        self.authority.registry().clock().now()
    }

    /// The key that the caller proves to hold, if it proves one; a proof is used up. It need not be for one of the
    /// tokens in the body: it is for this endpoint, this minute and this once. It says more than the connection's
    /// certificate, which may be there for other reasons, and so comes before it.
    fn proven_key(&self, call: &PublicCall) -> Result<Option<Binding>, Trouble> {
        let Some(proof) = &call.dpop else { return Ok(call.certificate.map(Binding::Certificate)) };
        let now = self.now();
        let proof = Proof::verify(proof, &call.method, &call.url, None, now).map_err(|_| Trouble::proof())?;
        let Remembered { proofs, since, .. } = &*self.authority.remembered;
        if since.is_some_and(|since| proof.issued().seconds() <= since.seconds()) {
            return Err(Trouble::proof());
        }
        proofs.spend(proof.digest(), proof.expires(), now).map_err(|_| Trouble::proof())?;
        Ok(Some(Binding::Jkt(proof.jkt())))
    }
}

/// A control request in the name of whoever presents a token at an endpoint.
const fn control(id: RequestId, control: Control) -> Request {
    Request { id, door: Door::Http, tenant: None, purpose: None, operation: Operation::Control(control) }
}

fn peer(call: &PublicCall) -> Peer {
    let dpop = call.dpop.as_ref().map(|proof| Dpop {
        proof: proof.clone(),
        method: call.method.clone(),
        url: call.url.clone(),
    });
    Peer { address: call.address, certificate: call.certificate, dpop, ..Peer::default() }
}

/// The body of an endpoint that takes JSON only.
fn json_body(call: &PublicCall) -> Result<Fields<'_>, Trouble> {
    no_query(call)?;
    if !matches!(media(call), None | Some("application/json")) {
        return Err(Trouble::media());
    }
    Fields::parse(text(call, LOGIN_MAX_BYTES)?)
}

fn no_query(call: &PublicCall) -> Result<(), Trouble> {
    let has_one = call.query.as_deref().is_some_and(|query| !query.is_empty());
    if has_one { Err(Trouble::query()) } else { Ok(()) }
}

/// The media type without its parameters.
fn media(call: &PublicCall) -> Option<&str> {
    call.content_type.as_deref().map(|media| media.split(';').next().unwrap_or_default().trim())
}

fn text(call: &PublicCall, max_bytes: usize) -> Result<&str, Trouble> {
    if call.body.len() > max_bytes {
        return Err(Trouble::too_large(max_bytes));
    }
    std::str::from_utf8(&call.body).map_err(|_| Trouble::not_utf8())
}

#[cfg(test)]
mod tests;
