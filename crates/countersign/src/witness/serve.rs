//! The witness as a service for logs that come to it: C2SP tlog-witness, `add-checkpoint` and the monitoring path.
//!
//! Plain HTTP, so on this machine only. Whoever wants it reached from elsewhere puts a server with TLS before it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_crypto::sha256;
use countersign_tlog::{AddCheckpoint, Checkpoint, Refusal};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Kept, NotCosigned, Witness};
use crate::problem::{Exit, Problem};

/// How many connections are served at once.
const CONNECTIONS: usize = 64;

/// How long a request's head, and the whole of a connection, may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// A witness that listens.
pub struct Service {
    listener: TcpListener,
    address: SocketAddr,
    witness: Arc<Witness>,
}

impl Service {
    /// Listens.
    ///
    /// # Errors
    /// If the address is not one of this machine alone, or is taken.
    pub async fn on(address: SocketAddr, witness: Arc<Witness>) -> Result<Self, Problem> {
        if !address.ip().is_loopback() {
            return Err(Problem::usage(format!(
                "{address} can be reached from elsewhere, and the witness speaks plain HTTP"
            ))
            .next("listen on 127.0.0.1 and put a server with TLS before it"));
        }
        let taken = |error| Problem::new(Exit::Unavailable, format!("can't listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Self { listener, address, witness })
    }

    /// Where.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                // Out of descriptors, most likely.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let witness = Arc::clone(&self.witness);
            tokio::spawn(async move {
                let service = service_fn(|request| answer(&witness, request));
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
                let serving = server.serve_connection(TokioIo::new(stream), service);
                drop(tokio::time::timeout(CONNECTION_TIME, serving).await);
                drop(permit);
            });
        }
    }
}

async fn answer(witness: &Arc<Witness>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/add-checkpoint" {
        if request.method() != Method::POST {
            return Ok(reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST\n"));
        }
        let body = Limited::new(request.into_body(), AddCheckpoint::MAX_BYTES).collect().await;
        let Ok(body) = body else {
            return Ok(reply(StatusCode::BAD_REQUEST, "text/plain", "the body can't be read\n"));
        };
        let witness = Arc::clone(witness);
        let body = body.to_bytes();
        let added = tokio::task::spawn_blocking(move || add(&witness, &body)).await;
        return Ok(added.unwrap_or_else(|_| reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "")));
    }
    let found = (request.method() == Method::GET).then(|| seen(witness, &path)).flatten();
    Ok(found.unwrap_or_else(|| reply(StatusCode::NOT_FOUND, "text/plain", "there is nothing here\n")))
}

fn add(witness: &Witness, body: &[u8]) -> Response<Full<Bytes>> {
    let plain = |status: u16, text: &str| {
        reply(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), "text/plain", &format!("{text}\n"))
    };
    let asked = std::str::from_utf8(body).ok().and_then(|text| AddCheckpoint::from_text(text).ok());
    let Some(asked) = asked else { return plain(400, "not a request to add a checkpoint") };
    let Ok(said) = Checkpoint::unverified(&asked.checkpoint) else { return plain(400, "not a checkpoint") };
    let Some((name, key)) = witness.of_origin(&said.origin) else { return plain(404, "the log is not known") };
    match witness.cosign(&name, &key, &asked) {
        Ok(line) => reply(StatusCode::OK, "text/plain; charset=utf-8", &line),
        Err(NotCosigned::Refused(Refusal::Conflict { size })) => {
            reply(StatusCode::CONFLICT, "text/x.tlog.size", &format!("{size}\n"))
        }
        Err(NotCosigned::Refused(refusal)) => plain(refusal.status(), &refusal.to_string()),
        Err(NotCosigned::Unknown) => plain(404, "the log is not known"),
        Err(NotCosigned::Alarm(kind)) => plain(422, &format!("the log is refused: {kind}")),
        Err(NotCosigned::State(_)) => plain(500, "what was seen can't be kept"),
    }
}

/// `/<SHA-256 of the origin>/checkpoint`: what was cosigned last.
fn seen(witness: &Witness, path: &str) -> Option<Response<Full<Bytes>>> {
    let wanted = path.strip_prefix('/')?.strip_suffix("/checkpoint")?;
    let state = witness.state.lock();
    let hash = |origin: &str| sha256(origin.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (_, kept) = state.all().find(|(_, kept)| hash(kept.key().name()) == wanted)?;
    Some(reply(StatusCode::OK, "text/plain; charset=utf-8", &Kept::note(kept)?.to_string()))
}

fn reply(status: StatusCode, media_type: &str, body: &str) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *reply.status_mut() = status;
    if let Ok(value) = media_type.parse() {
        reply.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    reply
}
