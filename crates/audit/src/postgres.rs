//! Ledgers in PostgreSQL: a [`Storage`] whose files are rows.
//!
//! Opening a ledger takes it over: it is the newest opening alone that writes, and whoever had it before is refused for
//! ever. What is written is held in memory until a sync, which makes everything that was written, to whatever file,
//! durable in one transaction and one round trip. Each such transaction has a turn, which only this opening gives out, so
//! that one whose answer was lost is sent again until it is known to be made, once. While a database fails over, a sync
//! waits (25 s from the first failure); after that it fails, the files are read again, and whoever has one open opens it
//! anew.

mod cache;
mod chunk;
mod files;
mod look;
mod table;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_postgres::{Blocking, PgError};
use parking_lot::Mutex;

use self::chunk::Chunk;
use self::files::{Files, Needs, copy_out};
use self::look::Look;
use self::table::{NotTaken, Table, Turn, io_error};
use crate::ledger::storage::{LogFile, Storage};

pub use self::table::LEDGER;

/// How many chunks are read at a time.
const READ: u64 = 64;
/// How long a database that fails over is waited for. One that is made the primary by the end of a lease is it within
/// 30 s as a rule, so this turns most of that into waiting.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long a commit may hang before it counts as failed, from when on a database is waited for: one whose standbys are cut
/// off does not answer.
const UNNOTICED: Duration = Duration::from_secs(10);

/// A ledger in the database, taken over from whoever had it.
pub struct PostgresStorage(Arc<Shared>);

struct Shared {
    table: Table,
    epoch: u64,
    /// The last turn that was taken. Held by who takes one: one transaction at a time.
    turn: Mutex<u64>,
    state: Mutex<State>,
    fenced: AtomicBool,
}

#[derive(Default)]
struct State {
    files: Files,
    /// It is not known what the rows have: they must be read again.
    is_lost: bool,
    /// Grows when that was done: who opened a file before opens it anew.
    era: u64,
}

impl PostgresStorage {
    /// Takes over the ledger `SERVICE/INSTANCE`, or begins it. The database lets in only the service itself.
    ///
    /// # Errors
    /// [`PgError`]; waits for a database that fails over.
    pub fn open(database: Arc<Blocking>, ledger: &str) -> Result<Self, PgError> {
        Self::open_patiently(database, ledger, PATIENCE)
    }

    /// As [`Self::open`], waiting for so long for a database that fails over.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_patiently(database: Arc<Blocking>, ledger: &str, patience: Duration) -> Result<Self, PgError> {
        let table = Table::new(database, ledger, patience)?;
        let (Turn { epoch, turn }, files) = table.take_over()?;
        let state = Mutex::new(State { files: Files::new(files), ..State::default() });
        Ok(Self(Arc::new(Shared { table, epoch, turn: Mutex::new(turn), state, fenced: AtomicBool::new(false) })))
    }

    /// The names of the ledgers that this service has in the database.
    ///
    /// # Errors
    /// [`PgError`]
    pub fn ledgers(database: &Blocking) -> Result<Vec<String>, PgError> {
        table::ledgers(database)
    }

    /// A ledger as it is, to read only; it may be in use. As whoever may open it.
    ///
    /// # Errors
    /// [`PgError::Settings`] if that can't be a ledger's name.
    pub fn look(database: Arc<Blocking>, ledger: &str) -> Result<impl Storage + use<>, PgError> {
        Ok(Look::new(Table::new(database, ledger, PATIENCE)?))
    }
}

impl Shared {
    fn check_fence(&self) -> io::Result<()> {
        if self.fenced.load(Ordering::Acquire) { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    fn fence(&self) -> io::Error {
        if !self.fenced.swap(true, Ordering::AcqRel) {
            tracing::error!(
                ledger = self.table.ledger(),
                "another process has the audit ledger; this one writes no more"
            );
        }
        io::ErrorKind::PermissionDenied.into()
    }

    /// Does something with the files, which are read again first if it is not known what they are.
    fn with<T>(&self, then: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if !state.is_lost {
            return then(&mut state);
        }
        drop(state);
        let mut turn = self.turn.lock();
        state = self.state.lock();
        if state.is_lost {
            drop(state);
            // No batch that was sent before can be made from here on.
            let renewed = self.table.renew(self.epoch).map_err(io_error)?;
            let (renewed, files) = renewed.ok_or_else(|| self.fence())?;
            *turn = renewed.turn;
            state = self.state.lock();
            state.files = Files::new(files);
            state.is_lost = false;
        }
        then(&mut state)
    }

    /// Makes everything durable that was written by files of that era.
    fn sync(&self, era: u64) -> io::Result<()> {
        self.check_fence()?;
        // Whoever waited here finds, as a rule, that what it wants was made durable along.
        let mut turn = self.turn.lock();
        let (batch, names) = {
            let mut state = self.state.lock();
            state.check(era)?;
            state.files.take_batch()
        };
        if batch.is_empty() {
            return Ok(());
        }
        let next = Turn { epoch: self.epoch, turn: turn.saturating_add(1) };
        let taken = self.table.take(next, &Arc::new(batch));
        let mut state = self.state.lock();
        match taken {
            Ok(()) => {
                *turn = next.turn;
                state.files.settle(&names);
                Ok(())
            }
            Err(error) => {
                state.is_lost = true;
                state.era = state.era.saturating_add(1);
                drop(state);
                Err(match error {
                    NotTaken::Fenced => self.fence(),
                    NotTaken::Failed(error) => io_error(error),
                })
            }
        }
    }
}

impl State {
    fn check(&self, era: u64) -> io::Result<()> {
        if self.era == era && !self.is_lost { Ok(()) } else { Err(io::ErrorKind::StaleNetworkFileHandle.into()) }
    }
}

impl Storage for PostgresStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.with(|state| Ok(state.files.names()))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let (id, era) = self.0.with(|state| Ok((state.files.find(name).ok_or(io::ErrorKind::NotFound)?, state.era)))?;
        Ok(Arc::new(Open { shared: Arc::clone(&self.0), name: name.to_owned(), id, era, writable: false }))
    }

    fn open_writable(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.0.check_fence()?;
        let (id, era) = self.0.with(|state| Ok((state.files.make(name), state.era)))?;
        Ok(Arc::new(Open { shared: Arc::clone(&self.0), name: name.to_owned(), id, era, writable: true }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.check_fence()?;
        self.0.with(|state| state.files.remove(name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.check_fence()?;
        let era = self.0.with(|state| {
            state.files.replace(name, bytes);
            Ok(state.era)
        })?;
        self.0.sync(era)
    }

    fn sync_folder(&self) -> io::Result<()> {
        let era = self.0.with(|state| Ok(state.era))?;
        self.0.sync(era)
    }

    fn check_writable(&self) -> io::Result<()> {
        self.0.check_fence()
    }

    fn is_atomic(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        self.0.table.patience().saturating_add(UNNOTICED)
    }
}

fn of_rows(rows: &mut dyn Iterator<Item = (usize, Vec<u8>)>) -> Option<Chunk> {
    Chunk::from_rows(rows)
}

/// An open file.
struct Open {
    shared: Arc<Shared>,
    name: String,
    id: u64,
    era: u64,
    writable: bool,
}

impl Open {
    fn with<T>(&self, then: impl FnOnce(&mut Files) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.shared.state.lock();
        state.check(self.era)?;
        then(&mut state.files)
    }

    /// Does what can't be done before a chunk was read, or several.
    fn change(&self, mut then: impl FnMut(&mut Files) -> io::Result<Result<(), Needs>>) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.shared.check_fence()?;
        loop {
            let Err(needs) = self.with(&mut then)? else { return Ok(()) };
            look::read_chunks(&self.shared.table, &self.name, &[needs.chunk], of_rows, |_, chunk| {
                self.with(|files| {
                    files.took_in(&self.name, self.id, &needs, chunk);
                    Ok(())
                })
            })?;
        }
    }
}

impl LogFile for Open {
    fn size(&self) -> io::Result<u64> {
        self.with(|files| files.size(&self.name, self.id))
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let (missing, version) = self.with(|files| files.read(&self.name, self.id, out, offset))?;
        let is_one = missing.len() == 1;
        look::read_chunks(&self.shared.table, &self.name, &missing, of_rows, |number, chunk| {
            copy_out(&chunk, number, out, offset)?;
            if is_one {
                let needs = Needs { chunk: number, version };
                self.with(|files| {
                    files.took_in(&self.name, self.id, &needs, chunk);
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|files| files.write(&self.name, self.id, bytes, offset))
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let now = self.size()?;
        if size > now {
            let zeros = usize::try_from(size.saturating_sub(now)).map_err(|_| io::ErrorKind::FileTooLarge)?;
            return self.write_all_at(&vec![0; zeros], now);
        }
        self.change(|files| files.truncate(&self.name, self.id, size))
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.sync(self.era)
    }

    fn check_linked(&self) -> io::Result<()> {
        self.size().map(drop)
    }
}

impl fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStorage").field("epoch", &self.0.epoch).finish_non_exhaustive()
    }
}
