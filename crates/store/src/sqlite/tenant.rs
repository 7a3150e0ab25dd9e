//! One tenant's open file: connections that read, the one that writes, and the batches that wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::connection::{self, Counted};
use super::layout::{self, Layout};
use super::queue::Queue;
use crate::error::StoreError;

/// A tenant whose file is open.
pub(super) struct Tenant {
    path: PathBuf,
    count: Arc<AtomicUsize>,
    /// The generation of the record types that the file has been brought up to.
    generation: AtomicU64,
    readers: Mutex<Vec<Counted>>,
    writer: Mutex<Option<Counted>>,
    pub(super) queue: Queue,
    pub(super) last_used: AtomicU64,
}

impl Tenant {
    /// Opens the file and sees that it is ours.
    pub(super) fn open(path: PathBuf, count: &Arc<AtomicUsize>) -> Result<Self, StoreError> {
        let reader = connection::reader(&path, count)?;
        Ok(Self::with(path, count, vec![reader], None))
    }

    /// Opens a file that was just made, or one whose making was never finished.
    pub(super) fn create(path: PathBuf, count: &Arc<AtomicUsize>) -> Result<Self, StoreError> {
        let writer = connection::writer(&path, count)?;
        if layout::is_blank(&writer)? {
            layout::initialise(&writer)?;
        }
        layout::check_format(&writer)?;
        Ok(Self::with(path, count, Vec::new(), Some(writer)))
    }

    fn with(path: PathBuf, count: &Arc<AtomicUsize>, readers: Vec<Counted>, writer: Option<Counted>) -> Self {
        Self {
            path,
            count: Arc::clone(count),
            generation: AtomicU64::new(0),
            readers: Mutex::new(readers),
            writer: Mutex::new(writer),
            queue: Queue::default(),
            last_used: AtomicU64::new(0),
        }
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
        let current = layout::is_current(&reader, wanted)?;
        self.give_back(reader, usize::MAX);
        if !current {
            self.with_writer(|connection| layout::migrate(connection, wanted))?;
        }
        self.generation.fetch_max(generation, Ordering::AcqRel);
        Ok(())
    }

    /// A reader that is open and free, if there is one.
    pub(super) fn idle_reader(&self) -> Option<Counted> {
        self.readers.lock().pop()
    }

    /// A reader, opened if none is free.
    pub(super) fn reader(&self) -> Result<Counted, StoreError> {
        self.idle_reader().map_or_else(|| connection::reader(&self.path, &self.count), Ok)
    }

    /// Takes back a reader that met no error; one that did may stand in the middle of a transaction.
    pub(super) fn give_back(&self, reader: Counted, kept_max: usize) {
        let mut readers = self.readers.lock();
        if readers.len() < kept_max {
            readers.push(reader);
        } else {
            drop(readers);
            drop(reader);
        }
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
            None => connection::writer(&self.path, &self.count)?,
        };
        let done = work(&mut connection)?;
        *slot = Some(connection);
        Ok(done)
    }
}
