//! The journal: ceilings, appended and made durable together with those that arrive meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use countersign_model::{TokenId, UserId};
use parking_lot::{Condvar, Mutex};

use super::counters::TokenCounter;
use super::slot::{Owner, SLOT_BYTES, Slot, header};
use crate::guarded_file::sync_folder;

/// Below this many slots (16 MiB) the journal is not written anew while it is in use.
const REWRITE_AT: u32 = 256 * 1024;

/// What is wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalFault {
    /// The operating system refused.
    #[error("budget journal: {0}")]
    Io(#[from] io::Error),
    /// The file is something else, or of a version this program doesn't know.
    #[error("not a budget journal of a known version")]
    Unknown,
    /// The file was changed or lost a part in the middle.
    #[error(
        "the budget journal is damaged at byte {at}; restore the file, or move it away, which forgets what was spent \
         in the last 12 hours"
    )]
    Damaged {
        /// Bytes from the beginning.
        at: u64,
    },
    /// Another process has it.
    #[error("another process uses the budget journal")]
    InUse,
    /// The write failed that this one was part of.
    #[error("the write to the budget journal failed")]
    Unwritten,
}

/// Counters as the journal has them.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) tokens: HashMap<TokenId, TokenCounter>,
    pub(super) principals: HashMap<UserId, BTreeMap<u32, u64>>,
}

/// The journal at `path`, for this process alone; `None` if there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, JournalFault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    lock(&file)?;
    // Whoever had it may have put another in its place.
    let there = std::fs::metadata(path)?;
    if file.metadata()?.ino() == there.ino() { Ok(Some(file)) } else { Err(JournalFault::InUse) }
}

fn lock(file: &File) -> Result<(), JournalFault> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => JournalFault::InUse,
        TryLockError::Error(error) => error.into(),
    })
}

/// Reads the journal.
pub(super) fn replay(file: &File) -> Result<Replayed, JournalFault> {
    let mut tokens: HashMap<TokenId, TokenCounter> = HashMap::new();
    // Ceilings, and the exact counts that replace them, by principal and step. Slots may be in another order than
    // their counters changed, so neither overwrites the other before all are read.
    let mut ceilings: HashMap<UserId, BTreeMap<u32, u64>> = HashMap::new();
    let mut closed: HashMap<UserId, BTreeMap<u32, u64>> = HashMap::new();
    read_slots(BufReader::new(file), |slot| match slot.owner {
        Owner::Token(id) => {
            let first = TokenCounter::replayed(slot.ceiling, slot.bucket);
            tokens.entry(id).or_insert(first).merge(slot.ceiling, slot.bucket);
        }
        Owner::Principal(id) => {
            let highest = ceilings.entry(id).or_default().entry(slot.bucket).or_default();
            *highest = slot.ceiling.max(*highest);
            if let Some((bucket, count)) = slot.closed {
                let highest = closed.entry(id).or_default().entry(bucket).or_default();
                *highest = count.max(*highest);
            }
        }
    })?;
    for (id, exact) in closed {
        ceilings.entry(id).or_default().extend(exact);
    }
    Ok(Replayed { tokens, principals: ceilings })
}

/// A write that a crash cut off may leave any of its slots unreadable: they are skipped. A slot that can't be read
/// although a later write began after it is damage.
fn read_slots(mut from: impl Read, mut take: impl FnMut(Slot)) -> Result<(), JournalFault> {
    let mut bytes = [0; SLOT_BYTES];
    if !read_one(&mut from, &mut bytes)? || bytes != header() {
        return Err(JournalFault::Unknown);
    }
    let mut unreadable: Option<u64> = None;
    for place in 1u64.. {
        if !read_one(&mut from, &mut bytes)? {
            break;
        }
        match (Slot::decode(&bytes, place), unreadable) {
            (Some((_, began)), Some(bad)) if u64::from(began) > bad => {
                return Err(JournalFault::Damaged { at: bad.saturating_mul(SLOT_BYTES as u64) });
            }
            (Some((slot, _)), _) => take(slot),
            (None, None) => unreadable = Some(place),
            (None, Some(_)) => {}
        }
    }
    Ok(())
}

/// Whether a whole slot was left.
fn read_one(from: &mut impl Read, bytes: &mut [u8; SLOT_BYTES]) -> io::Result<bool> {
    match from.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The journal in use.
pub(super) struct Journal {
    state: Mutex<State>,
    written: Condvar,
}

struct State {
    /// Gathered for the next write.
    queue: Vec<Slot>,
    /// The number of the next write.
    next: u64,
    /// The last write that is durable.
    durable: u64,
    /// The last write that failed. One that succeeds after it makes its slots durable too, because it writes the
    /// file anew.
    failed: u64,
    /// With whoever is writing, while somebody is.
    writer: Option<Writer>,
}

struct Writer {
    path: PathBuf,
    file: File,
    /// Where the next slot goes.
    place: u32,
    rewrite_at: u32,
    /// A write failed, so that nobody knows what the file holds.
    broken: bool,
}

impl Journal {
    /// Replaces the file at `path` by one with these slots.
    pub(super) fn create(path: &Path, slots: &[Slot]) -> Result<Self, JournalFault> {
        let writer = Writer::replace(path, slots)?;
        let state = State { queue: Vec::new(), next: 1, durable: 0, failed: 0, writer: Some(writer) };
        Ok(Self { state: Mutex::new(state), written: Condvar::new() })
    }

    /// Returns when the slots are durable. One thread writes what all that wait have brought. `live` gives everything
    /// that has to be in the file, these slots too, for writing it anew when it has grown or a write has failed.
    pub(super) fn commit(&self, slots: &[Slot], live: &dyn Fn() -> Vec<Slot>) -> Result<(), JournalFault> {
        let mut state = self.state.lock();
        state.queue.extend_from_slice(slots);
        let mine = state.next;
        loop {
            if state.durable >= mine {
                return Ok(());
            }
            if state.failed >= mine {
                return Err(JournalFault::Unwritten);
            }
            let Some(mut writer) = state.writer.take() else {
                self.written.wait(&mut state);
                continue;
            };
            let batch = std::mem::take(&mut state.queue);
            let number = state.next;
            state.next = number.saturating_add(1);
            drop(state);
            // Nobody holds a counter's lock while waiting here, so `live` can take them.
            let written = writer.write(&batch, live);
            state = self.state.lock();
            state.writer = Some(writer);
            self.written.notify_all();
            match written {
                Ok(()) => state.durable = number,
                Err(fault) => {
                    state.failed = number;
                    return Err(fault);
                }
            }
        }
    }
}

#[cfg(test)]
impl Journal {
    /// From now on nothing can be written.
    pub(super) fn break_it(&self) {
        if let Some(writer) = &mut self.state.lock().writer {
            writer.file = File::open(&writer.path).unwrap();
        }
    }

    /// From now on the journal is written anew when it has this many slots.
    pub(super) fn rewrite_at(&self, slots: u32) {
        if let Some(writer) = &mut self.state.lock().writer {
            writer.rewrite_at = slots;
        }
    }
}

impl Writer {
    fn replace(path: &Path, slots: &[Slot]) -> Result<Self, JournalFault> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        // Emptied only when it is this process's: a crash may have left it, another process may be writing it.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside)?;
        lock(&file)?;
        file.set_len(0)?;
        let mut writer = Self { path: path.to_owned(), file, place: 1, rewrite_at: 0, broken: false };
        writer.file.write_all(&header())?;
        writer.append(slots)?;
        std::fs::rename(&beside, path)?;
        sync_folder(path)?;
        writer.rewrite_at = writer.place.saturating_mul(4).max(REWRITE_AT);
        Ok(writer)
    }

    /// Appends, or writes anew what `live` gives, which has these slots in it.
    fn write(&mut self, slots: &[Slot], live: &dyn Fn() -> Vec<Slot>) -> Result<(), JournalFault> {
        if self.broken || self.place >= self.rewrite_at {
            self.broken = true;
            *self = Self::replace(&self.path, &live())?;
            return Ok(());
        }
        self.broken = true;
        self.append(slots)?;
        self.broken = false;
        Ok(())
    }

    fn append(&mut self, slots: &[Slot]) -> Result<(), JournalFault> {
        let began = self.place;
        let mut bytes = Vec::with_capacity(slots.len().saturating_mul(SLOT_BYTES));
        for slot in slots {
            bytes.extend_from_slice(&slot.encode(u64::from(self.place), began));
            self.place = self.place.checked_add(1).ok_or(io::ErrorKind::FileTooLarge).map_err(io::Error::from)?;
        }
        self.file.write_all(&bytes)?;
        Ok(self.file.sync_data()?)
    }
}
