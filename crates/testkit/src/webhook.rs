//! A receiver of webhooks on loopback, without TLS: it must be allowed by name.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Method and path.
    pub line: String,
    /// Header fields, by their names in lower case.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// When it was here.
    pub at: Instant,
}

/// Takes requests and answers each with the same status. Listens until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
    hooks: Arc<Mutex<Vec<Hook>>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // So that it looks up and finds that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Receiver {
    /// The secret that its configuration would have.
    pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// On a free port.
    ///
    /// # Errors
    /// If it can't listen.
    pub fn start() -> Result<Self> {
        Self::start_on(0)
    }

    /// On a port that is known before.
    ///
    /// # Errors
    /// If it can't listen.
    pub fn start_on(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let (status, stop, hooks) = (Arc::new(AtomicU16::new(204)), Arc::default(), Arc::default());
        let receiver = Self { address, status, stop, hooks };
        let (status, stop) = (Arc::clone(&receiver.status), Arc::clone(&receiver.stop));
        let hooks = Arc::clone(&receiver.hooks);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(hook) = take(stream, status.load(Ordering::SeqCst)) {
                    hooks.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
                }
            }
        });
        Ok(receiver)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.place())
    }

    /// Its host and port, as `[alerts] allow` names them.
    #[must_use]
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What came.
    #[must_use]
    pub fn hooks(&self) -> Vec<Hook> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came once that is `count` or more, or `time` is over.
    #[must_use]
    pub fn wait_for(&self, count: usize, time: Duration) -> Vec<Hook> {
        let began = Instant::now();
        while self.hooks().len() < count && began.elapsed() < time {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.hooks()
    }
}

fn take(stream: TcpStream, status: u16) -> Result<Hook> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut fields = BTreeMap::new();
    loop {
        let mut field = String::new();
        reader.read_line(&mut field)?;
        let Some((name, value)) = field.trim_end().split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = fields.get("content-length").map_or(Ok(0), |length| length.parse())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let at = Instant::now();
    let answer = format!("HTTP/1.1 {status} as told\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes())?;
    let line = line.trim_end().strip_suffix(" HTTP/1.1").context("not HTTP/1.1")?.to_owned();
    Ok(Hook { line, fields, body: String::from_utf8(body)?, at })
}
