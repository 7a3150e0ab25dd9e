//! The thread that makes the log: takes hashes of durable records, adds them to the level files, signs a checkpoint.
//!
//! INVARIANT checkpoint-is-covered: a checkpoint is signed only over records that are durable, and published only when
//! the hashes under it and itself are. Whatever fails, the log lags and the records go on; what it missed is read from
//! the segments again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use countersign_tlog::{Checkpoint, Frontier, Hash, MAX_LEVEL, level_len};
use parking_lot::RwLock;

use super::levels::{LevelsWriter, level_name};
use super::{CHECKPOINT, Log, Published};
use crate::error::AuditError;
use crate::ledger::Position;
use crate::ledger::index::Index;
use crate::ledger::query::leaves_of;

/// How many records are read from the segments for one checkpoint, where the log is behind.
const CATCH_UP: u64 = 1 << 16;
/// How many of them at a time.
const CATCH_UP_READ: usize = 1 << 12;
/// How long a ledger that is closed goes on with a log that is far behind.
const CLOSING: Duration = Duration::from_secs(2);
/// How long to leave a failing disk alone.
const RETRY: Duration = Duration::from_secs(1);

pub(in crate::ledger) struct Integrator {
    pub(in crate::ledger) log: Arc<Log>,
    pub(in crate::ledger) index: Arc<RwLock<Index>>,
    /// The tree that the newest checkpoint is of.
    pub(in crate::ledger) tree: Frontier,
    /// How long a record waits at most until a checkpoint covers it.
    pub(in crate::ledger) within: Duration,
}

/// What the thread carries from one checkpoint to the next.
#[derive(Default)]
struct Going {
    levels: Option<LevelsWriter>,
    /// How long the last checkpoint took.
    took: Duration,
    last: Option<Instant>,
    failed: bool,
    /// The log is not up to the records that came in before those that are taken next.
    is_behind: bool,
}

impl Integrator {
    /// Goes on until the ledger takes no more records and all are in the log.
    pub(in crate::ledger) fn run(mut self) {
        // The newest records before the ledger was opened may not be in the log.
        let mut going = Going { is_behind: true, ..Going::default() };
        let mut closing: Option<Instant> = None;
        loop {
            // So that the checkpoint is out in time even if this one takes twice as long as the last.
            let part = |parts| self.within.checked_div(parts).unwrap_or_default();
            let margin = going.took.saturating_mul(2).clamp(part(8), part(2));
            let wait = self.within.saturating_sub(margin);
            let again = going.last.filter(|_| going.failed).and_then(|last| last.checked_add(RETRY));
            let kept = going.last.and_then(|last| last.checked_add(self.within));
            let is_behind = going.is_behind;
            let taken = self.log.intake.take(is_behind, |since| match since {
                _ if again.is_some() => again,
                _ if is_behind => None,
                Some(since) => since.checked_add(wait),
                None => kept,
            });
            let began = Instant::now();
            let outcome = self.round(&mut going, taken.from, &taken.hashes);
            going.took = began.elapsed();
            going.last = Some(began);
            match outcome {
                Ok(()) => {
                    if std::mem::take(&mut going.failed) {
                        tracing::info!(service = self.service(), "the audit ledger's log can be written again");
                    }
                    if let (Some(since), false) = (taken.since, going.is_behind) {
                        let lag = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                        self.log.lag_us.store(lag, Ordering::Relaxed);
                        self.log.lag_max_us.fetch_max(lag, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut going.failed, true) {
                        let kind = error.kind();
                        tracing::error!(service = self.service(), %kind, "the audit ledger's log can't be written");
                    }
                    // After a failed sync the old handles can say that all is well when it is not.
                    going.levels = None;
                    going.is_behind = true;
                }
            }
            if taken.closed {
                let closing = closing.get_or_insert(began);
                if going.failed || !going.is_behind || closing.elapsed() > CLOSING {
                    return;
                }
            }
        }
    }

    fn service(&self) -> &'static str {
        self.log.service.as_str()
    }

    /// Brings the log as far as goes in one checkpoint.
    fn round(&mut self, going: &mut Going, from: u64, hashes: &[Hash]) -> io::Result<()> {
        let end = from.saturating_add(hashes.len() as u64);
        if self.tree.size() < from {
            let read = self.read_segments(end)?;
            self.integrate(going, &read)?;
        } else {
            // What was taken may have been read from the segments already.
            let skip = usize::try_from(self.tree.size().saturating_sub(from)).unwrap_or(usize::MAX);
            self.integrate(going, hashes.get(skip..).unwrap_or_default())?;
        }
        going.is_behind = self.tree.size() < end;
        Ok(())
    }

    /// Hashes of records that the log doesn't have yet.
    fn read_segments(&self, end: u64) -> io::Result<Vec<Hash>> {
        let (mut at, mut hashes) = (self.tree.size(), Vec::new());
        let end = end.min(at.saturating_add(CATCH_UP));
        while at < end {
            let limit = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(CATCH_UP_READ);
            let leaves =
                leaves_of(&*self.log.storage, &self.index, Position(at), limit).map_err(|error| match error {
                    AuditError::Unreadable(error) => error,
                    _ => io::ErrorKind::InvalidData.into(),
                })?;
            if leaves.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at = at.saturating_add(leaves.len() as u64);
            hashes.extend(leaves.iter().map(|leaf| Hash::leaf(leaf)));
        }
        Ok(hashes)
    }

    fn integrate(&mut self, going: &mut Going, hashes: &[Hash]) -> io::Result<()> {
        if hashes.is_empty() {
            return self.log.keep_cosignatures();
        }
        self.log.storage.check_writable()?;
        let levels = match &mut going.levels {
            Some(levels) => levels,
            empty => {
                let mut levels = LevelsWriter::new(Arc::clone(&self.log.storage));
                self.cut(&mut levels)?;
                empty.insert(levels)
            }
        };
        let (mut tree, mut added) = (self.tree.clone(), countersign_tlog::Levels::default());
        for hash in hashes {
            tree.push(*hash, &mut |level, hash| added.append(level, hash));
        }
        for (hashes, level) in added.0.iter().zip(0u8..) {
            levels.write(level, level_len(self.tree.size(), level), hashes)?;
        }
        let (size, root) = (tree.size(), tree.root());
        let text = Checkpoint::new(self.log.origin(), size, root).sign(&self.log.parts.signer);
        self.log.storage.replace(CHECKPOINT, text.as_bytes())?;
        self.tree = tree;
        self.log.publish(Published { size, root, text: text.into(), cosigned: 0 });
        Ok(())
    }

    /// Cuts what lies after the newest checkpoint: a process that was killed left it, or a write that failed.
    fn cut(&self, levels: &mut LevelsWriter) -> io::Result<()> {
        for level in 0..=MAX_LEVEL {
            if self.log.storage.open(&level_name(level)).is_err() {
                return Ok(());
            }
            levels.cut(level, level_len(self.tree.size(), level))?;
        }
        Ok(())
    }
}
