//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a change that is asked for again under the
//! same key is not made again.
//!
//! Only digests go on from here: what a key says, and what the request under it says, is kept nowhere.

use countersign_crypto::sha256;
use countersign_engine::Once;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method};

use super::lower::{CONTENT_PROFILE, PREFER, text};
use crate::problem::{Part, Problem};

/// What a client calls its request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `true` in answers that were given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in characters.
pub const MAX_KEY: usize = 255;

/// What makes a request the one that it is.
pub struct Asked<'a> {
    /// How.
    pub method: &'a Method,
    /// Of what, as sent.
    pub path: &'a str,
    /// Which, as sent.
    pub query: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// By what a change is known; `None` if it came without a key, or is no change.
///
/// # Errors
/// [`Problem::Syntax`] for what is no key.
pub fn once(asked: &Asked<'_>) -> Result<Option<Once>, Problem> {
    if ![Method::POST, Method::PATCH, Method::DELETE].contains(asked.method) {
        return Ok(None);
    }
    let Some(key) = text(asked.headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let key = unquoted(key.trim_matches([' ', '\t'])).ok_or(Problem::Syntax {
        part: Part::Header,
        line: 1,
        column: 1,
        expected: "an Idempotency-Key of 1 to 255 visible ASCII characters, in double quotes or without",
    })?;
    let header = |name: &HeaderName| asked.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    // INVARIANT no-guessing: what a request says has values in it, and its digest is stored. With the key in it, which is
    // not, nobody finds them by trying who does not know the key.
    let mut request = vec![key.as_bytes(), asked.method.as_str().as_bytes()];
    request.extend([asked.path.as_bytes(), asked.query.as_bytes(), asked.body]);
    let names = [CONTENT_TYPE, CONTENT_PROFILE, PREFER];
    for name in &names {
        // The name says where one header's values end and the next one's begin.
        request.push(name.as_str().as_bytes());
        request.extend(header(name));
    }
    Ok(Some(Once {
        key: digest("countersign idempotency key 1", [key.as_bytes()]),
        request: digest("countersign idempotent request 1", request),
    }))
}

/// A string of RFC 8941, section 3.3.3, or the same without its quotes.
fn unquoted(text: &str) -> Option<String> {
    let key = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(quoted) => {
            let inner = quoted.strip_suffix('"')?;
            let mut key = String::new();
            let mut rest = inner.chars();
            while let Some(next) = rest.next() {
                match next {
                    '"' => return None,
                    '\\' => key.push(rest.next().filter(|escaped| ['"', '\\'].contains(escaped))?),
                    other => key.push(other),
                }
            }
            key
        }
    };
    let is_key = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    is_key.then_some(key)
}

/// Each part with its length before it, so that no two lists of parts are one.
fn digest<'a>(label: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut all = Vec::new();
    for part in std::iter::once(label.as_bytes()).chain(parts) {
        all.extend((part.len() as u64).to_be_bytes());
        all.extend(part);
    }
    sha256(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, query: &str, headers: &[(&str, &str)], body: &str) -> Result<Option<Once>, Problem> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        once(&Asked { method, path: "/rest/v1/customer", query, headers: &headers, body: body.as_bytes() })
    }

    #[test]
    fn keys() {
        let key = |text: &str| of(&Method::POST, "", &[("idempotency-key", text)], "{}").map(Option::unwrap);
        assert_eq!(key("abc").unwrap(), key("\"abc\"").unwrap());
        assert_eq!(key("a\\b\"").unwrap(), key(r#""a\\b\"""#).unwrap());
        assert_ne!(key("abc").unwrap().key, key("abd").unwrap().key);
        // Who sees what is stored tries requests in vain.
        assert_ne!(key("abc").unwrap().request, key("abd").unwrap().request);
        let long = "k".repeat(256);
        for wrong in ["", "\"\"", "\"a", "\"a\"b\"", r#""a\c""#, "\u{e9}", "a\tb", &long] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
        assert!(key(&long[1..]).is_ok());
        assert_eq!(of(&Method::POST, "", &[], "{}"), Ok(None));
        assert_eq!(of(&Method::GET, "", &[("idempotency-key", "a")], ""), Ok(None));
        let mut two = HeaderMap::new();
        two.append(IDEMPOTENCY_KEY, "a".parse().unwrap());
        two.append(IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert!(once(&Asked { method: &Method::POST, path: "/", query: "", headers: &two, body: b"" }).is_err());
    }

    #[test]
    fn a_request_is_known_by_all_that_decides_what_it_does() {
        let key = ("idempotency-key", "k");
        let first = of(&Method::PATCH, "id=eq.1", &[key, ("prefer", "return=minimal")], "{}").unwrap().unwrap();
        let same = of(
            &Method::PATCH,
            "id=eq.1",
            &[("prefer", "return=minimal"), ("user-agent", "x"), ("authorization", "Bearer y"), key],
            "{}",
        );
        assert_eq!(first, same.unwrap().unwrap());
        let others = [
            of(&Method::DELETE, "id=eq.1", &[key, ("prefer", "return=minimal")], "{}"),
            of(&Method::PATCH, "id=eq.2", &[key, ("prefer", "return=minimal")], "{}"),
            of(&Method::PATCH, "id=eq.1", &[key, ("prefer", "return=minimal")], "{} "),
            of(&Method::PATCH, "id=eq.1", &[key, ("prefer", "max-affected=1")], "{}"),
            of(&Method::PATCH, "id=eq.1", &[key, ("content-type", "return=minimal")], "{}"),
            of(&Method::PATCH, "id=eq.1", &[key], "{}"),
            of(&Method::PATCH, "id=eq.1{}", &[key, ("prefer", "return=minimal")], ""),
        ];
        for other in others {
            let other = other.unwrap().unwrap();
            assert_eq!(other.key, first.key);
            assert_ne!(other.request, first.request);
        }
    }
}
