//! Reading rows, and a ledger that is only looked at.

use std::io;
use std::sync::Arc;

use super::READ;
use super::chunk::{CHUNK, Chunk};
use super::files::{chunks_of, copy_out, start_of};
use super::table::{Table, io_error};
use crate::ledger::storage::{LogFile, Storage};

/// Reads chunks of a file, ascending, and gives each to `then`, made of its rows by their places in it.
pub(super) fn read_chunks(
    table: &Table,
    file: &str,
    numbers: &[u64],
    made_of: impl Fn(&mut dyn Iterator<Item = (usize, Vec<u8>)>) -> Option<Chunk>,
    mut then: impl FnMut(u64, Chunk) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = numbers;
    while let Some(first) = left.first().copied() {
        // Those that lie side by side are read together.
        let together =
            left.iter().zip(first..first.saturating_add(READ)).take_while(|(one, next)| **one == *next).count();
        let (these, rest) = left.split_at_checked(together.max(1)).unwrap_or((left, &[]));
        left = rest;
        let after = start_of(first.saturating_add(these.len() as u64));
        let rows = table.rows(file, start_of(first), after).map_err(io_error)?;
        let mut rows = rows.into_iter().peekable();
        for number in these {
            let (start, end) = (start_of(*number), start_of(number.saturating_add(1)));
            let its = std::iter::from_fn(|| rows.next_if(|(place, _)| *place < end));
            let mut its =
                its.map(|(place, bytes)| (usize::try_from(place.saturating_sub(start)).unwrap_or(CHUNK), bytes));
            let chunk = made_of(&mut its).ok_or(io::ErrorKind::InvalidData)?;
            then(*number, chunk)?;
        }
    }
    Ok(())
}

/// A ledger that is only looked at.
pub(super) struct Look(Arc<Table>);

impl Look {
    pub(super) fn new(table: Table) -> Self {
        Self(Arc::new(table))
    }
}

/// A file as long as it was when it was opened.
struct Seen {
    table: Arc<Table>,
    name: String,
    size: u64,
}

fn denied<T>() -> io::Result<T> {
    Err(io::ErrorKind::PermissionDenied.into())
}

impl Storage for Look {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.files().map_err(io_error)?.into_iter().map(|(name, _)| name).collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let size = self.0.size(name).map_err(io_error)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Seen { table: Arc::clone(&self.0), name: name.to_owned(), size }))
    }

    fn open_writable(&self, _: &str) -> io::Result<Arc<dyn LogFile>> {
        denied()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        denied()
    }

    fn replace(&self, _: &str, _: &[u8]) -> io::Result<()> {
        denied()
    }

    fn sync_folder(&self) -> io::Result<()> {
        denied()
    }

    fn check_writable(&self) -> io::Result<()> {
        denied()
    }
}

impl LogFile for Seen {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let numbers: Vec<u64> = chunks_of(offset, end).collect();
        let made_of = |rows: &mut dyn Iterator<Item = _>| Some(Chunk::from_any_rows(rows));
        read_chunks(&self.table, &self.name, &numbers, made_of, |number, chunk| copy_out(&chunk, number, out, offset))
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        denied()
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        denied()
    }

    fn sync(&self) -> io::Result<()> {
        denied()
    }

    fn check_linked(&self) -> io::Result<()> {
        Ok(())
    }
}
