use countersign_model::FieldId;

use super::*;

fn row(record: u128, version: u64, at: u64) -> CarriedRow {
    let cells = vec![(FieldId(0), vec![u8::try_from(version).unwrap()])];
    CarriedRow { record: RecordId::from_u128(record), version, at: UnixMs(at), cells, tags: vec![] }
}

fn past(record: u128, version: u64, at: u64, until: u64) -> PastRow {
    PastRow { row: row(record, version, at), until: UnixMs(until) }
}

/// Which version of each record there was.
fn versions(at: u64, now: &[CarriedRow], was: &[PastRow]) -> Vec<Option<u64>> {
    let then = state_at(UnixMs(at), now.to_vec(), was.to_vec());
    then.map(|then| then.then.map(|row| row.version)).collect()
}

#[test]
fn inserts_updates_deletions_and_what_came_again() {
    // 1 was made at 10; 2 changed at 20 and 30; 3 was deleted at 25; 4 was deleted at 15 and made again at 35.
    let now = [row(1, 1, 10), row(2, 3, 30), row(4, 2, 35)];
    let was = [past(2, 1, 10, 20), past(2, 2, 20, 30), past(3, 1, 10, 25), past(4, 1, 5, 15)];
    let expected: [(u64, [Option<u64>; 4]); 11] = [
        (0, [None, None, None, None]),
        (5, [None, None, None, Some(1)]),
        (10, [Some(1), Some(1), Some(1), Some(1)]),
        (14, [Some(1), Some(1), Some(1), Some(1)]),
        (15, [Some(1), Some(1), Some(1), None]),
        (19, [Some(1), Some(1), Some(1), None]),
        (20, [Some(1), Some(2), Some(1), None]),
        (25, [Some(1), Some(2), None, None]),
        (30, [Some(1), Some(3), None, None]),
        (34, [Some(1), Some(3), None, None]),
        (35, [Some(1), Some(3), None, Some(2)]),
    ];
    for (at, expected) in expected {
        assert_eq!(versions(at, &now, &was), expected, "at {at}");
    }
}

#[test]
fn states_that_began_and_ended_at_once_never_held() {
    let (now, was) = ([row(1, 3, 20)], [past(1, 1, 10, 20), past(1, 2, 20, 20)]);
    assert_eq!(versions(19, &now, &was), [Some(1)]);
    assert_eq!(versions(20, &now, &was), [Some(3)]);
    // Of before changes had times.
    assert_eq!(versions(0, &[row(1, 7, 0)], &[]), [Some(7)]);
    assert_eq!(versions(3, &[row(1, 8, 9)], &[past(1, 7, 0, 9)]), [Some(7)]);
}

#[test]
fn what_is_the_same_and_what_comes_next() {
    let same = CarriedRow { cells: row(1, 1, 0).cells, ..row(1, 3, 30) };
    let then: Vec<Then> =
        state_at(UnixMs(15), [same], [past(1, 1, 10, 20), past(1, 2, 20, 30), past(2, 4, 1, 40)]).collect();
    assert!(then[0].is_same(), "it is again what it was");
    assert_eq!(then.iter().map(|then| then.newest).collect::<Vec<_>>(), [3, 4]);
    assert!(!then[1].is_same());
    assert_eq!(state_at(UnixMs(5), [], []).count(), 0);
}
