//! Token exchange (RFC 8693) and revocation (RFC 7009), each as a form or as JSON.

use countersign_model::control::{Control, Revoke};
use countersign_model::request::{Action, Narrowing};
use http::header::CONTENT_TYPE;

use super::fields::Fields;
use super::{Incoming, media};
use crate::Limits;
use crate::problem::Problem;
use crate::rest::lower::text;
use crate::rest::query::decode;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A token request, lowered.
#[derive(Debug)]
pub struct Exchange {
    /// The token that is presented in the body, if one is.
    pub token: Option<String>,
    /// What is asked.
    pub control: Control,
}

/// Members of a form or of a JSON object, as far as this module needs them.
enum Source<'a> {
    Form(Vec<(String, String)>),
    Json(Fields<'a>),
}

impl<'a> Source<'a> {
    fn read(incoming: Incoming<'a>, limits: &'a Limits) -> Result<Self, Problem> {
        match text(incoming.headers, &CONTENT_TYPE)?.map(media) {
            Some("application/x-www-form-urlencoded") => {
                let mut pairs: Vec<(String, String)> = Vec::new();
                for pair in incoming.body.split('&').filter(|pair| !pair.is_empty()) {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let key = decode(key)?.into_owned();
                    if pairs.len() >= limits.fields || pairs.iter().any(|(known, _)| *known == key) {
                        return Err(Problem::Repeated("of the form"));
                    }
                    pairs.push((key, decode(value)?.into_owned()));
                }
                Ok(Self::Form(pairs))
            }
            None if incoming.body.is_empty() => Ok(Self::Form(Vec::new())),
            None | Some("application/json") => Fields::parse(incoming.body, limits).map(Self::Json),
            Some(_) => Err(Problem::UnsupportedMedia),
        }
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        match self {
            Self::Json(fields) => fields.maybe_text(key),
            Self::Form(pairs) => {
                let at = pairs.iter().position(|(known, _)| known == key);
                Ok(at.map(|at| pairs.swap_remove(at).1))
            }
        }
    }

    fn seconds(&mut self, key: &'static str) -> Result<Option<u64>, Problem> {
        match self {
            Self::Json(fields) => fields.number(key),
            form @ Self::Form(_) => match form.text(key)? {
                None => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| Problem::TokenRequest("expires_in takes seconds")),
            },
        }
    }

    fn finish(self, known: &'static str) -> Result<(), Problem> {
        match self {
            Self::Json(fields) => fields.finish(known),
            Self::Form(pairs) if pairs.is_empty() => Ok(()),
            Self::Form(_) => Err(Problem::UnknownKey { line: 1, column: 1, known }),
        }
    }
}

/// Reads a token exchange.
///
/// Unknown parameters are refused, where RFC 6749 would have them passed over: a limit that was misspelt must not
/// give a token without it.
///
/// # Errors
/// [`Problem`] says what is wrong.
pub fn exchange(incoming: Incoming<'_>, limits: &Limits) -> Result<Exchange, Problem> {
    let mut source = Source::read(incoming, limits)?;
    match source.text("grant_type")?.as_deref() {
        Some(GRANT) => {}
        None => return Err(Problem::MissingKey("grant_type")),
        Some(_) => return Err(Problem::TokenRequest("the only grant type is token exchange (RFC 8693)")),
    }
    let token = source.text("subject_token")?;
    for key in ["subject_token_type", "requested_token_type"] {
        match source.text(key)?.as_deref() {
            None | Some(ACCESS_TOKEN | JWT) => {}
            Some(_) => return Err(Problem::TokenRequest("the only token type is access_token")),
        }
    }
    for key in ["actor_token", "actor_token_type", "scope", "resource", "audience"] {
        if source.text(key)?.is_some() {
            return Err(Problem::TokenRequest("actor_token, scope, resource and audience are not supported"));
        }
    }
    let lifetime_ms = source.seconds("expires_in")?.map(|seconds| seconds.saturating_mul(1000));
    let narrowing = match &mut source {
        Source::Json(fields) => narrowing(fields.maybe_objects("authorization_details")?)?,
        form @ Source::Form(_) => match form.text("authorization_details")? {
            None => Narrowing::default(),
            Some(json) => {
                // Whoever closes the list inside it and goes on has made a member that nobody knows.
                let wrapped = format!("{{\"authorization_details\":{json}}}");
                let mut fields = Fields::parse(&wrapped, limits)?;
                let details = fields.maybe_objects("authorization_details")?;
                fields.finish("authorization_details")?;
                narrowing(details)?
            }
        },
    };
    source.finish(
        "grant_type, subject_token, subject_token_type, requested_token_type, expires_in, authorization_details",
    )?;
    Ok(Exchange { token, control: Control::Narrow { narrowing, lifetime_ms } })
}

/// `authorization_details` (RFC 9396): at most one object, of type `countersign`.
fn narrowing(details: Option<Vec<Fields<'_>>>) -> Result<Narrowing, Problem> {
    let mut details = details.into_iter().flatten();
    let Some(mut fields) = details.next() else { return Ok(Narrowing::default()) };
    if details.next().is_some() {
        return Err(Problem::TokenRequest("authorization_details takes one object"));
    }
    if fields.text("type")? != "countersign" {
        return Err(Problem::TokenRequest("the only type of authorization_details is countersign"));
    }
    let actions = match fields.texts("actions")? {
        None => None,
        Some(words) => {
            let action = |word: &String| Action::ALL.into_iter().find(|action| action.as_str() == word);
            let known: Option<Vec<Action>> = words.iter().map(action).collect();
            Some(known.ok_or(Problem::TokenRequest("actions are read, create, update and delete"))?)
        }
    };
    let (types, named) = (fields.names("datatypes")?, fields.names("fields")?);
    let purpose = fields.maybe_text("purpose")?;
    fields.finish("type, actions, datatypes, fields, purpose")?;
    Ok(Narrowing { actions, types, fields: named, purpose })
}

/// Reads a revocation: of the token in the body or header, of its session, or of somebody else's.
///
/// # Errors
/// [`Problem`] says what is wrong.
pub fn revoke(incoming: Incoming<'_>, limits: &Limits) -> Result<Exchange, Problem> {
    let mut source = Source::read(incoming, limits)?;
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
                _ => return Err(Problem::TokenRequest("give one of token, session, token_id, session_id and user")),
            }
        }
    };
    source.finish("token, token_type_hint, session, token_id, session_id, user")?;
    Ok(Exchange { token, control })
}
