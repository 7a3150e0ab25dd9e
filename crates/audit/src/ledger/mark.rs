//! The file `durable`: how many records were acknowledged.
//!
//! Rewritten in place after each write of records, without waiting for the disk, so it costs next to nothing.
//! It never says more than is durable. After a kill it is exact; after a loss of power it may be some writes
//! behind. It lets [`open`](super::Ledger::open) tell a torn end that nobody was promised from records that
//! somebody removed or damaged.

use std::io;
use std::sync::Arc;

use super::frame::{Check, check_of};
use super::storage::{LogFile, Storage};

pub(super) const NAME: &str = "durable";
const MAGIC: &[u8; 8] = b"CSmark\0\x01";
const BYTES: usize = 48;

/// So many records, and the check of the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) records: u64,
    pub(super) check: Check,
}

impl Mark {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend(MAGIC);
        out.extend(self.records.to_be_bytes());
        out.extend(self.check);
        out.extend(check_of(&out));
        out
    }

    fn parse(bytes: &[u8; BYTES]) -> Option<Self> {
        let records = u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let mark = Self { records, check: *bytes.get(16..)?.first_chunk()? };
        (mark.to_bytes() == bytes).then_some(mark)
    }

    /// What these bytes say, if they are the file's.
    pub(super) fn of_file(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes.try_into().ok()?)
    }

    /// What the file says; nothing acknowledged if there is none, or if it was torn by a loss of power.
    pub(super) fn read(storage: &dyn Storage) -> io::Result<Self> {
        let file = match storage.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Self::parse(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file whole, and waits for the disk.
    pub(super) fn create(self, storage: &dyn Storage) -> io::Result<Arc<dyn LogFile>> {
        let file = storage.open_writable(NAME)?;
        file.write_all_at(&self.to_bytes(), 0)?;
        file.sync()?;
        storage.sync_folder()?;
        Ok(file)
    }
}
