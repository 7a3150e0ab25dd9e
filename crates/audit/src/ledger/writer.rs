//! The one thread that writes a ledger.
//!
//! INVARIANT acknowledged-is-durable: an append is answered only after the write that holds it was made durable
//! with everything before it. Whatever fails, what was durable before stays as it is, and the bytes of the
//! failed write are cut before the next one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_tlog::Hash;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::answer::answer_all;
use super::frame::{Batch, HEADER_BYTES};
use super::index::Index;
use super::log::Intake;
use super::mark::Mark;
use super::queue::{Pending, Queue};
use super::recover::{End, create_segment, file_name};
use super::storage::{LogFile, Storage};
use super::{Options, Position};
use crate::codec::Leaf;
use crate::error::AuditError;
use crate::record::Service;

/// How long the writer sleeps at a time while it gathers.
const WAIT: Duration = Duration::from_micros(50);
/// It gathers for a part of the time that a sync takes: one of so many.
const SYNCS_PER_WAIT: u32 = 8;

/// How much is written past the end to see whether a failed disk takes anything again.
const PROBE_BYTES: usize = 4096;

/// How the last write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// There may be bytes after the durable end.
    Failed,
}

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) service: Service,
    pub(super) options: Options,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) mark: Arc<dyn LogFile>,
    pub(super) end: End,
    /// Where hashes of durable records go, if the ledger is a log.
    pub(super) intake: Option<Arc<Intake>>,
    health: Health,
    /// How long the last sync took.
    last_sync: Duration,
    /// How many callers there seem to be: those of the last write, and those that queued meanwhile.
    callers: usize,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        storage: Arc<dyn Storage>,
        service: Service,
        options: Options,
        index: Arc<RwLock<Index>>,
        end: End,
        mark: Arc<dyn LogFile>,
    ) -> Self {
        let durable = watch::Sender::new(end.records);
        Self {
            queue,
            storage,
            service,
            options,
            index,
            durable,
            mark,
            end,
            intake: None,
            health: Health::Good,
            last_sync: Duration::ZERO,
            callers: 0,
        }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        // Also if this thread dies, whoever waits is told.
        let _end = EndOf(Arc::clone(&self.queue), self.intake.clone());
        while let Some(mut batch) = self.queue.next(self.lazy_wait()) {
            if batch.is_empty() {
                self.probe();
                continue;
            }
            self.gather(&mut batch);
            self.commit(batch);
        }
    }

    /// How long lazy records wait, so that with the sync they are durable in time.
    fn lazy_wait(&self) -> Duration {
        let promised = Duration::from_millis(self.options.lazy_ms);
        let least = promised.checked_div(2).unwrap_or_default();
        promised.saturating_sub(self.last_sync.saturating_mul(2)).max(least)
    }

    /// Waits a moment for callers that were served by the last write to come back, where a sync takes so long
    /// that going without them would cost more. Else half of many callers wait while the other half is written.
    fn gather(&self, batch: &mut Vec<Pending>) {
        if batch.iter().all(Pending::is_lazy) {
            return;
        }
        let mut patience = self.last_sync.checked_div(SYNCS_PER_WAIT).unwrap_or_default();
        let enough = self.callers.min(self.options.batch_max);
        while patience >= WAIT && batch.len() < enough {
            std::thread::sleep(WAIT);
            let before = batch.len();
            self.queue.more(batch);
            if batch.len() == before {
                return;
            }
            patience = patience.saturating_sub(WAIT);
        }
    }

    fn commit(&mut self, batch: Vec<Pending>) {
        let before = self.end.records;
        let outcome = self.write(&batch);
        let urgent = batch.iter().filter(|pending| !pending.is_lazy()).count();
        self.callers = urgent.saturating_add(self.queue.waiting());
        match outcome {
            Ok(()) => {
                let mut next = before;
                let mut written = Vec::new();
                let positions = batch.into_iter().filter_map(|Pending { leaves, done }| {
                    next = next.saturating_add(leaves.len() as u64);
                    if self.intake.is_some() {
                        written.extend(leaves);
                    }
                    Some((done?, Ok(Position(next.saturating_sub(1)))))
                });
                answer_all(positions.collect());
                // Nobody waits for the log.
                if let Some(intake) = &self.intake {
                    intake.add(written.iter().map(|leaf| Hash::leaf(&leaf.bytes)).collect());
                }
            }
            Err(error) => {
                self.ill(&error);
                let (lazy, urgent): (Vec<_>, Vec<_>) = batch.into_iter().partition(Pending::is_lazy);
                let lost = self.queue.failed(lazy);
                if lost > 0 {
                    tracing::error!(service = self.service.as_str(), lost, "audit records are lost");
                }
                let refused =
                    urgent.into_iter().filter_map(|pending| Some((pending.done?, Err(AuditError::Unavailable))));
                answer_all(refused.collect());
            }
        }
        self.queue.is_done();
    }

    fn well(&mut self) {
        if self.health != Health::Good {
            tracing::info!(service = self.service.as_str(), "the audit ledger can be written again");
            self.health = Health::Good;
            self.queue.recovered();
        }
    }

    fn ill(&mut self, error: &io::Error) {
        if self.health == Health::Good {
            let kind = error.kind();
            tracing::error!(service = self.service.as_str(), %kind, "the audit ledger can't be written");
        }
        self.health = Health::Failed;
    }

    /// Whether a disk that failed takes bytes again, while nobody has a record for it: lazy records are refused
    /// until it does.
    fn probe(&mut self) {
        match self.try_disk() {
            Ok(()) => self.well(),
            Err(error) => {
                self.ill(&error);
                self.queue.failed(Vec::new());
            }
        }
    }

    /// Zeros past the durable end are what a torn write leaves; recovery cuts them.
    fn try_disk(&mut self) -> io::Result<()> {
        self.repair()?;
        self.end.file.check_linked()?;
        self.end.file.write_all_at(&[0; PROBE_BYTES], self.end.size)?;
        self.end.file.sync()?;
        self.end.file.truncate(self.end.size)?;
        self.end.file.sync()
    }

    /// One write and one sync for all of `batch`. After an error nothing of it is durable for certain, and
    /// `end` still says where to go on.
    fn write(&mut self, batch: &[Pending]) -> io::Result<()> {
        if self.health == Health::Failed {
            self.repair()?;
        }
        self.storage.check_writable()?;
        let has_records = self.end.size > HEADER_BYTES as u64;
        if self.end.size >= self.options.segment_bytes || (has_records && self.queue.takes_end_of_segment()) {
            self.roll()?;
        }
        self.end.file.check_linked()?;

        let mut frames = Batch::new(self.end.check);
        let leaves = || batch.iter().flat_map(|pending| &pending.leaves);
        leaves().for_each(|leaf| frames.push(&leaf.bytes));
        self.end.file.write_all_at(frames.bytes(), self.end.size)?;
        let records = self.end.records.saturating_add(frames.starts().len() as u64);
        let mark = Mark { records, check: frames.check() };
        let is_atomic = self.storage.is_atomic();
        if is_atomic {
            self.mark.write_all_at(&mark.to_bytes(), 0)?;
        }
        let started = Instant::now();
        self.end.file.sync()?;
        self.last_sync = started.elapsed();

        let mut index = self.index.write();
        for (leaf, start) in leaves().zip(frames.starts()) {
            let offset = self.end.size.saturating_add(u64::from(*start));
            if let (Some(parsed), Ok(offset)) = (Leaf::parse(&leaf.bytes), u32::try_from(offset)) {
                index.add(offset, &parsed.header, Some(&leaf.terms));
            }
        }
        drop(index);
        self.end.size = self.end.size.saturating_add(frames.bytes().len() as u64);
        (self.end.records, self.end.check) = (mark.records, mark.check);
        if !is_atomic {
            // A mark that lags is true all the same; so a failure to write it is no failure of the append.
            let _ = self.mark.write_all_at(&mark.to_bytes(), 0);
        }
        self.well();
        self.durable.send_replace(self.end.records);
        Ok(())
    }

    /// Cuts what a failed write may have left, on a newly opened file: after a failed sync the old handle can
    /// say that all is well when it is not.
    fn repair(&mut self) -> io::Result<()> {
        self.storage.check_writable()?;
        let mark_name = super::mark::NAME;
        let name = file_name(self.end.segment);
        // Opening to write would make an empty file in place of one that is gone.
        self.storage.open(&name)?;
        let file = self.storage.open_writable(&name)?;
        if file.size()? < self.end.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mark = self.storage.open_writable(mark_name)?;
        file.truncate(self.end.size)?;
        if self.storage.is_atomic() {
            // It may be that of the write that failed.
            mark.write_all_at(&self.end.mark().to_bytes(), 0)?;
        }
        file.sync()?;
        (self.end.file, self.mark) = (file, mark);
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let number = self.end.segment.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        let mark = self.end.mark();
        self.end = create_segment(&*self.storage, self.service, number, mark)?;
        self.index.write().begin(number, self.end.records);
        Ok(())
    }
}

/// Ends the queue when the writer ends, however it does.
struct EndOf(Arc<Queue>, Option<Arc<Intake>>);

impl Drop for EndOf {
    fn drop(&mut self) {
        self.0.end();
        if let Some(intake) = &self.1 {
            intake.close();
        }
    }
}
