//! Opening a tenant's file, and counting how many times files are open.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::failure::fault;
use super::layout;
use crate::error::StoreError;

/// How long to wait for a file that is being closed or recovered elsewhere in this program.
const PATIENCE: Duration = Duration::from_secs(2);
/// The write-ahead log is cut back to this after it was copied into the file.
const LOG_BYTES_KEPT: u32 = 4 << 20;

/// A connection that counts while it is open.
pub(super) struct Counted {
    connection: Connection,
    open: Arc<AtomicUsize>,
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
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn open(path: &Path, open: &Arc<AtomicUsize>) -> Result<Counted, StoreError> {
    // Never created here: a file that is gone is a tenant's data gone, not a tenant without data.
    if !path.try_exists()? {
        return Err(StoreError::UnknownTenant);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    open.fetch_add(1, Ordering::Relaxed);
    let counted = Counted { connection, open: Arc::clone(open) };
    counted.busy_timeout(PATIENCE).map_err(fault)?;
    Ok(counted)
}

/// A connection for reading. `temp_store` keeps what a sort spills out of temporary files.
pub(super) fn reader(path: &Path, count: &Arc<AtomicUsize>) -> Result<Counted, StoreError> {
    let connection = open(path, count)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")
        .map_err(fault)?;
    layout::check_format(&connection)?;
    Ok(connection)
}

/// The connection for writing. Every commit is on disk before it returns, and what is deleted is overwritten.
pub(super) fn writer(path: &Path, count: &Arc<AtomicUsize>) -> Result<Counted, StoreError> {
    let connection = open(path, count)?;
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
         PRAGMA journal_size_limit = {LOG_BYTES_KEPT};"
    );
    connection.execute_batch(&pragmas).map_err(fault)?;
    Ok(connection)
}
