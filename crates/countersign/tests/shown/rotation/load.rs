//! Readers and writers that go on over HTTPS, and what they were answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use countersign_testkit::{Client, Request};

use crate::crash::writer::Writer;

/// Connections that read.
const READERS: usize = 16;
/// How long one of the ticks of `/proc` is.
const TICK_US: f64 = 10_000.0;

/// What there is to read and to write.
pub struct Load<'a> {
    pub client: &'a Client,
    /// How many of the records that are filled in.
    pub records: usize,
    /// Between two writes of one writer.
    pub pause: Duration,
}

/// What came of it.
#[derive(Default)]
pub struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    slowest_us: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    is_over: AtomicBool,
    is_killed: AtomicBool,
}

/// How reading went for a while.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Reads in a second.
    pub rate: f64,
    /// Processor time of the server for one of them, with whatever else it did. What others do on the machine meanwhile, which
    /// the rate depends on, hardly changes it.
    pub processor_us: f64,
}

impl Reading {
    /// The middle between two.
    pub const fn between(self, other: Self) -> Self {
        Self { rate: (self.rate + other.rate) / 2.0, processor_us: (self.processor_us + other.processor_us) / 2.0 }
    }
}

/// What a process has used of processors until now.
fn processor_ticks(process: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?));
    Ok(ticks.collect::<Result<Vec<_>>>()?.into_iter().sum())
}

impl Load<'_> {
    /// Goes on until the work is done, or the server gone.
    pub fn beside<T>(&self, writers: &mut [Writer], work: impl FnOnce(&Tally) -> Result<T>) -> Result<(T, Tally)> {
        let tally = Tally::default();
        let clients: Vec<Client> = (0..READERS.saturating_add(writers.len())).map(|_| self.client.clone()).collect();
        let (mut clients, records, pause) = (clients.into_iter(), self.records, self.pause);
        let done = std::thread::scope(|scope| {
            let tally = &tally;
            for (writer, client) in writers.iter_mut().zip(&mut clients) {
                scope.spawn(move || write(writer, &client, pause, tally));
            }
            for (place, client) in clients.enumerate() {
                scope.spawn(move || read(place, &client, records, tally));
            }
            let done = work(tally);
            tally.is_over.store(true, Ordering::Relaxed);
            done
        });
        Ok((done?, tally))
    }
}

fn write(writer: &mut Writer, client: &Client, pause: Duration, tally: &Tally) {
    while !tally.is_over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        match writer.write(client) {
            Ok(true) => tally.answered(&tally.writes, sent),
            Ok(false) => return tally.unanswered("a write"),
            Err(error) => tally.fail(format!("a write: {error:#}")),
        }
        std::thread::sleep(pause);
    }
}

fn read(place: usize, client: &Client, records: usize, tally: &Tally) {
    let mut number = place.saturating_mul(records / READERS);
    while !tally.is_over.load(Ordering::Relaxed) {
        number = number.saturating_add(7_919) % records;
        let path = format!("/rest/v1/customer?select=company,contact_name,city,country&id=eq.b{number}");
        let wanted = format!("\"Bench & Sons {number}\"");
        let sent = Instant::now();
        match client.send_once(&Request::new("GET", &path)) {
            Ok(answer) if answer.status != 200 => {
                tally.fail(format!("a read: status {}: {}", answer.status, answer.text()));
            }
            Ok(answer) if !answer.text().contains(&wanted) => tally.fail(format!("a read: {}", answer.text())),
            Ok(_) => tally.answered(&tally.reads, sent),
            Err(_) => return tally.unanswered("a read"),
        }
    }
}

impl Tally {
    fn answered(&self, counter: &AtomicU64, sent: Instant) {
        counter.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.slowest_us.fetch_max(took, Ordering::Relaxed);
    }

    /// Only a server that is killed may leave a request without an answer.
    fn unanswered(&self, what: &str) {
        if !self.is_killed.load(Ordering::SeqCst) {
            self.fail(format!("{what}: no answer"));
        }
    }

    fn fail(&self, what: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failed.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// From here on no answer is none that is missing.
    pub fn killing(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
    }

    /// Reads while something is done.
    pub fn reading(&self, process: u32, work: impl FnOnce() -> Result<()>) -> Result<Reading> {
        let (began, used, before) = (Instant::now(), processor_ticks(process)?, self.reads.load(Ordering::Relaxed));
        work()?;
        let reads = self.reads.load(Ordering::Relaxed).saturating_sub(before) as f64;
        let ticks = processor_ticks(process)?.saturating_sub(used) as f64;
        let rate = reads / began.elapsed().as_secs_f64().max(1e-9);
        Ok(Reading { rate, processor_us: ticks * TICK_US / reads.max(1.0) })
    }

    /// Nothing failed.
    pub fn ensure_right(&self) -> Result<()> {
        let failed = self.failed.lock().map_err(|_| anyhow!("a reader panicked"))?;
        let count: u64 = failed.values().sum();
        ensure!(failed.is_empty(), "{count} requests failed: {failed:#?}");
        Ok(())
    }

    /// There was something.
    pub fn ensure_some(&self) -> Result<()> {
        ensure!(self.reads.load(Ordering::Relaxed) > 0, "nothing was read");
        ensure!(self.writes.load(Ordering::Relaxed) > 0, "nothing was written");
        Ok(())
    }

    /// Both together.
    pub fn add(&self, other: &Self) {
        self.reads.fetch_add(other.reads.load(Ordering::Relaxed), Ordering::Relaxed);
        self.writes.fetch_add(other.writes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.slowest_us.fetch_max(other.slowest_us.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reads, writes) = (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed));
        let slowest = self.slowest_us.load(Ordering::Relaxed) / 1_000;
        write!(f, "{reads} reads and {writes} writes, 0 failed, the slowest in {slowest} ms")
    }
}
