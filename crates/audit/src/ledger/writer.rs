//! The one thread that writes a ledger.
//!
//! INVARIANT acknowledged-is-durable: an append is answered only after the write that holds it was made durable
//! with everything before it. Whatever fails, what was durable before stays as it is, and the bytes of the
//! failed write are cut before the next one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot, watch};

use super::answer::{Answer, answer_all};

use super::frame::Batch;
use super::index::Index;
use super::mark::Mark;
use super::recover::{End, create_segment, file_name};
use super::storage::{LogFile, Storage};
use super::{Options, Position};
use crate::codec::Header;
use crate::error::AuditError;
use crate::record::Service;

/// How long the writer sleeps at a time while it gathers.
const WAIT: Duration = Duration::from_micros(50);
/// It gathers for a part of the time that a sync takes: one of so many.
const SYNCS_PER_WAIT: u32 = 8;

/// One append, waiting.
pub(super) struct Pending {
    /// One, or the parts of a long record.
    pub(super) leaves: Vec<Vec<u8>>,
    pub(super) done: oneshot::Sender<Answer>,
}

/// What the writer is asked to do.
pub(super) enum Message {
    Append(Pending),
    /// Write what is waiting, then end.
    Close,
}

/// How the last write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// There may be bytes after the durable end.
    Failed,
}

pub(super) struct Writer {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) service: Service,
    pub(super) options: Options,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) mark: Arc<dyn LogFile>,
    pub(super) end: End,
    health: Health,
    /// How long the last sync took.
    last_sync: Duration,
    /// How many callers there seem to be: those of the last write, and those that queued meanwhile.
    callers: usize,
}

impl Writer {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        service: Service,
        options: Options,
        index: Arc<RwLock<Index>>,
        end: End,
        mark: Arc<dyn LogFile>,
    ) -> Self {
        let durable = watch::Sender::new(end.records);
        Self {
            storage,
            service,
            options,
            index,
            durable,
            mark,
            end,
            health: Health::Good,
            last_sync: Duration::ZERO,
            callers: 0,
        }
    }

    /// Writes until it is told to close or everyone who could append is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut messages = Vec::new();
        while queue.blocking_recv_many(&mut messages, self.options.batch_max) > 0 {
            self.gather(&mut queue, &mut messages);
            let mut batch = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Append(pending) => batch.push(pending),
                    Message::Close => queue.close(),
                }
            }
            if !batch.is_empty() {
                self.commit(batch, &queue);
            }
        }
    }

    /// Waits a moment for callers that were served by the last write to come back, where a sync takes so long
    /// that going without them would cost more. Else half of many callers wait while the other half is written.
    fn gather(&self, queue: &mut mpsc::Receiver<Message>, messages: &mut Vec<Message>) {
        let mut patience = self.last_sync.checked_div(SYNCS_PER_WAIT).unwrap_or_default();
        let enough = self.callers.min(self.options.batch_max);
        while patience >= WAIT && messages.len() < enough {
            std::thread::sleep(WAIT);
            let before = messages.len();
            while let Ok(message) = queue.try_recv() {
                messages.push(message);
            }
            if messages.len() == before {
                return;
            }
            patience = patience.saturating_sub(WAIT);
        }
    }

    fn commit(&mut self, batch: Vec<Pending>, queue: &mpsc::Receiver<Message>) {
        let before = self.end.records;
        let outcome = self.write(&batch);
        self.callers = batch.len().saturating_add(queue.len());
        match outcome {
            Ok(()) => {
                if self.health != Health::Good {
                    tracing::info!(service = self.service.as_str(), "the audit ledger can be written again");
                    self.health = Health::Good;
                }
                let mut next = before;
                let positions = batch.into_iter().map(|pending| {
                    next = next.saturating_add(pending.leaves.len() as u64);
                    (pending.done, Ok(Position(next.saturating_sub(1))))
                });
                answer_all(positions.collect());
            }
            Err(error) => {
                if self.health == Health::Good {
                    let kind = error.kind();
                    tracing::error!(service = self.service.as_str(), %kind, "the audit ledger can't be written");
                }
                self.health = Health::Failed;
                answer_all(batch.into_iter().map(|pending| (pending.done, Err(AuditError::Unavailable))).collect());
            }
        }
    }

    /// One write and one sync for all of `batch`. After an error nothing of it is durable for certain, and
    /// `end` still says where to go on.
    fn write(&mut self, batch: &[Pending]) -> io::Result<()> {
        if self.health == Health::Failed {
            self.repair()?;
        }
        self.storage.check_writable()?;
        if self.end.size >= self.options.segment_bytes {
            self.roll()?;
        }
        self.end.file.check_linked()?;

        let mut frames = Batch::new(self.end.check);
        let leaves = || batch.iter().flat_map(|pending| &pending.leaves);
        leaves().for_each(|leaf| frames.push(leaf));
        self.end.file.write_all_at(frames.bytes(), self.end.size)?;
        let started = Instant::now();
        self.end.file.sync()?;
        self.last_sync = started.elapsed();

        let mut index = self.index.write();
        for (leaf, start) in leaves().zip(frames.starts()) {
            let offset = self.end.size.saturating_add(u64::from(*start));
            if let (Some((header, _)), Ok(offset)) = (Header::parse(leaf), u32::try_from(offset)) {
                index.add(offset, &header);
            }
        }
        drop(index);
        self.end.size = self.end.size.saturating_add(frames.bytes().len() as u64);
        self.end.records = self.end.records.saturating_add(frames.starts().len() as u64);
        self.end.check = frames.check();
        // A mark that lags is true all the same; so a failure to write it is no failure of the append.
        let _ = self.mark.write_all_at(&self.end.mark().to_bytes(), 0);
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
        file.truncate(self.end.size)?;
        file.sync()?;
        self.end.file = file;
        self.mark = self.storage.open_writable(mark_name)?;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let number = self.end.segment.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        let mark: Mark = self.end.mark();
        self.end = create_segment(&*self.storage, self.service, number, mark)?;
        self.index.write().begin(number, self.end.records);
        Ok(())
    }
}
