//! HTTP/2 over TLS to one server, trusting one certificate authority.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use countersign_crypto::tls::{ServerName, TlsConnector, client_config_http2};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tower_service::Service;

use crate::BoxError;
use crate::trusted::Origin;

const CONNECT: Duration = Duration::from_secs(5);
/// A connection that nobody answers on any more is found out by then.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_ANSWERED: Duration = Duration::from_secs(5);

/// A client of one server: a tower service over [`http::Request`], on one HTTP/2 connection that is kept open and
/// opened again when needed.
///
/// It follows no redirects and answers no challenges, so what is sent goes where it was sent. It waits for an answer
/// as long as its caller does: set a deadline around it. `B` is the type of request bodies; with tonic's, it is a
/// transport for tonic's clients.
pub struct Https<B> {
    server: Arc<Server<B>>,
}

struct Server<B> {
    origin: Origin,
    tls: TlsConnector,
    open: Mutex<Option<SendRequest<B>>>,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// The server's URL can't be used: only `https://HOST` and `https://HOST:PORT` can.
    #[error("expected https://HOST or https://HOST:PORT, and nothing after it")]
    Url,
    /// The certificate authority can't be read.
    #[error("expected one certificate authority in PEM")]
    Authority,
    /// The request is for another server than this client's.
    #[error("the request is for another server")]
    OtherServer,
    /// No connection in time.
    #[error("no connection within {} seconds", CONNECT.as_secs())]
    TooSlow,
    /// No connection.
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    /// The server doesn't speak HTTP/2.
    #[error("the server does not speak HTTP/2")]
    Protocol,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
}

impl<B> Https<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// A client of the server at `url`, which must present a certificate of the authority in `ca_pem`. Connects when
    /// first used.
    ///
    /// # Errors
    /// [`HttpsError::Url`] or [`HttpsError::Authority`].
    pub fn new(url: &str, ca_pem: &str) -> Result<Self, HttpsError> {
        let origin = Origin::parse(url).ok().filter(|origin| origin.tls).ok_or(HttpsError::Url)?;
        let tls = client_config_http2(ca_pem).map_err(|_| HttpsError::Authority)?;
        Ok(Self { server: Arc::new(Server { origin, tls: TlsConnector::from(tls), open: Mutex::new(None) }) })
    }

    /// Sends a request, whose URI has to be absolute and at this server.
    ///
    /// # Errors
    /// [`HttpsError`]; unless it says that there was no connection, the request may have arrived.
    pub async fn send(&self, request: Request<B>) -> Result<Response<Incoming>, HttpsError> {
        if Origin::of(request.uri()).as_ref() != Some(&self.server.origin) {
            return Err(HttpsError::OtherServer);
        }
        let mut connection = self.connection().await?;
        connection.send_request(request).await.map_err(HttpsError::Broken)
    }

    /// The URL of a path at this server.
    pub(crate) fn url(&self, path: &str) -> String {
        let Origin { host, port, .. } = &self.server.origin;
        if host.contains(':') {
            format!("https://[{host}]:{port}{path}")
        } else {
            format!("https://{host}:{port}{path}")
        }
    }

    async fn connection(&self) -> Result<SendRequest<B>, HttpsError> {
        // Held while connecting, so that many requests at once open one connection.
        let mut open = self.server.open.lock().await;
        if let Some(mut kept) = open.take()
            && kept.ready().await.is_ok()
        {
            *open = Some(kept.clone());
            return Ok(kept);
        }
        let fresh = tokio::time::timeout(CONNECT, self.connect()).await.map_err(|_| HttpsError::TooSlow)??;
        *open = Some(fresh.clone());
        Ok(fresh)
    }

    async fn connect(&self) -> Result<SendRequest<B>, HttpsError> {
        let Server { origin, tls, .. } = &*self.server;
        let stream = TcpStream::connect((origin.host.as_str(), origin.port)).await.map_err(HttpsError::Connect)?;
        stream.set_nodelay(true).map_err(HttpsError::Connect)?;
        let name = ServerName::try_from(origin.host.clone()).map_err(|_| HttpsError::Url)?;
        let stream = tls.connect(name, stream).await.map_err(HttpsError::Connect)?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(HttpsError::Protocol);
        }
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWERED)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(HttpsError::Broken)?;
        // Ends when the last sender is dropped or the server closes; who waits for an answer hears of it there.
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl<B> Clone for Https<B> {
    fn clone(&self) -> Self {
        Self { server: Arc::clone(&self.server) }
    }
}

impl<B> fmt::Debug for Https<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { host, port, .. } = &self.server.origin;
        f.debug_struct("Https").field("host", host).field("port", port).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Https<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = HttpsError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, HttpsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}
