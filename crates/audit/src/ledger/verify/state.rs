//! What a ledger says of itself at one moment, in the order in which nothing runs ahead of what it rests on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use countersign_tlog::{Hash, MAX_LEVEL, level_len};

use crate::ledger::log::{CHECKPOINT, KEPT, KEYS, Levels};
use crate::ledger::mark;
use crate::ledger::storage::{Storage, read_if_there};

/// How often and how long to wait until a write is whole that is going on.
const WAITS: u32 = 20;
const WAIT: Duration = Duration::from_millis(25);

/// The small files, and how long the level files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) durable: Option<Vec<u8>>,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) keys: Option<Vec<u8>>,
    pub(super) kept: Option<Vec<u8>>,
    /// How many bytes each level file has, from level 0.
    pub(super) levels: Vec<u64>,
    /// The names of all files.
    pub(super) names: Vec<String>,
}

impl State {
    pub(super) fn read(storage: &Arc<dyn Storage>, at_rest: bool) -> io::Result<Self> {
        let waits = if at_rest { 0 } else { WAITS };
        let read = |name: &str| read_if_there(&**storage, name);
        let mut durable = read(mark::NAME)?;
        for _ in 0..waits {
            if durable.as_deref().and_then(mark::Mark::of_file).is_some() {
                break;
            }
            std::thread::sleep(WAIT);
            durable = read(mark::NAME)?;
        }
        let checkpoint = read(CHECKPOINT)?;
        // Keys are written before what they sign, and levels before their checkpoint.
        let keys = read(KEYS)?;
        let mut levels = lengths(storage)?;
        for _ in 0..waits {
            if fit(&levels) {
                break;
            }
            std::thread::sleep(WAIT);
            levels = lengths(storage)?;
        }
        let mut names = storage.list()?;
        names.sort_unstable();
        Ok(Self { durable, checkpoint, keys, kept: read(KEPT)?, levels, names })
    }
}

/// The lengths of the level files, read from the top: what is above rests on what is below.
fn lengths(storage: &Arc<dyn Storage>) -> io::Result<Vec<u64>> {
    let levels = Levels::new(Arc::clone(storage));
    let mut lengths = (0..=MAX_LEVEL).rev().map(|level| levels.bytes(level)).collect::<io::Result<Vec<_>>>()?;
    lengths.reverse();
    Ok(lengths)
}

/// Whether they are as long as records make them.
fn fit(levels: &[u64]) -> bool {
    let hash = Hash::BYTES as u64;
    let records = levels.first().copied().unwrap_or_default().checked_div(hash).unwrap_or_default();
    levels.iter().zip(0u8..).all(|(bytes, level)| *bytes == level_len(records, level).saturating_mul(hash))
}
