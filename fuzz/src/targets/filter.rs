//! PROPERTY: a filter that is written the way PostgREST documents is read as exactly that filter, whatever its
//! literals are; and any other text is either refused or read the same way twice.

use countersign_door_http::Limits;
use countersign_door_http::rest::query;
use countersign_model::request::{Filter, Literal, Operator};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::signature;
use crate::structured::Bytes;

/// Pieces of filters.
pub const WORDS: &[&str] = &[
    "and=(",
    "or=(",
    "not.",
    "not.and=(",
    "id=eq.",
    "neq.",
    "in.(",
    "like.",
    "ilike(any).{",
    "is.null",
    "isdistinct.",
    "\"",
    "\\\"",
    "%2C",
    "%00",
    "%ff",
    "),",
    "a.b.c=",
    "gte(all).{",
    "fts.",
    "->>",
    "::text",
    "is.not_null",
];

/// Runs the target: `@` and bytes to build a filter of, or a query string as it is.
pub fn run(data: &[u8]) -> u64 {
    match data {
        [b'@', rest @ ..] => built(&mut Bytes::new(rest)),
        _ => std::str::from_utf8(data).map_or(0, raw),
    }
}

fn raw(text: &str) -> u64 {
    let first = query::parse(text, &Limits::default());
    assert_eq!(first, query::parse(text, &Limits::default()), "the same text read twice");
    match first {
        Ok(parameters) => signature::of(&format!("{:?}", shape(&parameters.filter, 3))),
        Err(problem) => signature::of(&problem.to_string()),
    }
}

fn built(bytes: &mut Bytes<'_>) -> u64 {
    let mut budget = 24;
    let filter = filter(bytes, 4, &mut budget);
    let mut text = String::new();
    print(&filter, &mut text);
    let query = match &filter {
        Filter::Test { .. } | Filter::Not(_) => format!("and={}", encoded(&format!("({text})"))),
        Filter::And(_) => format!("and={}", encoded(text.trim_start_matches("and"))),
        Filter::Or(_) => format!("or={}", encoded(text.trim_start_matches("or"))),
    };
    let expected = match &filter {
        Filter::Test { .. } | Filter::Not(_) => Filter::And(vec![filter.clone()]),
        _ => filter.clone(),
    };
    let parsed = query::parse(&query, &Limits::default());
    let parsed = parsed.unwrap_or_else(|problem| panic!("{problem} in {query} ({text})"));
    assert!(parsed.filter == Filter::And(vec![expected]), "read as something else: {query} ({text})");
    signature::of(&format!("{:?}", shape(&filter, 4)))
}

const FIELDS: [&str; 6] = ["id", "and", "a b", "not", "über", "x-y"];
const OPERATORS: [(Operator, &str); 8] = [
    (Operator::Eq, "eq"),
    (Operator::Neq, "neq"),
    (Operator::Gt, "gt"),
    (Operator::Gte, "gte"),
    (Operator::Lt, "lt"),
    (Operator::Lte, "lte"),
    (Operator::Like, "like"),
    (Operator::Ilike, "ilike"),
];

fn filter(bytes: &mut Bytes<'_>, depth: usize, budget: &mut usize) -> Filter {
    *budget = budget.saturating_sub(1);
    let choice = if depth == 0 || *budget == 0 { 2 } else { bytes.below(6) };
    let negated = bytes.below(4) == 0;
    let made = match choice {
        0 | 1 => {
            let count = bytes.below(4) + 1;
            let members: Vec<Filter> = (0..count).map(|_| filter(bytes, depth - 1, budget)).collect();
            if choice == 0 { Filter::And(members) } else { Filter::Or(members) }
        }
        _ => test(bytes),
    };
    if negated { Filter::Not(Box::new(strip(made))) } else { made }
}

/// Without a `not` of its own: "not not" has no form on the wire.
fn strip(filter: Filter) -> Filter {
    match filter {
        Filter::Not(inner) => strip(*inner),
        other => other,
    }
}

fn test(bytes: &mut Bytes<'_>) -> Filter {
    let field = (*bytes.pick(&FIELDS)).to_owned();
    match bytes.below(10) {
        0 => {
            let word = *bytes.pick(&["null", "true", "false"]);
            Filter::Test { field, operator: Operator::Is, literal: Literal::One(word.into()) }
        }
        1 => {
            let count = bytes.below(4);
            let values = (0..count).map(|_| bytes.text()).collect();
            Filter::Test { field, operator: Operator::In, literal: Literal::List(values) }
        }
        _ => {
            let (operator, _) = *bytes.pick(&OPERATORS);
            let mut text = bytes.text();
            if matches!(operator, Operator::Like | Operator::Ilike) {
                text = text.replace('*', "%");
            }
            Filter::Test { field, operator, literal: Literal::One(text) }
        }
    }
}

fn print(filter: &Filter, out: &mut String) {
    match filter {
        Filter::And(members) | Filter::Or(members) => {
            out.push_str(if matches!(filter, Filter::And(_)) { "and(" } else { "or(" });
            for (index, member) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                print(member, out);
            }
            out.push(')');
        }
        Filter::Not(inner) => match &**inner {
            Filter::Test { field, operator, literal } => print_test(field, "not.", *operator, literal, out),
            connective => {
                out.push_str("not.");
                print(connective, out);
            }
        },
        Filter::Test { field, operator, literal } => print_test(field, "", *operator, literal, out),
    }
}

fn print_test(field: &str, not: &str, operator: Operator, literal: &Literal, out: &mut String) {
    let word = match operator {
        Operator::In => "in",
        Operator::Is => "is",
        other => OPERATORS.iter().find(|(known, _)| *known == other).map_or("", |(_, word)| word),
    };
    let value = match literal {
        Literal::One(word) if operator == Operator::Is => word.clone(),
        Literal::One(text) => quoted(text),
        Literal::List(list) => format!("({})", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(",")),
    };
    out.push_str(&format!("{}.{not}{word}.{value}", quoted(field)));
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What a filter looks like without its names and literals.
fn shape(filter: &Filter, depth: usize) -> String {
    let inner = |members: &[Filter]| {
        if depth == 0 { "…".to_owned() } else { members.iter().map(|one| shape(one, depth - 1)).collect::<String>() }
    };
    match filter {
        Filter::And(members) => format!("&({})", inner(members)),
        Filter::Or(members) => format!("|({})", inner(members)),
        Filter::Not(one) => format!("!{}", inner(std::slice::from_ref(one))),
        Filter::Test { operator, .. } => format!("{operator:?} "),
    }
}
