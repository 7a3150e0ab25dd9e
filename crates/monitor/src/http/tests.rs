//! The port, as a client sees it.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::SystemEntropy;
use countersign_crypto::tls::{CertificateSlot, ServerName, TlsConnector, client_config, server_config};
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service};
use countersign_services::{LogFailure, Report, ServiceStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::measure::Collector;
use crate::measure::tests::status;

struct Fixed(Option<ServiceStatus>);

#[async_trait::async_trait]
impl Report for Fixed {
    async fn status(&self) -> Result<ServiceStatus, LogFailure> {
        self.0.clone().ok_or(LogFailure::Unavailable)
    }
}

struct Running {
    address: std::net::SocketAddr,
    ca_pem: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

async fn start(reports: Vec<(&str, Option<ServiceStatus>)>) -> Running {
    let now = SystemClock.now();
    let authority = CertificateAuthority::generate("Countersign example", now, 10).unwrap();
    let certificate = authority.issue_server(&["localhost".to_owned()], now, 3_600_000).unwrap();
    let tls = server_config(&CertificateSlot::new(&certificate).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let statuses: Vec<(String, Arc<dyn Report>)> =
        reports.into_iter().map(|(name, one)| (name.to_owned(), Arc::new(Fixed(one)) as Arc<dyn Report>)).collect();
    let collector = Collector::new(Arc::new(statuses), Arc::new(SystemClock));
    let pages = Pages::new(PagesParts { collector, guard: None, entropy: Arc::new(SystemEntropy) });
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, tls, pages, async {
        let _ = stopped.await;
    }));
    Running { address, ca_pem: authority.ca_pem().to_owned(), stop, serving }
}

impl Running {
    async fn ask(&self, head: &str) -> String {
        let tls = TlsConnector::from(client_config(&self.ca_pem).unwrap());
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let request = format!("{head}host: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\n")).await
    }
}

#[tokio::test]
async fn pages_are_served_and_the_end_is_orderly() {
    let ready = status(Service::Gateway, Vec::new());
    let running = start(vec![("gateway", Some(ready.clone())), ("store/a", Some(ready))]).await;
    assert!(running.get("/healthz").await.ends_with("\r\n\r\nok\n"));
    let page = running.get("/readyz").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("ready\ngateway: ready\nstore/a: ready\n"), "{page}");
    let page = running.get("/metrics").await;
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{page}");
    assert!(page.contains("countersign_up{service=\"store\",instance=\"a\"} 1.0"), "{page}");
    let page = running.ask("GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text\r\n").await;
    assert!(page.contains("application/openmetrics-text; version=1.0.0") && page.ends_with("# EOF\n"), "{page}");
    assert!(running.get("/").await.starts_with("HTTP/1.1 404"));
    assert!(running.get("/metrics/x").await.starts_with("HTTP/1.1 404"));
    let page = running.ask("POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n").await;
    assert!(page.starts_with("HTTP/1.1 405") && page.contains("allow: GET, HEAD"), "{page}");
    let page = running.ask("HEAD /healthz HTTP/1.1\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("\r\n\r\n"), "{page}");
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), running.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn who_is_not_ready_is_named() {
    let mut stale = status(Service::Keys, Vec::new());
    stale.is_ready = false;
    let mut full = status(Service::Store, Vec::new());
    full.ledger_is_writable = false;
    let all = vec![("gateway", None), ("keys", Some(stale)), ("store", Some(full))];
    let page = start(all).await.get("/readyz").await;
    assert!(page.starts_with("HTTP/1.1 503"), "{page}");
    let text = "not ready\ngateway: can't be asked\nkeys: refuses everything\nstore: can't write its audit log\n";
    assert!(page.ends_with(text), "{page}");
}

#[tokio::test]
async fn what_is_not_tls_gets_nothing() {
    let running = start(Vec::new()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
