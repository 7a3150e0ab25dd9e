//! The listener: TLS only, few connections, every wait bounded.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::TlsAcceptor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::pages::Pages;

/// Connections at a time; more are closed at once. A scraper needs one.
pub const CONNECTIONS_MAX: usize = 64;

/// Time for a TLS handshake, and for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a connection may be open, whatever it does. Scrapers connect again.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// How long requests under way may take to finish when the server is told to stop.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// How large the head of a request may be.
const HEAD_MAX_BYTES: usize = 32 * 1024;

/// Serves until `shutdown` is ready, then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    tls: impl Into<TlsAcceptor>,
    pages: Arc<Pages>,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor: TlsAcceptor = tls.into();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, address)) = accepted else {
            // Out of file descriptors, mostly: others have to end first.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (acceptor, pages, closed) = (acceptor.clone(), Arc::clone(&pages), closed.clone());
        connections.spawn(async move {
            let _ = timeout(CONNECTION_TIME, connection(stream, address, acceptor, pages, closed)).await;
            drop(place);
        });
    }
    drop(listener);
    let _ = closing.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIME, all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    pages: Arc<Pages>,
    mut closed: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(HEAD_TIME, acceptor.accept(stream)).await else { return };
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(pages.answer(&request.into_parts().0, Some(address.ip())).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_MAX_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(8)
        .max_header_list_size(u32::try_from(HEAD_MAX_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(HEAD_TIME);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closed.wait_for(|closed| *closed) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(DRAIN_TIME, connection).await;
}
