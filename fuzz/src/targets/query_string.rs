//! PROPERTY: how a query string is encoded does not change what it means, and a refusal never repeats a value.

use countersign_door_http::Limits;
use countersign_door_http::rest::query;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::signature;

/// Pieces of query strings.
pub const WORDS: &[&str] = &[
    "select=",
    "order=",
    "limit=",
    "offset=",
    "columns=",
    "on_conflict=",
    "cursor=",
    "&",
    "=",
    "*",
    "company,",
    "name:",
    "invoice(",
    "invoice_line(",
    "!inner",
    "...",
    "total",
    ".desc",
    ".nullsfirst",
    "invoice.limit=1",
    "invoice.order=",
    "not.is.null",
    "id=eq.",
    "count()",
    "->",
    "%20",
    "%2525",
    "+",
    "%",
    "canary7391",
];

/// Stands where a value would; no refusal may show it.
const CANARY: &str = "canary7391";

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(data) else { return 0 };
    let limits = Limits::default();
    let plain = query::parse(text, &limits);
    if let Some(encoded) = reencoded(text) {
        assert_eq!(plain, query::parse(&encoded, &limits), "{encoded} means something else");
    }
    match plain {
        Ok(parameters) => {
            assert!(parameters.select.len() <= limits.items && parameters.order.len() <= limits.items);
            signature::of(&format!("{:?}", (parameters.select, parameters.order, parameters.limit.is_some())))
        }
        Err(problem) => {
            let said = problem.to_string();
            assert!(names_have_canary(text) || !said.contains(CANARY), "a refusal shows what was sent: {said}");
            signature::of(&said)
        }
    }
}

/// Whether the canary stands where a name would, which a refusal may repeat: in a key, or in a list of names.
fn names_have_canary(text: &str) -> bool {
    let decoded = percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut parts = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let in_name = |part: &str| percent_decode_str(part).decode_utf8_lossy().contains(CANARY);
    decoded.contains(CANARY)
        && parts.any(|(key, value)| {
            let lists_names = matches!(
                &*percent_decode_str(key).decode_utf8_lossy(),
                "select" | "order" | "columns" | "on_conflict" | "and" | "or"
            );
            in_name(key) || ((lists_names || key.contains('.')) && in_name(value))
        })
}

/// The same query string with every key and value percent-encoded throughout.
fn reencoded(text: &str) -> Option<String> {
    let whole = |part: &str| {
        let spaced = part.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
        Some(utf8_percent_encode(&decoded, NON_ALPHANUMERIC).to_string())
    };
    let pairs = text.split('&').map(|pair| match pair.split_once('=') {
        Some((key, value)) => Some(format!("{}={}", whole(key)?, whole(value)?)),
        None => whole(pair),
    });
    Some(pairs.collect::<Option<Vec<_>>>()?.join("&"))
}
