//! A few connections to one service, kept alive, over which all calls to it go.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use countersign_crypto::tls::{CertificateSlot, TlsConnector};
use countersign_model::{Clock, Entropy};
use http::{HeaderValue, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::SendRequest;
use parking_lot::RwLock;
use prost::{Message, Name};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::body::Outgoing;
use super::lane;
use super::pipe::Drain;
use crate::codec::Bounded;
use crate::deadline;
use crate::failure::{CallRefused, Failed};
use crate::methods::{self, Lasts, Method};
use crate::pb;
use crate::server::MESSAGE_BYTES_MAX;

pub(crate) type Sender = SendRequest<Outgoing>;

/// A connection that takes calls.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) sender: Sender,
    /// Whether another is to take, or took, its place.
    pub(crate) is_over: Arc<AtomicBool>,
}

/// What a [`Channel`] is made of.
pub struct ChannelParts {
    /// Encrypts and says who may be at the other end; from
    /// [`mutual_client_config`](countersign_crypto::tls::mutual_client_config) or
    /// [`join_client_config`](countersign_crypto::tls::join_client_config).
    pub tls: TlsConnector,
    /// The certificate that is shown, if one is: connections are made anew before the one that they began with
    /// expires.
    pub own: Option<Arc<CertificateSlot>>,
    /// Where the service is, as "host:port"; several are used in turn.
    pub addresses: watch::Receiver<Vec<String>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, so that not all callers come back at once.
    pub entropy: Arc<dyn Entropy>,
    /// Bounds.
    pub settings: ChannelSettings,
}

/// Bounds.
#[derive(Debug, Clone)]
pub struct ChannelSettings {
    /// How many connections are kept.
    pub connections: usize,
    /// The most calls at once; more fail as busy.
    pub in_flight_max: usize,
    /// How long a connection may take to be made.
    pub connect_max: Duration,
    /// How long a call waits for a connection when there is none.
    pub wait_max: Duration,
    /// The first pause before another try to connect; it doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How long a connection is used at most.
    pub age_max: Duration,
    /// After how long without hearing anything it is asked whether anybody is there; for half as long.
    pub keepalive: Duration,
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            connections: 2,
            in_flight_max: 4_096,
            connect_max: Duration::from_secs(5),
            wait_max: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            age_max: Duration::from_secs(20 * 60),
            keepalive: Duration::from_secs(10),
        }
    }
}

impl Line {
    /// Sends a request. The sender is let go before the answer is waited for: a request that is put into the queue of
    /// a connection in the very moment in which that ends is given back only when nobody holds the queue any more.
    fn send(
        mut self,
        request: http::Request<Outgoing>,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<http::Request<Outgoing>>>> {
        self.sender.try_send_request(request)
    }
}

/// Calls one service. Cheap to clone; the connections end with the last clone.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    _lanes: Arc<Lanes>,
}

/// The answers of a stream of calls, and whether its connection is over.
pub(crate) type OpenPipe = (Streaming<pb::PipeAnswer>, Arc<AtomicBool>);

/// What calls and connections share.
pub(crate) struct Shared {
    pub(crate) parts: ChannelParts,
    lines: RwLock<Vec<Option<Line>>>,
    pub(crate) news: Notify,
    turn: AtomicUsize,
    sequence: AtomicU64,
    in_flight: Semaphore,
}

struct Lanes(Vec<AbortHandle>);

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in &self.0 {
            lane.abort();
        }
    }
}

/// How often a call that surely was not processed is tried again. Should it have been, against all assurances, it is
/// refused: its sequence is the same.
const TRIES: usize = 8;
/// Before it is tried again: the connection that went away may not be known to have.
const PAUSE: Duration = Duration::from_millis(10);

/// How far one call came.
#[derive(Default)]
struct Course {
    sent: AtomicBool,
    /// The callee said why it did not do it.
    told: AtomicBool,
}

impl Course {
    fn told(&self, status: &Status) -> Failed {
        let told = !status.details().is_empty() || status.code() == tonic::Code::Unimplemented;
        self.told.store(told, Ordering::Relaxed);
        Failed::of_status(status)
    }

    /// What that means for a change.
    fn of_change(&self, failed: Failed) -> Failed {
        // A callee whose time is over goes on with a change all the same.
        let told = self.told.load(Ordering::Relaxed) && failed != Failed::Call(CallRefused::Late);
        if self.sent.load(Ordering::Relaxed) && !told { Failed::Unknown } else { failed }
    }
}

impl Channel {
    /// Begins to connect. Needs a runtime.
    #[must_use]
    pub fn new(parts: ChannelParts) -> Self {
        let count = parts.settings.connections.max(1);
        let in_flight = Semaphore::new(parts.settings.in_flight_max);
        let mut first = [0; 8];
        parts.entropy.fill(&mut first);
        let shared = Arc::new(Shared {
            lines: RwLock::new(vec![None; count]),
            news: Notify::new(),
            turn: AtomicUsize::new(0),
            sequence: AtomicU64::new(u64::from_le_bytes(first)),
            in_flight,
            parts,
        });
        let lanes = (0..count).map(|index| tokio::spawn(lane::run(Arc::clone(&shared), index)).abort_handle());
        Self { _lanes: Arc::new(Lanes(lanes.collect())), shared }
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.line().is_some()
    }

    /// A number that no other call of this channel has. It counts up from a random start: a service may have several
    /// channels to another, and call it by more than one of them for the same request.
    pub(crate) fn sequence(&self) -> u64 {
        self.shared.sequence.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.shared.parts.entropy
    }

    pub(crate) fn settings(&self) -> &ChannelSettings {
        &self.shared.parts.settings
    }

    /// A call with one answer.
    pub(crate) async fn unary<Out, In>(&self, method: &Method, message: &Out) -> Result<In, Failed>
    where
        Out: Message,
        In: Message + Name + Default + 'static,
    {
        self.exchange(method, message, &Course::default()).await
    }

    /// A call that changes something: [`Failed::Unknown`] if it was sent and nobody said what came of it.
    pub(crate) async fn change<Out, In>(&self, method: &Method, message: &Out) -> Result<In, Failed>
    where
        Out: Message,
        In: Message + Name + Default + 'static,
    {
        let course = Course::default();
        self.exchange(method, message, &course).await.map_err(|failed| course.of_change(failed))
    }

    async fn exchange<Out, In>(&self, method: &Method, message: &Out, course: &Course) -> Result<In, Failed>
    where
        Out: Message,
        In: Message + Name + Default + 'static,
    {
        let deadline = deadline::current();
        let work = async {
            let mut answers = self.open(method, message, deadline, course).await?;
            let answer = answers.message().await.map_err(|status| course.told(&status))?;
            // What comes after the message says whether it counts.
            answers.trailers().await.map_err(|status| course.told(&status))?;
            answer.ok_or(Failed::Unavailable)
        };
        tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    /// A call with many answers. Those that follow something have no deadline; the others end by theirs, which the
    /// caller holds them to.
    pub(crate) async fn streaming<Out, In>(&self, method: &Method, message: &Out) -> Result<Streaming<In>, Failed>
    where
        Out: Message,
        In: Message + Name + Default + 'static,
    {
        let deadline = deadline::current();
        let course = Course::default();
        let work = self.open(method, message, deadline, &course);
        tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    async fn open<Out, In>(
        &self,
        method: &Method,
        message: &Out,
        deadline: Instant,
        course: &Course,
    ) -> Result<Streaming<In>, Failed>
    where
        Out: Message,
        In: Message + Name + Default + 'static,
    {
        let _place = self.place()?;
        let body = framed(message)?;
        let mut tries = 0usize;
        loop {
            tries = tries.saturating_add(1);
            let line = self.shared.wait_for_line(deadline).await?;
            let outgoing = Outgoing::Whole(Some(body.clone()));
            course.sent.store(true, Ordering::Relaxed);
            match line.send(request(method, outgoing, deadline)).await {
                Ok(response) => return answers(response, course),
                Err(mut error) => {
                    let unsent = error.take_message().is_some();
                    if !(unsent || was_refused(error.error())) {
                        return Err(Failed::Unavailable);
                    }
                    course.sent.store(false, Ordering::Relaxed);
                    if tries >= TRIES {
                        return Err(Failed::Unavailable);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Opens a stream of calls. Also gives what says when it should not be used any more. `None` if the connection
    /// turned out to be going away.
    pub(crate) async fn pipe(&self, calls: Drain, deadline: Instant) -> Result<Option<OpenPipe>, Failed> {
        let line = self.shared.wait_for_line(deadline).await?;
        let is_over = Arc::clone(&line.is_over);
        let request = request(&methods::PIPE, Outgoing::Stream(calls), deadline);
        // The other end answers at once that there is a stream, before there is anything in it.
        match tokio::time::timeout(self.settings().wait_max, line.send(request)).await {
            Ok(Ok(response)) => Ok(Some((answers(response, &Course::default())?, is_over))),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// A place among the calls in flight.
    pub(crate) fn place(&self) -> Result<SemaphorePermit<'_>, Failed> {
        self.shared.in_flight.try_acquire().map_err(|_| Failed::Call(CallRefused::Busy))
    }
}

fn answers<In>(response: http::Response<Incoming>, course: &Course) -> Result<Streaming<In>, Failed>
where
    In: Message + Name + Default + 'static,
{
    let (parts, incoming) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers)
        && status.code() != tonic::Code::Ok
    {
        return Err(course.told(&status));
    }
    if parts.status != http::StatusCode::OK {
        return Err(Failed::Unavailable);
    }
    let decoder = tonic::codec::Codec::decoder(&mut Bounded::<In, In>::default());
    Ok(Streaming::new_response::<Incoming, _>(decoder, incoming, parts.status, None, Some(MESSAGE_BYTES_MAX)))
}

/// A message with the five bytes before it (gRPC over HTTP/2, "Length-Prefixed-Message"), never compressed.
pub(crate) fn framed(message: &impl Message) -> Result<Bytes, Failed> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length).map_err(|_| Failed::Call(CallRefused::Malformed))?;
    if length > MESSAGE_BYTES_MAX {
        return Err(Failed::Call(CallRefused::Malformed));
    }
    let mut bytes = BytesMut::with_capacity(length.saturating_add(5));
    bytes.put_u8(0);
    bytes.put_u32(prefix);
    message.encode(&mut bytes).map_err(|_| Failed::Unavailable)?;
    Ok(bytes.freeze())
}

fn request(method: &Method, body: Outgoing, deadline: Instant) -> http::Request<Outgoing> {
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTPS);
    uri.authority = Some(http::uri::Authority::from_static("countersign"));
    uri.path_and_query = Some(http::uri::PathAndQuery::from_static(method.path));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if method.lasts == Lasts::Briefly {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Ok(value) = HeaderValue::from_str(&deadline::to_header(left)) {
            headers.insert("grpc-timeout", value);
        }
    }
    request
}

/// Whether the other end said that it did not begin with the call: refused the stream, or went away before it
/// (RFC 9113, section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let went_away = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
            return h2.is_remote() && (went_away || h2.reason() == Some(h2::Reason::REFUSED_STREAM));
        }
        source = cause.source();
    }
    false
}

impl Shared {
    /// One that takes calls now, in turn.
    fn line(&self) -> Option<Line> {
        let lines = self.lines.read();
        let from = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = lines.len().max(1);
        (0..count)
            .filter_map(|step| lines.get(from.wrapping_add(step).checked_rem(count)?)?.as_ref())
            .find(|line| !line.sender.is_closed())
            .cloned()
    }

    async fn wait_for_line(&self, deadline: Instant) -> Result<Line, Failed> {
        if let Some(line) = self.line() {
            return Ok(line);
        }
        let until = Instant::now().checked_add(self.parts.settings.wait_max);
        let until = until.map_or(deadline, |until| until.min(deadline));
        let wait = async {
            loop {
                let mut news = pin!(self.news.notified());
                news.as_mut().enable();
                if let Some(line) = self.line() {
                    return line;
                }
                news.await;
            }
        };
        tokio::time::timeout_at(until, wait).await.map_err(|_| Failed::Unavailable)
    }

    /// Puts a connection in the place of the one before, or none.
    pub(crate) fn put(&self, index: usize, line: Option<Line>) {
        if let Some(place) = self.lines.write().get_mut(index) {
            *place = line;
        }
        self.news.notify_waiters();
    }
}
