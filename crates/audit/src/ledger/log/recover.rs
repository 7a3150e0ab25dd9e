//! Opening a log: what its files say is held against the records that are read anyway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use countersign_tlog::{Checkpoint, Frontier, Hash, HashReader as _, level_len};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::witness::Witness;
use super::{
    CHECKPOINT, Intake, KEPT, KEYS, Kept, Keys, Levels, Log, LogParts, Published, WITNESSED, Witnessed, cosignatures,
    level_name,
};
use crate::error::LedgerError;
use crate::ledger::Position;
use crate::ledger::storage::{Storage, read_if_there};
use crate::record::Service;

/// How many hashes are read at a time.
const READ: u64 = 4096;

/// The log's files, as they are held against the records while those are read.
pub(in crate::ledger) struct LogCheck {
    parts: LogParts,
    storage: Arc<dyn Storage>,
    levels: Levels,
    keys: Keys,
    newest: Published,
    tree: Frontier,
    /// Hashes of level 0 from the tree's size on.
    ahead: std::vec::IntoIter<Hash>,
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> LedgerError {
    let what = format!("reading {what}");
    move |source| LedgerError::Io { what, source }
}

fn damaged(file: &str) -> LedgerError {
    LedgerError::File { file: file.to_owned() }
}

impl LogCheck {
    /// Reads the newest checkpoint, or makes the first one, of no records.
    pub(in crate::ledger) fn open(storage: &Arc<dyn Storage>, mut parts: LogParts) -> Result<Self, LedgerError> {
        let mut own = parts.signer.verifier();
        let levels = Levels::new(Arc::clone(storage));
        let is_there = |name: &str| read_if_there(&**storage, name).map_err(failed(name));
        // The first checkpoint is made after the files beside it, and before the first hash is written.
        let is_log = is_there(CHECKPOINT)?.is_some() || levels.bytes(0).map_err(failed(&level_name(0)))? > 0;
        let keys = match is_there(KEYS)? {
            Some(bytes) => Keys::parse(&bytes).ok_or_else(|| damaged(KEYS))?,
            None if is_log => return Err(damaged(KEYS)),
            None => Keys::new(own.clone()),
        };
        if !keys.own.is_same_key(&own) {
            return Err(LedgerError::OtherLog);
        }
        // Whoever knows the log knows it by the name that it began with, whatever the deployment is called by now.
        own.clone_from(&keys.own);
        parts = LogParts { signer: parts.signer.named_as(&own), witness: parts.witness.named_as(&own), ..parts };
        let newest = match is_there(CHECKPOINT)? {
            Some(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| damaged(CHECKPOINT))?;
                let (checkpoint, note) = Checkpoint::open(&text, &own).map_err(|_| damaged(CHECKPOINT))?;
                let Checkpoint { size, root, .. } = checkpoint;
                Published { size, root, text: text.into(), cosigned: cosignatures(&note) }
            }
            None if is_log => return Err(damaged(CHECKPOINT)),
            None => {
                let (size, root) = (0, Hash::empty());
                let text = Checkpoint::new(parts.signer.name(), size, root).sign(&parts.signer);
                let witnessed = is_there(WITNESSED)?;
                let write = || {
                    if witnessed.is_none() {
                        storage.replace(WITNESSED, Witnessed::default().to_text().as_bytes())?;
                    }
                    keys.write(&**storage)?;
                    storage.replace(CHECKPOINT, text.as_bytes())
                };
                let what = "making the log".to_owned();
                write().map_err(|source| LedgerError::Io { what, source })?;
                Published { size, root, text: text.into(), cosigned: 0 }
            }
        };
        let (tree, ahead) = (Frontier::default(), Vec::new().into_iter());
        Ok(Self { parts, storage: Arc::clone(storage), levels, keys, newest, tree, ahead })
    }

    /// The first record that is kept, as the log has signed it.
    pub(in crate::ledger) fn kept(&self) -> Result<u64, LedgerError> {
        match read_if_there(&*self.storage, KEPT).map_err(failed(KEPT))? {
            None => Ok(0),
            Some(bytes) => Ok(Kept::open(&bytes, &self.keys.own).ok_or_else(|| damaged(KEPT))?.first),
        }
    }

    /// Records before this one are removed; their hashes are kept.
    pub(in crate::ledger) fn begin_at(&mut self, first: u64) -> Result<(), LedgerError> {
        while self.tree.size() < first {
            let Some(hash) = self.next()? else { return Err(damaged(&level_name(0))) };
            self.take(hash)?;
        }
        Ok(())
    }

    /// Holds a record against its hash in the log.
    pub(in crate::ledger) fn record(&mut self, leaf: &[u8]) -> Result<(), LedgerError> {
        let position = self.tree.size();
        match self.next()? {
            None => Ok(()),
            Some(logged) if logged == Hash::leaf(leaf) => self.take(logged),
            Some(_) => Err(LedgerError::Unlike { position: Position(position) }),
        }
    }

    /// The next hash that the checkpoint covers.
    fn next(&mut self) -> Result<Option<Hash>, LedgerError> {
        let at = self.tree.size();
        if at >= self.newest.size {
            return Ok(None);
        }
        if self.ahead.len() == 0 {
            let count = self.newest.size.saturating_sub(at).min(READ);
            let count = usize::try_from(count).unwrap_or_default();
            self.ahead = self.levels.read(0, at, count).map_err(|error| short(error, 0))?.into_iter();
        }
        Ok(self.ahead.next())
    }

    fn take(&mut self, hash: Hash) -> Result<(), LedgerError> {
        let (size, mut above) = (self.tree.size().saturating_add(1), None);
        let levels = &self.levels;
        self.tree.push(hash, &mut |level, hash| {
            if level > 0 && above.is_none() {
                let place = level_len(size, level).saturating_sub(1);
                match levels.read(level, place, 1) {
                    Ok(there) if there.first() == Some(&hash) => {}
                    Ok(_) => above = Some(damaged(&level_name(level))),
                    Err(error) => above = Some(short(error, level)),
                }
            }
        });
        above.map_or(Ok(()), Err)
    }

    /// The log, once all records were held against it, and what its thread begins with.
    pub(in crate::ledger) fn finish(self, service: Service, records: u64) -> Result<(Log, Frontier), LedgerError> {
        let Self { parts, storage, levels, keys, newest, tree, ahead: _ } = self;
        if tree.size() < newest.size {
            return Err(LedgerError::Truncated { found: records, acknowledged: newest.size });
        }
        if tree.root() != newest.root {
            return Err(damaged(CHECKPOINT));
        }
        let witness = Witness::open(&*storage)?;
        let cosigned = (newest.cosigned > 0).then(|| newest.clone());
        let log = Log {
            service,
            storage,
            levels,
            parts,
            intake: Arc::new(Intake::new(records)),
            newest: watch::Sender::new(newest),
            cosigned: Mutex::new(cosigned),
            keys: Mutex::new(keys),
            unkept: AtomicBool::new(false),
            lag_us: AtomicU64::new(0),
            lag_max_us: AtomicU64::new(0),
            witness,
        };
        Ok((log, tree))
    }
}

/// A level file that is too short or gone is damaged; it may also not be readable.
fn short(error: io::Error, level: u8) -> LedgerError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => damaged(&level_name(level)),
        _ => LedgerError::Io { what: format!("reading {}", level_name(level)), source: error },
    }
}
