//! A way to the database that can be cut at any moment.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes on what comes on a port of its own, until it is cut.
pub struct Way {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    to: u16,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    /// Answers don't come back any more.
    deaf: AtomicBool,
    /// Nobody gets through.
    closed: AtomicBool,
}

impl Way {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared =
            Shared { to: port, open: Mutex::default(), deaf: AtomicBool::new(false), closed: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !accepting.closed.load(Ordering::Acquire) {
                    accepting.pass(client);
                }
            }
        });
        Self { port: own, shared }
    }

    /// Cuts every connection; as if answers were lost first, if `deaf`.
    pub fn cut(&self, deaf: bool) {
        if deaf {
            self.shared.deaf.store(true, Ordering::Release);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for (client, server) in self.shared.open.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
        self.shared.deaf.store(false, Ordering::Release);
    }

    /// Lets nobody through, or again.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::Release);
        if closed {
            self.cut(false);
        }
    }
}

impl Shared {
    fn pass(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.to)) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let pair = || (client.try_clone().unwrap(), server.try_clone().unwrap());
        self.open.lock().unwrap().push(pair());
        let (from, to) = pair();
        std::thread::spawn(move || copy(from, to, || false));
        let shared = Arc::clone(self);
        std::thread::spawn(move || copy(server, client, move || shared.deaf.load(Ordering::Acquire)));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, loses: impl Fn() -> bool) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !loses() && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
