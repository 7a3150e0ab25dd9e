use std::collections::BTreeSet;

use countersign_engine::Failure;
use countersign_guard::{Invalid, TokenError};
use countersign_model::Kind;

use super::*;

fn named(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// One of each, in the order of the table.
fn all() -> Vec<Problem> {
    let field = || named("total");
    let syntax = |part| Problem::Syntax { part, line: 1, column: 4, expected: "a field" };
    let control = |kind| Problem::Control { kind, message: "there is no user 'x'".into() };
    let mut all = vec![
        syntax(Part::Select),
        syntax(Part::Range),
        syntax(Part::Body),
        Problem::In { parameter: field(), problem: Box::new(Problem::Unsupported("full-text search")) },
        Problem::Unsupported("casts"),
        Problem::TooMany { what: "filters", max: 3 },
        Problem::TooDeep { max: 3, line: 1, column: 2 },
        Problem::Repeated("limit"),
        Problem::NotEmbedded,
        Problem::EmbedFilter,
        Problem::OrderByEmbed,
        Problem::NegativeLimit,
        Problem::EmptyRange,
        Problem::BeyondEnd { offset: 10, total: 3 },
        Problem::NotOne { none: true },
        Problem::NotOne { none: false },
        Problem::Preference("an unknown preference, under 'handling=strict'"),
        Problem::NotAcceptable,
        Problem::UnsupportedMedia,
        Problem::NotUtf8(Part::Query),
        Problem::NotUtf8(Part::Body),
        Problem::Nul { part: Part::Query, row: None },
        Problem::Nul { part: Part::Body, row: Some(1) },
        Problem::DuplicateKey { line: 2, column: 3 },
        Problem::UnknownKey { line: 2, column: 3, known: "name" },
        Problem::MissingKey("name"),
        Problem::WrongValue { key: "name", line: 1, column: 9, expected: "text" },
        Problem::UnevenKeys,
        Problem::NothingToDo,
        Problem::Cursor,
        Problem::NoSuchPath,
        Problem::Method { allow: "GET, HEAD" },
        Problem::UrlTooLong(10),
        Problem::HeadersTooLarge,
        Problem::BodyTooLarge(10),
        Problem::BodyBroken,
        Problem::TooSlow,
        Problem::TimedOut,
        control(ControlProblem::NotFound),
        control(ControlProblem::Exists),
        control(ControlProblem::Invalid),
        control(ControlProblem::Conflict),
        control(ControlProblem::Unavailable),
        Problem::Internal,
    ];
    let refusals = [
        Refusal::NoToken,
        Refusal::Token(TokenError::Malformed),
        Refusal::Token(TokenError::BadSignature),
        Refusal::Token(TokenError::Expired),
        Refusal::Token(TokenError::TooLong),
        Refusal::Revoked,
        Refusal::UnknownPrincipal,
        Refusal::Forbidden,
        Refusal::OtherTenant,
        Refusal::Unbound,
        Refusal::Budget,
        Refusal::Superseded,
        Refusal::Stale,
        Refusal::PolicyFault,
        Refusal::AuditUnavailable,
    ];
    let invalids = [
        Invalid::WrongKind { field: field(), expected: Kind::Decimal, row: Some(0) },
        Invalid::Required { field: field(), row: None },
        Invalid::Comparison { field: field(), kind: Kind::Json },
        Invalid::Is { field: field() },
        Invalid::DuplicateLabel { label: "a".into() },
        Invalid::DuplicateField { field: field() },
        Invalid::AmbiguousEmbed { target: field(), candidates: vec![field()] },
        Invalid::NotUnique { field: field() },
        Invalid::TooMany { what: "columns", max: 3 },
        Invalid::Cursor,
    ];
    let failures = [
        Failure::ScanLimit { record_type: named("invoice"), index: Some(field()), limit: 10 },
        Failure::ScanLimit { record_type: named("invoice"), index: None, limit: 10 },
        Failure::UniqueTaken { field: Some(field()) },
        Failure::UniqueTaken { field: None },
        Failure::MissingReference { field: field() },
        Failure::StillReferenced,
        Failure::TooManyAffected { max: 1, matched: 2 },
        Failure::SealLimit,
        Failure::Contention,
        Failure::KeyReused,
        Failure::UnderWay,
        Failure::Unknown,
        Failure::AuditUnavailable,
        Failure::Unavailable,
        Failure::Damaged,
    ];
    all.extend(refusals.into_iter().map(Problem::from));
    all.extend(invalids.into_iter().map(Refusal::from).map(Problem::from));
    all.extend(failures.into_iter().map(Problem::from));
    all
}

#[test]
fn the_table_is_the_reviewed_one() {
    let mut text = String::new();
    for problem in all() {
        let wire = problem.wire();
        let body = String::from_utf8(wire.body(false).to_vec()).unwrap();
        let header = match wire.challenge {
            Challenge::None => String::new(),
            Challenge::Bearer(value) => format!(" WWW-Authenticate: {value}"),
            Challenge::Allow(value) => format!(" Allow: {value}"),
            Challenge::Retry => " Retry-After: 1".to_owned(),
        };
        text.push_str(&format!("{}{header}\n    {body}\n", wire.status.as_u16()));
    }
    let reviewed = include_str!("reviewed.txt");
    if text != reviewed {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/problem/reviewed.txt.new");
        std::fs::write(&path, text).unwrap();
        panic!("the table differs from src/problem/reviewed.txt: compare it with {}", path.display());
    }
}

#[test]
fn the_clients_find_the_four_members_in_every_error() {
    for problem in all() {
        for oauth in [false, true] {
            let body: serde_json::Value = serde_json::from_slice(&problem.wire().body(oauth)).unwrap();
            let keys: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = BTreeSet::from(["code", "message", "details", "hint"]);
            if oauth {
                expected.extend(["error", "error_description"]);
            }
            assert_eq!(keys, expected);
        }
    }
}

/// INVARIANT hidden-is-absent
#[test]
fn forbidden_unknown_and_another_tenants_are_one_answer() {
    let forbidden = Problem::from(Refusal::Forbidden).wire();
    assert_eq!(forbidden, Problem::from(Refusal::OtherTenant).wire());
    assert_eq!(forbidden, Problem::from(Failure::Refused(Refusal::Forbidden)).wire());
    assert_eq!((forbidden.status.as_u16(), forbidden.code), (403, "42501"));
    assert_eq!((forbidden.details, forbidden.hint), (None, None));
}
