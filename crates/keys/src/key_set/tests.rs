use countersign_model::{FieldId, TypeId, UnixMs};

use super::*;

const TYPE: TypeId = TypeId(3);
const NAME: FieldId = FieldId(1);
const MAIL: FieldId = FieldId(2);
const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn wrapped(own: u8) -> Vec<u8> {
    [&[4], [own; 16].as_slice(), &[1, 0, 0, 0, 7], &[0; 60]].concat()
}

fn id(own: u8) -> OwnKey {
    OwnKey { provider: None, id: OwnKeyId([own; 16]) }
}

/// As in the module's header.
fn drawn() -> KeySet {
    let set = KeySet::first(NOW, wrapped(1)).with_rotated(TYPE, MAIL, NOW).unwrap();
    set.with_generation(NOW, wrapped(2)).unwrap().with_rotated(TYPE, MAIL, NOW).unwrap()
}

#[test]
fn a_field_has_the_epochs_of_its_tenant_and_its_own() {
    let set = drawn();
    assert_eq!((set.newest(), set.seal_epoch(), set.oldest()), (4, 3, 1));
    assert_eq!(set.epochs(TYPE, NAME), [3, 1]);
    assert_eq!(set.epochs(TYPE, MAIL), [4, 3, 2, 1]);
    assert_eq!(set.epochs(TypeId(2), MAIL), [3, 1]);
    let first = |epoch| set.generation_of(epoch).map(|one| one.first_epoch);
    assert_eq!([0, 1, 2, 3, 4, 5].map(first), [None, Some(1), Some(1), Some(3), Some(3), None]);
}

#[test]
fn what_was_resealed_counts_no_more_and_each_field_keeps_the_epoch_it_is_in() {
    for (resealed, name, mail, live) in [
        (0, vec![3, 1], vec![4, 3, 2, 1], vec![1, 3]),
        (1, vec![3, 1], vec![4, 3, 2, 1], vec![1, 3]),
        (2, vec![3, 1], vec![4, 3, 2], vec![1, 3]),
        (3, vec![3], vec![4, 3], vec![3]),
        (4, vec![3], vec![4], vec![3]),
        (9, vec![3], vec![4], vec![3]),
    ] {
        let set = drawn().resealed(resealed);
        assert_eq!((set.epochs(TYPE, NAME), set.epochs(TYPE, MAIL)), (name, mail), "{resealed}");
        assert_eq!(set.live().map(|one| one.first_epoch).collect::<Vec<_>>(), live, "{resealed}");
        assert_eq!(set.newest(), 4);
        assert_eq!(set.is_mixed(), resealed < 4);
        assert_eq!(KeySet::decode(&set.encode()).unwrap(), set);
        // It never goes back.
        assert_eq!(set.clone().resealed(1).oldest(), set.oldest());
    }
}

#[test]
fn a_key_in_use_is_not_given_up_and_one_that_is_not_can_be() {
    assert_eq!(drawn().without(1), Err(KeySetError::InUse));
    assert_eq!(drawn().without(3), Err(KeySetError::InUse));
    assert_eq!(drawn().resealed(4).without(3), Err(KeySetError::InUse));
    assert_eq!(drawn().resealed(4).without(2), Err(KeySetError::NoSuchKey));
    let set = drawn().resealed(3).without(1).unwrap();
    assert!(set.generation_of(2).unwrap().is_destroyed() && !set.generation_of(3).unwrap().is_destroyed());
    assert_eq!(set.own_keys().collect::<Vec<_>>(), [(3, &id(2))]);
    assert_eq!(set.clone().without(1), Err(KeySetError::NoSuchKey));
    assert_eq!(KeySet::decode(&set.encode()).unwrap(), set);
}

#[test]
fn own_keys_stay_on_the_list_until_they_are_destroyed() {
    let mut set = drawn();
    set.rewrapped(1, wrapped(7));
    assert_eq!(set.own_keys().collect::<Vec<_>>(), [(1, &id(1)), (1, &id(7)), (3, &id(2))]);
    assert_eq!(set.former_own().collect::<Vec<_>>(), [&id(1)]);
    let set = set.without_former_own();
    assert_eq!(set.own_keys().collect::<Vec<_>>(), [(1, &id(7)), (3, &id(2))]);
}

#[test]
fn older_forms_are_one_key_from_the_first_epoch_on() {
    let named = [[3u8, 1, b'x'].as_slice(), &wrapped(9)].concat();
    for (old, own) in [(vec![1; 65], None), (vec![2; 65], None), (wrapped(5), Some(id(5)))] {
        let set = KeySet::decode(&old).unwrap();
        assert_eq!((set.newest(), set.oldest(), set.is_mixed()), (1, 1, false));
        assert_eq!(set.epochs(TYPE, NAME), [1]);
        assert_eq!(set.generations()[0].wrapped, old);
        assert_eq!(set.own_keys().next().map(|(_, own)| own.clone()), own);
    }
    let own = KeySet::decode(&named).unwrap().own_keys().next().unwrap().1.clone();
    assert_eq!((own.provider.unwrap().as_str(), own.id), ("x", OwnKeyId([9; 16])));
}

#[test]
fn what_is_no_key_set_is_refused() {
    let good = drawn().encode();
    assert!(KeySet::decode(&[]).is_err() && KeySet::decode(&[5]).is_err());
    for end in 1..good.len() {
        assert!(KeySet::decode(&good[..end]).is_err(), "{end}");
    }
    assert!(KeySet::decode(&[good.as_slice(), &[0]].concat()).is_err());
    let with = |change: fn(&mut KeySet)| {
        let mut set = drawn();
        change(&mut set);
        KeySet::decode(&set.encode()).is_err()
    };
    assert!(with(|set| set.generations.clear()));
    assert!(with(|set| set.generations.reverse()));
    assert!(with(|set| set.fields.reverse()));
    assert!(with(|set| set.oldest = 0));
    assert!(with(|set| set.oldest = 5));
    assert!(with(|set| set.generations[1].wrapped.clear()));
    assert!(with(|set| set.generations[0].first_epoch = 0));
}

#[test]
fn an_id_is_read_as_it_is_written() {
    let id = OwnKeyId([7; 16]);
    assert_eq!(OwnKeyId::parse(&id.to_string()), Some(id));
    for bad in [
        "",
        "7",
        "+7070707070707070707070707070707",
        "070707070707070707070707070707070",
        "0707070707070707070707070707070G",
    ] {
        assert_eq!(OwnKeyId::parse(bad), None, "{bad}");
    }
}

#[test]
fn nothing_wrapped_is_printed() {
    let shown = format!("{:?}", drawn());
    assert!(!shown.contains("0, 0, 0"), "{shown}");
}
