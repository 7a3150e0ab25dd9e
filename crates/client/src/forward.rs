//! Outgoing requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::{BoxError, Caller, Trusted};

/// Why a request was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// It goes to a trusted server, but there is no caller to send it for: not a request that
    /// [`CountersignLayer`](crate::CountersignLayer) let through, or a task of its own (see [`Caller::scope`]).
    #[error("there is no caller whose token could be sent on")]
    NoCaller,
    /// It would carry the caller's token to a server that is not trusted with it.
    #[error("the caller's token must not go to that server")]
    Untrusted,
    /// It goes to a trusted server and has an `Authorization` already. Calls are made with the caller's token.
    #[error("the request has an Authorization already")]
    Occupied,
    /// The token can't be written as a header.
    #[error("the token can't be sent")]
    Unsendable,
}

/// Puts the caller's token on requests to trusted servers.
///
/// Whose token: that of the [`Caller`] among the request's extensions, or else of the one that the task
/// [runs as](Caller::scope). To servers that are not trusted, requests go as they are, unless the token is in their
/// URI or headers: then they fail.
///
/// Put it directly around what connects. A client that follows redirects belongs around it, so that each new address
/// is looked at, too; inside, it would take the token along unseen. [`Https`](crate::Https) follows none.
#[derive(Clone, Debug)]
pub struct ForwardLayer {
    trusted: Trusted,
}

impl ForwardLayer {
    /// A layer for outgoing requests that sends tokens to these servers.
    #[must_use]
    pub const fn new(trusted: Trusted) -> Self {
        Self { trusted }
    }
}

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;

    fn layer(&self, inner: S) -> Forward<S> {
        Forward { inner, trusted: self.trusted.clone() }
    }
}

/// What [`ForwardLayer`] makes of a client.
#[derive(Clone)]
pub struct Forward<S> {
    inner: S,
    trusted: Trusted,
}

impl<S> Forward<S> {
    fn prepare<B>(&self, request: &mut Request<B>) -> Result<(), ForwardError> {
        // Taken out, so that nothing further down finds it there.
        let caller = request.extensions_mut().remove().or_else(Caller::current);
        if self.trusted.covers(request.uri()) {
            return self.trusted.authorize(&caller.ok_or(ForwardError::NoCaller)?, request);
        }
        let Some(caller) = caller else { return Ok(()) };
        let leaks = caller.token_is_in(request.uri().to_string().as_bytes())
            || request.headers().values().any(|value| caller.token_is_in(value.as_bytes()));
        if leaks { Err(ForwardError::Untrusted) } else { Ok(()) }
    }
}

impl<S, B> Service<Request<B>> for Forward<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.prepare(&mut request) {
            Ok(()) => {
                let answer = self.inner.call(request);
                Box::pin(async move { answer.await.map_err(Into::into) })
            }
            Err(error) => Box::pin(async move { Err(error.into()) }),
        }
    }
}

impl<S> fmt::Debug for Forward<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}
