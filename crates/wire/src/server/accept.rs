//! Connections: taken, encrypted, named after their certificate, and ended when that expires.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::{self, TlsAcceptor};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Leaving, Served};

/// How often a connection looks whether it should still be there.
const LOOK: Duration = Duration::from_millis(500);
/// How long before its certificate expires a service is asked to call by a new connection.
const NOTICE_MS: u64 = 1_500;
/// What of a call's body may be under way before it is read.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Nothing heard for this long: ask; and then for this long: it is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_MAX: Duration = Duration::from_secs(5);
/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn accept(
    served: Arc<Served>,
    tls: TlsAcceptor,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(served.settings.connections_max));
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let taken = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => break,
            taken = taken => match taken {
                Some(taken) => taken,
                None => break,
            },
        };
        match accepted {
            // Closed at once: the caller tries another address.
            Ok(_) if !served.is_it() => {}
            Ok((stream, from)) => {
                let (served, tls, stopped) = (Arc::clone(&served), tls.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(served, tls, (stream, from.ip()), stopped).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    stop.send_replace(true);
    drop(stopped);
    let _ = tokio::time::timeout(served.settings.drain_max, stop.closed()).await;
}

async fn connection(
    served: Arc<Served>,
    tls: TlsAcceptor,
    (stream, address): (TcpStream, IpAddr),
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(served.settings.handshake_max, tls.accept(stream));
    let stream = tokio::select! {
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            _ => return,
        },
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    let Ok(peer) = tls::peer(stream.get_ref().1) else { return };
    let peer = peer.map(Arc::new);
    let (leave, left) = watch::channel(false);
    let service = service_fn(|request| {
        let (served, peer, left) = (Arc::clone(&served), peer.clone(), Leaving(left.clone()));
        async move { Ok::<_, Infallible>(served.call(peer.as_ref(), address, &left, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(served.settings.streams_max)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(64 * 1024)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = look.tick() => {
                if !served.is_it() {
                    return;
                }
                let now = served.admission.clock.now();
                if let Some(peer) = &peer {
                    // INVARIANT no-longer-than-its-certificate: what was let in by it ends with it.
                    if peer.expires <= now || (served.is_removed)(&peer.id) {
                        return;
                    }
                    if leaving.is_none() && peer.expires <= now.plus_ms(NOTICE_MS) {
                        leave.send_replace(true);
                        connection.as_mut().graceful_shutdown();
                        leaving = Some(Instant::now());
                    }
                }
            }
            _ = stopped.wait_for(|stopped| *stopped), if leaving.is_none() => {
                leave.send_replace(true);
                        connection.as_mut().graceful_shutdown();
                leaving = Some(Instant::now());
            }
        }
    }
}
