//! A blocking HTTPS client on one kept-alive connection.

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_crypto::tls::{CertificateSlot, client_config_showing};
use countersign_crypto::x509::ServerCertificate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::http1::{Request, Response};

/// How long a test waits for an answer before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(60);

type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A client of one server. Not for more than one thread: clone it instead.
pub struct Client {
    address: String,
    tls: Arc<ClientConfig>,
    token: Option<String>,
    connection: std::cell::RefCell<Option<Connection>>,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            tls: Arc::clone(&self.tls),
            token: self.token.clone(),
            connection: None.into(),
        }
    }
}

impl Client {
    /// A client of the server at `address` (host and port) that trusts only the certificates in `ca_pem`.
    ///
    /// # Errors
    /// If there is no certificate in `ca_pem`.
    pub fn new(address: &str, ca_pem: &str) -> Result<Self> {
        let mut tls = ClientConfig::clone(&*countersign_crypto::tls::client_config(ca_pem)?);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address: address.into(), tls: Arc::new(tls), token: None, connection: None.into() })
    }

    /// The same client, on connections on which it shows this certificate if the server asks for one.
    ///
    /// # Errors
    /// If the certificate and its key don't fit, or there is no certificate in `ca_pem`.
    pub fn showing(&self, ca_pem: &str, own: &ServerCertificate) -> Result<Self> {
        let tls = client_config_showing(ca_pem, &CertificateSlot::new(own)?)?;
        Ok(Self { tls, ..self.clone() })
    }

    /// The same client, on a connection of its own, with a token on each request.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.trim().into()), ..self.clone() }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for the answer. A kept connection that the server has closed is opened again only
    /// for requests that change nothing: whether a write arrived is then unknown, and the caller hears so.
    ///
    /// # Errors
    /// If no whole answer came.
    pub fn send(&self, request: &Request) -> Result<Response> {
        let kept = self.connection.borrow_mut().take();
        let was_kept = kept.is_some();
        match self.exchange(kept, request) {
            Err(_) if was_kept && matches!(request.method.as_str(), "GET" | "HEAD") => self.exchange(None, request),
            result => result,
        }
    }

    /// The same, but never sent twice: a kept connection that was closed is an error for every request.
    ///
    /// # Errors
    /// If no whole answer came.
    pub fn send_once(&self, request: &Request) -> Result<Response> {
        let kept = self.connection.borrow_mut().take();
        self.exchange(kept, request)
    }

    fn exchange(&self, kept: Option<Connection>, request: &Request) -> Result<Response> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect()?,
        };
        request.write(&self.address, self.token.as_deref(), connection.get_mut())?;
        let response = Response::read(&request.method, &mut connection)?;
        if response.header("connection") != Some("close") {
            *self.connection.borrow_mut() = Some(connection);
        }
        Ok(response)
    }

    fn connect(&self) -> Result<Connection> {
        let socket = TcpStream::connect(&self.address).with_context(|| format!("connecting to {}", self.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let session = ClientConnection::new(Arc::clone(&self.tls), ServerName::try_from(host.to_owned())?)?;
        Ok(BufReader::new(StreamOwned::new(session, socket)))
    }

    /// GET.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn get(&self, path: &str) -> Result<Response> {
        self.send(&Request::new("GET", path))
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Response> {
        self.send(&Request::new("POST", path).json(body))
    }

    /// PATCH of JSON.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn patch(&self, path: &str, body: &Value) -> Result<Response> {
        self.send(&Request::new("PATCH", path).json(body))
    }

    /// DELETE.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn delete(&self, path: &str) -> Result<Response> {
        self.send(&Request::new("DELETE", path))
    }
}
