use std::collections::BTreeMap;

use super::*;
use crate::testing::Dice;

/// Rows as a table would have them.
#[derive(Default)]
struct Table(BTreeMap<usize, Vec<u8>>);

impl Table {
    fn apply(&mut self, change: Option<Change>, bytes: &[u8]) {
        let Some(Change { put, cut }) = change else { return };
        if let Some(cut) = cut {
            self.0.retain(|start, _| *start < cut);
        }
        if let Some(put) = put {
            self.0.insert(put, bytes[put..].to_vec());
        }
    }

    fn chunk(&self) -> Chunk {
        Chunk::from_rows(self.0.iter().map(|(start, bytes)| (*start, bytes.clone()))).unwrap()
    }
}

#[test]
fn an_append_is_one_row_and_a_full_chunk_too() {
    let (mut chunk, mut table) = (Chunk::begun(), Table::default());
    let change = chunk.take_change();
    table.apply(change, chunk.bytes());
    assert_eq!(table.0.len(), 1, "an empty file has a row");
    for round in 0..64 {
        chunk.write(round * 1024, &[7; 1024]);
        let change = chunk.take_change().unwrap();
        if round < 63 {
            assert_eq!(change, Change { put: Some(round * 1024), cut: None });
        } else {
            assert_eq!(change, Change { put: Some(0), cut: Some(1) });
        }
        table.apply(Some(change), chunk.bytes());
    }
    assert_eq!(table.0.len(), 1);
    assert_eq!(table.chunk().bytes(), &[7; CHUNK]);
}

/// Whatever is written and cut, the rows say it, whoever has read them back in between.
#[test]
fn rows_say_what_the_chunk_is() {
    for seed in 1..400 {
        let mut dice = Dice(seed);
        let (mut chunk, mut table, mut plain) = (Chunk::begun(), Table::default(), Vec::<u8>::new());
        for _ in 0..60 {
            let at = match dice.below(4) {
                0 => dice.below(plain.len() as u64 + 1) as usize,
                1 => (plain.len() + dice.below(30) as usize).min(CHUNK),
                _ => plain.len(),
            };
            match dice.below(8) {
                0 => {
                    chunk.truncate(at);
                    plain.truncate(at);
                }
                1..=5 => {
                    let length = if dice.below(20) == 0 { CHUNK } else { dice.below(3000) as usize };
                    let bytes = vec![dice.roll() as u8; length];
                    chunk.write(at, &bytes);
                    let end = (at + length).min(CHUNK);
                    plain.resize(plain.len().max(end), 0);
                    plain[at..end].copy_from_slice(&bytes[..end - at]);
                }
                _ => {
                    let change = chunk.take_change();
                    table.apply(change, chunk.bytes());
                    assert_eq!(table.chunk().bytes(), plain, "seed {seed}");
                    assert_eq!(table.chunk(), chunk, "seed {seed}");
                    assert!(chunk.is_clean() && chunk.take_change().is_none());
                    if dice.below(2) == 0 {
                        chunk = table.chunk();
                    }
                }
            }
            assert_eq!(chunk.bytes(), plain);
        }
    }
}
