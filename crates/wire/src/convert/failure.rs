//! Why a call was not done: a closed set, there and back without loss.

use countersign_guard::{Invalid, Refusal};
use countersign_model::{Kind, Name};
use countersign_services::KmsFailure;
use countersign_token::TokenError;

use super::{Malformed, number, size};
use crate::failure::{CallRefused, Failed};
use crate::pb;
use crate::pb::failure::Kind as FailureKind;
use crate::pb::invalid::Kind as InvalidKind;

/// What can be too many. Anything else is not passed on.
pub(crate) const BOUNDED: [&str; 7] = [
    "columns",
    "levels in a filter",
    "comparisons in a filter",
    "characters in a pattern",
    "levels of embedding",
    "rows in one insert",
    "embedded rows in one answer",
];

pub(crate) fn failure_out(failed: &Failed) -> pb::Failure {
    let kind = match failed {
        Failed::Refused(refusal) => FailureKind::Refused(refusal_out(refusal)),
        Failed::Unavailable => FailureKind::Unavailable(true),
        Failed::Damaged => FailureKind::Damaged(true),
        Failed::Unknown => FailureKind::Unknown(true),
        Failed::Kms(KmsFailure::Unavailable) => FailureKind::Kms(pb::KmsFailure::Unavailable.into()),
        Failed::Kms(KmsFailure::Unknown) => FailureKind::Kms(pb::KmsFailure::Unknown.into()),
        Failed::Call(why) => FailureKind::Call(call_out(*why).into()),
    };
    pb::Failure { kind: Some(kind) }
}

/// What is not known is "unavailable": nothing is done on doubt.
pub(crate) fn failure_in(failure: pb::Failure) -> Failed {
    match failure.kind {
        Some(FailureKind::Refused(refusal)) => refusal_in(refusal).map_or(Failed::Unavailable, Failed::Refused),
        Some(FailureKind::Damaged(true)) => Failed::Damaged,
        Some(FailureKind::Unknown(true)) => Failed::Unknown,
        Some(FailureKind::Kms(why)) => match pb::KmsFailure::try_from(why) {
            Ok(pb::KmsFailure::Unavailable) => Failed::Kms(KmsFailure::Unavailable),
            Ok(pb::KmsFailure::Unknown) => Failed::Kms(KmsFailure::Unknown),
            Ok(pb::KmsFailure::Unspecified) | Err(_) => Failed::Unavailable,
        },
        Some(FailureKind::Call(why)) => call_in(why).map_or(Failed::Unavailable, Failed::Call),
        Some(FailureKind::Unavailable(_) | FailureKind::Damaged(false) | FailureKind::Unknown(false)) | None => {
            Failed::Unavailable
        }
    }
}

const fn call_out(why: CallRefused) -> pb::CallRefused {
    match why {
        CallRefused::Role => pb::CallRefused::Role,
        CallRefused::Removed => pb::CallRefused::Removed,
        CallRefused::Malformed => pb::CallRefused::Malformed,
        CallRefused::Old => pb::CallRefused::Old,
        CallRefused::Early => pb::CallRefused::Early,
        CallRefused::Replay => pb::CallRefused::Replay,
        CallRefused::Busy => pb::CallRefused::Busy,
        CallRefused::NotHere => pb::CallRefused::NotHere,
        CallRefused::Late => pb::CallRefused::Late,
    }
}

fn call_in(why: i32) -> Option<CallRefused> {
    Some(match pb::CallRefused::try_from(why).ok()? {
        pb::CallRefused::Unspecified => return None,
        pb::CallRefused::Role => CallRefused::Role,
        pb::CallRefused::Removed => CallRefused::Removed,
        pb::CallRefused::Malformed => CallRefused::Malformed,
        pb::CallRefused::Old => CallRefused::Old,
        pb::CallRefused::Early => CallRefused::Early,
        pb::CallRefused::Replay => CallRefused::Replay,
        pb::CallRefused::Busy => CallRefused::Busy,
        pb::CallRefused::NotHere => CallRefused::NotHere,
        pb::CallRefused::Late => CallRefused::Late,
    })
}

pub(crate) fn refusal_out(refusal: &Refusal) -> pb::Refusal {
    use pb::RefusalKind as Out;
    let (mut token, mut invalid) = (pb::TokenFault::Unspecified, None);
    let kind = match refusal {
        Refusal::NoToken => Out::NoToken,
        Refusal::Token(fault) => {
            token = token_out(*fault);
            Out::Token
        }
        Refusal::Revoked => Out::Revoked,
        Refusal::UnknownPrincipal => Out::UnknownPrincipal,
        Refusal::Forbidden => Out::Forbidden,
        Refusal::OtherTenant => Out::OtherTenant,
        Refusal::Invalid(what) => {
            invalid = Some(invalid_out(what));
            Out::Invalid
        }
        Refusal::Unbound => Out::Unbound,
        Refusal::Budget => Out::Budget,
        Refusal::Superseded => Out::Superseded,
        Refusal::Stale => Out::Stale,
        Refusal::PolicyFault => Out::PolicyFault,
        Refusal::AuditUnavailable => Out::AuditUnavailable,
    };
    pb::Refusal { kind: kind.into(), token: token.into(), invalid }
}

fn refusal_in(refusal: pb::Refusal) -> Result<Refusal, Malformed> {
    use pb::RefusalKind as In;
    Ok(match In::try_from(refusal.kind).map_err(|_| Malformed)? {
        In::Unspecified => return Err(Malformed),
        In::NoToken => Refusal::NoToken,
        In::Token => Refusal::Token(token_in(refusal.token)?),
        In::Revoked => Refusal::Revoked,
        In::UnknownPrincipal => Refusal::UnknownPrincipal,
        In::Forbidden => Refusal::Forbidden,
        In::OtherTenant => Refusal::OtherTenant,
        In::Invalid => Refusal::Invalid(invalid_in(refusal.invalid.ok_or(Malformed)?)?),
        In::Unbound => Refusal::Unbound,
        In::Budget => Refusal::Budget,
        In::Superseded => Refusal::Superseded,
        In::Stale => Refusal::Stale,
        In::PolicyFault => Refusal::PolicyFault,
        In::AuditUnavailable => Refusal::AuditUnavailable,
    })
}

const fn token_out(fault: TokenError) -> pb::TokenFault {
    match fault {
        TokenError::Malformed => pb::TokenFault::Malformed,
        TokenError::TooLarge => pb::TokenFault::TooLarge,
        TokenError::Header => pb::TokenFault::Header,
        TokenError::WrongType => pb::TokenFault::WrongType,
        TokenError::UnknownKey => pb::TokenFault::UnknownKey,
        TokenError::BadSignature => pb::TokenFault::BadSignature,
        TokenError::WrongIssuer => pb::TokenFault::WrongIssuer,
        TokenError::WrongAudience => pb::TokenFault::WrongAudience,
        TokenError::Expired => pb::TokenFault::Expired,
        TokenError::NotYetValid => pb::TokenFault::NotYetValid,
        TokenError::TooLong => pb::TokenFault::TooLong,
    }
}

fn token_in(fault: i32) -> Result<TokenError, Malformed> {
    Ok(match pb::TokenFault::try_from(fault).map_err(|_| Malformed)? {
        pb::TokenFault::Unspecified => return Err(Malformed),
        pb::TokenFault::Malformed => TokenError::Malformed,
        pb::TokenFault::TooLarge => TokenError::TooLarge,
        pb::TokenFault::Header => TokenError::Header,
        pb::TokenFault::WrongType => TokenError::WrongType,
        pb::TokenFault::UnknownKey => TokenError::UnknownKey,
        pb::TokenFault::BadSignature => TokenError::BadSignature,
        pb::TokenFault::WrongIssuer => TokenError::WrongIssuer,
        pb::TokenFault::WrongAudience => TokenError::WrongAudience,
        pb::TokenFault::Expired => TokenError::Expired,
        pb::TokenFault::NotYetValid => TokenError::NotYetValid,
        pb::TokenFault::TooLong => TokenError::TooLong,
    })
}

fn invalid_out(invalid: &Invalid) -> pb::Invalid {
    let field_kind_row = |field: &Name, kind: &str, row: Option<usize>| pb::FieldKindRow {
        field: field.as_str().to_owned(),
        kind: kind.to_owned(),
        row: row.map(number),
    };
    let kind = match invalid {
        Invalid::WrongKind { field, expected, row } => {
            InvalidKind::WrongKind(field_kind_row(field, expected.as_str(), *row))
        }
        Invalid::Required { field, row } => InvalidKind::Required(field_kind_row(field, "", *row)),
        Invalid::Comparison { field, kind } => InvalidKind::Comparison(field_kind_row(field, kind.as_str(), None)),
        Invalid::Is { field } => InvalidKind::IsTakes(field.as_str().to_owned()),
        Invalid::DuplicateLabel { label } => InvalidKind::DuplicateLabel(label.clone()),
        Invalid::DuplicateField { field } => InvalidKind::DuplicateField(field.as_str().to_owned()),
        Invalid::AmbiguousEmbed { target, candidates } => InvalidKind::AmbiguousEmbed(pb::AmbiguousEmbed {
            target: target.as_str().to_owned(),
            candidates: candidates.iter().map(|name| name.as_str().to_owned()).collect(),
        }),
        Invalid::NotUnique { field } => InvalidKind::NotUnique(field.as_str().to_owned()),
        Invalid::TooMany { what, max } => {
            InvalidKind::TooMany(pb::TooMany { what: (*what).to_owned(), max: number(*max) })
        }
        Invalid::Cursor => InvalidKind::Cursor(true),
    };
    pb::Invalid { kind: Some(kind) }
}

fn invalid_in(invalid: pb::Invalid) -> Result<Invalid, Malformed> {
    Ok(match invalid.kind.ok_or(Malformed)? {
        InvalidKind::WrongKind(at) => {
            Invalid::WrongKind { field: name(&at.field)?, expected: kind(&at.kind)?, row: row(at.row)? }
        }
        InvalidKind::Required(at) => Invalid::Required { field: name(&at.field)?, row: row(at.row)? },
        InvalidKind::Comparison(at) => Invalid::Comparison { field: name(&at.field)?, kind: kind(&at.kind)? },
        InvalidKind::IsTakes(field) => Invalid::Is { field: name(&field)? },
        InvalidKind::DuplicateLabel(label) => Invalid::DuplicateLabel { label },
        InvalidKind::DuplicateField(field) => Invalid::DuplicateField { field: name(&field)? },
        InvalidKind::AmbiguousEmbed(embed) => Invalid::AmbiguousEmbed {
            target: name(&embed.target)?,
            candidates: embed.candidates.iter().map(|candidate| name(candidate)).collect::<Result<_, _>>()?,
        },
        InvalidKind::NotUnique(field) => Invalid::NotUnique { field: name(&field)? },
        InvalidKind::TooMany(many) => {
            let what = BOUNDED.into_iter().find(|known| *known == many.what).ok_or(Malformed)?;
            Invalid::TooMany { what, max: size(many.max)? }
        }
        InvalidKind::Cursor(true) => Invalid::Cursor,
        InvalidKind::Cursor(false) => return Err(Malformed),
    })
}

fn name(text: &str) -> Result<Name, Malformed> {
    Name::new(text).map_err(|_| Malformed)
}

fn row(row: Option<u64>) -> Result<Option<usize>, Malformed> {
    row.map(size).transpose()
}

fn kind(word: &str) -> Result<Kind, Malformed> {
    const ALL: [Kind; 9] = [
        Kind::Text,
        Kind::Integer,
        Kind::Decimal,
        Kind::Boolean,
        Kind::Date,
        Kind::Timestamp,
        Kind::Uuid,
        Kind::Json,
        Kind::Bytes,
    ];
    ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(Malformed)
}
