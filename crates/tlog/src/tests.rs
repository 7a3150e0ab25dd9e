mod note;
mod tile;
mod tree;
mod witness;

use countersign_crypto::SecretKey;
use countersign_crypto::note::NoteKey;

use crate::{Frontier, Hash, Levels, Signer};

/// The leaf hashes of the first `size` of a log's entries, which are told apart by `log`.
fn leaves(log: u8, size: u64) -> Vec<Hash> {
    (0..size).map(|index| Hash::leaf(&[&[log], &index.to_be_bytes()[..]].concat())).collect()
}

fn log_signer(name: &str, seed: u8) -> Signer {
    Signer::log(name, NoteKey::from_seed(&SecretKey::from_bytes([seed; 32]))).unwrap()
}

fn witness_signer(name: &str, seed: u8) -> Signer {
    Signer::witness(name, NoteKey::from_seed(&SecretKey::from_bytes([seed; 32]))).unwrap()
}

fn frontier(leaves: &[Hash]) -> Frontier {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.push(*leaf, &mut |_, _| ());
    }
    tree
}

fn levels(log: u8, size: u64) -> Levels {
    Levels::of(leaves(log, size))
}
