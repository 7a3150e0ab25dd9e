//! The tree as it grows: what has to be kept to append, and roots of trees whose hashes are kept by level.

use crate::hash::Hash;
use crate::range::range_hash;
use crate::read::{HashReader, ReadError};
use crate::tile::{TILE_HEIGHT, level_len};

/// The largest tree: 2^63 - 1 leaves.
pub const MAX_SIZE: u64 = (1 << 63) - 1;

/// A tree reduced to what appending and its root need: the hashes of its largest full subtrees, at most 63 of them.
///
/// ```
/// use countersign_tlog::{Frontier, Hash};
/// let mut tree = Frontier::default();
/// let mut stored = Vec::new();
/// tree.push(Hash::leaf(b"first"), &mut |level, hash| stored.push((level, hash)));
/// tree.push(Hash::leaf(b"second"), &mut |level, hash| stored.push((level, hash)));
/// assert_eq!(tree.root(), Hash::node(&Hash::leaf(b"first"), &Hash::leaf(b"second")));
/// assert_eq!(stored.len(), 2); // two leaf hashes; level 1 gets its first with the 256th leaf
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Largest subtree first, one for each bit that is set in `size`.
    full: Vec<Hash>,
}

impl Frontier {
    /// The tree of `size` leaves whose hashes `reader` gives: at most 255 for each level.
    ///
    /// # Errors
    /// [`ReadError`] as the reader says, or if `size` is above [`MAX_SIZE`].
    pub fn resume<R: HashReader + ?Sized>(reader: &R, size: u64) -> Result<Self, ReadError<R::Error>> {
        if size > MAX_SIZE {
            return Err(ReadError::OutOfRange);
        }
        let mut full = Vec::new();
        let mut start = 0u64;
        for height in (0..u64::BITS).rev() {
            let leaves = 1u64 << height;
            if size & leaves != 0 {
                let end = start.saturating_add(leaves);
                full.push(range_hash(reader, start, end)?);
                start = end;
            }
        }
        Ok(Self { size, full })
    }

    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash. `emit` gets every hash that a level's end is appended by: level 0 always, and each level
    /// above whose tile below has become full, lowest first.
    ///
    /// A tree of [`MAX_SIZE`] leaves takes no more; nobody gets there.
    pub fn push(&mut self, leaf: Hash, emit: &mut dyn FnMut(u8, Hash)) {
        if self.size >= MAX_SIZE {
            return;
        }
        emit(0, leaf);
        let mut hash = leaf;
        let mut height = 0u32;
        // One merge for each full subtree of the same height that stands before it.
        while self.size.checked_shr(height).unwrap_or(0) & 1 == 1 {
            let Some(left) = self.full.pop() else { break };
            hash = Hash::node(&left, &hash);
            height = height.saturating_add(1);
            if height.is_multiple_of(TILE_HEIGHT) {
                emit(u8::try_from(height / TILE_HEIGHT).unwrap_or(u8::MAX), hash);
            }
        }
        self.full.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut hashes = self.full.iter().rev();
        let Some(last) = hashes.next() else { return Hash::empty() };
        hashes.fold(*last, |right, left| Hash::node(left, &right))
    }
}

/// The root of the tree of the first `size` leaves.
///
/// # Errors
/// [`ReadError`] as the reader says, or if `size` is above [`MAX_SIZE`].
pub fn root<R: HashReader + ?Sized>(reader: &R, size: u64) -> Result<Hash, ReadError<R::Error>> {
    Ok(Frontier::resume(reader, size)?.root())
}

/// The hashes of one level kept in memory, by level: for tests, and for tiles that were fetched.
#[derive(Debug, Clone, Default)]
pub struct Levels(pub Vec<Vec<Hash>>);

impl Levels {
    /// The levels of the tree with these leaf hashes.
    #[must_use]
    pub fn of(leaves: impl IntoIterator<Item = Hash>) -> Self {
        let (mut levels, mut tree) = (Self::default(), Frontier::default());
        for leaf in leaves {
            tree.push(leaf, &mut |level, hash| levels.append(level, hash));
        }
        levels
    }

    /// Appends a hash to a level: what [`Frontier::push`] emits.
    pub fn append(&mut self, level: u8, hash: Hash) {
        let level = usize::from(level);
        if self.0.len() <= level {
            self.0.resize_with(level.saturating_add(1), Vec::new);
        }
        if let Some(hashes) = self.0.get_mut(level) {
            hashes.push(hash);
        }
    }

    /// The bytes of a tile, if all of it is there.
    #[must_use]
    pub fn tile(&self, tile: crate::Tile) -> Option<Vec<u8>> {
        let hashes = self.read(tile.level, tile.start(), usize::from(tile.width)).ok()?;
        Some(hashes.iter().flat_map(|hash| hash.0).collect())
    }
}

impl HashReader for Levels {
    type Error = Absent;

    fn read(&self, level: u8, start: u64, count: usize) -> Result<Vec<Hash>, Absent> {
        let start = usize::try_from(start).map_err(|_| Absent)?;
        let end = start.checked_add(count).ok_or(Absent)?;
        Ok(self.0.get(usize::from(level)).and_then(|hashes| hashes.get(start..end)).ok_or(Absent)?.to_vec())
    }
}

/// There is no such hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such hash")]
pub struct Absent;

/// Whether `levels` has exactly the hashes of a tree of `size` leaves, by their number.
#[must_use]
pub fn lengths_fit(size: u64, lengths: &[u64]) -> bool {
    (0..=crate::tile::MAX_LEVEL)
        .all(|level| lengths.get(usize::from(level)).copied().unwrap_or(0) == level_len(size, level))
        && lengths.len() <= usize::from(crate::tile::MAX_LEVEL).saturating_add(1)
}
