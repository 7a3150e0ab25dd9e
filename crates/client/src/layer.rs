//! Incoming requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use crate::Caller;
use crate::{Authority, Refused};

/// Lets requests through that carry a good token, and no others.
///
/// The token is taken from the request, so that nothing behind this layer prints or passes it on by accident; in its
/// place the request has a [`Caller`] among its extensions, and the request's task [runs as](Caller::scope) that
/// caller. What is refused is answered here, with an empty body: 401 with `WWW-Authenticate` (RFC 6750), 400 for more
/// than one `Authorization`, 503 where Countersign can't be asked. gRPC requests are answered with the gRPC status
/// that says the same.
#[derive(Clone, Debug)]
pub struct CountersignLayer {
    authority: Authority,
    asks: bool,
}

impl CountersignLayer {
    /// A layer that accepts this deployment's tokens.
    #[must_use]
    pub const fn new(authority: Authority) -> Self {
        Self { authority, asks: true }
    }

    /// Doesn't ask Countersign whether a token was revoked: a revoked one is accepted until it expires, which can be
    /// twelve hours. For services that do nothing of their own but call others, who ask. [`Caller::may`] asks always.
    #[must_use]
    pub const fn without_asking(mut self) -> Self {
        self.asks = false;
        self
    }
}

impl<S> Layer<S> for CountersignLayer {
    type Service = CountersignService<S>;

    fn layer(&self, inner: S) -> CountersignService<S> {
        CountersignService { inner, layer: self.clone() }
    }
}

/// What [`CountersignLayer`] makes of a service.
#[derive(Clone)]
pub struct CountersignService<S> {
    inner: S,
    layer: CountersignLayer,
}

impl<S, B, R> Service<Request<B>> for CountersignService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was made ready is the one to be called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let CountersignLayer { authority, asks } = self.layer.clone();
        Box::pin(async move {
            let headers = request.headers_mut();
            let caller = match asks {
                true => authority.authenticate(headers).await,
                false => authority.authenticate_offline(headers).await,
            };
            let caller = match caller {
                Ok(caller) => caller,
                Err(refused) => return Ok(refusal(refused, headers)),
            };
            headers.remove(AUTHORIZATION);
            request.extensions_mut().insert(caller.clone());
            let answer = caller.clone().scope_sync(|| inner.call(request));
            caller.scope(answer).await
        })
    }
}

impl<S> fmt::Debug for CountersignService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountersignService").field("layer", &self.layer).finish_non_exhaustive()
    }
}

fn refusal<R: Default>(refused: Refused, asked: &HeaderMap) -> Response<R> {
    let mut response = Response::new(R::default());
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = refused.challenge() {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if asked.get(CONTENT_TYPE).is_some_and(is_grpc) {
        // A response of trailers only, which come as headers: gRPC over HTTP/2, "Responses".
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(refused.grpc_status()));
        *response.status_mut() = StatusCode::OK;
    } else {
        *response.status_mut() = refused.status();
    }
    response
}
