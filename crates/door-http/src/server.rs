//! The HTTPS server: TLS only, HTTP/1.1 and HTTP/2, every wait and every size bounded.

mod activity;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::{TlsAcceptor, client_certificate};
use countersign_guard::Peer;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::backend::Backend;
use crate::limits::Limits;
use crate::router::Router;

use activity::{Activity, Watched};

/// Serves until `shutdown` is ready, then lets open requests finish within
/// [`Limits::shutdown_time`](crate::Limits::shutdown_time).
///
/// `tls` is what [`countersign_crypto::tls::server_config`] or
/// [`server_config_with_clients`](countersign_crypto::tls::server_config_with_clients) makes; the certificate is swapped
/// behind it. A client that doesn't speak TLS is hung up on and gets nothing in clear.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    tls: impl Into<TlsAcceptor>,
    router: Router<B>,
    shutdown: impl Future<Output = ()>,
) {
    let limits = router.limits().clone();
    let acceptor: TlsAcceptor = tls.into();
    let places = Arc::new(Semaphore::new(limits.connections));
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
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("too many connections; one more was closed");
            continue;
        };
        let (acceptor, router, closed) = (acceptor.clone(), router.clone(), closed.clone());
        connections.spawn(async move {
            connection(stream, address, acceptor, router, closed).await;
            drop(place);
        });
    }
    drop(listener);
    let _ = closing.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.shutdown_time, all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection<B: Backend>(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router<B>,
    mut closed: watch::Receiver<bool>,
) {
    let limits = router.limits().clone();
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(limits.handshake_time, acceptor.accept(stream)).await else { return };
    let session = stream.get_ref().1;
    let http2 = session.alpn_protocol() == Some(b"h2");
    let peer = Peer { address: Some(address.ip()), certificate: client_certificate(session), ..Peer::default() };
    let activity = Arc::new(Activity::new());
    let service = service_fn(|request| {
        let (router, peer, activity) = (router.clone(), peer.clone(), Arc::clone(&activity));
        async move {
            let _open = activity.request();
            Ok::<_, Infallible>(router.answer(peer, request).await)
        }
    });
    let builder = builder(&limits);
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
    let mut connection = pin!(builder.serve_connection(io, service));
    loop {
        let wake = activity.due(&limits, http2);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = closed.wait_for(|closed| *closed) => break,
            () = tokio::time::sleep_until(wake) => match activity.verdict(&limits, http2) {
                activity::Verdict::GoOn => {}
                activity::Verdict::Idle => break,
                activity::Verdict::Slow => return,
            },
        }
    }
    connection.as_mut().graceful_shutdown();
    let until = Instant::now().checked_add(limits.shutdown_time).unwrap_or_else(Instant::now);
    let _ = timeout_at(until, connection).await;
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    const LEAST_BUFFER: usize = 8192;
    let header_bytes = limits.header_bytes.saturating_add(limits.url_bytes).max(LEAST_BUFFER);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod tests;
