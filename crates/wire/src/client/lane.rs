//! One of a channel's connections: made, replaced before it expires, made again when it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_crypto::tls::{self, ServerName};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::channel::{Line, Shared};

/// As on the receiving end.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Of the time that the certificates of both ends have left, how much a connection is used: in tenths.
const TENTHS_USED: u64 = 6;
/// Certificates are told apart by their fingerprint, so the name that TLS wants is no one's.
const NAME: &str = "countersign";

struct Connection {
    line: Line,
    used_until: Instant,
    /// Ends when the connection takes no more calls.
    ended: JoinHandle<()>,
}

/// Keeps the place `index` of the channel filled, for as long as the task lives.
pub(crate) async fn run(shared: Arc<Shared>, index: usize) {
    let mut addresses = shared.parts.addresses.clone();
    let mut failures = 0u32;
    let mut turn = index;
    let mut before = Arc::new(AtomicBool::new(true));
    loop {
        let address = {
            let known = addresses.borrow_and_update();
            turn.checked_rem(known.len()).and_then(|at| known.get(at).cloned())
        };
        turn = turn.wrapping_add(1);
        let Some(address) = address else {
            shared.put(index, None);
            changed(&mut addresses).await;
            continue;
        };
        let connecting = tokio::time::timeout(shared.parts.settings.connect_max, connect(&shared, &address));
        match connecting.await {
            Ok(Some(mut connection)) => {
                failures = 0;
                let is_over = Arc::clone(&connection.line.is_over);
                shared.put(index, Some(connection.line));
                // The one before goes on with the calls that it has, and gets no more.
                before.store(true, Ordering::Relaxed);
                let still_there = async {
                    loop {
                        changed(&mut addresses).await;
                        if !addresses.borrow().contains(&address) {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep_until(connection.used_until) => {}
                    _ = &mut connection.ended => shared.put(index, None),
                    () = still_there => {
                        is_over.store(true, Ordering::Relaxed);
                        shared.put(index, None);
                    }
                }
                before = is_over;
            }
            Ok(None) | Err(_) => {
                failures = failures.saturating_add(1);
                tokio::select! {
                    () = tokio::time::sleep(pause(&shared, failures)) => {}
                    // A directory that changes is a reason to try at once.
                    () = changed(&mut addresses) => {}
                }
            }
        }
    }
}

/// Waits until the addresses change: for ever, if nobody is left to change them.
async fn changed(addresses: &mut watch::Receiver<Vec<String>>) {
    if addresses.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Doubles with each failure, and is drawn between half of that and all, so that callers don't come in step.
fn pause(shared: &Shared, failures: u32) -> Duration {
    let settings = &shared.parts.settings;
    let factor = 1u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX);
    let longest = settings.backoff_min.saturating_mul(factor).min(settings.backoff_max);
    let mut random = [0u8; 4];
    shared.parts.entropy.fill(&mut random);
    let drawn = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
    longest.mul_f64(0.5f64.mul_add(drawn, 0.5))
}

async fn connect(shared: &Shared, address: &str) -> Option<Connection> {
    let parts = &shared.parts;
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let name = ServerName::try_from(NAME).ok()?;
    // Before the handshake, so that a certificate that is replaced meanwhile counts as the older.
    let own = parts.own.as_ref().map(|slot| slot.expires());
    let stream = parts.tls.connect(name, stream).await.ok()?;
    let peer = tls::peer(stream.get_ref().1).ok()??;
    let now = parts.clock.now();
    let expires = own.map_or(peer.expires, |own| own.min(peer.expires));
    let used_ms = expires.since(now).checked_div(10)?.saturating_mul(TENTHS_USED);
    let used = Duration::from_millis(used_ms).min(parts.settings.age_max);
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(64 * 1024)
        .keep_alive_interval(parts.settings.keepalive)
        .keep_alive_timeout(parts.settings.keepalive.checked_div(2).unwrap_or_default())
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let ended = tokio::spawn(async move {
        let _ = connection.await;
    });
    let line = Line { sender, is_over: Arc::new(AtomicBool::new(false)) };
    Some(Connection { line, ended, used_until: Instant::now().checked_add(used)? })
}
