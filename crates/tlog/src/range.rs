//! Hashes of runs of leaves, out of the levels that are kept.

use crate::hash::Hash;
use crate::read::{HashReader, ReadError};
use crate::tile::TILE_HEIGHT;

/// The largest power of two below `n`, for `n` above one: where RFC 6962 splits `n` leaves.
pub(crate) fn split(n: u64) -> u64 {
    1u64.checked_shl(n.saturating_sub(1).checked_ilog2().unwrap_or(0)).unwrap_or(1)
}

/// The hash of the full subtree of height `height` that begins at the leaf `start`, a multiple of its size.
fn subtree<R: HashReader + ?Sized>(reader: &R, height: u32, start: u64) -> Result<Hash, ReadError<R::Error>> {
    let level = u8::try_from(height / TILE_HEIGHT).map_err(|_| ReadError::OutOfRange)?;
    let within = height % TILE_HEIGHT;
    let first = start.checked_shr(height.saturating_sub(within)).unwrap_or(0);
    let count = 1usize << within;
    let mut hashes = reader.read(level, first, count).map_err(ReadError::Read)?;
    if hashes.len() != count {
        return Err(ReadError::Count);
    }
    while hashes.len() > 1 {
        let (pairs, _) = hashes.as_chunks::<2>();
        hashes = pairs.iter().map(|[left, right]| Hash::node(left, right)).collect();
    }
    hashes.pop().ok_or(ReadError::Count)
}

/// The hash of the leaves `start..end` as RFC 6962 hashes a list of them. `start` is a multiple of the power of two at
/// or above their number, as in every run that its proofs name.
pub(crate) fn range_hash<R: HashReader + ?Sized>(
    reader: &R,
    start: u64,
    end: u64,
) -> Result<Hash, ReadError<R::Error>> {
    // Full subtrees from the left, each smaller than the one before.
    let (mut from, mut parts) = (start, Vec::new());
    while let Some(height) = end.checked_sub(from).and_then(u64::checked_ilog2) {
        parts.push(subtree(reader, height, from)?);
        from = from.saturating_add(1u64 << height);
    }
    let mut parts = parts.into_iter().rev();
    let last = parts.next().ok_or(ReadError::OutOfRange)?;
    Ok(parts.fold(last, |right, left| Hash::node(&left, &right)))
}
