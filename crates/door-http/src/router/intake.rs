//! What is taken from a request before anything is made of it: sizes, token, path, body.

use bytes::{Bytes, BytesMut};
use countersign_guard::{Bearer, Dpop};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::Authority;
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};

use crate::Limits;
use crate::problem::{Part, Problem};

pub(super) fn check_head(uri: &http::Uri, headers: &HeaderMap, limits: &Limits) -> Result<(), Problem> {
    let query = uri.query().map_or(0, |query| query.len().saturating_add(1));
    if uri.path().len().saturating_add(query) > limits.url_bytes {
        return Err(Problem::UrlTooLong(limits.url_bytes));
    }
    let bytes = headers.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
    if headers.len() > limits.headers || bytes.fold(0, usize::saturating_add) > limits.header_bytes {
        return Err(Problem::HeadersTooLarge);
    }
    Ok(())
}

/// The token in the `Authorization` header. What is there and is no bearer token becomes one that no verifier takes,
/// so that the refusal is the guard's, and on record.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Bearer> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next()?, values.next());
    let token = first.to_str().ok().filter(|_| second.is_none()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop");
        known.then(|| token.trim_matches(' '))
    });
    Some(Bearer::new(token.unwrap_or_default().to_owned()))
}

/// Whether the token comes as one that is bound to a key.
pub(super) fn is_bound(headers: &HeaderMap) -> bool {
    let scheme =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split(' ').next());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("dpop"))
}

/// The proof of possession that came with a request, and what it has to be one for. More than one, or one for a
/// server of another name, is one that proves nothing.
pub(super) fn dpop(parts: &Parts, is_known_as: impl Fn(&str) -> bool) -> Option<Dpop> {
    let mut values = parts.headers.get_all("dpop").iter();
    let (first, second) = (values.next()?, values.next());
    let proof = first.to_str().ok().filter(|_| second.is_none()).unwrap_or_default().to_owned();
    Some(Dpop { proof, method: parts.method.to_string(), url: url(parts, is_known_as) })
}

/// The URL that was asked for, without query. Empty if it is under a name that is not this server's.
pub(super) fn url(parts: &Parts, is_known_as: impl Fn(&str) -> bool) -> String {
    let from_header = || parts.headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    match parts.uri.authority().cloned().or_else(from_header) {
        Some(authority) if is_known_as(authority.host().trim_matches(['[', ']'])) => {
            format!("https://{authority}{}", parts.uri.path())
        }
        _ => String::new(),
    }
}

pub(super) fn decode_segment(segment: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| Problem::NotUtf8(Part::Path))?;
    if decoded.contains('\0') {
        return Err(Problem::Nul { part: Part::Path, row: None });
    }
    Ok(decoded.into_owned())
}

pub(super) async fn collect<D: HttpBody<Data = Bytes>>(
    body: D,
    max: usize,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::BodyTooLarge(max);
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let reading = async {
        let mut body = std::pin::pin!(body);
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::BodyBroken)?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len().saturating_add(all.len()).saturating_add(data.len()) > max {
                return Err(too_large());
            }
            // Most bodies come in one piece, which is then not copied.
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    timeout_at(deadline, reading).await.unwrap_or(Err(Problem::TooSlow))
}
