//! The level files: `log/0` has the hash of each record, `log/1` one for each full 256 of those, and so on. They are the
//! tiles of C2SP tlog-tiles laid end to end: tile *n* of a level begins at its hash 256 × *n*.

use std::io;
use std::sync::Arc;

use countersign_tlog::{Hash, HashReader, MAX_LEVEL, TILE_WIDTH, level_len};

use crate::ledger::storage::{LogFile, Storage};

/// The name of a level's file.
pub(crate) fn level_name(level: u8) -> String {
    format!("log/{level}")
}

/// The level files of a ledger, to read.
#[derive(Clone)]
pub(crate) struct Levels {
    storage: Arc<dyn Storage>,
}

impl Levels {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage }
    }

    /// How many bytes a level's file has; none if it isn't there.
    pub(crate) fn bytes(&self, level: u8) -> io::Result<u64> {
        match self.storage.open(&level_name(level)) {
            Ok(file) => file.size(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// A tile of a tree of `size` records; `None` if the tree doesn't have it.
    pub(crate) fn tile(&self, size: u64, level: u8, index: u64, width: u16) -> io::Result<Option<Vec<u8>>> {
        let first = index.saturating_mul(TILE_WIDTH);
        let end = first.saturating_add(u64::from(width));
        let fits = width > 0 && u64::from(width) <= TILE_WIDTH && level <= MAX_LEVEL;
        if !fits || end > level_len(size, level) {
            return Ok(None);
        }
        let file = self.storage.open(&level_name(level))?;
        read_bytes(&*file, first, u64::from(width)).map(Some)
    }
}

impl HashReader for Levels {
    type Error = io::Error;

    fn read(&self, level: u8, start: u64, count: usize) -> io::Result<Vec<Hash>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let file = self.storage.open(&level_name(level))?;
        read_hashes(&*file, start, count as u64)
    }
}

fn read_bytes(file: &dyn LogFile, from: u64, count: u64) -> io::Result<Vec<u8>> {
    let count = usize::try_from(count).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let mut bytes = vec![0; count.saturating_mul(Hash::BYTES)];
    file.read_exact_at(&mut bytes, from.saturating_mul(Hash::BYTES as u64))?;
    Ok(bytes)
}

fn read_hashes(file: &dyn LogFile, from: u64, count: u64) -> io::Result<Vec<Hash>> {
    Ok(Hash::many(&read_bytes(file, from, count)?).unwrap_or_default())
}

/// The level files of a ledger, to add to. After an error it is made anew: what was written may be lost, and the next
/// sync of the same open file would not say so.
pub(super) struct LevelsWriter {
    storage: Arc<dyn Storage>,
    files: Vec<Arc<dyn LogFile>>,
}

impl LevelsWriter {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, files: Vec::new() }
    }

    /// Writes hashes of a level at a place. Durable at the latest when what rests on them is: if that does not make it so
    /// by itself, now.
    pub(super) fn write(&mut self, level: u8, from: u64, hashes: &[Hash]) -> io::Result<()> {
        let file = self.file(level)?;
        file.check_linked()?;
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        file.write_all_at(&bytes, from.saturating_mul(Hash::BYTES as u64))?;
        if self.storage.is_atomic() { Ok(()) } else { file.sync() }
    }

    /// Cuts what lies after so many hashes of a level: what a write left that was never finished.
    pub(super) fn cut(&mut self, level: u8, hashes: u64) -> io::Result<()> {
        let end = hashes.saturating_mul(Hash::BYTES as u64);
        let file = self.file(level)?;
        if file.size()? > end {
            file.truncate(end)?;
            file.sync()?;
        }
        Ok(())
    }

    fn file(&mut self, level: u8) -> io::Result<Arc<dyn LogFile>> {
        while self.files.len() <= usize::from(level) {
            let name = level_name(u8::try_from(self.files.len()).unwrap_or(u8::MAX));
            let is_new = self.storage.open(&name).is_err();
            self.files.push(self.storage.open_writable(&name)?);
            if is_new {
                self.storage.sync_folder()?;
            }
        }
        self.files.get(usize::from(level)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
