//! A wire that a test can cut: carries TCP connections to a server, and stops doing so when it is told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// Carries connections on a loopback port of its own to another. Ended when it is dropped: from then on nobody listens there.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// What the server answers is thrown away.
    mute: AtomicBool,
    /// New connections are cut at once.
    closed: AtomicBool,
    /// Bytes that came from clients.
    carried: AtomicU64,
    /// So many of them are carried; then all is cut and closed. 0 for no such end.
    enough: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Carries connections to this port on the loopback.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn to(port: u16) -> Result<Self> {
        Self::at(0, port)
    }

    /// The same, listening on a port where one did before.
    ///
    /// # Errors
    /// If somebody else listens there.
    pub fn at(own: u16, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, own))?;
        let proxy = Self { port: listener.local_addr()?.port(), shared: Arc::default() };
        let shared = Arc::clone(&proxy.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Acquire) {
                    return;
                }
                if !shared.closed.load(Ordering::Acquire) {
                    // One that fails is one that is cut.
                    let _ = carry(&shared, client, port);
                }
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the server says from now on is lost, though it hears everything; or not any more.
    pub fn mute(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::Release);
    }

    /// Cuts all connections. New ones can be made.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts all connections, and new ones, once clients have sent so many bytes, all connections together.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.enough.store(bytes, Ordering::Release);
    }

    /// How many bytes clients have sent.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Acquire)
    }

    /// New connections are cut from now on; or not any more.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::Release);
    }
}

impl Shared {
    fn cut(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// More came from a client; whether it is to be carried.
    fn counts(&self, bytes: usize) -> bool {
        let more = u64::try_from(bytes).unwrap_or(u64::MAX);
        let carried = self.carried.fetch_add(more, Ordering::AcqRel).saturating_add(more);
        let enough = self.enough.load(Ordering::Acquire);
        if enough == 0 || carried < enough {
            return true;
        }
        self.closed.store(true, Ordering::Release);
        self.cut();
        false
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.cut();
        // Wakes the one that waits for connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn carry(shared: &Arc<Shared>, client: TcpStream, port: u16) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.open.lock().unwrap_or_else(PoisonError::into_inner).extend([client.try_clone()?, server.try_clone()?]);
    let (to_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    // What the server hears stays on the wire once enough was carried; what it says is thrown away while it is mute.
    thread::spawn(move || copy(client, to_server, |bytes| if up.counts(bytes) { Carry::On } else { Carry::Cut }));
    let is_mute = move |_| if down.mute.load(Ordering::Acquire) { Carry::Nothing } else { Carry::On };
    thread::spawn(move || copy(server, to_client, is_mute));
    Ok(())
}

/// What is done with what was read.
enum Carry {
    On,
    Nothing,
    Cut,
}

fn copy(mut from: TcpStream, mut to: TcpStream, ask: impl Fn(usize) -> Carry) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        match ask(count) {
            Carry::Nothing => {}
            Carry::On if to.write_all(buffer.get(..count).unwrap_or_default()).is_ok() => {}
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
