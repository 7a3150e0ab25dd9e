//! The receiving end: connections, and which calls are let through to the services behind.

mod accept;
mod admission;
mod authority;
mod body;
mod keys;
mod log;
mod monitor;
mod pipe;
mod records;
mod report;
mod trail;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_audit::Ledger;
use countersign_crypto::jws::PublicJwk;
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::{Peer, TlsAcceptor};
use countersign_crypto::x509::Issued;
use countersign_facts::Snapshot;
use countersign_identity::Proof;
use countersign_model::Clock;
use countersign_services::{Front, KeyRelease, Log, Records, Report, Trail, Watch};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use self::admission::{Admission, Caller, Seen};
pub use self::admission::{Note, REQUEST_AGE_MAX_MS, REQUEST_EARLY_MAX_MS, RefusedCall};
use self::body::Held;
use crate::deadline;
use crate::failure::{CallRefused, Failed};
use crate::methods::{self, Lasts, Method};
use crate::pb::authority_server::AuthorityServer;
use crate::pb::keys_server::KeysServer;
use crate::pb::log_server::LogServer;
use crate::pb::pipe_server::PipeServer;
use crate::pb::records_server::RecordsServer;
use crate::pb::report_server::ReportServer;
use crate::pb::trail_server::TrailServer;
use crate::pb::watch_server::WatchServer;

/// What a process serves to others; what is `None` is answered as not being there.
#[derive(Default)]
pub struct Parts {
    /// The key service.
    pub keys: Option<Arc<dyn KeyRelease>>,
    /// The record store.
    pub records: Option<Arc<dyn Records>>,
    /// The service's own audit records.
    pub trail: Option<Arc<dyn Trail>>,
    /// The ledger whose tallies others follow.
    pub ledger: Option<Arc<Ledger>>,
    /// The ledger as a log, and the witness that the service is to others' logs.
    pub log: Option<Arc<dyn Log>>,
    /// How the service is.
    pub report: Option<Arc<dyn Report>>,
    /// The monitor, as the authority calls it.
    pub watch: Option<Arc<dyn Watch>>,
    /// The authority, as gateways call it.
    pub front: Option<Arc<dyn Front>>,
    /// The facts that others follow.
    pub facts: Option<Arc<dyn FactsFeed>>,
    /// What issues certificates.
    pub issuer: Option<Arc<dyn Issue>>,
}

/// Where the newest facts come from.
pub trait FactsFeed: Send + Sync {
    /// The newest snapshot, and each that follows.
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>>;

    /// The keys that snapshots are signed with: the present one, and the next if it was announced.
    fn keys(&self) -> Vec<PublicJwk>;

    /// A service follows from now on, and can itself be reached at `address`. What comes back is dropped when it
    /// stops following.
    fn follows(&self, peer: &Peer, address: Option<&str>) -> Box<dyn Send + Sync>;
}

/// A service that wants its first certificate.
#[derive(Debug)]
pub struct Joining {
    /// Who it says it is.
    pub proof: Proof,
    /// What it wants to be.
    pub role: String,
    /// A certificate request (PKCS #10) in DER.
    pub certificate_request: Vec<u8>,
    /// Where it calls from.
    pub address: Option<IpAddr>,
}

/// Issues certificates to services.
#[async_trait]
pub trait Issue: Send + Sync {
    /// A first certificate.
    ///
    /// # Errors
    /// [`Failed`].
    async fn join(&self, joining: Joining) -> Result<Issued, Failed>;

    /// The next certificate of the service that calls, by the one that it has.
    ///
    /// # Errors
    /// [`Failed`].
    async fn renew(&self, peer: &Peer, certificate_request: Vec<u8>, address: Option<IpAddr>)
    -> Result<Issued, Failed>;
}

/// Bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// The most calls at once on one connection; the other end keeps more to itself.
    pub streams_max: u32,
    /// The most calls at once in all; more are refused as busy.
    pub in_flight_max: usize,
    /// How long an encrypted connection may take to be made.
    pub handshake_max: Duration,
    /// How long calls that are under way may still take when the server stops.
    pub drain_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            streams_max: 512,
            in_flight_max: 4_096,
            handshake_max: Duration::from_secs(5),
            drain_max: Duration::from_secs(10),
        }
    }
}

/// What a server asks and tells its process.
pub struct Surroundings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told of calls that are not accepted.
    pub note: Arc<dyn Note>,
    /// Whether an identity was removed, although its certificate has not expired.
    pub is_removed: Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>,
    /// Whether this process may be the service at this moment: while it may not, it takes no connections, and those that
    /// it has end, so that callers look elsewhere. `None` where nobody else can be it.
    pub is_it: Option<IsIt>,
}

/// Whether a process may be a service at this moment.
pub type IsIt = Arc<dyn Fn() -> bool + Send + Sync>;

/// The longest message that is taken.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest message about logs that is taken: a checkpoint with many cosignatures.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// Serves `parts` on `listener` until `shutdown`, and then until calls under way are done.
///
/// `tls` comes from [`mutual_server_config`](countersign_crypto::tls::mutual_server_config).
pub async fn server(
    parts: Parts,
    settings: Settings,
    surroundings: Surroundings,
    tls: TlsAcceptor,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) {
    let served = Served::new(parts, settings, surroundings).await;
    accept::accept(Arc::new(served), tls, listener, shutdown).await;
}

/// Says that a connection takes no more calls.
#[derive(Clone)]
pub(crate) struct Leaving(watch::Receiver<bool>);

impl Leaving {
    async fn said(&mut self) {
        let _ = self.0.wait_for(|leaving| *leaving).await;
    }
}

/// Done when the connection that a call came by takes no more: what follows without end, ends then.
fn leaving(extensions: &http::Extensions) -> Result<impl Future<Output = ()> + Send + 'static, Failed> {
    let mut leaving = extensions.get::<Leaving>().cloned().ok_or(Failed::Unavailable)?;
    Ok(async move { leaving.said().await })
}

/// One service, whatever its type.
type Route = Box<dyn Fn(http::Request<Incoming>) -> BoxFuture<'static, http::Response<Body>> + Send + Sync>;

fn route<S>(service: S) -> Route
where
    S: Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Box::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            let Ok(response) = service.call(request).await;
            response
        })
    })
}

/// Everything behind the connections.
pub(crate) struct Served {
    routes: Vec<(&'static str, Route)>,
    admission: Arc<Admission>,
    in_flight: Arc<Semaphore>,
    is_removed: Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>,
    is_it: Option<IsIt>,
    settings: Settings,
}

const PIPE: &str = "countersign.v1.Pipe";
const KEYS: &str = "countersign.v1.Keys";
const RECORDS: &str = "countersign.v1.Records";
const TRAIL: &str = "countersign.v1.Trail";
const LOG: &str = "countersign.v1.Log";
const REPORT: &str = "countersign.v1.Report";
const WATCH: &str = "countersign.v1.Watch";
const AUTHORITY: &str = "countersign.v1.Authority";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

impl Served {
    async fn new(parts: Parts, settings: Settings, surroundings: Surroundings) -> Self {
        let Surroundings { clock, note, is_removed, is_it } = surroundings;
        let admission = Arc::new(Admission { clock, note, seen: Seen::new() });
        let Parts { keys, records, trail, ledger, log, report, watch, front, facts, issuer } = parts;
        let mut routes: Vec<(&'static str, Route)> = Vec::new();
        let in_flight = Arc::new(Semaphore::new(settings.in_flight_max));
        if keys.is_some() || records.is_some() {
            let end = pipe::PipeEnd(Arc::new(pipe::Behind {
                keys: keys.clone(),
                records: records.clone(),
                admission: Arc::clone(&admission),
                in_flight: Arc::clone(&in_flight),
                is_removed: Arc::clone(&is_removed),
            }));
            routes.push((PIPE, route(PipeServer::new(end).max_decoding_message_size(MESSAGE_BYTES_MAX))));
        }
        if let Some(keys) = keys {
            let end = keys::KeysEnd { keys, admission: Arc::clone(&admission) };
            routes.push((KEYS, route(KeysServer::new(end).max_decoding_message_size(MESSAGE_BYTES_MAX))));
        }
        if let Some(records) = records {
            let end = records::RecordsEnd { records, admission: Arc::clone(&admission) };
            routes.push((RECORDS, route(RecordsServer::new(end).max_decoding_message_size(MESSAGE_BYTES_MAX))));
        }
        if trail.is_some() || ledger.is_some() {
            let end = trail::TrailEnd { trail, ledger, admission: Arc::clone(&admission) };
            routes.push((TRAIL, route(TrailServer::new(end).max_decoding_message_size(MESSAGE_BYTES_MAX))));
        }
        if let Some(log) = log {
            let end = log::LogEnd { log, admission: Arc::clone(&admission) };
            routes.push((LOG, route(LogServer::new(end).max_decoding_message_size(LOG_BYTES_MAX))));
        }
        if let Some(report) = report {
            let end = report::ReportEnd { report };
            routes.push((REPORT, route(ReportServer::new(end).max_decoding_message_size(LOG_BYTES_MAX))));
        }
        if let Some(watch) = watch {
            let end = monitor::WatchEnd { watch, admission: Arc::clone(&admission) };
            routes.push((WATCH, route(WatchServer::new(end).max_decoding_message_size(MESSAGE_BYTES_MAX))));
        }
        if front.is_some() || facts.is_some() || issuer.is_some() {
            let end = authority::AuthorityEnd { front, facts, issuer, admission: Arc::clone(&admission) };
            routes.push((AUTHORITY, route(AuthorityServer::new(end).max_decoding_message_size(MESSAGE_BYTES_MAX))));
        }
        let health = HealthReporter::new();
        for (name, _) in &routes {
            health.set_service_status(*name, ServingStatus::Serving).await;
        }
        routes.push((HEALTH, route(HealthServer::new(HealthService::from_health_reporter(health)))));
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(crate::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        if let Ok(reflection) = reflection {
            routes.push((REFLECTION, route(reflection)));
        }
        Self { routes, admission, in_flight, is_removed, is_it, settings }
    }

    /// Whether this process may be the service at this moment.
    pub(crate) fn is_it(&self) -> bool {
        self.is_it.as_ref().is_none_or(|is_it| is_it())
    }

    /// One call, from its headers on.
    pub(crate) async fn call(
        &self,
        peer: Option<&Arc<Peer>>,
        address: IpAddr,
        leaving: &Leaving,
        mut request: http::Request<Incoming>,
    ) -> http::Response<Held> {
        let method = methods::find(request.uri().path());
        match self.let_through(peer, method) {
            Ok((method, route, place)) => {
                let caller = Caller { peer: peer.cloned(), address, method };
                request.extensions_mut().insert(caller);
                if method.lasts == Lasts::Following {
                    request.extensions_mut().insert(leaving.clone());
                }
                let response = match method.lasts {
                    Lasts::Following => route(request).await,
                    Lasts::Briefly => {
                        let deadline = deadline_of(&request);
                        let work = deadline::within(deadline, route(request));
                        // What is dropped here stops; a write has gone to a task of its own.
                        let done = tokio::time::timeout_at(deadline, work).await;
                        done.unwrap_or_else(|_| Failed::Call(CallRefused::Late).to_status().into_http())
                    }
                };
                response.map(|body| Held::new(body, place))
            }
            Err(why) => {
                let refused = RefusedCall {
                    peer: peer.map(AsRef::as_ref),
                    method: method.map_or("", |m| m.path),
                    why,
                    request: None,
                };
                self.admission.note.refused(&refused).await;
                Failed::Call(why).to_status().into_http().map(|body| Held::new(body, None))
            }
        }
    }

    fn let_through(
        &self,
        peer: Option<&Arc<Peer>>,
        method: Option<&'static Method>,
    ) -> Result<(&'static Method, &Route, Option<OwnedSemaphorePermit>), CallRefused> {
        if peer.is_some_and(|peer| (self.is_removed)(&peer.id)) {
            return Err(CallRefused::Removed);
        }
        // Without a certificate there is nothing but joining: not even what there is not.
        let method = method.ok_or(if peer.is_some() { CallRefused::NotHere } else { CallRefused::Role })?;
        if !method.takes(peer.map(AsRef::as_ref)) {
            return Err(CallRefused::Role);
        }
        let route = self.routes.iter().find(|(name, _)| *name == method.service());
        let (_, route) = route.ok_or(CallRefused::NotHere)?;
        // What follows does no work of its own; how much there is of it the connections bound.
        let place = match method.lasts {
            Lasts::Briefly => Some(Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| CallRefused::Busy)?),
            Lasts::Following => None,
        };
        Ok((method, route, place))
    }
}

/// When the caller stops waiting; never later than [`deadline::CALL_MAX`] from now.
fn deadline_of(request: &http::Request<Incoming>) -> Instant {
    let said = request.headers().get("grpc-timeout").and_then(|value| value.to_str().ok());
    let left = said.and_then(deadline::of_header).map_or(deadline::CALL_MAX, |left| left.min(deadline::CALL_MAX));
    let now = Instant::now();
    now.checked_add(left).unwrap_or(now)
}
