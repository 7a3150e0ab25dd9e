//! Carrying a ledger from one storage to another, byte by byte: it is the same ledger then, under the same checkpoints.
//!
//! It can be begun while the ledger is written to, gone on with as often as one likes, and must be ended once when nobody
//! writes to it any more. What the target has already is not copied again. [`same`] tells whether it is all there.

use std::io;

use super::log::{CHECKPOINT, KEPT, KEYS, WITNESSED, level_name};
use super::mark;
use super::recover::segment_number;
use super::storage::{FRESH, LogFile, Storage, read_all, read_if_there};

/// How much is read, written and made durable at a time.
const PIECE: usize = 4 << 20;
/// So much of the end of what the target has is held against the source, before more is added.
const OVERLAP: usize = 64 << 10;
/// The folder of what derives from the records.
const INDEX: &str = "index/";

/// Copies a ledger's files, as far as the target does not have them, and removes what the source does not have.
/// `progress` is told how many bytes of how many are there.
///
/// # Errors
/// What the system says. It may be called again.
pub fn copy(from: &dyn Storage, to: &dyn Storage, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let names = files(from)?;
    let (mut done, mut total) = (0u64, 0u64);
    for name in &names {
        total = total.saturating_add(size(from, name)?);
    }
    for name in &names {
        // It may be one that was removed meanwhile.
        let Some(source) = there(from.open(name))? else { continue };
        if only_grows(name) {
            grow(&*source, to, name, &mut |bytes| {
                done = done.saturating_add(bytes);
                progress(done, total.max(done));
            })?;
        } else {
            let bytes = read_all(&*source)?;
            if read_if_there(to, name)?.as_ref() != Some(&bytes) {
                to.replace(name, &bytes)?;
            }
            done = done.saturating_add(bytes.len() as u64);
            progress(done, total.max(done));
        }
    }
    for name in to.list()? {
        if !names.contains(&name) {
            there(to.remove(&name))?;
        }
    }
    to.sync_folder()
}

/// The first file that is not the same in both, or only in one; `None` if they are the same to the last byte.
///
/// # Errors
/// What the system says.
pub fn differing(one: &dyn Storage, other: &dyn Storage) -> io::Result<Option<String>> {
    let (names, others) = (files(one)?, files(other)?);
    let only = |these: &[String], those: &[String]| these.iter().find(|name| !those.contains(name)).cloned();
    if let Some(name) = only(&names, &others).or_else(|| only(&others, &names)) {
        return Ok(Some(name));
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for name in names {
        let (one, other) = (one.open(&name)?, other.open(&name)?);
        let size = one.size()?;
        if other.size()? != size {
            return Ok(Some(name));
        }
        let mut at = 0;
        while at < size {
            let length = piece(size, at);
            left.resize(length, 0);
            right.resize(length, 0);
            one.read_exact_at(&mut left, at)?;
            other.read_exact_at(&mut right, at)?;
            if left != right {
                return Ok(Some(name));
            }
            at = at.saturating_add(length as u64);
        }
    }
    Ok(None)
}

/// Whether both have the same files, the same to the last byte.
///
/// # Errors
/// What the system says.
pub fn same(one: &dyn Storage, other: &dyn Storage) -> io::Result<bool> {
    differing(one, other).map(|name| name.is_none())
}

/// The file in which a service keeps what it has seen of other services' logs. Who copies several ledgers copies all of these
/// before anything else, so that no ledger knows more of another than the copy of that one has.
pub const SEEN: &str = WITNESSED;

/// The file that says which records were removed because their time was over. Where it is another one after a copy than
/// before, segments may have gone in between, and the copy is to be made again.
pub const REMOVED: &str = KEPT;

/// A ledger's files in an order in which they can be copied while it is written to: what is copied so is a ledger that a crash
/// has left at some moment, with every record that was durable when the last files were begun. What derives from the others
/// and is made again when it is missing is left out.
///
/// Every file has to be copied before the next is asked for: which files there are is looked at again after those that say what
/// the others must have, so that a segment begun meanwhile is among them. A segment is copied as long as it is when it is opened.
pub fn in_order(storage: &dyn Storage) -> impl Iterator<Item = io::Result<String>> {
    [Turn::Seen, Turn::Claims, Turn::Tree, Turn::Records].into_iter().flat_map(|turn| match of_turn(storage, turn) {
        Ok(names) => names.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

/// When a file is copied: before everything that it says something about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// What was seen of other services' logs.
    Seen,
    /// What is said of the records: how many are durable, signed, removed.
    Claims,
    /// The tree over the records.
    Tree,
    Records,
}

fn of_turn(storage: &dyn Storage, turn: Turn) -> io::Result<Vec<String>> {
    let mut names = files(storage)?;
    names.retain(|name| {
        turn == match name.as_str() {
            WITNESSED => Turn::Seen,
            mark::NAME | CHECKPOINT | KEPT | KEYS => Turn::Claims,
            name if segment_number(name).is_some() => Turn::Records,
            name if name.starts_with(INDEX) => return false,
            _ => Turn::Tree,
        }
    });
    names.sort_by_key(|name| segment_number(name));
    Ok(names)
}

/// A ledger's files, without what a process that was killed has left of writing one.
fn files(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let mut names = storage.list()?;
    names.retain(|name| !name.ends_with(FRESH));
    names.sort_unstable();
    Ok(names)
}

fn there<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(it) => Ok(Some(it)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn size(storage: &dyn Storage, name: &str) -> io::Result<u64> {
    there(storage.open(name))?.map_or(Ok(0), |file| file.size())
}

/// Whether a file is only added to, except that an end may be cut that was never acknowledged.
fn only_grows(name: &str) -> bool {
    segment_number(name).is_some() || (0..=countersign_tlog::MAX_LEVEL).any(|level| level_name(level) == name)
}

fn piece(size: u64, at: u64) -> usize {
    usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX).min(PIECE)
}

/// Brings the target's file to what the source has.
fn grow(source: &dyn LogFile, to: &dyn Storage, name: &str, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    let size = source.size()?;
    let target = to.open_writable(name)?;
    let mut at = target.size()?.min(size);
    target.truncate(at)?;
    // What it has is what was copied before. Its end tells whether the source was cut since, and written on.
    let overlap = usize::try_from(at).unwrap_or(usize::MAX).min(OVERLAP);
    let (mut left, mut right) = (vec![0; overlap], vec![0; overlap]);
    let from = at.saturating_sub(overlap as u64);
    source.read_exact_at(&mut left, from)?;
    target.read_exact_at(&mut right, from)?;
    if left != right {
        at = 0;
        target.truncate(0)?;
    }
    progress(at);
    let mut bytes = Vec::new();
    while at < size {
        bytes.resize(piece(size, at), 0);
        source.read_exact_at(&mut bytes, at)?;
        target.write_all_at(&bytes, at)?;
        target.sync()?;
        at = at.saturating_add(bytes.len() as u64);
        progress(bytes.len() as u64);
    }
    target.sync()
}
