//! A wire that a test can cut: carries TCP connections to a server, and stops doing so when it is told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// Carries connections on a loopback port of its own to another. Ended when it is dropped.
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
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Carries connections to this port on the loopback.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// New connections are cut from now on; or not any more.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::Release);
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
    let always = Arc::new(Shared::default());
    thread::spawn(move || copy(client, to_server, &always));
    let shared = Arc::clone(shared);
    thread::spawn(move || copy(server, to_client, &shared));
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let heard = shared.mute.load(Ordering::Acquire);
        if !heard && to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
