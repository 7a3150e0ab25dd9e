//! A real server on a real port, with time limits short enough to wait for.

use std::net::SocketAddr;

use bytes::Bytes;
use countersign_crypto::tls::{
    CertificateSlot, ServerName, TlsConnector, TlsError, certificate_sha256, client, client_config,
    client_config_http2, client_config_showing, server_config, server_config_with_clients,
};
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::{Clock as _, clock::SystemClock};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::fake::{Fake, GOOD};

type Stream = client::TlsStream<TcpStream>;

struct Running {
    address: SocketAddr,
    ca_pem: String,
    fake: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(20);

/// Limits that no test reaches by accident.
fn patient() -> Limits {
    Limits { handshake_time: LONG, header_time: LONG, idle_time: LONG, request_time: LONG, ..Limits::default() }
}

async fn start(limits: Limits) -> Running {
    start_with(limits, server_config).await
}

async fn start_with<T: Into<TlsAcceptor> + Send + 'static>(
    limits: Limits,
    settings: impl FnOnce(&Arc<CertificateSlot>) -> Result<T, TlsError>,
) -> Running {
    let now = SystemClock.now();
    let authority = CertificateAuthority::generate("Countersign example", now, 10).unwrap();
    let certificate = authority.issue_server(&["localhost".to_owned()], now, 3_600_000).unwrap();
    let tls = settings(&CertificateSlot::new(&certificate).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fake = Arc::new(Fake::default());
    let router = Router::new(Arc::clone(&fake), limits);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, tls, router, async {
        let _ = stopped.await;
    }));
    Running { address, ca_pem: authority.ca_pem().to_owned(), fake, stop: Some(stop), serving }
}

impl Running {
    async fn connect(&self, http2: bool) -> std::io::Result<Stream> {
        let config = if http2 { client_config_http2(&self.ca_pem) } else { client_config(&self.ca_pem) };
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(config.unwrap()).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    async fn tls(&self) -> Stream {
        self.connect(false).await.unwrap()
    }

    fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {GOOD}\r\n{more}\r\n")
}

async fn send(stream: &mut Stream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// One answer with its head and, by its length, its body.
async fn answer(stream: &mut Stream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Whatever else comes before the server hangs up, and how long that took.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut rest = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection stays open");
    // Hanging up without a farewell is an error to TLS, and as good as one here.
    drop(read);
    (rest, begun.elapsed())
}

#[tokio::test]
async fn http_1_1() {
    let server = start(patient()).await;
    let mut stream = server.tls().await;
    for _ in 0..2 {
        send(&mut stream, &get("/rest/v1/customer?select=id", "")).await;
        let text = answer(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n[{\"id\":1}]"), "{text}");
        for header in ["countersign-request: ", "cache-control: no-store\r\n", "x-content-type-options: nosniff\r\n"] {
            assert!(text.contains(header), "{text}");
        }
        assert!(!text.to_lowercase().contains("\r\nserver:"), "{text}");
    }
    send(&mut stream, &get("/rest/v1/customer", "").replace("GET", "HEAD")).await;
    assert!(answer_head(&mut stream).await.starts_with("HTTP/1.1 200"));
    send(&mut stream, &get("/healthz", "connection: close\r\n")).await;
    assert!(answer(&mut stream).await.ends_with("{\"status\":\"ok\"}"));
    assert!(until_closed(&mut stream).await.0.is_empty());
}

async fn answer_head(stream: &mut Stream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1);
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn http_2() {
    let limits = Limits { streams: 1, header_bytes: 8192, url_bytes: 100, ..patient() };
    let server = start(limits).await;
    let stream = server.connect(true).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str, header: &str| {
        http::Request::get(format!("https://localhost{path}"))
            .header("authorization", format!("Bearer {GOOD}"))
            .header("x-more", header)
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let response = sender.send_request(request("/rest/v1/customer", "")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("countersign-request") && !response.headers().contains_key("server"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "[{\"id\":1}]");
    let long = format!("/{}", "x".repeat(100));
    assert_eq!(sender.send_request(request(&long, "")).await.unwrap().status(), 414);
    let refused = sender.send_request(request("/healthz", &"x".repeat(9000))).await;
    assert!(refused.is_err() || refused.is_ok_and(|response| response.status() == 431));

    // One stream at a time: the second request waits for the first.
    server.fake.delay(SHORT);
    let begun = Instant::now();
    let mut other = sender.clone();
    let (one, two) = tokio::join!(
        sender.send_request(request("/rest/v1/customer", "")),
        other.send_request(request("/rest/v1/customer", "")),
    );
    assert!(one.is_ok() && two.is_ok());
    assert!(begun.elapsed() >= SHORT.saturating_mul(2));
}

#[tokio::test]
async fn plain_http_gets_nothing_in_clear() {
    let server = start(patient()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(get("/healthz", "").as_bytes()).await.unwrap();
    let (rest, _) = until_closed(&mut stream).await;
    // At most a TLS alert: type 21, version, length 2.
    assert!(rest.is_empty() || (rest.len() == 7 && rest.starts_with(&[21, 3])), "{rest:?}");
    assert!(server.fake.requests().is_empty());
}

#[tokio::test]
async fn a_handshake_that_goes_nowhere_ends() {
    let server = start(Limits { handshake_time: SHORT, ..patient() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (rest, time) = until_closed(&mut stream).await;
    assert!(rest.is_empty() && time >= SHORT);
}

#[tokio::test]
async fn a_head_that_goes_nowhere_ends() {
    let server = start(Limits { header_time: SHORT, ..patient() }).await;
    let mut stream = server.tls().await;
    send(&mut stream, &get("/healthz", "")).await;
    answer(&mut stream).await;
    // Rest between requests does not count as a slow head.
    sleep(SHORT * 2).await;
    send(&mut stream, &get("/healthz", "")).await;
    answer(&mut stream).await;
    send(&mut stream, "GET /healthz HTTP/1.1\r\n").await;
    let begun = Instant::now();
    // A byte now and then does not help.
    while begun.elapsed() < LONG && stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
        sleep(SHORT / 3).await;
    }
    assert!(begun.elapsed() < SHORT * 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_rests_ends() {
    let server = start(Limits { idle_time: SHORT, ..patient() }).await;
    let mut stream = server.tls().await;
    send(&mut stream, &get("/healthz", "")).await;
    answer(&mut stream).await;
    let (rest, time) = until_closed(&mut stream).await;
    assert!(rest.is_empty() && time >= SHORT / 2 && time < SHORT * 10, "{time:?}");

    let mut never_used = server.tls().await;
    assert!(until_closed(&mut never_used).await.1 < SHORT * 10);

    let stream = server.connect(true).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    assert!(timeout(SHORT * 10, connection).await.is_ok(), "HTTP/2 as well");
    drop(sender);
}

#[tokio::test]
async fn a_request_that_is_being_answered_does_not_count_as_rest() {
    let server = start(Limits { idle_time: SHORT, header_time: SHORT, ..patient() }).await;
    server.fake.delay(SHORT * 3);
    let mut stream = server.tls().await;
    send(&mut stream, &get("/rest/v1/customer", "")).await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_are_counted() {
    let server = start(Limits { connections: 2, ..patient() }).await;
    let (first, second) = (server.tls().await, server.tls().await);
    assert!(server.connect(false).await.is_err());
    drop(first);
    let begun = Instant::now();
    while server.connect(false).await.is_err() {
        assert!(begun.elapsed() < LONG, "a place becomes free");
        sleep(Duration::from_millis(10)).await;
    }
    drop(second);
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let limits = Limits { header_bytes: 9000, url_bytes: 200, body_bytes: 50, request_time: SHORT * 2, ..patient() };
    let server = start(limits).await;
    let status = async |text: &str| {
        let mut stream = server.tls().await;
        send(&mut stream, text).await;
        answer_head(&mut stream).await.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&get(&format!("/{}", "x".repeat(200)), "")).await, "414");
    assert_eq!(status(&get("/healthz", &format!("a: {}\r\n", "x".repeat(8990)))).await, "431");
    assert_eq!(status(&get("/healthz", &format!("a: {}\r\n", "x".repeat(20_000)))).await, "431");
    assert_eq!(status(&get("/healthz", &"a: b\r\n".repeat(70))).await, "431");
    assert_eq!(status(&get("/healthz", &"a: b\r\n".repeat(200))).await, "431");
    let post = |more: &str| get("/rest/v1/customer", more).replace("GET", "POST");
    assert_eq!(status(&post("content-length: 51\r\n")).await, "413");
    let chunked = format!("{}40\r\n{}\r\n0\r\n\r\n", post("transfer-encoding: chunked\r\n"), "x".repeat(64));
    assert_eq!(status(&chunked).await, "413");
    assert_eq!(status(&post("content-length: 9\r\n")).await, "408");
    assert_eq!(status(&format!("{}{{\"id\":1}} ", post("content-length: 9\r\n"))).await, "201");
    assert_eq!(status("GET /healthz HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n").await, "400");
}

#[tokio::test]
async fn shutdown_lets_open_requests_finish_and_no_others_in() {
    let mut server = start(Limits { shutdown_time: LONG, ..patient() }).await;
    server.fake.delay(SHORT * 2);
    let (mut busy, mut resting) = (server.tls().await, server.tls().await);
    send(&mut busy, &get("/rest/v1/customer", "")).await;
    while server.fake.requests().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    server.stop();
    assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"));
    until_closed(&mut resting).await;
    timeout(LONG, server.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_it_may() {
    let mut server = start(Limits { shutdown_time: SHORT, ..patient() }).await;
    server.fake.delay(LONG);
    let mut busy = server.tls().await;
    send(&mut busy, &get("/rest/v1/customer", "")).await;
    while server.fake.requests().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    server.stop();
    timeout(LONG, server.serving).await.unwrap().unwrap();
    assert!(begun.elapsed() < LONG / 2);
}

#[tokio::test]
async fn the_peers_address_reaches_the_backend_and_a_posted_body_too() {
    let server = start(patient()).await;
    let stream = server.connect(true).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = format!("[{}{{\"id\":0}}]", "{\"id\":1},".repeat(9000));
    let request = http::Request::post("https://localhost/rest/v1/customer")
        .header("authorization", format!("Bearer {GOOD}"))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 201);
    let countersign_model::request::Operation::Insert(insert) = server.fake.last().operation else { panic!() };
    assert_eq!(insert.rows.len(), 9001);
    assert_eq!(server.fake.peer(), Some("127.0.0.1".parse().unwrap()));
}

/// Whoever shows one to a door that does not ask for it can't: TLS has no place for that.
#[tokio::test]
async fn the_certificate_of_a_connection_reaches_the_backend_with_each_of_its_requests() {
    let now = SystemClock.now();
    let own = CertificateAuthority::generate("Of no concern", now, 10).unwrap();
    let own = own.issue_server(&["client".to_owned()], now, 3_600_000).unwrap();
    let slot = CertificateSlot::new(&own).unwrap();
    let digest = certificate_sha256(&own.chain_der[0]);
    let asking = start_with(patient(), server_config_with_clients).await;
    let not_asking = start(patient()).await;
    for (server, expected) in [(&asking, Some(digest)), (&not_asking, None)] {
        let config = client_config_showing(&server.ca_pem, &slot).unwrap();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        for _ in 0..2 {
            send(&mut stream, &get("/rest/v1/customer", "")).await;
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
            assert_eq!(server.fake.certificate(), expected);
        }
        let mut without = server.tls().await;
        send(&mut without, &get("/rest/v1/customer", "")).await;
        assert!(answer(&mut without).await.starts_with("HTTP/1.1 200"));
        assert_eq!(server.fake.certificate(), None);
    }
}
