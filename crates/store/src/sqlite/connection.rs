//! Opening a tenant's file, and counting the descriptors and the memory that this takes.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::failure::fault;
use super::layout;
use crate::error::StoreError;
use crate::layout::Layout;

/// How long to wait for a file that is being closed elsewhere in this program.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The write-ahead log is cut back to this after it was copied into the file.
const LOG_BYTES_KEPT: u32 = 4 << 20;

/// What all open files may take together, and take now.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) descriptors_max: usize,
    pub(super) cache_bytes_max: usize,
    descriptors: AtomicUsize,
    cache_bytes: AtomicUsize,
}

impl Budget {
    pub(super) const fn new(descriptors_max: usize, cache_bytes_max: usize) -> Self {
        let (descriptors, cache_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { descriptors_max, cache_bytes_max, descriptors, cache_bytes }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.descriptors.load(Ordering::Relaxed) >= self.descriptors_max
    }

    /// How much of a file one more connection may keep in memory: plenty while there is plenty, and always a little.
    fn next_cache_bytes(&self) -> usize {
        const MOST: usize = 16 << 20;
        const LEAST: usize = 256 << 10;
        let left = self.cache_bytes_max.saturating_sub(self.cache_bytes.load(Ordering::Relaxed));
        (left / 8).clamp(LEAST, MOST)
    }
}

/// A connection that counts what it takes while it is open.
pub(super) struct Counted {
    connection: Connection,
    descriptors: usize,
    cache_bytes: usize,
    budget: Arc<Budget>,
}

impl Deref for Counted {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Counted {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.descriptors.fetch_sub(self.descriptors, Ordering::Relaxed);
        self.budget.cache_bytes.fetch_sub(self.cache_bytes, Ordering::Relaxed);
    }
}

/// Opens a file that is there. Never makes one: a file that is gone is a tenant's data gone, not a tenant
/// without data.
fn open(path: &Path, flags: OpenFlags, descriptors: usize, budget: &Arc<Budget>) -> Result<Counted, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(fault)?;
    let cache_bytes = budget.next_cache_bytes();
    budget.descriptors.fetch_add(descriptors, Ordering::Relaxed);
    budget.cache_bytes.fetch_add(cache_bytes, Ordering::Relaxed);
    let counted = Counted { connection, descriptors, cache_bytes, budget: Arc::clone(budget) };
    counted.busy_timeout(PATIENCE).map_err(fault)?;
    Ok(counted)
}

/// A connection that reads the file alone, without locks and without looking for a write-ahead log. Only right
/// while nobody writes to the file; takes one descriptor and half the time.
pub(super) fn bare_reader(path: &Path, budget: &Arc<Budget>) -> Result<Counted, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = open(&immutable(path), flags, 1, budget)?;
    set_up_reader(&connection)?;
    Ok(connection)
}

/// A connection that reads beside the writer. Counts the file and the log.
pub(super) fn reader(path: &Path, budget: &Arc<Budget>) -> Result<Counted, StoreError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 2, budget)?;
    set_up_reader(&connection)?;
    Ok(connection)
}

/// `temp_store` keeps what a sort spills out of temporary files.
fn set_up_reader(connection: &Counted) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(32);
    let pragmas = format!(
        "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -{};",
        connection.cache_bytes >> 10
    );
    connection.execute_batch(&pragmas).map_err(fault)?;
    layout::check_format(connection)
}

/// The connection for writing. Every commit is on disk before it returns, and what is deleted is overwritten.
/// Counts the file, the log and the log's index.
pub(super) fn writer(path: &Path, budget: &Arc<Budget>) -> Result<Counted, StoreError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 3, budget)?;
    connection.set_prepared_statement_cache_capacity(64);
    let pragmas = format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;
         PRAGMA cache_size = -{};
         PRAGMA journal_size_limit = {LOG_BYTES_KEPT};",
        connection.cache_bytes >> 10
    );
    connection.execute_batch(&pragmas).map_err(fault)?;
    Ok(connection)
}

/// Makes a file that nobody can open yet. Nothing is synced: the caller does that once, at the end.
pub(super) fn make(path: &Path, budget: &Arc<Budget>, wanted: &Layout) -> Result<(), StoreError> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 2, budget)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;").map_err(fault)?;
    layout::initialise(&connection)?;
    layout::migrate(&mut connection, wanted)?;
    connection.execute_batch("PRAGMA journal_mode = WAL;").map_err(fault)
}

/// Sees to it that everything is in the file itself: what a crash left in the write-ahead log is copied there.
/// Nobody else may have the file open.
pub(super) fn settle(path: &Path, budget: &Arc<Budget>) -> Result<(), StoreError> {
    if !path.try_exists()? {
        return Err(StoreError::UnknownTenant);
    }
    let log = beside(path, "-wal");
    if log.metadata().map_or(0, |log| log.len()) == 0 {
        return Ok(());
    }
    let connection = writer(path, budget)?;
    layout::check_format(&connection)?;
    // The last connection to a file copies the log and removes it when it is closed.
    drop(connection);
    match log.try_exists()? {
        false => Ok(()),
        true => Err(StoreError::Unavailable(crate::Unavailable::Busy)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The path as SQLite takes it with a parameter: a URI, in which all but the plainest bytes are written in hex.
fn immutable(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push_str("?immutable=1");
    uri.into()
}
