//! Serving a deployment: the listener, the certificate and its successors, and the end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::{CertificateSlot, TlsError, server_config, server_config_with_clients};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Service, UnixMs};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::compose::{Opened, lost};
use crate::deployment::{Deployment, Lock, Running};
use crate::problem::{Exit, Problem};
use crate::relocate;
use crate::terminal::Terminal;

/// An address that is this process's, though nothing is answered there yet.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes the address.
    ///
    /// # Errors
    /// If it is taken, or not this machine's.
    pub fn on(address: SocketAddr) -> Result<Self, Problem> {
        let taken = |error: std::io::Error| {
            Problem::new(Exit::Unavailable, format!("can't listen on {address}: {error}"))
                .next("name another with --listen, such as --listen 127.0.0.1:0 for any free port")
        };
        let listener = TcpListener::bind(address).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that it really has.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The deployment's lock, for a server.
///
/// # Errors
/// If another process has it.
pub fn lock(deployment: &Deployment) -> Result<Lock, Problem> {
    if let Some(lock) = deployment.try_lock()? {
        return Ok(lock);
    }
    let dir = deployment.dir().display();
    Err(match deployment.running() {
        Some(running) => {
            Problem::new(Exit::Unavailable, format!("{dir} is being served already, at {}", running.url()))
                .next(format!("stop that server first (process {})", running.pid))
        }
        None => Problem::new(Exit::Unavailable, format!("another command has {dir} open"))
            .next("wait for it to end, then run this again"),
    })
}

/// Serves until Ctrl-C or SIGTERM, then lets requests under way finish: users' requests at `door`, which only a
/// gateway has, and other services' calls.
///
/// # Errors
/// If the certificate can't be made.
pub async fn serve(
    terminal: &Terminal,
    deployment: &Deployment,
    mut lock: Lock,
    mut opened: Opened,
    door: Option<Listening>,
    with_parent: bool,
) -> Result<(), Problem> {
    // Before anybody is told, so that a signal sent by whoever waits for the lines below is not missed.
    let stop = Stop::new()?;
    let (stopping, mut stopped) = watch::channel(false);
    let mut wires = JoinSet::new();
    for wire in opened.take_wires() {
        terminal.line(&format!("ready {} {}", wire.service, wire.address))?;
        tracing::info!(service = %wire.service, address = %wire.address, "takes calls from other services");
        let mut asked = stopping.subscribe();
        wires.spawn(wire.serve(async move { drop(asked.wait_for(|asked| *asked).await) }));
    }
    if let Some(address) = opened.measures() {
        terminal.line(&format!("measures https://{address}/metrics"))?;
        tracing::info!(%address, "shows measures");
    }
    let current = Current::of(opened);
    let following = relocate::follow(deployment, &current)?;
    let served = {
        let serving = async {
            let Some(listening) = door else {
                drop(stopped.wait_for(|asked| *asked).await);
                return Ok(());
            };
            let asked = async move { drop(stopped.wait_for(|asked| *asked).await) };
            answer(terminal, deployment, &mut lock, &current, listening, asked).await
        };
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            () = stop.asked() => {
                stopping.send_replace(true);
                serving.await
            }
            () = parent_gone(with_parent) => {
                stopping.send_replace(true);
                serving.await
            }
            () = current.until_lost() => {
                stopping.send_replace(true);
                drop(serving.await);
                Err(lost())
            }
            // It did not come to serving.
            served = &mut serving => {
                stopping.send_replace(true);
                served
            }
        }
    };
    while let Some(ended) = wires.join_next().await {
        ended.map_err(|_| Problem::failed("a service's listener failed"))??;
    }
    if let Some(following) = following {
        following.stop().await;
    }
    if let Some(opened) = current.get() {
        opened.close().await;
    }
    tracing::info!("stopped");
    drop(lock);
    served
}

/// The deployment as it is open in this process. It is another after it has moved.
pub(crate) struct Current(Mutex<Option<Arc<Opened>>>);

impl Current {
    fn of(opened: Opened) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Arc::new(opened)))))
    }

    /// It; `None` while it is being closed and opened elsewhere.
    pub(crate) fn get(&self) -> Option<Arc<Opened>> {
        self.0.lock().clone()
    }

    /// Waits until another process is the authority, and not this one because it has moved. Keeps nothing open.
    async fn until_lost(&self) {
        loop {
            let losing = self.get().and_then(|opened| opened.facts()).and_then(|registry| registry.losing());
            let is_lost = match losing {
                // A sender that is gone has lost nothing to anybody.
                Some(mut losing) => losing.wait_for(|lost| *lost).await.is_ok(),
                None => false,
            };
            tokio::time::sleep(LOOK_AGAIN).await;
            let still = self.get().and_then(|opened| opened.facts()).and_then(|registry| registry.losing());
            if is_lost && still.is_some_and(|still| *still.borrow()) {
                return;
            }
        }
    }

    pub(crate) fn set(&self, opened: Option<Arc<Opened>>) {
        *self.0.lock() = opened;
    }
}

/// Waits until whoever started this process has closed its standard input; for ever if that is not asked.
async fn parent_gone(asked: bool) {
    if !asked {
        return std::future::pending().await;
    }
    let mut rest = [0u8; 64];
    let mut stdin = tokio::io::stdin();
    while !matches!(stdin.read(&mut rest).await, Ok(0) | Err(_)) {}
}

/// Answers users' requests.
async fn answer(
    terminal: &Terminal,
    deployment: &Deployment,
    lock: &mut Lock,
    current: &Arc<Current>,
    listening: Listening,
    asked: impl Future<Output = ()> + Send,
) -> Result<(), Problem> {
    // Let go before anything is answered, so that it can be closed and opened elsewhere.
    let opened = current.get().ok_or_else(|| Problem::failed("nothing is open"))?;
    let (ip, names) = (listening.address.ip(), &opened.config.server.names.0);
    if !ip.is_unspecified() && !names.iter().any(|name| name.parse() == Ok(ip)) {
        tracing::warn!(address = %ip, "the certificate is not good for this address: add it to [server] names");
    }
    let failed = |error: TlsError| Problem::failed(error.to_string());
    // A gateway that runs apart has one certificate, which it renews itself.
    let (slot, renewing) = match opened.slot(Service::Gateway) {
        Some(slot) => (slot, None),
        None => {
            let first = opened.certificate()?;
            let slot = CertificateSlot::new(&first).map_err(failed)?;
            let renewing = tokio::spawn(renew(Arc::clone(current), Arc::clone(&slot), first.expires));
            (slot, Some(renewing))
        }
    };
    let tls = match opened.config.server.client_certificates {
        true => server_config_with_clients(&slot),
        false => server_config(&slot),
    };
    let tls = tls.map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listening.listener)
        .map_err(|error| Problem::failed(format!("can't listen: {error}")))?;
    let router = opened.router()?.clone();
    drop(opened);
    let running = Running { address: listening.address, pid: std::process::id() };
    deployment.announce(lock, &running)?;
    terminal.line(&format!("ready {}", running.url()))?;
    tracing::info!(address = %listening.address, "ready");
    countersign_door_http::serve(listener, tls, router, asked).await;
    if let Some(renewing) = renewing {
        renewing.abort();
        drop(renewing.await);
    }
    Ok(())
}

/// How often it is looked what is open, where nothing tells.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How often the clock is looked at. A machine that slept wakes with an old certificate for this long at most.
const LOOK: Duration = Duration::from_secs(30);

/// Replaces the certificate at half of its life, for ever. Connections that are open keep theirs.
async fn renew(current: Arc<Current>, slot: Arc<CertificateSlot>, expires: UnixMs) {
    let clock = SystemClock;
    let mut renewal = halfway(clock.now(), expires);
    loop {
        tokio::time::sleep(LOOK).await;
        if clock.now() < renewal {
            continue;
        }
        // Looked at again soon if it is on the move.
        let Some(opened) = current.get() else { continue };
        let replaced = opened.certificate().map_err(|problem| problem.to_string()).and_then(|certificate| {
            slot.replace(&certificate).map(|()| certificate.expires).map_err(|error| error.to_string())
        });
        match replaced {
            Ok(expires) => {
                renewal = halfway(clock.now(), expires);
                tracing::info!("the server certificate was reissued");
            }
            // Tried again at the next look; there is half a life left for it.
            Err(error) => tracing::error!(%error, "the server certificate could not be reissued"),
        }
    }
}

/// The moment halfway between two.
const fn halfway(now: UnixMs, expires: UnixMs) -> UnixMs {
    now.plus_ms(expires.since(now) / 2)
}

/// Ctrl-C and, where there are signals, SIGTERM.
pub struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    /// Begins to listen for them.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn new() -> Result<Self, Problem> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| Problem::failed(format!("can't wait for signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    #[cfg(unix)]
    /// Waits for one.
    pub async fn asked(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life() {
        assert_eq!(halfway(UnixMs(1000), UnixMs(13_000)), UnixMs(7000));
        assert_eq!(halfway(UnixMs(1000), UnixMs(500)), UnixMs(1000), "one that is dead is renewed at once");
    }

    #[test]
    fn an_address_that_is_taken_is_refused_with_what_to_do() {
        let first = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let refused = Listening::on(first.address()).err().unwrap();
        assert_eq!(refused.exit, Exit::Unavailable);
        assert!(refused.to_string().contains("--listen"));
    }
}
