//! Token exchange (RFC 8693), revocation (RFC 7009) and introspection (RFC 7662), each as a form or as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_guard::{Bearer, Permit, Refusal};
use countersign_model::control::{Control, Revoke};
use countersign_model::request::{Action, Narrowing};
use countersign_services::{PublicCall, PublicReply};
use countersign_token::{Binding, Introspection, Presented};
use serde_json::json;

use super::fields::{Fields, Source};
use super::reply::{self, Trouble};
use super::{BODY_MAX_BYTES, Public, control, media, no_query, peer, text};
use crate::error::ControlFailure;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A token exchange, read.
struct Exchange {
    subject: Option<String>,
    actor: Option<String>,
    /// The key that the new token shall be bound to, which its future holder has.
    holder: Option<Binding>,
    control: Control,
}

/// A revocation, read.
struct Revocation {
    token: Option<String>,
    control: Control,
}

impl Public {
    /// A token from a token, or from two: the subject's and that of who acts for it.
    pub(super) async fn exchange(&self, mut call: PublicCall) -> Result<PublicReply, Trouble> {
        let Exchange { subject, actor, holder, control: asked } = read_exchange(source(&call)?)?;
        let header = call.bearer.take();
        let (subject, actor) = match actor {
            None => (one_token(header, subject)?, None),
            Some(actor) => {
                let subject = subject.ok_or_else(|| Trouble::missing_key("subject_token"))?;
                if header.is_some_and(|header| ![&*subject, &*actor].contains(&header.as_str())) {
                    return Err(OTHER_TOKEN());
                }
                (Some(Bearer::new(subject)), Some(Bearer::new(actor)))
            }
        };
        let proven = self.proven_key(&call)?;
        let subject = self.guard.admit_proved(subject, proven, control(call.request, asked.clone())).await?;
        let actor = match actor {
            None => None,
            Some(actor) => Some(self.admit_actor(&call, actor, proven, asked, &subject).await?),
        };
        let binding = if actor.is_some() { proven } else { holder.or(proven) };
        Ok(reply::json(200, &self.authority.exchange(subject, actor, binding).await?))
    }

    /// The actor passes the guard with the same request as the subject, so that each is refused for itself.
    async fn admit_actor(
        &self,
        call: &PublicCall,
        actor: Bearer,
        proven: Option<Binding>,
        asked: Control,
        subject: &Permit,
    ) -> Result<Permit, Trouble> {
        let request = control(call.request, asked);
        let request =
            countersign_model::Request { tenant: Some(subject.principal().tenant_name.to_string()), ..request };
        Ok(self.guard.admit_proved(Some(actor), proven, request).await?)
    }

    /// Revokes the token in the body or header, its session, or somebody else's.
    pub(super) async fn revoke(&self, mut call: PublicCall) -> Result<PublicReply, Trouble> {
        let Revocation { token, control: asked } = read_revocation(source(&call)?)?;
        let bearer = one_token(call.bearer.take(), token)?;
        match self.guard.admit(bearer, &peer(&call), control(call.request, asked)).await {
            // A token that is no good is as good as revoked (RFC 7009, section 2.2).
            Err(Refusal::Token(_) | Refusal::Revoked) => Ok(reply::json(200, &json!({}))),
            Err(refusal) => Err(refusal.into()),
            Ok(permit) => match self.authority.execute(permit).await {
                Err(ControlFailure::Refused(Refusal::Token(_) | Refusal::Revoked)) => Ok(reply::json(200, &json!({}))),
                outcome => Ok(reply::json(200, &outcome?)),
            },
        }
    }

    /// What the token in the body is worth. The caller's own token is in the header. Who may not ask is told what is
    /// said of a token that is no good.
    pub(super) async fn introspect(&self, mut call: PublicCall) -> Result<PublicReply, Trouble> {
        let mut source = source(&call)?;
        let token = source.text("token")?.ok_or_else(|| Trouble::missing_key("token"))?;
        // A hint is a hint.
        source.text("token_type_hint")?;
        source.finish("token, token_type_hint")?;
        let token = Presented::new(token);
        let bearer = call.bearer.take();
        let said = match self.guard.admit(bearer, &peer(&call), control(call.request, Control::Introspect)).await {
            Err(Refusal::Forbidden | Refusal::OtherTenant) => Introspection::INACTIVE,
            permit => self.authority.introspect(permit?, &token).await?,
        };
        Ok(reply::json(200, &said))
    }
}

const OTHER_TOKEN: fn() -> Trouble =
    || Trouble::request("the token in the body is not the one in the Authorization header");

fn source(call: &PublicCall) -> Result<Source<'_>, Trouble> {
    no_query(call)?;
    Source::read(media(call), text(call, BODY_MAX_BYTES)?)
}

/// A token may come in the header or in the body, or be the same in both.
fn one_token(header: Option<Bearer>, body: Option<String>) -> Result<Option<Bearer>, Trouble> {
    match (header, body) {
        (header, None) => Ok(header),
        (None, Some(token)) => Ok(Some(Bearer::new(token))),
        (Some(header), Some(token)) if header.as_str() == token => Ok(Some(header)),
        _ => Err(OTHER_TOKEN()),
    }
}

/// Unknown parameters are refused, where RFC 6749 would have them passed over: a limit that was misspelt must not give
/// a token without it.
fn read_exchange(mut source: Source<'_>) -> Result<Exchange, Trouble> {
    match source.text("grant_type")?.as_deref() {
        Some(GRANT) => {}
        None => return Err(Trouble::missing_key("grant_type")),
        Some(_) => return Err(Trouble::grant_type()),
    }
    let (subject, actor) = (source.text("subject_token")?, source.text("actor_token")?);
    for key in ["subject_token_type", "requested_token_type", "actor_token_type"] {
        match source.text(key)?.as_deref() {
            None => {}
            // RFC 8693, section 2.1: there is no type of nothing.
            Some(_) if key == "actor_token_type" && actor.is_none() => {
                return Err(Trouble::request("actor_token_type goes with actor_token"));
            }
            Some(ACCESS_TOKEN | JWT) => {}
            Some(_) => return Err(Trouble::request("the only token type is access_token")),
        }
    }
    for key in ["scope", "resource", "audience"] {
        if source.text(key)?.is_some() {
            return Err(Trouble::request("scope, resource and audience are not supported"));
        }
    }
    let holder = match (source.text("dpop_jkt")?, source.text("x5t#S256")?) {
        (None, None) => None,
        (Some(key), None) => Some(Binding::Jkt(thumbprint(&key)?)),
        (None, Some(certificate)) => Some(Binding::Certificate(thumbprint(&certificate)?)),
        (Some(_), Some(_)) => return Err(Trouble::request("a token is bound to one key: dpop_jkt or x5t#S256")),
    };
    if holder.is_some() && actor.is_some() {
        return Err(Trouble::request("a token for an actor is bound to the key that the request itself proves"));
    }
    let lifetime_ms = source.seconds("expires_in")?.map(|seconds| seconds.saturating_mul(1000));
    let narrowing = match &mut source {
        Source::Json(fields) => narrowing(fields.maybe_objects("authorization_details")?)?,
        form @ Source::Form(_) => match form.text("authorization_details")? {
            None => Narrowing::default(),
            Some(json) => {
                // Whoever closes the list inside it and goes on has made a member that nobody knows.
                let wrapped = format!("{{\"authorization_details\":{json}}}");
                let mut fields = Fields::parse(&wrapped)?;
                let details = fields.maybe_objects("authorization_details")?;
                fields.finish("authorization_details")?;
                narrowing(details)?
            }
        },
    };
    source.finish(
        "grant_type, subject_token, subject_token_type, actor_token, actor_token_type, requested_token_type, expires_in, \
         authorization_details, dpop_jkt, x5t#S256",
    )?;
    Ok(Exchange { subject, actor, holder, control: Control::Narrow { narrowing, lifetime_ms } })
}

/// The RFC 7638 thumbprint of a key, as `dpop_jkt` has it (RFC 9449, section 10), or that of a certificate, as the
/// confirmation method `x5t#S256` has it (RFC 8705, section 3.1).
fn thumbprint(text: &str) -> Result<[u8; 32], Trouble> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Trouble::request("dpop_jkt and x5t#S256 take a SHA-256 thumbprint, in base64url"))
}

/// `authorization_details` (RFC 9396): at most one object, of type `countersign`.
fn narrowing(details: Option<Vec<Fields<'_>>>) -> Result<Narrowing, Trouble> {
    let mut details = details.into_iter().flatten();
    let Some(mut fields) = details.next() else { return Ok(Narrowing::default()) };
    if details.next().is_some() {
        return Err(Trouble::request("authorization_details takes one object"));
    }
    if fields.text("type")? != "countersign" {
        return Err(Trouble::request("the only type of authorization_details is countersign"));
    }
    let actions = match fields.texts("actions")? {
        None => None,
        Some(words) => {
            let action = |word: &String| Action::ALL.into_iter().find(|action| action.as_str() == word);
            let known: Option<Vec<Action>> = words.iter().map(action).collect();
            Some(known.ok_or_else(|| Trouble::request("actions are read, create, update and delete"))?)
        }
    };
    let (types, named) = (fields.names("datatypes")?, fields.names("fields")?);
    let purpose = fields.maybe_text("purpose")?;
    fields.finish("type, actions, datatypes, fields, purpose")?;
    Ok(Narrowing { actions, types, fields: named, purpose })
}

fn read_revocation(mut source: Source<'_>) -> Result<Revocation, Trouble> {
    let token = source.text("token")?;
    // A hint is a hint (RFC 7009, section 2.1).
    source.text("token_type_hint")?;
    let control = match &mut source {
        Source::Form(_) => Control::RevokeOwn { session: false },
        Source::Json(fields) => {
            let session = fields.flag("session")?;
            let others = [
                fields.parsed("token_id", "a token's id, a UUID")?.map(Revoke::Token),
                fields.parsed("session_id", "a session's id, a UUID")?.map(Revoke::Session),
                fields.maybe_name("user")?.map(Revoke::Person),
            ];
            let mut others = others.into_iter().flatten();
            match (others.next(), others.next(), session, &token) {
                (None, ..) => Control::RevokeOwn { session: session.unwrap_or(false) },
                (Some(revoke), None, None, None) => Control::Revoke(revoke),
                _ => return Err(Trouble::request("give one of token, session, token_id, session_id and user")),
            }
        }
    };
    source.finish("token, token_type_hint, session, token_id, session_id, user")?;
    Ok(Revocation { token, control })
}

#[cfg(test)]
mod tests;
