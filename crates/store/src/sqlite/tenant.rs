//! One tenant's open file: connections that read, the one that writes, and the batches that wait.
//!
//! A tenant that is only read is *settled*: all of it is in its file, nobody writes, and its readers read the file
//! bare, without locks or log. That takes one descriptor and is what lets ten thousand tenants stay open. The
//! first write ends it: SQLite's write-ahead log is used from then on, until the tenant is closed and opened anew.
//!
//! INVARIANT bare-readers-alone: the file itself changes only while no bare reader is at work. The writer is
//! opened only after the last of them has come back, and none is opened again beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::connection::{self, Budget, Counted};
use super::epoch::Seals;
use super::layout;
use super::queue::Queue;
use crate::error::StoreError;
use crate::layout::Layout;

/// A tenant whose file is open.
pub(super) struct Tenant {
    path: PathBuf,
    budget: Arc<Budget>,
    /// The generation of the record types that the file has been brought up to.
    generation: AtomicU64,
    readers: Mutex<Readers>,
    /// Tells whoever waits to write that a bare reader has gone.
    bare_gone: Condvar,
    readers_kept: usize,
    writer: Mutex<Option<Counted>>,
    pub(super) queue: Queue,
    pub(super) seals: Seals,
    pub(super) last_used: AtomicU64,
}

struct Readers {
    settled: bool,
    free: Vec<Counted>,
    /// Bare readers at work.
    bare_lent: usize,
}

/// A reader at work. Dropped without [`Reader::give_back`], as after an error that may have left it in the middle
/// of a transaction, it is closed.
pub(super) struct Reader<'t> {
    tenant: &'t Tenant,
    bare: bool,
    connection: Option<Counted>,
}

impl Tenant {
    /// Opens the file and sees that it is ours. Nobody else may be opening it.
    pub(super) fn open(path: PathBuf, budget: &Arc<Budget>, kept: usize, seals: Seals) -> Result<Self, StoreError> {
        connection::settle(&path, budget)?;
        let reader = connection::bare_reader(&path, budget)?;
        let readers = Readers { settled: true, free: vec![reader], bare_lent: 0 };
        Ok(Self {
            path,
            budget: Arc::clone(budget),
            generation: AtomicU64::new(0),
            readers: Mutex::new(readers),
            bare_gone: Condvar::new(),
            readers_kept: kept.max(1),
            writer: Mutex::new(None),
            queue: Queue::default(),
            seals,
            last_used: AtomicU64::new(0),
        })
    }

    pub(super) fn is_at(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// Brings the file up to the record types in force.
    pub(super) fn bring_to(&self, generation: u64, wanted: &Layout) -> Result<(), StoreError> {
        if self.is_at(generation) {
            return Ok(());
        }
        let reader = self.reader()?;
        let current = layout::is_current(reader.connection()?, wanted)?;
        reader.give_back();
        if !current {
            self.with_writer(|connection| layout::migrate(connection, wanted))?;
        }
        self.generation.fetch_max(generation, Ordering::AcqRel);
        Ok(())
    }

    /// A reader that is open and free, if there is one.
    pub(super) fn idle_reader(&self) -> Option<Reader<'_>> {
        let mut readers = self.readers.lock();
        let connection = readers.free.pop()?;
        Some(self.lend(&mut readers, Some(connection)))
    }

    /// A reader, opened if none is free.
    pub(super) fn reader(&self) -> Result<Reader<'_>, StoreError> {
        let mut readers = self.readers.lock();
        let free = readers.free.pop();
        let mut reader = self.lend(&mut readers, free);
        drop(readers);
        if reader.connection.is_none() {
            // Lent before it is open, so that no writer comes between.
            let open = if reader.bare { connection::bare_reader } else { connection::reader };
            reader.connection = Some(open(&self.path, &self.budget)?);
        }
        Ok(reader)
    }

    fn lend(&self, readers: &mut Readers, connection: Option<Counted>) -> Reader<'_> {
        if readers.settled {
            readers.bare_lent = readers.bare_lent.saturating_add(1);
        }
        Reader { tenant: self, bare: readers.settled, connection }
    }

    /// A connection for somebody who reads for long: a transaction on it keeps seeing one moment, and the writer is not kept
    /// waiting. While the tenant is settled there is nothing in the log, so such a connection changes nothing in the file:
    /// INVARIANT bare-readers-alone holds.
    pub(super) fn own_reader(&self) -> Result<Counted, StoreError> {
        connection::reader(&self.path, &self.budget)
    }

    /// A connection for somebody who replaces everything. Only after [`Self::with_writer`] has ended what is settled.
    pub(super) fn own_writer(&self) -> Result<Counted, StoreError> {
        connection::writer(&self.path, &self.budget)
    }

    /// Works with the one connection that writes. If the work fails or panics, the connection is closed, and
    /// SQLite takes back what it had begun.
    pub(super) fn with_writer<T>(
        &self,
        work: impl FnOnce(&mut Counted) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.writer.lock();
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => {
                self.end_settled();
                connection::writer(&self.path, &self.budget)?
            }
        };
        let done = work(&mut connection)?;
        *slot = Some(connection);
        Ok(done)
    }

    /// INVARIANT bare-readers-alone: lends no more of them, and waits for those at work.
    fn end_settled(&self) {
        let mut readers = self.readers.lock();
        if readers.settled {
            readers.settled = false;
            readers.free.clear();
            self.bare_gone.wait_while(&mut readers, |readers| readers.bare_lent > 0);
        }
    }
}

impl Reader<'_> {
    pub(super) fn connection(&self) -> Result<&Counted, StoreError> {
        self.connection.as_ref().ok_or(StoreError::Unavailable(crate::Unavailable::Interrupted))
    }

    /// Keeps the connection for the next reader. Only after everything went well.
    pub(super) fn give_back(mut self) {
        let Some(connection) = self.connection.take() else { return };
        let mut readers = self.tenant.readers.lock();
        // A bare reader that comes back after a writer was let in is of no use any more.
        if readers.settled == self.bare && readers.free.len() < self.tenant.readers_kept {
            readers.free.push(connection);
        } else {
            drop(readers);
            drop(connection);
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Closed before it is counted as gone.
        drop(self.connection.take());
        if self.bare {
            let mut readers = self.tenant.readers.lock();
            readers.bare_lent = readers.bare_lent.saturating_sub(1);
            if readers.bare_lent == 0 {
                self.tenant.bare_gone.notify_all();
            }
        }
    }
}
