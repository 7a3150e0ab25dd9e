//! The limit of any HTTPS service written with axum on this machine: it answers with bytes that are ready made.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use countersign_crypto::tls;
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use countersign_testkit::Server;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Starts it as a process of its own, as the program under test is one.
pub fn start(folder: &std::path::Path, bodies: &[(&str, &[u8])]) -> Result<Server> {
    let ca_file = folder.join("hello-ca.pem");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hello").arg(&ca_file);
    for (name, body) in bodies {
        let file = folder.join(format!("hello-{name}.json"));
        std::fs::write(&file, body)?;
        command.arg(format!("/{name}")).arg(file);
    }
    Server::start(command, ca_file, &folder.join("hello.log"))
}

/// The process: `hello CA_FILE [PATH FILE]…`.
pub fn serve(arguments: &[String]) -> Result<()> {
    let (ca_file, routes) = arguments.split_first().context("hello needs a file for its certificate authority")?;
    let mut router = Router::new();
    for pair in routes.chunks_exact(2) {
        let [path, file] = pair else { continue };
        let body = axum::body::Bytes::from(std::fs::read(PathBuf::from(file))?);
        let answer = move || async move { ([("content-type", "application/json; charset=utf-8")], body) };
        router = router.route(path, get(answer));
    }
    let now = SystemClock.now();
    let authority = CertificateAuthority::generate("bench", now, 2)?;
    std::fs::write(ca_file, authority.ca_pem())?;
    let certificate = authority.issue_server(&["localhost".into(), "127.0.0.1".into()], now, 12 * 3_600_000)?;
    let acceptor = TlsAcceptor::from(tls::server_config(&CertificateSlot::new(&certificate)?)?);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("ready https://{}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(router);
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}
