use std::collections::BTreeSet;

use super::*;
use crate::testing::Dice;

fn set(numbers: &[u128]) -> RecordSet {
    numbers.iter().copied().map(RecordId::from_u128).collect()
}

fn numbers(set: &RecordSet) -> Vec<u128> {
    set.iter().map(|id| id.as_u128()).collect()
}

#[test]
fn unsorted_ids_with_repeats_come_back_sorted_once_each() {
    let got = set(&[9, 3, 3, u128::MAX, 4, 0, 5]);
    assert_eq!(numbers(&got), [0, 3, 4, 5, 9, u128::MAX]);
    assert_eq!(got.len(), 6);
    assert_eq!(numbers(&RecordSet::EMPTY), Vec::<u128>::new());
    assert_eq!(set(&[]), RecordSet::EMPTY);
    assert_eq!(numbers(&set(&[u128::MAX, u128::MAX - 1])), [u128::MAX - 1, u128::MAX]);
}

#[test]
fn a_bulk_insert_takes_a_few_bytes() {
    let start = 0x0190_b6c2_3f5e_7abc_8def_0123_4567_89abu128;
    let batch: RecordSet = (0..10_000).map(|offset| RecordId::from_u128(start + offset)).collect();
    assert_eq!(batch.as_bytes().len(), 16 + 1 + 2);
    assert_eq!(batch.len(), 10_000);
    assert!(batch.contains(RecordId::from_u128(start + 9_999)));
    assert!(!batch.contains(RecordId::from_u128(start + 10_000)));
}

#[test]
fn random_sets_survive_the_stored_form_and_know_their_members() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..300 {
        let mut model = BTreeSet::new();
        let mut at = u128::from(dice.roll()) << (dice.roll() % 64);
        for _ in 0..dice.roll() % 40 {
            at = at.saturating_add(u128::from(dice.roll() >> (dice.roll() % 64)) << (dice.roll() % 40));
            model.extend((0..dice.roll() % 4).map(|more| at.saturating_add(u128::from(more))));
        }
        let made = set(&model.iter().copied().collect::<Vec<_>>());
        let read = RecordSet::from_bytes(made.as_bytes()).unwrap();
        assert_eq!(read, made);
        assert_eq!(numbers(&read), model.iter().copied().collect::<Vec<_>>());
        for number in &model {
            for near in [number.wrapping_sub(1), *number, number.wrapping_add(1)] {
                assert_eq!(read.contains(RecordId::from_u128(near)), model.contains(&near));
            }
        }
        for part_bytes in [1, 64, 100] {
            let parts = read.split(part_bytes);
            assert_eq!(parts.iter().flat_map(numbers).collect::<Vec<_>>(), numbers(&read));
            assert!(parts.iter().all(|part| RecordSet::from_bytes(part.as_bytes()).as_ref() == Ok(part)));
            assert!(part_bytes == 1 || parts.iter().all(|part| part.as_bytes().len() <= part_bytes));
        }
    }
}

#[test]
fn bytes_that_are_no_set_are_refused() {
    let one = [0u8; 16];
    let with = |tail: &[u8]| RecordSet::from_bytes(&[&one, tail].concat());
    assert!(RecordSet::from_bytes(&one[..15]).is_err(), "short id");
    assert!(with(&[1]).is_err(), "a neighbour belongs into a run");
    assert!(with(&[0]).is_err(), "run without a length");
    assert!(with(&[0, 0]).is_err(), "run of nothing");
    assert!(with(&[0, 1, 0, 1]).is_err(), "run after a run");
    assert!(with(&[0x80]).is_err(), "cut number");
    assert!(with(&[0x82, 0]).is_err(), "number in more bytes than needed");
    assert!(with(&[0xff; 19]).is_err(), "number without end");
    assert!(with(&[[0xff; 18].as_slice(), &[0x04]].concat()).is_err(), "number over 128 bits");
    assert!(with(&[[0xff; 18].as_slice(), &[0x03]].concat()).is_ok(), "the largest id");
    assert!(with(&[[0xff; 18].as_slice(), &[0x03, 2]].concat()).is_err(), "id over 128 bits");
    assert!(with(&[0, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err(), "more records than anybody has");
}

#[test]
fn no_bytes_make_it_panic_or_disagree_with_itself() {
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let mut bytes = vec![0; 12];
        bytes.extend((0..dice.roll() % 24).map(|_| dice.roll().to_le_bytes()[2] & 0x8f));
        if let Ok(read) = RecordSet::from_bytes(&bytes)
            && read.len() < 100_000
        {
            assert_eq!(set(&numbers(&read)), read);
        }
    }
}
