//! How a command reaches a deployment: over HTTPS, or, for one on this machine that no server has open, by calling
//! the same router in this process. Everything above sees one thing that answers requests.

mod in_process;
mod network;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

pub use in_process::InProcess;
pub use network::Network;

use crate::problem::{Exit, Problem};

/// One request.
#[derive(Clone)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers besides those that the transport sets.
    pub headers: Vec<(http::HeaderName, String)>,
    /// The body; empty for none.
    pub body: Bytes,
}

/// One answer, read to its end.
#[derive(Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A way to a deployment.
pub enum Transport {
    /// Over HTTPS.
    Network(Network),
    /// In this process.
    InProcess(Box<InProcess>),
}

impl Transport {
    /// Whether this is the folder of an authority whose services run apart, opened while it is not served.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self, Self::InProcess(opened) if opened.is_alone())
    }

    /// The URL of a path without its query, as the server at the other end knows it; none if that has no name.
    pub(crate) fn url(&self, path: &str) -> Option<String> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let authority = match self {
            Self::Network(network) => network.authority().to_owned(),
            Self::InProcess(here) => here.authority()?,
        };
        Some(format!("https://{authority}{path}"))
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// If no answer came. An answer that says no is an answer.
    pub async fn send(&self, ask: Ask) -> Result<Reply, Problem> {
        match self {
            Self::Network(network) => network.send(ask).await,
            Self::InProcess(here) => here.send(ask).await,
        }
    }
}

impl Ask {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body of that media type.
    #[must_use]
    pub fn body(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(http::header::CONTENT_TYPE, media_type)
    }

    fn build<B>(self, body: impl FnOnce(Bytes) -> B) -> Result<http::Request<B>, Problem> {
        let mut request = http::Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let bad = |_| Problem::new(Exit::Usage, "the request has a header or an address that HTTP can't carry");
        request.body(body(self.body)).map_err(bad)
    }
}

impl Reply {
    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
