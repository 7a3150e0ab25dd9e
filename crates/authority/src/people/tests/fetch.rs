//! Calls outside: where they may go, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::{CertificateSlot, TlsAcceptor, server_config};
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::people::address::HttpsUrl;
use crate::people::fetch::{ANSWER_MAX_BYTES, Ask, Content, FetchError, Fetcher, Outbound as _};

/// A server that answers every request with the same bytes, on loopback.
struct Server {
    port: u16,
    ca_pem: Arc<str>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn answering(answer: Option<String>) -> Self {
        let authority = CertificateAuthority::generate("a test", SystemClock.now(), 1).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = authority.issue_server(&names, SystemClock.now(), 3_600_000).unwrap();
        let acceptor = TlsAcceptor::from(server_config(&CertificateSlot::new(&certificate).unwrap()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut asked = vec![0; 4096];
                    let read = stream.read(&mut asked).await.unwrap_or(0);
                    match answer {
                        Some(answer) if answer == "echo" => {
                            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {read}\r\n\r\n");
                            stream.write_all(head.as_bytes()).await.ok();
                            stream.write_all(&asked[..read]).await.ok();
                        }
                        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                        None => tokio::time::sleep(Duration::from_secs(60)).await,
                    }
                    stream.shutdown().await.ok();
                });
            }
        });
        Self { port, ca_pem: authority.ca_pem().into(), task }
    }

    fn ask(&self, host: &str) -> Ask {
        let url = HttpsUrl::parse(&format!("https://{host}:{}/a?b=c", self.port)).unwrap();
        Ask { ca_pem: Some(Arc::clone(&self.ca_pem)), ..Ask::get(url) }
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher::new(["localhost", "127.0.0.1"].map(|host| format!("{host}:{}", self.port)))
    }
}

#[tokio::test]
async fn the_deployments_own_network_is_out_of_reach() {
    let server = Server::answering(Some("echo".into())).await;
    let strict = Fetcher::new([]);
    let other = Fetcher::new(["localhost:1".to_owned(), format!("elsewhere:{}", server.port)]);
    for fetcher in [&strict, &other] {
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"]
        {
            let outcome = fetcher.call(server.ask(host)).await;
            assert_eq!(outcome.err(), Some(FetchError::NotPublic), "{host}");
        }
    }
    let allowed = server.fetcher();
    for host in ["127.0.0.1", "localhost", "LOCALHOST"] {
        assert_eq!(allowed.call(server.ask(host)).await.unwrap().status, 200, "{host}");
    }
    // Other ways of writing it are other names.
    assert!(allowed.call(server.ask("127.1")).await.is_err());
    assert!(allowed.call(server.ask("2130706433")).await.is_err());
}

#[tokio::test]
async fn the_request_is_what_was_asked() {
    let server = Server::answering(Some("echo".into())).await;
    let fetcher = server.fetcher();
    let answered = fetcher.call(server.ask("localhost")).await.unwrap();
    let asked = String::from_utf8(answered.body.to_vec()).unwrap();
    assert!(asked.starts_with(&format!("GET /a?b=c HTTP/1.1\r\nhost: localhost:{}\r\n", server.port)), "{asked}");
    let content = Some(Content::form(Zeroizing::new("x=y".to_owned())));
    let authorization = Some(Zeroizing::new("Basic abc".to_owned()));
    let answered = fetcher.call(Ask { content, authorization, ..server.ask("localhost") }).await.unwrap();
    let asked = String::from_utf8(answered.body.to_vec()).unwrap();
    assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n") && asked.contains("authorization: Basic abc\r\n"), "{asked}");
    assert!(asked.contains("content-type: application/x-www-form-urlencoded\r\n") && asked.ends_with("x=y"), "{asked}");
    let smuggled = Some(Zeroizing::new("Basic abc\r\nx: y".to_owned()));
    let outcome = fetcher.call(Ask { authorization: smuggled, ..server.ask("localhost") }).await;
    assert_eq!(outcome.err(), Some(FetchError::Broken));
}

#[tokio::test]
async fn a_server_has_to_prove_who_it_is() {
    let server = Server::answering(Some("echo".into())).await;
    let other = Server::answering(Some("echo".into())).await;
    let fetcher = server.fetcher();
    for ca_pem in [None, Some(Arc::clone(&other.ca_pem)), Some("rubbish".into())] {
        let outcome = fetcher.call(Ask { ca_pem, ..server.ask("localhost") }).await;
        assert_eq!(outcome.err(), Some(FetchError::Untrusted));
    }
    // Vouched for, under another name.
    let fetcher = Fetcher::new([format!("127.0.0.2:{}", server.port)]);
    let outcome = fetcher.call(server.ask("127.0.0.2")).await.err();
    assert!(matches!(outcome, Some(FetchError::Untrusted | FetchError::Unreachable)), "{outcome:?}");
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_and_nothing_is_endless() {
    let server = Server::answering(Some(
        "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".into(),
    ))
    .await;
    assert_eq!(server.fetcher().call(server.ask("localhost")).await.unwrap().status, 302);

    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(ANSWER_MAX_BYTES + 1));
    let server = Server::answering(Some(long)).await;
    assert_eq!(server.fetcher().call(server.ask("localhost")).await.err(), Some(FetchError::TooLong));
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(ANSWER_MAX_BYTES));
    let server = Server::answering(Some(head)).await;
    assert_eq!(server.fetcher().call(server.ask("localhost")).await.err(), Some(FetchError::Broken));
    let server = Server::answering(Some("rubbish\r\n\r\n".into())).await;
    assert_eq!(server.fetcher().call(server.ask("localhost")).await.err(), Some(FetchError::Broken));
    let server = Server::answering(Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort".into())).await;
    assert_eq!(server.fetcher().call(server.ask("localhost")).await.err(), Some(FetchError::Broken));
    let server = Server::answering(None).await;
    let began = std::time::Instant::now();
    assert_eq!(server.fetcher().call(server.ask("localhost")).await.err(), Some(FetchError::TooSlow));
    assert!(began.elapsed() < Duration::from_secs(8));
    drop(server.ca_pem.clone());
}
