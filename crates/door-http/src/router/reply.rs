//! Responses that are not about records.

use bytes::Bytes;
use countersign_services::PublicReply;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::problem::{Challenge, Problem};
use crate::rest::answer::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub(super) fn json(status: StatusCode, document: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(document.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The response to a request that was not answered with what it asked for.
#[must_use]
pub fn problem_response(problem: &Problem, oauth: bool) -> Response<Body> {
    let wire = problem.wire();
    let mut response = json(wire.status, wire.body(oauth).freeze());
    let (name, value) = match wire.challenge {
        Challenge::None => return response,
        Challenge::Bearer(value) => (WWW_AUTHENTICATE, value),
        Challenge::Allow(value) => (ALLOW, value),
        Challenge::Retry => (RETRY_AFTER, "1"),
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// What the authority answered, passed on.
pub(super) fn passed_on(reply: PublicReply) -> Response<Body> {
    let mut response = Response::new(Body::new(reply.body.into()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Marks an answer that caches may keep as it says itself: what is nobody's, and the same for everybody.
#[derive(Clone, Copy)]
pub(super) struct Kept;

/// An answer about the services' logs. One that is an error is kept nowhere, like all others.
pub(super) fn kept(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::OK && response.headers().contains_key(http::header::CACHE_CONTROL) {
        response.extensions_mut().insert(Kept);
    }
    response
}
