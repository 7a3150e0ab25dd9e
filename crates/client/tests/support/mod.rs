//! HTTPS servers on loopback, one of which answers as Countersign does.
#![allow(dead_code, clippy::unwrap_used, reason = "each test takes what it needs, and fails by panicking")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use countersign_client::Authority;
use countersign_crypto::tls::{CertificateSlot, TlsAcceptor, server_config};
use countersign_crypto::x509::CertificateAuthority;
use countersign_crypto::{SystemEntropy, jws};
use countersign_model::clock::{Clock, SystemClock};
use countersign_model::{SessionId, TenantId, UserId};
use countersign_token::{Minted, Minter};
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::service_fn;
use tower_service::Service;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A certificate authority, of which all servers of a test have certificates.
pub struct Network {
    authority: CertificateAuthority,
}

impl Network {
    pub fn new() -> Self {
        Self { authority: CertificateAuthority::generate("test", SystemClock.now(), 1).unwrap() }
    }

    pub fn ca(&self) -> &str {
        self.authority.ca_pem()
    }

    /// Serves until the task is aborted, which closes its connections; gives the URL.
    pub async fn serve<S, B>(&self, service: S) -> (String, JoinHandle<()>)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let names = ["127.0.0.1".to_owned()];
        let certificate = self.authority.issue_server(&names, SystemClock.now(), 3_600_000).unwrap();
        let config = server_config(&CertificateSlot::new(&certificate).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (TlsAcceptor::from(Arc::clone(&config)), service.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
                });
            }
        });
        (url, serving)
    }
}

/// What stands for a deployment.
pub struct Countersign {
    pub authority: Authority,
    minter: Minter,
    said: Arc<Mutex<HashMap<String, Value>>>,
}

impl Countersign {
    pub async fn start(network: &Network) -> Self {
        let key = Arc::new(jws::SigningKey::generate(&SystemEntropy).unwrap());
        let key_set = jws::jwks(&[key.public_jwk().clone()]);
        let said: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
        let known = Arc::clone(&said);
        let answer = service_fn(move |request: Request<Incoming>| {
            let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let body = match request.uri().path() {
                "/.well-known/oauth-authorization-server" => Some(json!({ "issuer": "https://here.example" })),
                "/v1/jwks.json" => Some(key_set.clone()),
                "/v1/token" => known.lock().get(token).cloned(),
                _ => None,
            };
            let status = if body.is_some() { 200 } else { 401 };
            let body = Full::<bytes::Bytes>::from(body.unwrap_or_default().to_string());
            std::future::ready(Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()))
        });
        let (url, _) = network.serve(answer).await;
        let authority = Authority::connect(&url, network.ca()).await.unwrap();
        Self { authority, minter: Minter::new("https://here.example", "countersign", key), said }
    }

    /// A token of somebody who may read companies of customers.
    pub fn login(&self) -> Minted {
        let now = SystemClock.now();
        let (user, tenant) = (UserId::new(now, &SystemEntropy), TenantId::new(now, &SystemEntropy));
        let session = SessionId::new(now, &SystemEntropy);
        let minted = self.minter.mint(user, tenant, session, 3_600_000, now, &SystemEntropy).unwrap();
        let says = json!({
            "user": "nancy", "tenant": "northwind", "roles": [], "token": minted.id(),
            "records": { "customer": { "read": { "fields": ["company"], "records": "all" } } },
        });
        self.said.lock().insert(format!("Bearer {}", minted.token()), says);
        minted
    }
}
