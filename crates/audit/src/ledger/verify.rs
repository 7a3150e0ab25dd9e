//! Verifying a ledger from its files alone: without a key, without a lock, also while a service writes to it.
//!
//! Everything is derived again: the segments' checks, the records' hashes, the level files, the root, the signatures.
//! What other services have seen of the log, and keys that the caller brings, are held against it: they tell what its own
//! files can't, that the newest records were taken away or that the whole was written anew.
//!
//! What this is not: it opens no record. It changes nothing.

mod beside;
mod finding;
mod records;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_tlog::{Hash, VerifierKey};

pub use self::finding::{Fault, Finding};
use self::state::State;
use crate::ledger::log::Witnessed;
use crate::ledger::storage::{Folder, Storage};

/// How often a ledger that is written to is looked at again.
const TRIES: u32 = 4;
/// How long a write that is going on may take.
const WRITE: Duration = Duration::from_millis(300);

/// What somebody has seen of logs.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Who, as it is told.
    pub by: String,
    /// What.
    pub what: Witnessed,
}

/// What a ledger is held against, besides itself.
#[derive(Debug, Clone, Default)]
pub struct Against {
    /// Keys of logs that are trusted: a log of one of these names must have this key.
    pub keys: Vec<VerifierKey>,
    /// What others have seen.
    pub seen: Vec<Seen>,
    /// Nobody writes to the ledger: what isn't whole is not waited for.
    pub at_rest: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's name; empty if it could not be read.
    pub origin: String,
    /// The first record that is kept.
    pub first: u64,
    /// How many records there have been, up to the last that was verified.
    pub records: u64,
    /// How many of them the newest checkpoint covers.
    pub covered: u64,
    /// The root that this checkpoint has signed.
    pub root: Option<Hash>,
    /// How many valid cosignatures it has.
    pub cosigned: u64,
    /// Checkpoints that others have seen and that are of this very log.
    pub confirmed: u64,
    /// How many records the largest of those covers: up to there nothing can be taken off unseen.
    pub confirmed_to: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// What doesn't fit: records first, in their order. Empty if all is well.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether everything fits.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Ledger folders under a folder: itself if it is one, those in it, or those in the `audit` folder in it.
///
/// # Errors
/// What the system says.
pub fn ledgers_under(dir: &Path) -> io::Result<Vec<PathBuf>> {
    if is_ledger(dir)? {
        return Ok(vec![dir.to_owned()]);
    }
    let audit = dir.join("audit");
    let dir = if audit.is_dir() { &audit } else { dir };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && is_ledger(&path)? {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_ledger(dir: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let is_segment = crate::ledger::recover::segment_number(&name).is_some();
        if is_segment || name == crate::ledger::mark::NAME || name == "log" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a service has seen of other logs, out of its ledger's folder; `None` if there is no such file, or it is damaged,
/// which verifying that ledger tells.
///
/// # Errors
/// What the system says.
pub fn seen_in(folder: &Path) -> io::Result<Option<Seen>> {
    seen_by(&Folder::look(folder)?, folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned())
}

/// As [`seen_in`], in any storage. `by` says whose it is.
///
/// # Errors
/// What the system says.
pub fn seen_by(storage: &dyn Storage, by: String) -> io::Result<Option<Seen>> {
    let bytes = crate::ledger::storage::read_if_there(storage, crate::ledger::log::WITNESSED)?;
    Ok(bytes.and_then(|bytes| Witnessed::parse(&bytes)).map(|what| Seen { by, what }))
}

/// Verifies the ledger in a folder. `progress` is told how many bytes of how many are done. Read what others have seen
/// before this is called: a log that grows is never behind it then.
///
/// # Errors
/// What the system says. Whatever is wrong with the ledger is in the report.
pub fn folder(path: &Path, against: &Against, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Report> {
    storage(Arc::new(Folder::look(path)?), against, progress)
}

/// As [`folder`], on any storage.
///
/// # Errors
/// What the system says.
pub fn storage(storage: Arc<dyn Storage>, against: &Against, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Report> {
    let mut tries = if against.at_rest { 1 } else { TRIES };
    loop {
        let state = State::read(&storage, against.at_rest)?;
        let mut report = records::verify(&storage, &state, against, progress)?;
        beside::verify(&*storage, &state, &mut report)?;
        report.findings.sort_by_key(Finding::order);
        tries = tries.saturating_sub(1);
        if report.is_good() || tries == 0 {
            return Ok(report);
        }
        // What doesn't fit may be what a service was writing just then.
        std::thread::sleep(WRITE);
        if State::read(&storage, false)? == state {
            return Ok(report);
        }
    }
}
