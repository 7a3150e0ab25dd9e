//! Calls by HTTP/1.1: bounded in time and size, no redirects, and never into a network that is the deployment's own,
//! nor without TLS, unless the operator allows the host by name.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_crypto::tls::public::{Roots, public_client_config};
use countersign_crypto::tls::{ServerName, TlsConnector};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::address::{Url, is_public};

/// How long a whole call may take.
const CALL_TIME: Duration = Duration::from_secs(5);

/// How long one address has to answer before the next is tried.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// The longest answer that is read.
pub const ANSWER_MAX_BYTES: usize = 256 * 1024;

/// How much of an answer's head is read.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// What is to be fetched.
pub struct Ask {
    /// From where.
    pub url: Url,
    /// Certificate authorities, in PEM, that are trusted for this besides the platform's.
    pub ca_pem: Option<Arc<str>>,
    /// An `Authorization` field.
    pub authorization: Option<Zeroizing<String>>,
    /// What is posted; `None` is a `GET`.
    pub content: Option<Content>,
    /// Other fields of the head.
    pub fields: Vec<(&'static str, String)>,
}

/// What is posted.
pub struct Content {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes. They may hold a secret.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl Content {
    /// A form.
    #[must_use]
    pub fn form(form: Zeroizing<String>) -> Self {
        Self { media_type: "application/x-www-form-urlencoded", bytes: Zeroizing::new(form.as_bytes().to_vec()) }
    }

    /// A JSON document.
    #[must_use]
    pub fn json(document: Vec<u8>) -> Self {
        Self { media_type: "application/json", bytes: Zeroizing::new(document) }
    }
}

impl Ask {
    /// A `GET`.
    #[must_use]
    pub fn get(url: impl Into<Url>) -> Self {
        Self { url: url.into(), ca_pem: None, authorization: None, content: None, fields: Vec::new() }
    }

    /// A `POST`.
    #[must_use]
    pub fn post(url: impl Into<Url>, content: Content) -> Self {
        Self { content: Some(content), ..Self::get(url) }
    }
}

/// What came back.
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The body, of at most [`ANSWER_MAX_BYTES`]. It may hold a token.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why a call failed. Says nothing of what is on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The name leads to an address that is not on the public internet and is not allowed by the operator.
    #[error("the address is not a public one")]
    NotPublic,
    /// The call would not be encrypted, and the operator does not allow that server by name.
    #[error("the call would not be encrypted")]
    NotEncrypted,
    /// The name is unknown or no address answers.
    #[error("the server can't be reached")]
    Unreachable,
    /// The server's certificate is not vouched for, or the certificate authorities given can't be read.
    #[error("the server could not prove who it is")]
    Untrusted,
    /// It took longer than 5 seconds.
    #[error("the server took too long")]
    TooSlow,
    /// The answer is longer than [`ANSWER_MAX_BYTES`].
    #[error("the answer is too long")]
    TooLong,
    /// Not HTTP, or broken off.
    #[error("the answer is broken")]
    Broken,
}

/// Makes calls. [`Fetcher`] is the real one; tests have others.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// One call.
    ///
    /// # Errors
    /// [`FetchError`]; any status that the server answers with is an answer.
    async fn call(&self, ask: Ask) -> Result<Answered, FetchError>;
}

/// Calls servers on the public internet, and others that the operator allows by name.
///
/// INVARIANT no-inside-calls: what a tenant writes into its settings can't make this server reach what only this
/// server can. The name is resolved here, every address it has must be public, and the connection goes to the very
/// address that was checked.
pub struct Fetcher {
    allow: BTreeSet<String>,
    roots: OnceCell<Roots>,
}

impl Fetcher {
    /// A fetcher that may also call these, each `host:port` as in the URLs that name them.
    #[must_use]
    pub fn new(allow: impl IntoIterator<Item = String>) -> Self {
        let allow = allow.into_iter().map(|entry| entry.to_ascii_lowercase()).collect();
        Self { allow, roots: OnceCell::new() }
    }

    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
        let found: Vec<SocketAddr> = match url.host().parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, url.port())],
            Err(_) => {
                let found = tokio::net::lookup_host((url.host(), url.port())).await;
                found.map_err(|_| FetchError::Unreachable)?.collect()
            }
        };
        let is_allowed = self.allow.contains(&url.host_and_port());
        if !is_allowed && !url.is_tls() {
            return Err(FetchError::NotEncrypted);
        }
        if !is_allowed && !found.iter().all(|address| is_public(address.ip())) {
            return Err(FetchError::NotPublic);
        }
        Ok(found)
    }

    async fn connect(&self, ask: &Ask) -> Result<Box<dyn Stream>, FetchError> {
        let addresses = self.addresses(&ask.url).await?;
        let tls = if ask.url.is_tls() { Some(self.tls(ask).await?) } else { None };
        for address in addresses {
            let Ok(Ok(stream)) = timeout(CONNECT_TIME, TcpStream::connect(address)).await else { continue };
            stream.set_nodelay(true).map_err(|_| FetchError::Unreachable)?;
            let Some((connector, name)) = tls else { return Ok(Box::new(stream)) };
            let stream = connector.connect(name, stream).await.map_err(|_| FetchError::Untrusted)?;
            return Ok(Box::new(stream));
        }
        Err(FetchError::Unreachable)
    }

    async fn tls(&self, ask: &Ask) -> Result<(TlsConnector, ServerName<'static>), FetchError> {
        let roots = self.roots.get_or_try_init(|| tokio::task::spawn_blocking(Roots::of_platform)).await;
        let roots = roots.map_err(|_| FetchError::Untrusted)?;
        let config = public_client_config(roots, ask.ca_pem.as_deref()).map_err(|_| FetchError::Untrusted)?;
        let name = ServerName::try_from(ask.url.host().to_owned()).map_err(|_| FetchError::Unreachable)?;
        Ok((TlsConnector::from(config), name))
    }

    async fn fetch(&self, ask: Ask) -> Result<Answered, FetchError> {
        let stream = self.connect(&ask).await?;
        let request = request(&ask)?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(HEAD_MAX_BYTES);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::Broken)?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|_| FetchError::Broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { FetchError::TooLong } else { FetchError::Broken }
        })?;
        Ok(Answered { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
    }
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn request(ask: &Ask) -> Result<Request<Full<Bytes>>, FetchError> {
    let field = |text: &str| HeaderValue::from_str(text).map_err(|_| FetchError::Broken);
    let mut request = Request::builder()
        .method(if ask.content.is_some() { Method::POST } else { Method::GET })
        .uri(ask.url.path_and_query())
        .header(HOST, field(ask.url.authority())?)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "countersign")
        .header(CONNECTION, "close");
    if let Some(authorization) = &ask.authorization {
        let mut value = field(authorization)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    for (name, value) in &ask.fields {
        request = request.header(HeaderName::from_static(name), field(value)?);
    }
    let body = match &ask.content {
        None => Full::default(),
        Some(content) => {
            request = request.header(CONTENT_TYPE, content.media_type);
            Full::new(Bytes::copy_from_slice(&content.bytes))
        }
    };
    request.body(body).map_err(|_| FetchError::Broken)
}

#[async_trait]
impl Outbound for Fetcher {
    async fn call(&self, ask: Ask) -> Result<Answered, FetchError> {
        timeout(CALL_TIME, self.fetch(ask)).await.unwrap_or(Err(FetchError::TooSlow))
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("allow", &self.allow).finish_non_exhaustive()
    }
}
