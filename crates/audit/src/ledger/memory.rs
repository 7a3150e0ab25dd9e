//! A storage in memory that fails on demand, and that can lose power. For tests.
//!
//! It is as unkind as a disk is allowed to be: after a loss of power any subset of the 512-byte sectors written
//! since the last sync is there, a file that the folder was not synced for may be gone, and after a failed sync
//! the next one says that all is well although the bytes are lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::storage::{LogFile, Storage};

const SECTOR_BYTES: usize = 512;

/// A folder in memory. Clones are the same folder.
#[derive(Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Contents>,
    space_bytes: Option<u64>,
    write_error: Option<io::ErrorKind>,
    syncs_to_fail: u32,
    sync_takes: Duration,
    read_only: bool,
    syncs: u64,
    /// Writes to files whose names begin so fail.
    fails: Option<(String, io::ErrorKind)>,
    /// How many more changes there are before the process dies.
    changes_left: Option<u64>,
}

impl State {
    /// Counts a change; an error once the process is dead, or if writing to that file fails.
    fn change(&mut self, name: &str) -> io::Result<()> {
        if let Some((prefix, kind)) = &self.fails
            && name.starts_with(prefix.as_str())
        {
            return Err((*kind).into());
        }
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the process is dead")),
            Some(left) => {
                *left = left.saturating_sub(1);
                Ok(())
            }
        }
    }
}

#[derive(Default, Clone)]
struct Contents {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    name_is_durable: bool,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { size: usize },
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset.saturating_add(bytes.len());
                if to.len() < end {
                    to.resize(end, 0);
                }
                if let Some(place) = to.get_mut(*offset..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Self::Truncate { size } => to.resize(*size, 0),
        }
    }

    fn sectors(&self) -> Vec<Self> {
        match self {
            Self::Write { offset, bytes } => {
                let pieces = (*offset..).step_by(SECTOR_BYTES).zip(bytes.chunks(SECTOR_BYTES));
                pieces.map(|(offset, bytes)| Self::Write { offset, bytes: bytes.to_vec() }).collect()
            }
            Self::Truncate { .. } => vec![self.clone()],
        }
    }
}

impl MemoryStorage {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on only so many more bytes fit; `None` is without limit.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.0.lock().space_bytes = bytes;
    }

    /// From now on writes fail, and write nothing; `None` ends that.
    pub fn fail_writes(&self, kind: Option<io::ErrorKind>) {
        self.0.lock().write_error = kind;
    }

    /// The next `count` syncs of files fail, and what they were to make durable is lost.
    pub fn fail_syncs(&self, count: u32) {
        self.0.lock().syncs_to_fail = count;
    }

    /// How long each sync of a file takes.
    pub fn slow_syncs(&self, takes: Duration) {
        self.0.lock().sync_takes = takes;
    }

    /// Takes or gives the permission to write to the folder.
    pub fn set_read_only(&self, read_only: bool) {
        self.0.lock().read_only = read_only;
    }

    /// From now on writes to files whose names begin so fail; `None` ends that.
    pub fn fail_names_with(&self, prefix: &str, kind: Option<io::ErrorKind>) {
        self.0.lock().fails = kind.map(|kind| (prefix.to_owned(), kind));
    }

    /// After so many more changes (writes, cuts, syncs, removals) nothing changes any more, as if the process had died
    /// between two of them; `None` ends that.
    pub fn die_after(&self, changes: Option<u64>) {
        self.0.lock().changes_left = changes;
    }

    /// How many syncs of files there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// What a file holds now.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().files.get(name).map(|file| file.current.clone())
    }

    /// Gives a file other contents, durably. `None` removes it.
    pub fn set_contents(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut state = self.0.lock();
        match bytes {
            Some(bytes) => {
                let (current, durable) = (bytes.clone(), bytes);
                let file = Contents { current, durable, pending: Vec::new(), name_is_durable: true };
                state.files.insert(name.to_owned(), file);
            }
            None => {
                state.files.remove(name);
            }
        }
    }

    /// What the next process finds after this one was killed now: everything written.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        self.aftermath(|file| file.current.clone(), |_| true)
    }

    /// What the next process finds after power was lost now. `chance` decides what of the undurable is kept.
    #[must_use]
    pub fn after_power_loss(&self, chance: &mut dyn FnMut() -> bool) -> Self {
        let chance = std::cell::RefCell::new(chance);
        let coin = || (chance.borrow_mut())();
        self.aftermath(
            |file| {
                let mut bytes = file.durable.clone();
                for change in file.pending.iter().flat_map(Change::sectors).filter(|_| coin()) {
                    change.apply(&mut bytes);
                }
                bytes
            },
            |file| file.name_is_durable || coin(),
        )
    }

    fn aftermath(&self, bytes: impl Fn(&Contents) -> Vec<u8>, there: impl Fn(&Contents) -> bool) -> Self {
        let next = Self::new();
        for (name, file) in self.0.lock().files.iter().filter(|(_, file)| there(file)) {
            next.set_contents(name, Some(bytes(file)));
        }
        next
    }
}

impl Storage for MemoryStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let there = self.0.lock().files.contains_key(name);
        if !there {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(MemoryFile { folder: Arc::clone(&self.0), name: name.to_owned() }))
    }

    fn open_writable(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.check_writable()?;
        let mut state = self.0.lock();
        state.files.entry(name.to_owned()).or_default();
        drop(state);
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.0.lock();
        state.change(name)?;
        state.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.0.lock();
        state.change(name)?;
        if let Some(kind) = state.write_error {
            return Err(kind.into());
        }
        if state.space_bytes.is_some_and(|space| space < bytes.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.syncs = state.syncs.saturating_add(1);
        if state.syncs_to_fail > 0 {
            state.syncs_to_fail = state.syncs_to_fail.saturating_sub(1);
            return Err(io::Error::other("the disk lost a write"));
        }
        drop(state);
        self.set_contents(name, Some(bytes.to_vec()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.0.lock().change("")?;
        self.0.lock().files.values_mut().for_each(|file| file.name_is_durable = true);
        Ok(())
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.0.lock().read_only { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

struct MemoryFile {
    folder: Arc<Mutex<State>>,
    name: String,
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.folder.lock();
        act(state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl LogFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.current.len() as u64))
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file| {
            let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let bytes = file.current.get(start..start.saturating_add(out.len()));
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.folder.lock();
        state.change(&self.name)?;
        if let Some(kind) = state.write_error {
            return Err(kind.into());
        }
        let fits = state.space_bytes.map_or(bytes.len(), |space| bytes.len().min(space as usize));
        if let Some(space) = &mut state.space_bytes {
            *space = space.saturating_sub(fits as u64);
        }
        let file = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        let written = bytes.get(..fits).unwrap_or_default();
        let change = Change::Write { offset: offset as usize, bytes: written.to_vec() };
        change.apply(&mut file.current);
        file.pending.push(change);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.folder.lock().change(&self.name)?;
        self.with(|file| {
            let change = Change::Truncate { size: size as usize };
            change.apply(&mut file.current);
            file.pending.push(change);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let takes = self.folder.lock().sync_takes;
        std::thread::sleep(takes);
        let mut state = self.folder.lock();
        state.change(&self.name)?;
        state.syncs = state.syncs.saturating_add(1);
        let fails = state.syncs_to_fail > 0;
        state.syncs_to_fail = state.syncs_to_fail.saturating_sub(1);
        let file = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        let pending = std::mem::take(&mut file.pending);
        if fails {
            return Err(io::Error::other("the disk lost a write"));
        }
        for change in pending {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn check_linked(&self) -> io::Result<()> {
        self.with(|_| Ok(()))
    }
}
