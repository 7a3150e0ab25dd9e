//! Inclusion and consistency proofs (RFC 6962, sections 2.1.1 and 2.1.2): made, planned and verified.

use std::convert::Infallible;

use crate::hash::Hash;
use crate::range::{range_hash, split};
use crate::read::{HashReader, Planner, ReadError};
use crate::tile::Tile;
use crate::tree::MAX_SIZE;

/// The most hashes that a proof can have.
pub const MAX_PROOF: usize = 63;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf is not in the tree, or the older tree is not the smaller one.
    #[error("the proof is of a place outside the tree")]
    OutOfRange,
    /// Another number of hashes than a proof of these sizes has.
    #[error("the proof has another number of hashes than one of these sizes")]
    Length,
    /// The hashes don't lead to the root.
    #[error("the proof does not lead to the root")]
    Mismatch,
}

/// The audit path of the leaf at `index` in the tree of the first `size` leaves.
///
/// # Errors
/// [`ReadError`].
pub fn inclusion<R: HashReader + ?Sized>(reader: &R, index: u64, size: u64) -> Result<Vec<Hash>, ReadError<R::Error>> {
    if index >= size || size > MAX_SIZE {
        return Err(ReadError::OutOfRange);
    }
    let (mut start, mut end) = (0u64, size);
    let mut path = Vec::new();
    while end.saturating_sub(start) > 1 {
        let middle = start.saturating_add(split(end.saturating_sub(start)));
        if index < middle {
            path.push(range_hash(reader, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(reader, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `size` leaves begins with the tree of the first `old`.
///
/// Empty if they are the same or `old` is 0.
///
/// # Errors
/// [`ReadError`].
pub fn consistency<R: HashReader + ?Sized>(reader: &R, old: u64, size: u64) -> Result<Vec<Hash>, ReadError<R::Error>> {
    if old > size || size > MAX_SIZE {
        return Err(ReadError::OutOfRange);
    }
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0u64, size);
    let mut proof = Vec::new();
    // Until the run in hand ends where the old tree does.
    while end != old {
        let middle = start.saturating_add(split(end.saturating_sub(start)));
        if old <= middle {
            proof.push(range_hash(reader, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(reader, start, middle)?);
            start = middle;
        }
    }
    // A run that is the whole old tree is known to whoever verifies.
    if start != 0 {
        proof.push(range_hash(reader, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The tiles of a log of `size` leaves from which [`inclusion`] is made.
///
/// # Errors
/// [`ReadError::OutOfRange`].
pub fn tiles_for_inclusion(index: u64, size: u64) -> Result<Vec<Tile>, ReadError<Infallible>> {
    let planner = Planner::new(size);
    inclusion(&planner, index, size)?;
    Ok(planner.tiles())
}

/// The tiles of a log of `size` leaves from which [`consistency`] with the tree of the first `old` is made.
///
/// # Errors
/// [`ReadError::OutOfRange`].
pub fn tiles_for_consistency(old: u64, size: u64) -> Result<Vec<Tile>, ReadError<Infallible>> {
    let planner = Planner::new(size);
    consistency(&planner, old, size)?;
    Ok(planner.tiles())
}

/// The tiles of a log of `size` leaves from which its root is made.
///
/// # Errors
/// [`ReadError::OutOfRange`].
pub fn tiles_for_root(size: u64) -> Result<Vec<Tile>, ReadError<Infallible>> {
    let planner = Planner::new(size);
    crate::tree::root(&planner, size)?;
    Ok(planner.tiles())
}

/// The tiles of a log of `size` leaves from which the root of its first `old` leaves is made as well as [`consistency`] with
/// them. Whoever has seen another root of that size can then tell a fork from tiles that are not the log's: if the proof
/// leads from the root made of the tiles to the one that the log has signed, the tiles are the log's.
///
/// # Errors
/// [`ReadError::OutOfRange`].
pub fn tiles_for_growth(old: u64, size: u64) -> Result<Vec<Tile>, ReadError<Infallible>> {
    let planner = Planner::new(size);
    consistency(&planner, old, size)?;
    crate::tree::root(&planner, old)?;
    Ok(planner.tiles())
}

/// Verifies that the tree with `size` leaves and root `root` has `leaf` at `index` (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(index: u64, leaf: &Hash, size: u64, root: &Hash, path: &[Hash]) -> Result<(), ProofError> {
    if index >= size || size > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    let (mut node, mut last) = (index, size.saturating_sub(1));
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = Hash::node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Mismatch) }
}

/// Verifies that the tree with `size` leaves and root `root` begins with the one of `old` and `old_root` (RFC 9162,
/// section 2.1.4.2). Any tree begins with the empty one, whose root is [`Hash::empty`].
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if old > size || size > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    let same = |left: &Hash, right: &Hash| if left == right { Ok(()) } else { Err(ProofError::Mismatch) };
    if old == 0 || old == size {
        if !proof.is_empty() {
            return Err(ProofError::Length);
        }
        if size == 0 {
            same(root, &Hash::empty())?;
        }
        return if old == 0 { same(old_root, &Hash::empty()) } else { same(old_root, root) };
    }
    let (mut node, mut last) = (old.saturating_sub(1), size.saturating_sub(1));
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // A full subtree at the left is the old tree itself, and not sent.
    let mut hashes = proof.iter();
    let seed = if old.is_power_of_two() { old_root } else { hashes.next().ok_or(ProofError::Length)? };
    let (mut left, mut both) = (*seed, *seed);
    for hash in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            left = Hash::node(hash, &left);
            both = Hash::node(hash, &both);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            both = Hash::node(&both, hash);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    same(&left, old_root)?;
    same(&both, root)
}
