//! From a request to a response: the way that every request takes, with TLS in front of it or in process.

mod intake;
mod place;
mod reply;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use countersign_engine::{Failure, Once};
use countersign_guard::{Bearer, Peer, Refusal};
use countersign_model::request::{Delete, Door, Filter, History, Insert, Operation, Read, Update};
use countersign_model::row::Position;
use countersign_model::{Request, RequestId};
use countersign_services::PublicCall;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Body as HttpBody;
use tokio::time::{Instant, timeout_at};

use crate::Limits;
use crate::backend::{Backend, Reply};
use crate::control;
use crate::problem::{Part, Problem};
use crate::rest::answer::{self, Body};
use crate::rest::cursor::{self, Binding};
use crate::rest::lower::{self, Lowered};
use crate::rest::once::{self, Asked};
use crate::rest::query::{self, Parameters};
use crate::routes::{self, Target};

use intake::{bearer, check_head, collect, decode_segment, dpop, is_bound, url};
use reply::{Kept, json, kept, passed_on};

pub use place::Paused;
pub use reply::problem_response;

/// Names the request; also in logs and audit records.
pub const REQUEST: HeaderName = HeaderName::from_static("countersign-request");

/// The description of the API, as served.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Answers requests. Cheap to clone; all clones have the same backend behind them.
pub struct Router<B> {
    place: Arc<place::Place<B>>,
    limits: Arc<Limits>,
}

/// The router as one request meets it: its backend does not change, nor is it let go, before the request is over.
struct Inner<B> {
    backend: Arc<B>,
    limits: Arc<Limits>,
    pass: place::Pass<B>,
}

impl<B> Clone for Router<B> {
    fn clone(&self) -> Self {
        Self { place: Arc::clone(&self.place), limits: Arc::clone(&self.limits) }
    }
}

/// One request on its way, body not read yet.
struct Exchanged<'a, D> {
    id: RequestId,
    peer: Peer,
    parts: &'a Parts,
    body: D,
    deadline: Instant,
}

impl<B: Backend> Router<B> {
    /// A router in front of `backend`.
    #[must_use]
    pub fn new(backend: Arc<B>, limits: Limits) -> Self {
        Self { place: Arc::new(place::Place::new(backend)), limits: Arc::new(limits) }
    }

    /// The limits that it holds requests to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets no more requests in and waits for those that are. Those that come meanwhile wait, as long as a request may
    /// take altogether.
    pub async fn pause(&self) -> Paused<B> {
        self.place.pause().await
    }

    /// Answers one request. What goes wrong is in the response.
    pub async fn answer<D: HttpBody<Data = Bytes> + Send>(
        &self,
        peer: Peer,
        request: http::Request<D>,
    ) -> Response<Body> {
        let deadline = deadline(&self.limits);
        let Some(pass) = self.place.enter(deadline).await else {
            return problem_response(&Problem::TimedOut, false);
        };
        let inner = Inner { backend: pass.backend(), limits: Arc::clone(&self.limits), pass };
        inner.answer(peer, request, deadline).await
    }
}

impl<B: Backend> Inner<B> {
    async fn answer<D: HttpBody<Data = Bytes> + Send>(
        &self,
        peer: Peer,
        request: http::Request<D>,
        deadline: Instant,
    ) -> Response<Body> {
        let backend = &self.backend;
        let id = RequestId::new(backend.clock().now(), backend.entropy());
        let (parts, body) = request.into_parts();
        let peer = Peer { deadline: Some(deadline), ..peer };
        let exchanged = Exchanged { id, peer, parts: &parts, body, deadline };
        let mut response = match self.respond(exchanged).await {
            Ok(response) => response,
            Err(problem) => {
                let oauth = parts.uri.path().starts_with("/v1/token") || parts.uri.path().starts_with("/v1/login");
                let response = problem_response(&problem, oauth);
                if response.status().is_server_error() {
                    tracing::error!(request = %id, status = response.status().as_u16(), problem = %problem, "failed");
                }
                response
            }
        };
        tracing::debug!(request = %id, method = %parts.method, status = response.status().as_u16(), "answered");
        if parts.method == Method::HEAD {
            *response.body_mut() = Body::default();
        }
        let headers = response.headers_mut();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        if let Ok(value) = HeaderValue::from_str(id.uuid().hyphenated().encode_lower(&mut text)) {
            headers.insert(REQUEST, value);
        }
        if response.extensions().get::<Kept>().is_none() {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn respond<D: HttpBody<Data = Bytes> + Send>(
        &self,
        mut exchanged: Exchanged<'_, D>,
    ) -> Result<Response<Body>, Problem> {
        let Parts { method, uri, headers, .. } = exchanged.parts;
        let backend = &self.backend;
        check_head(uri, headers, &self.limits)?;
        let (target, segment) = routes::find(method, uri.path())?;
        // RFC 9449, section 7.2: a bound token is not taken as a bearer token, whatever comes with it. Where tokens are
        // made, a proof also says which key to bind the new one to.
        if matches!(target, Target::Public | Target::Log) || is_bound(headers) {
            exchanged.peer.dpop = dpop(exchanged.parts, |host| backend.is_known_as(host));
        }
        match target {
            Target::Records => self.records(exchanged, segment).await,
            Target::History => self.history(exchanged, segment).await,
            Target::Health => Ok(json(StatusCode::OK, r#"{"status":"ok"}"#)),
            Target::OpenApi => Ok(json(StatusCode::OK, OPENAPI)),
            Target::Public => self.public(exchanged).await,
            Target::Log => Ok(kept(self.public(exchanged).await?)),
            _ => self.control(exchanged, target, segment).await,
        }
    }

    async fn records<D: HttpBody<Data = Bytes> + Send>(
        &self,
        exchanged: Exchanged<'_, D>,
        segment: &str,
    ) -> Result<Response<Body>, Problem> {
        let Self { backend, limits, .. } = self;
        let Exchanged { id, peer, parts, body, deadline } = exchanged;
        let Parts { method, uri, headers, .. } = parts;
        let record_type = decode_segment(segment)?;
        let writes = *method == Method::POST || *method == Method::PATCH;
        let bearer = bearer(headers);
        // Whoever comes without a good token gets no body read and parsed. Refusing them, and putting that on
        // record, is the guard's: it gets as much as method and path say.
        let welcome = bearer.as_ref().is_some_and(|bearer| !writes || backend.caller(bearer).is_some());
        let bearer = match bearer {
            Some(bearer) if welcome => bearer,
            bearer => {
                let request = request(id, None, None, bare(method, record_type));
                let refused = self.run(bearer, peer, request, None, deadline).await.err();
                return Err(refused.unwrap_or(Refusal::NoToken.into()));
            }
        };
        let body = if writes { collect(body, limits.body_bytes, deadline).await? } else { Bytes::new() };
        let query = uri.query().unwrap_or_default();
        let once = once::once(&Asked { method, path: uri.path(), query, headers, body: &body })?;
        let incoming = lower::Incoming { method, record_type, query, headers, body: &body };
        let Lowered { mut operation, tenant, purpose, form, cursor } = lower::lower(incoming, limits)?;
        if let (Operation::Read(read), Some(text)) = (&mut operation, cursor) {
            self.go_on(read, &bearer, &text).await?;
        }
        let request = request(id, tenant, purpose, operation);
        let mut answer =
            self.run(Some(bearer), peer, request, once, deadline).await.map_err(|problem| match problem {
                // The bound was put there because one record was asked for.
                Problem::Failed(Failure::TooManyAffected { max: 0 | 1, .. }) if form.wants_one() => {
                    Problem::NotOne { none: false }
                }
                other => other,
            })?;
        let next = match answer.rows.next.take() {
            Some(position) if !form.wants_one() => self.seal(parts, &answer, &position).await,
            _ => None,
        };
        answer::response(&form, &answer, next)
    }

    /// What one record was. `segment` is its type and its key, each percent-encoded.
    async fn history<D: HttpBody<Data = Bytes> + Send>(
        &self,
        exchanged: Exchanged<'_, D>,
        segment: &str,
    ) -> Result<Response<Body>, Problem> {
        let Exchanged { id, peer, parts, deadline, .. } = exchanged;
        let (record_type, key) = segment.split_once('/').ok_or(Problem::NoSuchPath)?;
        let (record_type, key) = (decode_segment(record_type)?, decode_segment(key)?);
        let Some(bearer) = bearer(&parts.headers) else {
            let none = History { record_type, limit: Some(0), ..History::default() };
            let request = request(id, None, None, Operation::History(none));
            let refused = self.run(None, peer, request, None, deadline).await.err();
            return Err(refused.unwrap_or(Refusal::NoToken.into()));
        };
        let query = parts.uri.query().unwrap_or_default();
        let incoming =
            lower::Incoming { method: &parts.method, record_type, query, headers: &parts.headers, body: &[] };
        let Lowered { operation, tenant, purpose, form, .. } = lower::history(incoming, key, &self.limits)?;
        let request = request(id, tenant, purpose, operation);
        let answer = self.run(Some(bearer), peer, request, None, deadline).await?;
        answer::response(&form, &answer, None)
    }

    /// Puts into a read where an earlier page ended. A token that is no good is left to the guard.
    async fn go_on(&self, read: &mut Read, bearer: &Bearer, text: &str) -> Result<(), Problem> {
        let backend = &self.backend;
        if read.offset > 0 {
            return Err(Problem::Unsupported("'offset' together with 'cursor'"));
        }
        let Some((tenant, user)) = backend.caller(bearer) else { return Ok(()) };
        let key = backend.cursor_key(bearer).await.ok_or(Problem::Cursor)?;
        let binding = Binding { tenant, user, query: cursor::fingerprint(read) };
        read.after = Some(cursor::open(&key, backend.clock().now(), &binding, text)?);
        Ok(())
    }

    /// The next page's cursor. The query is read once more, as most answers have no next page and the request is
    /// the permit's by now.
    async fn seal(&self, parts: &Parts, answer: &answer::Answer, position: &Position) -> Option<String> {
        let Self { backend, limits, .. } = self;
        let Parameters { select, filter, order, .. } =
            query::parse(parts.uri.query().unwrap_or_default(), limits).ok()?;
        let record_type = decode_segment(parts.uri.path().strip_prefix(routes::RECORDS)?).ok()?;
        let read = Read { record_type, select, filter, order, ..Read::default() };
        let binding = Binding { tenant: answer.tenant, user: answer.user, query: cursor::fingerprint(&read) };
        // The token went away with the permit; it is in the header still.
        let key = backend.cursor_key(&bearer(&parts.headers)?).await?;
        cursor::seal(&key, backend.entropy(), backend.clock().now(), &binding, position)
    }

    /// Changes are run to their end even if the caller goes away: what is begun gets its audit record.
    async fn run(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
        once: Option<Once>,
        deadline: Instant,
    ) -> Result<answer::Answer, Problem> {
        let backend = &self.backend;
        if matches!(request.operation, Operation::Read(_) | Operation::History(_)) {
            return within(deadline, backend.records(bearer, peer, request, once)).await;
        }
        let backend = Arc::clone(backend);
        let answer = self.detached(deadline, async move { backend.records(bearer, peer, request, once).await });
        // It goes on, and nobody knows yet to what end.
        answer.await.map_err(|problem| match problem {
            Problem::TimedOut | Problem::Internal => Problem::Failed(Failure::Unknown),
            other => other,
        })
    }

    /// Runs work to its end even if the caller goes away. Until then the backend is not let go.
    async fn detached<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let pass = self.pass.clone();
        let task = tokio::spawn(async move {
            let done = work.await;
            drop(pass);
            done
        });
        within(deadline, async { task.await.unwrap_or(Err(Problem::Internal)) }).await
    }

    /// Passes a request on to the authority, which answers it. Nothing of it is looked at here but its size.
    async fn public<D: HttpBody<Data = Bytes> + Send>(
        &self,
        exchanged: Exchanged<'_, D>,
    ) -> Result<Response<Body>, Problem> {
        let Self { backend, limits, .. } = self;
        let Exchanged { id, peer, parts, body, deadline } = exchanged;
        let Parts { method, uri, headers, .. } = parts;
        let call = PublicCall {
            request: id,
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().filter(|query| !query.is_empty()).map(str::to_owned),
            content_type: lower::text(headers, &CONTENT_TYPE)?.map(str::to_owned),
            bearer: bearer(headers),
            url: url(parts, |host| backend.is_known_as(host)),
            dpop: peer.dpop.map(|dpop| dpop.proof),
            body: collect(body, MAX_TOKEN_REQUEST_BYTES.min(limits.body_bytes), deadline).await?.into(),
            address: peer.address,
            certificate: peer.certificate,
        };
        let backend = Arc::clone(backend);
        let reply = self.detached(deadline, async move { Ok(backend.public(call).await) }).await?;
        Ok(passed_on(reply))
    }

    async fn control<D: HttpBody<Data = Bytes> + Send>(
        &self,
        exchanged: Exchanged<'_, D>,
        target: Target,
        segment: &str,
    ) -> Result<Response<Body>, Problem> {
        let Self { backend, limits, .. } = self;
        let Exchanged { id, peer, parts, body, deadline } = exchanged;
        let Parts { uri, headers, .. } = parts;
        let bearer = bearer(headers);
        let welcome = bearer.as_ref().is_some_and(|bearer| backend.caller(bearer).is_some());
        let control = if welcome {
            let body = collect(body, limits.body_bytes, deadline).await?;
            let body = std::str::from_utf8(&body).map_err(|_| Problem::NotUtf8(Part::Body))?;
            let segment = decode_segment(segment)?;
            let query = uri.query().unwrap_or_default();
            control::lower(control::Incoming { target, segment: &segment, query, headers, body }, limits)?
        } else {
            control::bare(target)
        };
        let request = request(id, None, lower::purpose(headers)?, Operation::Control(control));
        let backend = Arc::clone(backend);
        let reply = self.detached(deadline, async move { backend.control(bearer, peer, request).await }).await?;
        if !welcome {
            return Err(Refusal::NoToken.into());
        }
        Ok(match reply {
            Reply::Json(document) => json(StatusCode::OK, document),
            Reply::Created(document) => json(StatusCode::CREATED, document),
        })
    }
}

/// The longest body of a request for a token: two tokens and their limits, or a signature.
const MAX_TOKEN_REQUEST_BYTES: usize = 64 * 1024;

/// In process: what a server does, without a server.
impl<B: Backend, D: HttpBody<Data = Bytes> + Send + 'static> tower::Service<http::Request<D>> for Router<B> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<D>) -> Self::Future {
        let (router, peer) = (self.clone(), request.extensions().get::<Peer>().cloned().unwrap_or_default());
        Box::pin(async move { Ok(router.answer(peer, request).await) })
    }
}

fn deadline(limits: &Limits) -> Instant {
    const FAR: std::time::Duration = std::time::Duration::from_secs(86_400);
    let now = Instant::now();
    now.checked_add(limits.request_time.min(FAR)).unwrap_or(now)
}

async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    timeout_at(deadline, work).await.unwrap_or(Err(Problem::TimedOut))
}

fn request(id: RequestId, tenant: Option<String>, purpose: Option<String>, operation: Operation) -> Request {
    Request { id, door: Door::Http, tenant, purpose, operation }
}

/// What is asked, as far as method and path tell. Touches no record, were it ever admitted.
fn bare(method: &Method, record_type: String) -> Operation {
    let (none, max_affected, returning) = (|| Filter::Or(Vec::new()), Some(0), None);
    match *method {
        Method::POST => Operation::Insert(Insert { record_type, rows: Vec::new(), on_conflict: None, returning }),
        Method::PATCH => {
            Operation::Update(Update { record_type, set: Vec::new(), filter: none(), max_affected, returning })
        }
        Method::DELETE => Operation::Delete(Delete { record_type, filter: none(), max_affected, returning }),
        _ => Operation::Read(Read { record_type, filter: none(), limit: Some(0), ..Read::default() }),
    }
}

#[cfg(test)]
mod tests;
