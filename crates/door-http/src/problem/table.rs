//! The table. Every [`Problem`] has one line here, and nothing else writes an error's status or code.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use countersign_engine::Failure;
use countersign_guard::{Invalid, Refusal, TokenError};

use http::StatusCode;

use super::{ControlProblem, Part, Problem};
use crate::rest::render::json_string;

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The status.
    pub status: StatusCode,
    /// The code.
    pub code: &'static str,
    /// What is wrong.
    pub message: Cow<'static, str>,
    /// More about it.
    pub details: Option<String>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
    /// What the status obliges to say besides.
    pub challenge: Challenge,
    /// RFC 6749's word for it, for the token routes.
    pub oauth: &'static str,
}

/// Header fields that go with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// None.
    None,
    /// `WWW-Authenticate` (RFC 6750).
    Bearer(&'static str),
    /// `Allow`.
    Allow(&'static str),
    /// `Retry-After: 1`.
    Retry,
}

const NO_TOKEN: Challenge = Challenge::Bearer(r#"Bearer realm="countersign""#);
const BAD_TOKEN: Challenge = Challenge::Bearer(r#"Bearer realm="countersign", error="invalid_token""#);
/// RFC 9449, section 7.1, and RFC 8705, section 3: which of the two it is, only who looks into the token sees.
const UNBOUND: Challenge = Challenge::Bearer(concat!(
    r#"DPoP realm="countersign", error="invalid_dpop_proof", algs="ES256 EdDSA", "#,
    r#"Bearer realm="countersign", error="invalid_token""#
));
const EXPIRED: Challenge =
    Challenge::Bearer(r#"Bearer realm="countersign", error="invalid_token", error_description="the token expired""#);

impl Problem {
    /// What the caller is told.
    #[must_use]
    pub fn wire(&self) -> Wire {
        use StatusCode as S;
        let text = || Cow::Owned(self.to_string());
        match self {
            Self::Syntax { part: Part::Range, .. } => wire(S::RANGE_NOT_SATISFIABLE, "PGRST103", text()),
            Self::Syntax { part: Part::Body, .. } => wire(S::BAD_REQUEST, "PGRST102", text()),
            Self::Syntax { .. } | Self::Unsupported(_) | Self::Repeated(_) => wire(S::BAD_REQUEST, "PGRST100", text()),
            Self::In { problem, .. } => Wire { message: text(), ..problem.wire() },
            Self::TooMany { .. } => wire(S::BAD_REQUEST, "54000", text()),
            Self::TooDeep { .. } => wire(S::BAD_REQUEST, "54000", text()),
            Self::NotEmbedded => wire(S::BAD_REQUEST, "PGRST108", text()),
            Self::EmbedFilter => wire(S::BAD_REQUEST, "PGRST120", text()),
            Self::OrderByEmbed => wire(S::BAD_REQUEST, "PGRST118", text()),
            Self::NegativeLimit | Self::EmptyRange => {
                wire(S::RANGE_NOT_SATISFIABLE, "PGRST103", UNSATISFIABLE).details(self.to_string())
            }
            Self::BeyondEnd { offset, total } => wire(S::RANGE_NOT_SATISFIABLE, "PGRST103", UNSATISFIABLE)
                .details(format!("An offset of {offset} was requested, but there are only {total} rows.")),
            Self::NotOne { none } => {
                wire(S::NOT_ACCEPTABLE, "PGRST116", "Cannot coerce the result to a single JSON object")
                    .details(if *none { "The result contains 0 rows" } else { "The result contains more than 1 row" })
            }
            Self::Preference(_) => wire(S::BAD_REQUEST, "PGRST122", text()),
            Self::NotAcceptable => wire(S::NOT_ACCEPTABLE, "PGRST107", text())
                .hint("application/json, application/vnd.pgrst.object+json and text/csv are available"),
            Self::UnsupportedMedia => {
                wire(S::UNSUPPORTED_MEDIA_TYPE, "PGRST107", text()).hint("send application/json or text/csv in UTF-8")
            }
            Self::NotUtf8(Part::Body) => wire(S::BAD_REQUEST, "PGRST102", text()),
            Self::NotUtf8(_) => wire(S::BAD_REQUEST, "PGRST100", text()),
            Self::Nul { part: Part::Body, row } => wire(S::BAD_REQUEST, "PGRST102", text()).row(*row),
            Self::Nul { .. } => wire(S::BAD_REQUEST, "PGRST100", text()),
            Self::UnknownKey { known, .. } => {
                wire(S::BAD_REQUEST, "PGRST102", text()).hint(format!("known keys: {known}"))
            }
            Self::DuplicateKey { .. }
            | Self::MissingKey(_)
            | Self::WrongValue { .. }
            | Self::UnevenKeys
            | Self::NothingToDo
            | Self::BodyBroken => wire(S::BAD_REQUEST, "PGRST102", text()),
            Self::Cursor => wire(S::BAD_REQUEST, "34000", text()).hint("begin again without 'cursor'"),
            Self::NoSuchPath => wire(S::NOT_FOUND, "PGRST125", text()),
            Self::Method { allow } => wire(S::METHOD_NOT_ALLOWED, "PGRST117", text()).with(Challenge::Allow(allow)),
            Self::UrlTooLong(_) => wire(S::URI_TOO_LONG, "54000", text()),
            Self::HeadersTooLarge => wire(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "54000", text()),
            Self::BodyTooLarge(_) => wire(S::PAYLOAD_TOO_LARGE, "54000", text()),
            Self::TooSlow => wire(S::REQUEST_TIMEOUT, "57014", text()),
            Self::TimedOut => wire(S::GATEWAY_TIMEOUT, "57014", text()),
            Self::Refused(refusal) => refused(refusal),
            Self::Failed(failure) => failed(failure),
            Self::Control { kind, .. } => control(*kind, text()),
            Self::Internal => wire(S::INTERNAL_SERVER_ERROR, "XX000", text()),
        }
    }
}

const UNSATISFIABLE: &str = "Requested range not satisfiable";

fn refused(refusal: &Refusal) -> Wire {
    use StatusCode as S;
    match refusal {
        Refusal::NoToken => wire(S::UNAUTHORIZED, "PGRST302", "a token is required").with(NO_TOKEN),
        Refusal::Token(TokenError::Expired) => wire(S::UNAUTHORIZED, "PGRST303", "JWT expired").with(EXPIRED),
        Refusal::Token(
            TokenError::NotYetValid | TokenError::TooLong | TokenError::WrongIssuer | TokenError::WrongAudience,
        ) => wire(S::UNAUTHORIZED, "PGRST303", refusal.to_string()).with(BAD_TOKEN),
        Refusal::Token(_) => wire(S::UNAUTHORIZED, "PGRST301", refusal.to_string()).with(BAD_TOKEN),
        Refusal::Revoked | Refusal::UnknownPrincipal => {
            wire(S::UNAUTHORIZED, "PGRST303", refusal.to_string()).with(BAD_TOKEN)
        }
        // INVARIANT hidden-is-absent: unknown, forbidden and another tenant's are one answer, byte for byte.
        Refusal::Forbidden | Refusal::OtherTenant => wire(S::FORBIDDEN, "42501", "permission denied"),
        Refusal::Invalid(invalid) => self::invalid(invalid),
        Refusal::Unbound => wire(S::UNAUTHORIZED, "PGRST303", refusal.to_string()).with(UNBOUND),
        Refusal::Budget => wire(S::TOO_MANY_REQUESTS, "53400", refusal.to_string()),
        Refusal::Superseded => wire(S::SERVICE_UNAVAILABLE, "40001", refusal.to_string()).with(Challenge::Retry),
        Refusal::Stale => wire(S::SERVICE_UNAVAILABLE, "57P03", refusal.to_string()).with(Challenge::Retry),
        Refusal::PolicyFault => wire(S::INTERNAL_SERVER_ERROR, "XX000", refusal.to_string()),
        Refusal::AuditUnavailable => wire(S::SERVICE_UNAVAILABLE, "58030", refusal.to_string()).with(Challenge::Retry),
    }
}

fn invalid(invalid: &Invalid) -> Wire {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let text = invalid.to_string();
    match invalid {
        Invalid::WrongKind { row, .. } => wire(BAD, "22P02", text).row(*row),
        Invalid::Required { row, .. } => wire(BAD, "23502", text).row(*row),
        Invalid::Comparison { .. } => wire(BAD, "42804", text),
        Invalid::Is { .. } => wire(BAD, "22P02", text),
        Invalid::DuplicateLabel { .. } => wire(BAD, "42701", text).hint("give one of them another alias"),
        Invalid::DuplicateField { .. } => wire(BAD, "42701", text),
        Invalid::AmbiguousEmbed { .. } => {
            wire(StatusCode::MULTIPLE_CHOICES, "PGRST201", text).hint("write type!reference_field(…)")
        }
        Invalid::NotUnique { .. } => wire(BAD, "42P10", text),
        Invalid::TooMany { .. } => wire(BAD, "54000", text),
        Invalid::Cursor => Problem::Cursor.wire(),
    }
}

fn failed(failure: &Failure) -> Wire {
    use StatusCode as S;
    let text = failure.to_string();
    match failure {
        Failure::Refused(refusal) => refused(refusal),
        Failure::ScanLimit { index, .. } => wire(S::BAD_REQUEST, "53400", text).hint(match index {
            Some(field) => format!("declare index = \"exact\" for field '{field}', or filter by an indexed field"),
            None => "filter by an indexed field".to_owned(),
        }),
        Failure::UniqueTaken { field } => wire(S::CONFLICT, "23505", "duplicate key value violates unique constraint")
            .details_if(field.as_ref().map(|field| format!("Another record has that value in field '{field}'."))),
        Failure::MissingReference { .. } | Failure::StillReferenced => wire(S::CONFLICT, "23503", text),
        Failure::TooManyAffected { matched, .. } => {
            wire(S::BAD_REQUEST, "PGRST124", "Query result exceeds max-affected preference constraint")
                .details(format!("The query affects {matched} rows"))
        }
        Failure::SealLimit => wire(S::PAYLOAD_TOO_LARGE, "54000", text).hint("send it in parts"),
        Failure::Contention => wire(S::CONFLICT, "40001", text).hint("try again"),
        Failure::KeyReused => wire(S::UNPROCESSABLE_ENTITY, "22023", text).hint("send another request under another key"),
        Failure::UnderWay => wire(S::CONFLICT, "55006", text).with(Challenge::Retry).hint("ask again"),
        // No `Retry-After`: to send it again blindly may do it twice.
        Failure::Unknown => wire(S::SERVICE_UNAVAILABLE, "08007", text).hint(
            "with an Idempotency-Key, send the same request under the same key again: it is made once; without one, look \
             whether it was made before sending it again",
        ),
        Failure::AuditUnavailable => wire(S::SERVICE_UNAVAILABLE, "58030", text).with(Challenge::Retry),
        Failure::Unavailable | Failure::Kms(_) => wire(S::SERVICE_UNAVAILABLE, "57P03", text).with(Challenge::Retry),
        Failure::Damaged => wire(S::INTERNAL_SERVER_ERROR, "XX001", text),
    }
}

fn control(kind: ControlProblem, message: Cow<'static, str>) -> Wire {
    use StatusCode as S;
    match kind {
        ControlProblem::NotFound => wire(S::NOT_FOUND, "42704", message),
        ControlProblem::Exists => wire(S::CONFLICT, "42710", message),
        ControlProblem::Invalid => wire(S::BAD_REQUEST, "42601", message),
        ControlProblem::Conflict => wire(S::CONFLICT, "2BP01", message),
        ControlProblem::Unavailable => wire(S::SERVICE_UNAVAILABLE, "57P03", message).with(Challenge::Retry),
    }
}

fn wire(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Wire {
    let oauth = match status {
        StatusCode::UNAUTHORIZED => "invalid_token",
        StatusCode::FORBIDDEN => "unauthorized_client",
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    };
    Wire { status, code, message: message.into(), details: None, hint: None, challenge: Challenge::None, oauth }
}

impl Wire {
    fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    fn details_if(mut self, details: Option<String>) -> Self {
        self.details = details;
        self
    }

    /// Rows are counted from 1 here, as lines are.
    fn row(mut self, row: Option<usize>) -> Self {
        self.details = row.map(|row| format!("in record {} of the body", row.saturating_add(1)));
        self
    }

    fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    const fn with(mut self, challenge: Challenge) -> Self {
        self.challenge = challenge;
        self
    }

    /// The body. On the token routes it also has the members that RFC 6749, section 5.2, names.
    #[must_use]
    pub fn body(&self, oauth: bool) -> BytesMut {
        let mut out = BytesMut::with_capacity(160);
        let optional = |out: &mut BytesMut, key: &str, value: Option<&str>| {
            out.put_slice(key.as_bytes());
            match value {
                Some(value) => json_string(out, value),
                None => out.put_slice(b"null"),
            }
        };
        optional(&mut out, "{\"code\":", Some(self.code));
        optional(&mut out, ",\"details\":", self.details.as_deref());
        optional(&mut out, ",\"hint\":", self.hint.as_deref());
        optional(&mut out, ",\"message\":", Some(&self.message));
        if oauth {
            optional(&mut out, ",\"error\":", Some(self.oauth));
            optional(&mut out, ",\"error_description\":", Some(&self.message));
        }
        out.put_u8(b'}');
        out
    }
}
