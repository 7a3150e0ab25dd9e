//! What is taken from a request before anything is made of it: sizes, token, path, body.

use bytes::{Bytes, BytesMut};
use countersign_guard::Bearer;
use http::HeaderMap;
use http::header::AUTHORIZATION;
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
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
    });
    Some(Bearer::new(token.unwrap_or_default().to_owned()))
}

/// A token may come in the header or in the body of a token request, or be the same in both.
pub(super) fn one_token(header: Option<Bearer>, body: Option<String>) -> Result<Option<Bearer>, Problem> {
    match (header, body) {
        (header, None) => Ok(header),
        (None, Some(token)) => Ok(Some(Bearer::new(token))),
        (Some(header), Some(token)) if header.as_str() == token => Ok(Some(header)),
        _ => Err(Problem::TokenRequest("the token in the body is not the one in the Authorization header")),
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
