//! A transparency log in the forms of C2SP: Merkle tree (RFC 6962), tiles (tlog-tiles), checkpoints (tlog-checkpoint),
//! signed notes (signed-note), cosignatures (tlog-cosignature), witnesses (tlog-witness), proofs (tlog-proof).
//!
//! What this is not: it reads and writes nothing. Whoever uses it brings hashes and keeps tiles.
//!
//! Every parser accepts exactly what the matching `to_string` or `to_text` writes, and nothing above a stated length.
//!
//! ```
//! use countersign_crypto::{SecretKey, note::NoteKey};
//! use countersign_tlog::{Checkpoint, Frontier, Hash, Signer};
//! let signer = Signer::log("data.example/log/store/first", NoteKey::from_seed(&SecretKey::from_bytes([1; 32]))).unwrap();
//! let mut tree = Frontier::default();
//! tree.push(Hash::leaf(b"a record"), &mut |_level, _hash| ());
//! let checkpoint = Checkpoint::new(signer.name(), tree.size(), tree.root());
//! let signed = checkpoint.sign(&signer);
//! let (read, _note) = Checkpoint::open(&signed, &signer.verifier()).unwrap();
//! assert_eq!(read, checkpoint);
//! ```

mod checkpoint;
mod hash;
mod key;
mod note;
mod proof;
mod proof_text;
mod range;
mod read;
mod tile;
mod tree;
mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, MAX_EXTENSIONS};
pub use hash::Hash;
pub use key::{KeyError, MAX_NAME_BYTES, Signer, VerifierKey, is_name};
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, NoteSignature, Signed, signature_lines};
pub use proof::{
    MAX_PROOF, ProofError, consistency, inclusion, tiles_for_consistency, tiles_for_growth, tiles_for_inclusion,
    tiles_for_root, verify_consistency, verify_inclusion,
};
pub use proof_text::{LogProof, MAX_PROOF_BYTES, ProofTextError};
pub use read::{Fetched, HashReader, ReadError};
pub use tile::{MAX_LEVEL, MAX_PATH_BYTES, TILE_WIDTH, Tile, TilePathError, level_len};
pub use tree::{Absent, Frontier, Levels, MAX_SIZE, lengths_fit, root};
pub use witness::{AddCheckpoint, Refusal, RequestError, Seen, consider};

/// A count as the C2SP texts write it: decimal, no sign, no leading zeroes, at most [`MAX_SIZE`].
fn count(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok().filter(|count| *count <= MAX_SIZE) } else { None }
}

#[cfg(test)]
mod tests;
