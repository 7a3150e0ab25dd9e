//! The ledger: audit records in files, durable before they are acknowledged.
//!
//! A folder for each service, with segment files `00000000.log`, `00000001.log` and so on, and the file
//! `durable` (see `docs/formats.md`). Callers seal their own records and queue them; one thread writes all
//! that wait with one write and one sync, and then wakes them together. The number of syncs depends on the
//! disk, not on the number of callers. Records that nobody waits for go along with them, or after
//! [`Options::lazy_ms`] at the latest.
//!
//! Positions count records from 0 without gaps: they are the leaf indexes of the log over the same records, which another
//! thread makes of what is durable ([`log`]). Records whose time is over are removed a segment at a time (`retain.rs`); what
//! is on disk can be verified without opening it ([`verify`]).

mod answer;
pub mod carry;
mod exposures;
mod frame;
mod index;
pub mod log;
mod lookup;
mod mark;
#[cfg(any(test, feature = "conformance"))]
pub mod memory;
mod query;
mod queue;
mod recover;
mod retain;
pub mod storage;
mod tallies;
pub(crate) mod terms;
pub mod verify;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use countersign_model::Entropy;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot, watch};

use self::index::Index;
use self::log::{Integrator, Log, LogCheck, LogParts};
use self::queue::{Bounds, Queue};
use self::storage::{Folder, Storage};
use self::terms::keeper::{Keeper, Work};
use self::writer::Writer;
use crate::codec::{self, SealedLeaf};
use crate::error::{AuditError, LedgerError};
use crate::record::{Record, Service};
use crate::sink::{AuditKeys, AuditSink};

pub use exposures::{Exposure, Selector};
pub use query::{By, LedgerQuery};
pub use retain::{RETENTION, Removed};

/// A record's place in its ledger, from 0, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a ledger writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this size is followed by a new one. 64 MiB; 1 GiB at most.
    pub segment_bytes: u64,
    /// How many appends wait in the queue at most; more wait to get in. 4,096; at least 1.
    pub queue_max: usize,
    /// How many appends one write takes at most. 1,024; at least 1.
    pub batch_max: usize,
    /// How long after [`AuditSink::note`] a record is durable at the latest, on a disk that works. 50; at least 2.
    pub lazy_ms: u64,
    /// How many noted records wait at most; more are refused. 65,536 (and 64 MiB); at least 1.
    pub lazy_max: usize,
    /// How long after it is durable a record is covered by a signed checkpoint at the latest, on a disk that works, if
    /// the ledger is a log. 1,000; at least 10.
    pub checkpoint_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        let (segment_bytes, queue_max, batch_max) = (64 << 20, 4096, 1024);
        Self { segment_bytes, queue_max, batch_max, lazy_ms: 50, lazy_max: 65_536, checkpoint_ms: 1000 }
    }
}

impl Options {
    /// The options with everything out of range brought to the nearest bound.
    fn bounded(self) -> Self {
        Self {
            segment_bytes: self.segment_bytes.min(1 << 30),
            queue_max: self.queue_max.clamp(1, Semaphore::MAX_PERMITS),
            batch_max: self.batch_max.clamp(1, 4096),
            lazy_ms: self.lazy_ms.max(2),
            lazy_max: self.lazy_max.max(1),
            checkpoint_ms: self.checkpoint_ms.max(10),
        }
    }
}

/// An open ledger of one service. Dropping it writes what is queued and waits for it.
pub struct Ledger {
    service: Service,
    storage: Arc<dyn Storage>,
    keys: Arc<dyn AuditKeys>,
    entropy: Arc<dyn Entropy>,
    index: Arc<RwLock<Index>>,
    durable: watch::Receiver<u64>,
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    log: Option<Arc<Log>>,
    /// Held by who removes records.
    retaining: tokio::sync::Mutex<()>,
    keeper: Keeper,
}

impl Ledger {
    /// Opens the ledger in `folder`, or begins one there.
    ///
    /// Reads and checks everything that is stored, cuts a torn end that was never acknowledged, and holds the
    /// folder against other processes.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing is changed then, except perhaps a torn end cut.
    pub fn open(
        folder: &Path,
        service: Service,
        keys: Arc<dyn AuditKeys>,
        entropy: Arc<dyn Entropy>,
        options: Options,
    ) -> Result<Self, LedgerError> {
        Self::open_as_log(folder, service, keys, entropy, options, None)
    }

    /// As [`Self::open`], and as a log with `log`: what its files say is held against the records, and what the log
    /// doesn't have yet is taken in. A ledger that was none becomes one.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn open_as_log(
        folder: &Path,
        service: Service,
        keys: Arc<dyn AuditKeys>,
        entropy: Arc<dyn Entropy>,
        options: Options,
        log: Option<LogParts>,
    ) -> Result<Self, LedgerError> {
        let storage = Folder::open(folder).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => LedgerError::InUse,
            _ => LedgerError::Io { what: format!("opening {}", folder.display()), source },
        })?;
        Self::open_on(Arc::new(storage), service, keys, entropy, options, log)
    }

    /// As [`Self::open`], on any storage.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn open_on(
        storage: Arc<dyn Storage>,
        service: Service,
        keys: Arc<dyn AuditKeys>,
        entropy: Arc<dyn Entropy>,
        options: Options,
        log: Option<LogParts>,
    ) -> Result<Self, LedgerError> {
        let options = options.bounded();
        let mut index = Index::default();
        let mut log = log.map(|parts| LogCheck::open(&storage, parts)).transpose()?;
        let end = recover::recover(&*storage, service, &mut index, log.as_mut())?;
        let log = log.map(|log| log.finish(service, end.records)).transpose()?;
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| LedgerError::Io { what, source }
        };
        let mark = end.mark().create(&*storage).map_err(io("writing the file durable"))?;
        let index = Arc::new(RwLock::new(index));
        let bounds = Bounds {
            urgent: options.queue_max,
            urgent_per_batch: options.batch_max,
            lazy: options.lazy_max,
            lazy_wait: std::time::Duration::from_millis(options.lazy_ms),
            patience: storage.patience(),
        };
        let queue = Arc::new(Queue::new(bounds));
        let (storage_of, queue_of) = (Arc::clone(&storage), Arc::clone(&queue));
        let (keys_of, entropy_of) = (Arc::clone(&keys), Arc::clone(&entropy));
        let (storage_read, index_of) = (Arc::clone(&storage), Arc::clone(&index));
        let keeper = Keeper::start(Work {
            service,
            storage: storage_read,
            keys: keys_of,
            entropy: entropy_of,
            index: index_of,
            stopping: Arc::default(),
        })?;
        let mut writer = Writer::new(queue_of, storage_of, service, options, Arc::clone(&index), end, mark);
        let durable = writer.durable.subscribe();
        let (mut integrator, mut opened) = (None, None);
        if let Some((log, tree)) = log {
            let (log, within) = (Arc::new(log), std::time::Duration::from_millis(options.checkpoint_ms));
            writer.intake = Some(log.intake());
            opened = Some(Arc::clone(&log));
            let thread = Integrator { log, index: Arc::clone(&index), tree, within };
            let name = format!("audit-log-{}", service.as_str());
            let thread = std::thread::Builder::new().name(name).spawn(move || thread.run());
            integrator = Some(thread.map_err(io("starting the log"))?);
        }
        let thread = std::thread::Builder::new()
            .name(format!("audit-{}", service.as_str()))
            .spawn(move || writer.run())
            .map_err(io("starting the writer"))?;
        let threads = Mutex::new([Some(thread), integrator].into_iter().flatten().collect());
        Ok(Self {
            service,
            storage,
            keys,
            entropy,
            index,
            durable,
            queue,
            threads,
            keeper,
            log: opened,
            retaining: tokio::sync::Mutex::default(),
        })
    }

    /// Whose ledger this is.
    #[must_use]
    pub const fn service(&self) -> Service {
        self.service
    }

    /// The ledger as a log, if it was opened as one.
    #[must_use]
    pub fn log(&self) -> Option<Arc<Log>> {
        self.log.clone()
    }

    /// Where it is kept, for whoever copies it while it is written to ([`carry::in_order`]).
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    /// Whether it takes records: the last write succeeded, and it was not closed.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.queue.is_writable()
    }

    /// How many records are durable. Records at positions below can be read.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.durable.borrow()
    }

    /// [`Self::size`] as it grows, for whoever follows the ledger: wait for a change, then
    /// [`query`](Self::query) after the last position seen. Ends when the ledger is closed.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    /// Returns when everything recorded or noted until now is durable, and so can be read.
    ///
    /// # Errors
    /// [`AuditError`] if it can't be written.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let (done, outcome) = oneshot::channel();
        self.queue.append(Vec::new(), done).await?;
        outcome.await.map_err(|_| AuditError::Unavailable)?.into_outcome().map(|_| ())
    }

    /// Takes no more records, writes those that are queued, and returns when they are durable.
    pub async fn close(&self) {
        self.queue.close();
        let mut durable = self.durable.clone();
        while durable.changed().await.is_ok() {}
        self.join();
    }

    fn seal(&self, record: Record) -> Result<Vec<SealedLeaf>, AuditError> {
        if record.service != self.service {
            return Err(AuditError::OtherService);
        }
        codec::seal(&*self.keys, &*self.entropy, record)
    }

    fn join(&self) {
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!(service = self.service.as_str(), "a thread of the audit ledger died");
            }
        }
        self.keeper.stop();
    }
}

#[async_trait::async_trait]
impl AuditSink for Ledger {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        let leaves = self.seal(record)?;
        let (done, outcome) = oneshot::channel();
        self.queue.append(leaves, done).await?;
        outcome.await.map_err(|_| AuditError::Unavailable)?.into_outcome()
    }

    async fn note(&self, record: Record) -> Result<(), AuditError> {
        self.queue.note(self.seal(record)?)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.queue.close();
        self.join();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("service", &self.service).field("size", &self.size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
