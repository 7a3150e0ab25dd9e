//! HTTPS to a server, trusting the deployment's certificate authority and nobody else.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use countersign_crypto::tls::{ServerName, TlsConnector};
use http::header::HOST;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Ask, Reply};
use crate::problem::{Exit, Problem, io};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(300);

/// A server elsewhere, or in another process here. Keeps one connection open.
pub struct Network {
    authority: String,
    host: String,
    port: u16,
    tls: TlsConnector,
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Network {
    /// A way to the server at `url`, trusting the certificates in `ca`.
    ///
    /// # Errors
    /// If the URL is not an HTTPS address or the file has no certificate.
    pub fn new(url: &str, ca: &Path) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::usage(format!("{url} is not an address of a server: {why}"))
                .next("give one such as https://127.0.0.1:8443")
        };
        let uri: http::Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("only https is spoken"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it has a path"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let pem = std::fs::read_to_string(ca).map_err(io("read the certificate authority in", ca))?;
        let config = countersign_crypto::tls::client_config(&pem)
            .map_err(|error| Problem::usage(format!("{}: {error}", ca.display())))?;
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host,
            port: authority.port_u16().unwrap_or(443),
            tls: TlsConnector::from(config),
            open: Mutex::new(None),
        })
    }

    /// Host and port, as the URL has them.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) async fn send(&self, ask: Ask) -> Result<Reply, Problem> {
        let request = ask.header(HOST, self.authority.clone()).build(Full::new)?;
        let mut open = self.open.lock().await;
        let mut connection = match usable(open.take()).await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let exchange = async {
            let response = connection.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Reply { status: head.status, headers: head.headers, body })
        };
        let reply = timeout(ANSWER, exchange).await.map_err(|_| self.unreachable("no answer in 5 minutes"))?;
        let reply = reply.map_err(|error| self.unreachable(&format!("no whole answer came: {error}")))?;
        *open = Some(connection);
        Ok(reply)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Problem> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
            self.tls.connect(name, stream).await
        };
        let stream = timeout(CONNECT, connecting)
            .await
            .map_err(|_| self.unreachable("no connection in 10 seconds"))?
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let (sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn unreachable(&self, why: &str) -> Problem {
        Problem::new(Exit::Unavailable, format!("can't reach https://{}: {why}", self.authority))
            .next("check that the server runs there, and that the CA file is that deployment's ca.pem")
    }
}

/// The kept connection, unless the server has closed it meanwhile.
async fn usable(kept: Option<SendRequest<Full<Bytes>>>) -> Option<SendRequest<Full<Bytes>>> {
    let mut kept = kept?;
    kept.ready().await.is_ok().then_some(kept)
}
