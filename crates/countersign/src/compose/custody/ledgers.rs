//! Ledgers, file by file: out of a deployment in use, and into a folder.

use std::io;
use std::path::Path;
use std::sync::Arc;

use countersign_audit::Ledger;
use countersign_audit::ledger::carry::{REMOVED, SEEN, in_order};
use countersign_audit::ledger::storage::{Folder, LogFile, Storage};
use countersign_model::Service;

/// So much is read at a time. What has been written in full is the same at the next backup.
pub(super) const PIECE: usize = 1 << 20;

/// A file of a ledger, as it is being copied.
pub(super) struct File {
    file: Arc<dyn LogFile>,
    size: u64,
    at: u64,
}

impl File {
    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let left = self.size.saturating_sub(self.at);
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        self.file.read_exact_at(&mut piece, self.at)?;
        self.at = self.at.saturating_add(piece.len() as u64);
        Ok(Some(piece))
    }
}

/// What every service had seen of the others' logs, which has to be read before anything else of any ledger.
pub(super) fn seen(ledgers: &[Arc<Ledger>]) -> io::Result<Vec<(Service, Vec<u8>)>> {
    let mut all = Vec::new();
    for ledger in ledgers {
        if let Some(mut file) = open(&*ledger.storage(), SEEN)? {
            let mut bytes = Vec::new();
            while let Some(piece) = file.next()? {
                bytes.extend(piece);
            }
            all.push((ledger.service(), bytes));
        }
    }
    Ok(all)
}

/// The other files of a ledger, in order. Each is to be read to its end before the next is asked for.
pub(super) fn names(storage: &dyn Storage) -> impl Iterator<Item = io::Result<String>> {
    in_order(storage).filter(|name| !name.as_ref().is_ok_and(|name| name == SEEN))
}

/// Opens one, as long as it is now; `None` if it went since.
pub(super) fn open(storage: &dyn Storage, name: &str) -> io::Result<Option<File>> {
    match storage.open(name) {
        Ok(file) => Ok(Some(File { size: file.size()?, file, at: 0 })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What says which records were removed. Another one after a copy than before means that the copy is to be made again.
pub(super) fn removed(ledger: &Ledger) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut file) = open(&*ledger.storage(), REMOVED)? {
        while let Some(piece) = file.next()? {
            bytes.extend(piece);
        }
    }
    Ok(bytes)
}

/// A ledger that is being written.
pub(super) struct Copy {
    folder: Folder,
    at: Option<(Arc<dyn LogFile>, u64)>,
}

impl Copy {
    /// A ledger in a folder that is not there.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { folder: Folder::open(path)?, at: None })
    }

    /// The next file.
    pub(super) fn file(&mut self, name: &str) -> io::Result<()> {
        self.end()?;
        self.at = Some((self.folder.open_writable(name)?, 0));
        Ok(())
    }

    /// More of it.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some((file, at)) = &mut self.at {
            file.write_all_at(piece, *at)?;
            *at = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Makes durable what is there.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Some((file, _)) = self.at.take() {
            file.sync()?;
        }
        self.folder.sync_folder()
    }
}
