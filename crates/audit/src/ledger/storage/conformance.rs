//! The suite that every storage must pass. For tests: it panics where one doesn't.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::{Storage, read_all};

/// Somewhere that a storage is, whatever becomes of the process that has it open.
pub trait Place {
    /// Opens it as the next process does.
    fn open(&mut self) -> Arc<dyn Storage>;

    /// The process is gone, and what was not made durable may be too.
    fn crash(&mut self);
}

/// Runs the suite in places that `make` makes, each of them empty.
pub fn run<P: Place>(mut make: impl FnMut() -> P) {
    files_are_made_found_and_removed(&mut make());
    bytes_are_where_they_were_written(&mut make());
    what_was_synced_is_there(&mut make());
    contents_are_replaced_whole(&mut make());
    a_file_keeps_its_name(&mut make());
    what_is_said_to_be_atomic_is(&mut make());
    for seed in 1..=4 {
        it_is_as_a_list_of_bytes(&mut make(), seed);
    }
}

fn contents(storage: &dyn Storage, name: &str) -> io::Result<Vec<u8>> {
    read_all(&*storage.open(name)?)
}

fn kind<T>(outcome: io::Result<T>) -> Option<io::ErrorKind> {
    outcome.err().map(|error| error.kind())
}

fn names(storage: &dyn Storage) -> Vec<String> {
    let mut names = storage.list().unwrap();
    names.sort_unstable();
    names
}

fn files_are_made_found_and_removed(place: &mut impl Place) {
    let storage = place.open();
    assert!(names(&*storage).is_empty());
    assert_eq!(kind(storage.open("a")), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(storage.remove("a")), Some(io::ErrorKind::NotFound));
    for name in ["a", "b", "log/0", "log/1"] {
        let file = storage.open_writable(name).unwrap();
        assert_eq!(file.size().unwrap(), 0);
        file.write_all_at(name.as_bytes(), 0).unwrap();
        file.sync().unwrap();
    }
    storage.open_writable("empty").unwrap();
    storage.sync_folder().unwrap();
    assert_eq!(names(&*storage), ["a", "b", "empty", "log/0", "log/1"]);
    storage.remove("b").unwrap();
    storage.remove("log/0").unwrap();
    storage.sync_folder().unwrap();
    drop(storage);
    place.crash();
    let storage = place.open();
    assert_eq!(names(&*storage), ["a", "empty", "log/1"]);
    assert_eq!(contents(&*storage, "log/1").unwrap(), b"log/1");
    assert_eq!(contents(&*storage, "empty").unwrap(), b"");
    storage.check_writable().unwrap();
    // Removed and made again is another file.
    storage.remove("a").unwrap();
    let file = storage.open_writable("a").unwrap();
    assert_eq!(file.size().unwrap(), 0);
    file.write_all_at(b"new", 0).unwrap();
    file.sync().unwrap();
    storage.sync_folder().unwrap();
    drop((file, storage));
    place.crash();
    assert_eq!(contents(&*place.open(), "a").unwrap(), b"new");
}

fn bytes_are_where_they_were_written(place: &mut impl Place) {
    let storage = place.open();
    let file = storage.open_writable("a").unwrap();
    file.write_all_at(b"0123456789", 0).unwrap();
    file.write_all_at(b"abc", 2).unwrap();
    file.write_all_at(b"end", 13).unwrap();
    assert_eq!(file.size().unwrap(), 16);
    let mut out = [1; 16];
    file.read_exact_at(&mut out, 0).unwrap();
    assert_eq!(&out, b"01abc56789\0\0\0end");
    let mut out = [0; 4];
    file.read_exact_at(&mut out, 8).unwrap();
    assert_eq!(&out, b"89\0\0");
    assert_eq!(kind(file.read_exact_at(&mut out, 13)), Some(io::ErrorKind::UnexpectedEof));
    assert_eq!(kind(file.read_exact_at(&mut out, 99)), Some(io::ErrorKind::UnexpectedEof));
    file.read_exact_at(&mut [], 16).unwrap();
    file.truncate(5).unwrap();
    assert_eq!(file.size().unwrap(), 5);
    file.truncate(8).unwrap();
    assert_eq!(contents(&*storage, "a").unwrap(), b"01abc\0\0\0");
    // Another that has it open sees the same.
    let other = storage.open("a").unwrap();
    file.write_all_at(b"z", 7).unwrap();
    let mut out = [0; 8];
    other.read_exact_at(&mut out, 0).unwrap();
    assert_eq!(&out, b"01abc\0\0z");
}

fn what_was_synced_is_there(place: &mut impl Place) {
    let mut expected = Vec::new();
    for round in 0..30u8 {
        let storage = place.open();
        assert_eq!(contents(&*storage, "a").unwrap_or_default(), expected, "round {round}");
        let file = storage.open_writable("a").unwrap();
        file.truncate(expected.len() as u64).unwrap();
        for _ in 0..5 {
            let more = vec![round; 4000];
            file.write_all_at(&more, expected.len() as u64).unwrap();
            file.sync().unwrap();
            storage.sync_folder().unwrap();
            expected.extend(more);
        }
        // Nobody was told that this is durable. It may be there, whole or in part.
        file.write_all_at(&[255; 3000], expected.len() as u64).unwrap();
        drop((file, storage));
        place.crash();
        let storage = place.open();
        let found = contents(&*storage, "a").unwrap();
        assert!(found.starts_with(&expected), "round {round}");
        let file = storage.open_writable("a").unwrap();
        file.truncate(expected.len() as u64).unwrap();
        file.sync().unwrap();
        drop((file, storage));
        place.crash();
    }
}

fn contents_are_replaced_whole(place: &mut impl Place) {
    let mut last = Vec::new();
    for round in 0..12usize {
        let storage = place.open();
        assert_eq!(contents(&*storage, "log/checkpoint").unwrap_or_default(), last);
        last = vec![round as u8; (round * 40_000) % 190_000];
        storage.replace("log/checkpoint", &last).unwrap();
        assert_eq!(contents(&*storage, "log/checkpoint").unwrap(), last);
        drop(storage);
        place.crash();
    }
    assert_eq!(names(&*place.open()), ["log/checkpoint"], "and nothing is left beside it");
}

fn a_file_keeps_its_name(place: &mut impl Place) {
    let storage = place.open();
    let file = storage.open_writable("a").unwrap();
    file.check_linked().unwrap();
    storage.remove("a").unwrap();
    assert_eq!(kind(file.check_linked()), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(storage.open("a")), Some(io::ErrorKind::NotFound));
}

/// A sync of one file, or a replacement, makes all durable that was written before, if the storage says so.
fn what_is_said_to_be_atomic_is(place: &mut impl Place) {
    let storage = place.open();
    if !storage.is_atomic() {
        return;
    }
    let (one, other) = (storage.open_writable("a").unwrap(), storage.open_writable("log/0").unwrap());
    one.write_all_at(b"one", 0).unwrap();
    other.write_all_at(b"other", 0).unwrap();
    one.sync().unwrap();
    other.write_all_at(b"another", 0).unwrap();
    storage.replace("log/checkpoint", b"both").unwrap();
    drop((one, other, storage));
    place.crash();
    let storage = place.open();
    assert_eq!(contents(&*storage, "a").unwrap(), b"one");
    assert_eq!(contents(&*storage, "log/0").unwrap(), b"another");
}

/// Repeatable chance (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 as usize).checked_rem(bound).unwrap_or_default()
    }
}

/// Anything in any order, beside lists of bytes that the same is done to.
fn it_is_as_a_list_of_bytes(place: &mut impl Place, seed: u64) {
    const NAMES: [&str; 3] = ["00000000.log", "log/0", "durable"];
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut plain: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for _ in 0..12 {
        let storage = place.open();
        assert_eq!(names(&*storage), plain.keys().map(ToString::to_string).collect::<Vec<_>>());
        for step in 0..25 {
            let name = NAMES[chance.below(NAMES.len())];
            let there = plain.get(name).cloned();
            match chance.below(10) {
                0 if there.is_some() => {
                    storage.remove(name).unwrap();
                    plain.remove(name);
                }
                1 => {
                    let bytes = vec![chance.below(256) as u8; chance.below(200_000)];
                    storage.replace(name, &bytes).unwrap();
                    plain.insert(name, bytes);
                }
                2 => {
                    let file = storage.open_writable(name).unwrap();
                    let bytes = plain.entry(name).or_default();
                    let size = chance.below(bytes.len() + 2);
                    file.truncate(size as u64).unwrap();
                    bytes.resize(size, 0);
                }
                3 => {
                    // Some place in it, or a bit after its end.
                    let file = storage.open_writable(name).unwrap();
                    let bytes = plain.entry(name).or_default();
                    let at = chance.below(bytes.len() + 70_000);
                    let more = vec![chance.below(256) as u8; chance.below(100_000)];
                    file.write_all_at(&more, at as u64).unwrap();
                    if !more.is_empty() {
                        bytes.resize(bytes.len().max(at + more.len()), 0);
                        bytes[at..at + more.len()].copy_from_slice(&more);
                    }
                }
                4..=6 => {
                    let file = storage.open_writable(name).unwrap();
                    let bytes = plain.entry(name).or_default();
                    let more = vec![chance.below(256) as u8; chance.below(3000)];
                    file.write_all_at(&more, bytes.len() as u64).unwrap();
                    bytes.extend(more);
                }
                7 => {
                    storage.open_writable(name).unwrap();
                    plain.entry(name).or_default();
                }
                8 if there.is_some() => storage.open_writable(name).unwrap().sync().unwrap(),
                _ => {
                    let whole = there.unwrap_or_default();
                    let from = chance.below(whole.len() + 1);
                    let mut out = vec![0; chance.below(whole.len() - from + 1)];
                    if plain.contains_key(name) {
                        storage.open(name).unwrap().read_exact_at(&mut out, from as u64).unwrap();
                        assert_eq!(out, whole[from..from + out.len()], "seed {seed}, step {step}");
                    }
                }
            }
        }
        for (name, bytes) in &plain {
            assert!(contents(&*storage, name).unwrap() == *bytes, "seed {seed}: {name} before");
            storage.open_writable(name).unwrap().sync().unwrap();
        }
        storage.sync_folder().unwrap();
        drop(storage);
        place.crash();
        let storage = place.open();
        for (name, bytes) in &plain {
            assert!(contents(&*storage, name).unwrap() == *bytes, "seed {seed}: {name} after");
        }
    }
}
