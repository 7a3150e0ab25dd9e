//! Tiles: runs of up to 256 hashes of one level, and their paths (C2SP tlog-tiles).

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// How many hashes a full tile has.
pub const TILE_WIDTH: u64 = 256;

/// How many binary levels a tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// The highest level that a tree of 2^63 leaves can have tiles of.
pub const MAX_LEVEL: u8 = 7;

/// The longest path of a tile that is read.
pub const MAX_PATH_BYTES: usize = 64;

/// Why a text is not a tile's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct TilePathError;

/// Which tile of hashes.
///
/// `index` counts within the level; `width` is 256, or fewer for the last one. Text form: `tile/0/x001/067` and, with fewer
/// than 256 hashes, `tile/0/x001/067.p/112`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// 0 is the level of the leaves; each level above has one hash for 256 of the one below.
    pub level: u8,
    /// Its place in the level.
    pub index: u64,
    /// How many hashes it has, 1 to 256.
    pub width: u16,
}

impl Tile {
    /// The tile of that level and place in a tree of `size` leaves, if it has one there.
    #[must_use]
    pub fn of(size: u64, level: u8, index: u64) -> Option<Self> {
        let left = level_len(size, level).checked_sub(index.checked_mul(TILE_WIDTH)?)?;
        let width = u16::try_from(left.min(TILE_WIDTH)).ok().filter(|width| *width > 0)?;
        Some(Self { level, index, width })
    }

    /// Whether it has all 256 hashes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// The same place with all 256 hashes: what may be there when the partial tile no longer is.
    #[must_use]
    pub fn full(&self) -> Self {
        Self { width: 256, ..*self }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::from(self.width).saturating_mul(crate::Hash::BYTES)
    }

    /// The place of its first hash in the level.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH)
    }
}

/// How many hashes a level has in a tree of `size` leaves: those of full tiles below only.
#[must_use]
pub fn level_len(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level).saturating_mul(TILE_HEIGHT)).unwrap_or(0)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        let digits = self.index.to_string();
        let missing = digits.len().next_multiple_of(3).saturating_sub(digits.len());
        let padded = format!("{}{digits}", &"00".get(..missing).unwrap_or_default());
        let mut groups = padded.as_bytes().chunks(3).peekable();
        while let Some(group) = groups.next() {
            let last = groups.peek().is_none();
            if !last {
                f.write_char('x')?;
            }
            f.write_str(std::str::from_utf8(group).unwrap_or_default())?;
            if !last {
                f.write_char('/')?;
            }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = TilePathError;

    /// Accepts exactly what [`Tile`]'s `Display` writes: one text per tile. The level is at most [`MAX_LEVEL`].
    fn from_str(text: &str) -> Result<Self, TilePathError> {
        let tile = read(text).ok_or(TilePathError)?;
        if tile.to_string() == text { Ok(tile) } else { Err(TilePathError) }
    }
}

fn read(text: &str) -> Option<Tile> {
    if text.len() > MAX_PATH_BYTES {
        return None;
    }
    let (level, place) = text.strip_prefix("tile/")?.split_once('/')?;
    let level: u8 = level.parse().ok().filter(|level| *level <= MAX_LEVEL)?;
    let (place, width) = match place.split_once(".p/") {
        Some((place, width)) => (place, width.parse().ok().filter(|width| (1..256).contains(width))?),
        None => (place, 256),
    };
    let mut index = 0u64;
    for group in place.split('/') {
        let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    // The leaves below its hashes have places too.
    let end = index.checked_mul(TILE_WIDTH)?.checked_add(u64::from(width))?;
    let leaves = end.checked_mul(1u64.checked_shl(u32::from(level).checked_mul(TILE_HEIGHT)?)?)?;
    (leaves <= crate::tree::MAX_SIZE).then_some(Tile { level, index, width })
}
