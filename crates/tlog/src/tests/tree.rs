use serde::Deserialize;

use super::{frontier, leaves, levels};
use crate::*;

/// The tree head of RFC 6962, section 2.1, word for word: what all else is held against.
fn reference(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::empty(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            Hash::node(&reference(&leaves[..k]), &reference(&leaves[k..]))
        }
    }
}

/// Published with Certificate Transparency's reference code (RFC 6962's authors).
#[test]
fn the_published_tree() {
    let entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(&hex::decode(entry).unwrap())).collect();
    let kept = Levels::of(leaves.clone());
    for (size, expected) in roots.iter().enumerate() {
        assert_eq!(hex::encode(frontier(&leaves[..size]).root().0), *expected);
        assert_eq!(hex::encode(root(&kept, size as u64).unwrap().0), *expected);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionCase {
    case: String,
    leaf_idx: u64,
    tree_size: u64,
    root: Option<String>,
    leaf_hash: Option<String>,
    proof: Vec<Option<String>>,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsistencyCase {
    case: String,
    size1: u64,
    size2: u64,
    root1: Option<String>,
    root2: Option<String>,
    proof: Vec<Option<String>>,
    want_err: bool,
}

/// Some cases have a few words in place of a hash, or none: for us that is no hash.
fn hash(text: &Option<String>) -> Option<Hash> {
    Hash::parse(text.as_deref()?)
}

#[test]
fn the_published_inclusion_proofs() {
    let cases: Vec<InclusionCase> = serde_json::from_str(include_str!("../../tests/vectors/inclusion.json")).unwrap();
    for case in &cases {
        let read = || {
            let path = case.proof.iter().map(hash).collect::<Option<Vec<_>>>()?;
            verify_inclusion(case.leaf_idx, &hash(&case.leaf_hash)?, case.tree_size, &hash(&case.root)?, &path).ok()
        };
        assert_eq!(read().is_none(), case.want_err, "{}", case.case);
    }
    println!("{} published inclusion cases", cases.len());
}

#[test]
fn the_published_consistency_proofs() {
    let text = include_str!("../../tests/vectors/consistency.json");
    let cases: Vec<ConsistencyCase> = serde_json::from_str(text).unwrap();
    // Holds there, with a root of 12 bytes.
    let not_ours = |case: &&ConsistencyCase| case.case != "additional/sizes-are-equal-one-and-proof-is-empty";
    for case in cases.iter().filter(not_ours) {
        let read = || {
            let proof = case.proof.iter().map(hash).collect::<Option<Vec<_>>>()?;
            verify_consistency(case.size1, &hash(&case.root1)?, case.size2, &hash(&case.root2)?, &proof).ok()
        };
        assert_eq!(read().is_none(), case.want_err, "{}", case.case);
    }
    println!("{} published consistency cases", cases.len());
}

#[test]
fn roots_of_all_sizes_from_the_frontier_from_levels_and_by_definition() {
    let leaves = leaves(1, 70);
    let kept = Levels::of(leaves.clone());
    for size in 0..=leaves.len() {
        let expected = reference(&leaves[..size]);
        assert_eq!(frontier(&leaves[..size]).root(), expected);
        assert_eq!(root(&kept, size as u64).unwrap(), expected);
    }
}

#[test]
fn all_inclusion_proofs_up_to_seventy_leaves_hold_and_no_other() {
    let leaves = leaves(1, 70);
    let kept = Levels::of(leaves.clone());
    for size in 1..=70 {
        let root = root(&kept, size).unwrap();
        for index in 0..size {
            let path = inclusion(&kept, index, size).unwrap();
            let leaf = leaves[index as usize];
            assert_eq!(verify_inclusion(index, &leaf, size, &root, &path), Ok(()));
            // Neither another place, leaf or root, nor one hash more, fewer or other.
            let other = (index + 1) % size;
            assert!(size == 1 || verify_inclusion(other, &leaf, size, &root, &path).is_err());
            assert!(verify_inclusion(index, &Hash::leaf(b"x"), size, &root, &path).is_err());
            assert!(verify_inclusion(index, &leaf, size, &Hash::leaf(b"x"), &path).is_err());
            let mut longer = path.clone();
            longer.push(Hash::empty());
            assert_eq!(verify_inclusion(index, &leaf, size, &root, &longer), Err(ProofError::Length));
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place].0[7] ^= 1;
                assert_eq!(verify_inclusion(index, &leaf, size, &root, &changed), Err(ProofError::Mismatch));
            }
            if let Some((_, shorter)) = path.split_last() {
                assert_eq!(verify_inclusion(index, &leaf, size, &root, shorter), Err(ProofError::Length));
            }
        }
        assert!(inclusion(&kept, size, size).is_err());
    }
}

#[test]
fn all_consistency_proofs_up_to_seventy_leaves_hold_and_no_other() {
    let kept = levels(1, 70);
    let fork = levels(2, 70);
    for size in 0..=70 {
        let newer = root(&kept, size).unwrap();
        for old in 0..=size {
            let older = root(&kept, old).unwrap();
            let proof = consistency(&kept, old, size).unwrap();
            assert_eq!(verify_consistency(old, &older, size, &newer, &proof), Ok(()), "{old} {size}");
            if old > 0 {
                let forked = root(&fork, old).unwrap();
                assert!(verify_consistency(old, &forked, size, &newer, &proof).is_err());
                let lie = consistency(&fork, old, size).unwrap();
                assert!(verify_consistency(old, &older, size, &root(&fork, size).unwrap(), &lie).is_err());
            }
            let mut longer = proof.clone();
            longer.push(Hash::empty());
            assert!(verify_consistency(old, &older, size, &newer, &longer).is_err());
            for place in 0..proof.len() {
                let mut changed = proof.clone();
                changed[place].0[31] ^= 0x80;
                assert!(verify_consistency(old, &older, size, &newer, &changed).is_err());
            }
            if old < size {
                assert_eq!(verify_consistency(size, &newer, old, &older, &proof), Err(ProofError::OutOfRange));
            }
        }
    }
}

#[test]
fn across_tiles_roots_and_proofs_come_from_the_tiles_that_are_named() {
    // A little over one full tile of level 1.
    let size = 256 * 256 + 300;
    let leaves = leaves(3, size);
    let kept = Levels::of(leaves.clone());
    let lengths: Vec<u64> = kept.0.iter().map(|hashes| hashes.len() as u64).collect();
    assert_eq!(lengths, [65_836, 257, 1]);
    assert!(lengths_fit(size, &lengths) && !lengths_fit(size + 1, &lengths) && !lengths_fit(size, &lengths[..2]));
    let fetch = |tiles: Vec<Tile>| {
        let mut fetched = Fetched::default();
        for tile in &tiles {
            assert_eq!(Tile::of(size, tile.level, tile.index), Some(*tile));
            fetched.insert(*tile, &kept.tile(*tile).unwrap()).unwrap();
        }
        (fetched, tiles.len())
    };
    let root = root(&kept, size).unwrap();
    let (fetched, _) = fetch(tiles_for_root(size).unwrap());
    assert_eq!(crate::root(&fetched, size).unwrap(), root);
    let mut most = 0;
    for old in (1..=size).step_by(997).chain([1, 255, 256, 257, 65_535, 65_536, 65_537, size]) {
        let (fetched, tiles) = fetch(tiles_for_consistency(old, size).unwrap());
        let proof = consistency(&fetched, old, size).unwrap();
        let older = frontier(&leaves[..old as usize]).root();
        verify_consistency(old, &older, size, &root, &proof).unwrap();
        assert_eq!(Frontier::resume(&kept, old).unwrap(), frontier(&leaves[..old as usize]));
        let index = old - 1;
        let (fetched, more) = fetch(tiles_for_inclusion(index, size).unwrap());
        let path = inclusion(&fetched, index, size).unwrap();
        verify_inclusion(index, &leaves[index as usize], size, &root, &path).unwrap();
        most = most.max(tiles).max(more);
    }
    println!("at most {most} tiles for a proof in a log of {size}");
    assert!(most <= 6);
}

#[test]
fn a_tree_goes_on_where_its_levels_end() {
    let leaves = leaves(4, 1200);
    for stop in [0, 1, 255, 256, 257, 700, 1199] {
        let mut kept = Levels::of(leaves[..stop].iter().copied());
        let mut tree = Frontier::resume(&kept, stop as u64).unwrap();
        for leaf in &leaves[stop..] {
            tree.push(*leaf, &mut |level, hash| kept.append(level, hash));
        }
        assert_eq!(tree, frontier(&leaves));
        assert_eq!(kept.0, Levels::of(leaves.clone()).0);
    }
}

#[test]
fn a_reader_that_gives_too_little_is_found_out() {
    struct Short;
    impl HashReader for Short {
        type Error = Absent;
        fn read(&self, _: u8, _: u64, _: usize) -> Result<Vec<Hash>, Absent> {
            Ok(Vec::new())
        }
    }
    assert_eq!(root(&Short, 9), Err(ReadError::Count));
    assert_eq!(root(&levels(1, 8), 9), Err(ReadError::Read(Absent)));
    assert_eq!(root(&Short, u64::MAX), Err(ReadError::OutOfRange));
    assert_eq!(consistency(&Short, 3, 2), Err(ReadError::OutOfRange));
    assert!(tiles_for_consistency(5, MAX_SIZE).is_ok() && tiles_for_consistency(5, MAX_SIZE + 1).is_err());
}
