//! The loader: keep-alive connections that each send a request, read the whole answer, and send the next.
//!
//! The same code, on the same two cores, loads the bare server and the program, so that its own cost is in both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_crypto::tls::{ServerName, TlsConnector, client_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::timing::processor_seconds;

/// What to send, to whom, how hard.
pub struct Load<'a> {
    /// Host and port.
    pub address: &'a str,
    /// The server's certificate authority.
    pub ca_pem: &'a str,
    /// Whole requests; each connection goes through all of them, starting at another.
    pub requests: Arc<Vec<Vec<u8>>>,
    /// Connections at once.
    pub connections: usize,
    /// The server's process, to measure its processor time.
    pub process: u32,
    /// How long to measure, after a warm-up of a fifth of it.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy)]
pub struct Measured {
    /// Answers per second.
    pub rate: f64,
    /// Half of the answers came within this many microseconds.
    pub p50_us: f64,
    /// All but one in a hundred did.
    pub p99_us: f64,
    /// Processor time of the server for one answer, in microseconds. Steadier than the rate on a busy machine.
    pub server_us: f64,
}

/// The bytes of one request.
pub fn request(method: &str, path: &str, token: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n");
    format!("{head}{authorization}{headers}{length}\r\n{body}").into_bytes()
}

impl Load<'_> {
    /// Measures. Every answer must be a success.
    pub fn run(&self) -> Result<Measured> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.run_all())
    }

    async fn run_all(&self) -> Result<Measured> {
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            streams.push(connect(self.address, self.ca_pem).await?);
        }
        let used_before = processor_seconds(self.process);
        let all_answers = Arc::new(AtomicU64::new(0));
        let measure_from = Instant::now() + self.duration / 5;
        let until = measure_from + self.duration;
        let stride = (self.requests.len() / self.connections.max(1)).max(1);
        let tasks: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(index, mut stream)| {
                let requests = Arc::clone(&self.requests);
                let all_answers = Arc::clone(&all_answers);
                tokio::spawn(async move {
                    let mut buffer = Vec::with_capacity(64 * 1024);
                    let mut latencies: Vec<u32> = Vec::with_capacity(100_000);
                    let mut next = index * stride;
                    loop {
                        let sent = Instant::now();
                        if sent >= until {
                            return Ok::<_, anyhow::Error>(latencies);
                        }
                        let bytes = requests.get(next % requests.len()).context("no request")?;
                        next += 1;
                        stream.write_all(bytes).await?;
                        read_answer(&mut stream, &mut buffer).await?;
                        all_answers.fetch_add(1, Ordering::Relaxed);
                        if sent >= measure_from {
                            latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                        }
                    }
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        latencies.sort_unstable();
        let used = processor_seconds(self.process) - used_before;
        let part = |share: f64| {
            let at = (latencies.len() as f64 * share) as usize;
            latencies.get(at.min(latencies.len().saturating_sub(1))).map_or(f64::NAN, |us| f64::from(*us))
        };
        Ok(Measured {
            rate: latencies.len() as f64 / self.duration.as_secs_f64(),
            p50_us: part(0.5),
            p99_us: part(0.99),
            server_us: used * 1e6 / all_answers.load(Ordering::Relaxed) as f64,
        })
    }
}

/// A connection to a server.
pub type Connection = countersign_crypto::tls::client::TlsStream<TcpStream>;

/// Opens one.
pub async fn connect(address: &str, ca_pem: &str) -> Result<Connection> {
    let connector = TlsConnector::from(client_config(ca_pem)?);
    let socket = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
    socket.set_nodelay(true)?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    Ok(connector.connect(ServerName::try_from(host)?, socket).await?)
}

/// Sends a request and gives the body of the answer, which must be a success.
pub async fn ask(connection: &mut Connection, request: &[u8]) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    connection.write_all(request).await?;
    let body = read_answer(connection, &mut buffer).await?;
    Ok(buffer.split_off(body))
}

/// Reads one answer to its end; it must be a success with a stated length. Gives where its body begins.
async fn read_answer(stream: &mut Connection, buffer: &mut Vec<u8>) -> Result<usize> {
    buffer.clear();
    let mut whole: Option<(usize, usize)> = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        if whole.is_none()
            && let Some(end) = find(buffer, b"\r\n\r\n")
        {
            let head = buffer.get(..end).unwrap_or_default();
            if !head.starts_with(b"HTTP/1.1 2") {
                bail!("not a success: {}", String::from_utf8_lossy(buffer));
            }
            whole = Some((end + 4, end + 4 + content_length(head).unwrap_or(0)));
        }
        if let Some((body, end)) = whole
            && buffer.len() >= end
        {
            return Ok(body);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        if !name.eq_ignore_ascii_case(b"content-length:") {
            return None;
        }
        std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
    })
}
