//! Answers, and the one table of what goes wrong. The words are the HTTP door's, so that its callers find one kind of
//! error everywhere.

use std::borrow::Cow;

use countersign_guard::{Refusal, TokenError};
use countersign_services::{LogFailure, PublicReply};
use serde::Serialize;
use serde_json::json;

use crate::error::{ControlFailure, LoginRefused};

pub(super) fn json(status: u16, document: &impl Serialize) -> PublicReply {
    let headers = [("content-type", "application/json; charset=utf-8"), ("cache-control", "no-store")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    match serde_json::to_vec(document) {
        Ok(body) => PublicReply { status, headers, body, epoch: 0 },
        Err(_) => PublicReply { status: 500, headers, body: b"{}".to_vec(), epoch: 0 },
    }
}

/// Why a request is not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble(Box<Told>);

/// What the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    status: u16,
    code: &'static str,
    message: Cow<'static, str>,
    hint: Option<String>,
    /// RFC 6749's word, or that of the specification that adds one.
    error: &'static str,
    header: Option<(&'static str, Cow<'static, str>)>,
}

const AUTHENTICATE: &str = "www-authenticate";
const NO_TOKEN: Cow<'static, str> = Cow::Borrowed(r#"Bearer realm="countersign""#);
const BAD_TOKEN: Cow<'static, str> = Cow::Borrowed(r#"Bearer realm="countersign", error="invalid_token""#);
const EXPIRED: Cow<'static, str> =
    Cow::Borrowed(r#"Bearer realm="countersign", error="invalid_token", error_description="the token expired""#);
/// RFC 9449, section 7.1, and RFC 8705, section 3: which of the two it is, only who looks into the token sees.
const UNBOUND: Cow<'static, str> = Cow::Borrowed(concat!(
    r#"DPoP realm="countersign", error="invalid_dpop_proof", algs="ES256 EdDSA", "#,
    r#"Bearer realm="countersign", error="invalid_token""#
));

impl Trouble {
    fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let error = match status {
            401 => "invalid_token",
            403 => "unauthorized_client",
            503 => "temporarily_unavailable",
            500.. => "server_error",
            _ => "invalid_request",
        };
        Self(Box::new(Told { status, code, message: message.into(), hint: None, error, header: None }))
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    fn error(mut self, error: &'static str) -> Self {
        self.0.error = error;
        self
    }

    fn header(mut self, name: &'static str, value: Cow<'static, str>) -> Self {
        self.0.header = Some((name, value));
        self
    }

    fn retry(self) -> Self {
        self.header("retry-after", Cow::Borrowed("1"))
    }

    /// This process may not act as the authority at this moment.
    pub(super) fn not_held() -> Self {
        Self::new(503, "57P03", "the database does not answer the authority, or another process is it now").retry()
    }

    pub(super) fn query() -> Self {
        Self::new(400, "PGRST100", "in the query string at line 1, column 1: expected nothing")
    }

    pub(super) fn media() -> Self {
        Self::new(415, "PGRST107", "the body's media type is not supported")
            .hint("send application/json or, to the token endpoints, application/x-www-form-urlencoded in UTF-8")
    }

    pub(super) fn too_large(max_bytes: usize) -> Self {
        Self::new(413, "54000", format!("the body is larger than {max_bytes} bytes"))
    }

    pub(super) fn not_utf8() -> Self {
        Self::new(400, "PGRST102", "the body is not UTF-8")
    }

    pub(super) fn nul() -> Self {
        Self::new(400, "PGRST102", "the body has a NUL character")
    }

    pub(super) fn syntax(line: usize, column: usize) -> Self {
        let message =
            format!("in the body at line {line}, column {column}: expected JSON: an object or a list of objects");
        Self::new(400, "PGRST102", message)
    }

    pub(super) fn repeated_key(line: usize, column: usize) -> Self {
        Self::new(400, "PGRST102", format!("a key is given twice, at line {line}, column {column}"))
    }

    pub(super) fn unknown_key(line: usize, column: usize, known: &str) -> Self {
        Self::new(400, "PGRST102", format!("an unknown key at line {line}, column {column}"))
            .hint(format!("known keys: {known}"))
    }

    pub(super) fn missing_key(key: &str) -> Self {
        Self::new(400, "PGRST102", format!("key '{key}' is missing"))
    }

    pub(super) fn wrong_value(key: &str, line: usize, column: usize, expected: &str) -> Self {
        let message = format!("key '{key}' at line {line}, column {column}: expected {expected}");
        Self::new(400, "PGRST102", message)
    }

    pub(super) fn too_many_keys(max: usize) -> Self {
        Self::new(400, "54000", format!("more than {max} fields in one record"))
    }

    pub(super) fn repeated_parameter() -> Self {
        Self::new(400, "PGRST100", "parameter 'of the form' is given twice")
    }

    pub(super) fn request(message: &'static str) -> Self {
        Self::new(400, "PGRST102", message)
    }

    pub(super) fn too_many_witnesses() -> Self {
        Self::new(429, "53400", "the log takes cosignatures of no more witnesses")
    }

    pub(super) fn grant_type() -> Self {
        Self::request("the only grant type is token exchange (RFC 8693)").error("unsupported_grant_type")
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "PGRST125", "there is nothing at that path")
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let allow = if allow == "GET" { "GET, HEAD" } else { allow };
        Self::new(405, "PGRST117", "that method does nothing at that path").header("allow", Cow::Borrowed(allow))
    }

    /// RFC 9449, section 5.
    pub(super) fn proof() -> Self {
        Self::new(400, "28000", "the DPoP proof is not good for this request").error("invalid_dpop_proof")
    }

    /// RFC 8628, section 3.5.
    pub(super) fn device(error: &'static str, message: String) -> Self {
        Self::new(400, "55000", message).error(error)
    }

    pub(super) fn internal() -> Self {
        Self::new(500, "XX000", "internal error")
    }

    pub(super) fn reply(self, with_oauth: bool) -> PublicReply {
        let Told { status, code, message, hint, error, header } = *self.0;
        let mut document = json!({ "code": code, "details": null, "hint": hint, "message": message });
        if let (true, Some(members)) = (with_oauth, document.as_object_mut()) {
            members.insert("error".to_owned(), error.into());
            members.insert("error_description".to_owned(), message.into());
        }
        let mut reply = json(status, &document);
        reply.headers.extend(header.map(|(name, value)| (name.to_owned(), value.into_owned())));
        reply
    }
}

impl From<LogFailure> for Trouble {
    fn from(failure: LogFailure) -> Self {
        let text = failure.to_string();
        match failure {
            LogFailure::NotFound => Self::no_such_path(),
            LogFailure::Unavailable => Self::new(503, "57P03", text).retry(),
            LogFailure::Seen { .. } | LogFailure::Contradicts { .. } => Self::new(409, "55000", text),
            LogFailure::NotTaken => {
                Self::new(400, "22023", "the cosignature is not one of that witness for that checkpoint")
            }
        }
    }
}

impl From<LoginRefused> for Trouble {
    fn from(refused: LoginRefused) -> Self {
        match refused {
            LoginRefused::Refused => {
                Self::new(401, "28000", "login refused").error("invalid_grant").header(AUTHENTICATE, NO_TOKEN)
            }
            LoginRefused::Lifetime => Self::request("a token lives from 1 second to 12 hours"),
            LoginRefused::Unavailable => Self::new(503, "57P03", refused.to_string()).retry(),
        }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoToken => Self::new(401, "PGRST302", text).header(AUTHENTICATE, NO_TOKEN),
            Refusal::Token(TokenError::Expired) => {
                Self::new(401, "PGRST303", "JWT expired").header(AUTHENTICATE, EXPIRED)
            }
            Refusal::Token(
                TokenError::NotYetValid | TokenError::TooLong | TokenError::WrongIssuer | TokenError::WrongAudience,
            )
            | Refusal::Revoked
            | Refusal::UnknownPrincipal => Self::new(401, "PGRST303", text).header(AUTHENTICATE, BAD_TOKEN),
            Refusal::Token(_) => Self::new(401, "PGRST301", text).header(AUTHENTICATE, BAD_TOKEN),
            Refusal::Unbound => Self::new(401, "PGRST303", text).header(AUTHENTICATE, UNBOUND),
            Refusal::Forbidden | Refusal::OtherTenant => Self::new(403, "42501", "permission denied"),
            Refusal::Invalid(_) => Self::new(400, "42601", text),
            Refusal::Budget => Self::new(429, "53400", text),
            Refusal::Superseded => Self::new(503, "40001", text).retry(),
            Refusal::Stale => Self::new(503, "57P03", text).retry(),
            Refusal::AuditUnavailable => Self::new(503, "58030", text).retry(),
            Refusal::PolicyFault => Self::new(500, "XX000", text),
        }
    }
}

impl From<ControlFailure> for Trouble {
    fn from(failure: ControlFailure) -> Self {
        let text = failure.to_string();
        match failure {
            ControlFailure::Refused(refusal) => refusal.into(),
            ControlFailure::NotFound { .. } => Self::new(404, "42704", text),
            ControlFailure::Exists { .. } => Self::new(409, "42710", text),
            ControlFailure::Losses(_)
            | ControlFailure::PoliciesInForce(_)
            | ControlFailure::LastPerson
            | ControlFailure::TooManyRevocations => Self::new(409, "2BP01", text),
            ControlFailure::NotControl => Self::internal(),
            ControlFailure::Unavailable(_) | ControlFailure::NoMonitor => Self::new(503, "57P03", text).retry(),
            _ => Self::new(400, "42601", text),
        }
    }
}
