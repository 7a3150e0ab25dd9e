//! Where hashes come from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use crate::hash::Hash;
use crate::tile::{TILE_WIDTH, Tile};
use crate::tree::Absent;

/// Gives a tree's hashes, by the levels of its tiles: level 0 are the leaves' hashes, level 1 has one hash for each full
/// 256 of level 0, and so on.
pub trait HashReader {
    /// Why it can't.
    type Error;

    /// `count` hashes of `level` from place `start` on. What is asked for at once is within one tile, so at most 128.
    ///
    /// # Errors
    /// If one of them can't be given.
    fn read(&self, level: u8, start: u64, count: usize) -> Result<Vec<Hash>, Self::Error>;
}

/// Why something could not be computed from a reader's hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// The reader gave none, or not as many as it was asked for.
    #[error("a hash could not be read")]
    Read(#[source] E),
    /// The reader gave more or fewer hashes than it was asked for.
    #[error("the reader gave another number of hashes")]
    Count,
    /// There is no such leaf or tree.
    #[error("the place is not within the tree")]
    OutOfRange,
}

/// Notes which tiles are asked for. Its hashes are no hashes, but what is read does not depend on them.
pub(crate) struct Planner {
    size: u64,
    tiles: RefCell<BTreeSet<Tile>>,
}

impl Planner {
    pub(crate) const fn new(size: u64) -> Self {
        Self { size, tiles: RefCell::new(BTreeSet::new()) }
    }

    pub(crate) fn tiles(self) -> Vec<Tile> {
        self.tiles.into_inner().into_iter().collect()
    }
}

impl HashReader for Planner {
    type Error = Infallible;

    fn read(&self, level: u8, start: u64, count: usize) -> Result<Vec<Hash>, Infallible> {
        self.tiles.borrow_mut().extend(Tile::of(self.size, level, start / TILE_WIDTH));
        Ok(vec![Hash([0; Hash::BYTES]); count])
    }
}

/// Tiles that were fetched. What they say is only as good as what is then proved from them.
///
/// ```
/// use countersign_tlog::{Fetched, Frontier, Hash, Levels, consistency, root, tiles_for_consistency};
/// let log = Levels::of((0u32..1000).map(|i| Hash::leaf(&i.to_be_bytes())));
/// let mut fetched = Fetched::default();
/// for tile in tiles_for_consistency(300, 1000).unwrap() {
///     fetched.insert(tile, &log.tile(tile).unwrap()).unwrap(); // over the network, tile.to_string() is its path
/// }
/// let proof = consistency(&fetched, 300, 1000).unwrap();
/// countersign_tlog::verify_consistency(300, &root(&log, 300).unwrap(), 1000, &root(&log, 1000).unwrap(), &proof).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fetched(BTreeMap<(u8, u64), Vec<Hash>>);

impl Fetched {
    /// Adds a tile's bytes. More than asked for (the full tile in place of the partial one) are taken as well.
    ///
    /// # Errors
    /// [`Absent`] if they are too few, more than a full tile's, or no whole hashes.
    pub fn insert(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), Absent> {
        if bytes.len() < tile.bytes() || bytes.len() > tile.full().bytes() {
            return Err(Absent);
        }
        self.0.insert((tile.level, tile.index), Hash::many(bytes).ok_or(Absent)?);
        Ok(())
    }
}

impl HashReader for Fetched {
    type Error = Absent;

    fn read(&self, level: u8, start: u64, count: usize) -> Result<Vec<Hash>, Absent> {
        let tile = self.0.get(&(level, start / TILE_WIDTH)).ok_or(Absent)?;
        let first = usize::try_from(start % TILE_WIDTH).map_err(|_| Absent)?;
        let end = first.checked_add(count).ok_or(Absent)?;
        Ok(tile.get(first..end).ok_or(Absent)?.to_vec())
    }
}
