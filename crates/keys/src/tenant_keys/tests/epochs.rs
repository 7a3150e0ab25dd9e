//! Several keys of one tenant.

use super::*;
use crate::FileKms;

struct House {
    _dir: tempfile::TempDir,
    kms: Arc<dyn KmsProvider>,
    keys: TenantKeys,
    stored: Arc<Stored>,
}

/// A tenant whose keys are wrapped by keys of their own.
fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let kms: Arc<dyn KmsProvider> = Arc::new(FileKms::create(&dir.path().join("kms.key"), &SystemEntropy).unwrap());
    let stored = Arc::new(Stored::default());
    let keys = TenantKeys::new(Arc::clone(&kms), Arc::clone(&stored) as Arc<dyn WrappedKeys>, 100);
    stored.keys.lock().insert(A, keys.wrap_new(&SystemEntropy, A).unwrap().into());
    House { _dir: dir, kms, keys, stored }
}

impl House {
    fn store(&self, blob: Vec<u8>) {
        self.stored.keys.lock().insert(A, blob.into());
        self.keys.forget(A);
    }

    fn rotate(&self) {
        self.store(self.keys.rotate(&SystemEntropy, A).unwrap());
    }

    fn reseal(&self) {
        let set = self.keys.set(A).unwrap();
        let newest = set.newest();
        self.store(set.resealed(newest).encode());
    }

    fn epochs(&self) -> Vec<u32> {
        self.keys.fields(A, TYPE, FIELD).unwrap().iter().map(|keys| keys.secrets().epoch).collect()
    }

    fn own_keys(&self) -> usize {
        self.kms.own().unwrap().len()
    }
}

fn aad() -> Aad {
    cell_aad(A, TYPE, FIELD, RecordId::from_u128(1))
}

#[test]
fn after_rotations_old_cells_open_and_new_ones_are_sealed_under_the_newest() {
    let house = house();
    let mut sealed = Vec::new();
    for epoch in 1..=4 {
        let keys = house.keys.field(A, TYPE, FIELD).unwrap();
        sealed.push(keys.cell.seal(&SystemEntropy, &aad(), &[epoch]));
        assert_eq!(countersign_crypto::sealed_epoch(sealed.last().unwrap()), Some(u32::from(epoch)));
        assert_eq!(house.keys.newest_epoch(A).unwrap(), u32::from(epoch));
        match epoch {
            2 => house.store(house.keys.rotate_field(A, TYPE, FIELD).unwrap()),
            _ => house.rotate(),
        }
    }
    let live = house.keys.fields(A, TYPE, FIELD).unwrap();
    assert_eq!(house.epochs(), [5, 4, 3, 2, 1]);
    for (epoch, sealed) in (1u8..).zip(&sealed) {
        let keys = live.of(u32::from(epoch)).unwrap();
        assert_eq!(keys.cell.open(&aad(), sealed).unwrap(), [epoch]);
        let again = house.keys.field_at(A, TYPE, FIELD, u32::from(epoch)).unwrap();
        assert_eq!(again.cell.open(&aad(), sealed).unwrap(), [epoch]);
    }
    let mut tags: Vec<_> = live.iter().map(|keys| keys.tag.tag(b"value")).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 5, "every epoch has tags of its own");
    assert!(matches!(house.keys.field_at(A, TYPE, FIELD, 6), Err(KeyError::UnknownEpoch)));
    assert!(matches!(house.keys.field_at(A, TYPE, FIELD, 0), Err(KeyError::UnknownEpoch)));
    house.reseal();
    assert_eq!(house.epochs(), [5]);
}

#[test]
fn what_is_sealed_for_the_tenant_opens_after_rotations_until_the_key_is_destroyed() {
    let house = house();
    let aad = Aad::new("test.1");
    let old = house.keys.seal_key(A, "audit").unwrap().seal(&SystemEntropy, &aad, b"x");
    house.rotate();
    let (secret, epoch) = house.keys.seal_secret(A, "audit").unwrap();
    let new = house.keys.seal_key(A, "audit").unwrap();
    assert_eq!(epoch, 2);
    let elsewhere = SealKey::with_epoch(&secret, epoch).seal(&SystemEntropy, &aad, b"y");
    assert_eq!(new.open(&aad, &elsewhere).unwrap(), b"y");
    assert!(new.open(&aad, &old).is_err());
    house.reseal();
    for _ in 0..2 {
        assert_eq!(house.keys.seal_key_at(A, "audit", 1).unwrap().open(&aad, &old).unwrap(), b"x");
    }
    house.store(house.keys.destroy(A, 1).unwrap());
    assert!(matches!(house.keys.seal_key_at(A, "audit", 1), Err(KeyError::UnknownEpoch)));
    assert_eq!(house.keys.seal_key(A, "audit").unwrap().open(&aad, &elsewhere).unwrap(), b"y");
}

#[test]
fn a_key_that_was_destroyed_opens_from_no_copy_of_what_wrapped_it() {
    let house = house();
    let before = house.stored.wrapped(A).unwrap();
    house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
    let rewrapped = house.stored.wrapped(A).unwrap();
    house.rotate();
    assert_eq!(house.own_keys(), 3);
    assert!(matches!(house.keys.destroy(A, 1), Err(KeyError::Set(KeySetError::InUse))));
    assert_eq!(house.own_keys(), 3, "what is in use is not touched");
    house.reseal();
    house.store(house.keys.destroy(A, 1).unwrap());
    assert_eq!(house.own_keys(), 1);
    assert!(house.keys.field(A, TYPE, FIELD).is_ok());
    for copy in [before, rewrapped] {
        house.stored.keys.lock().insert(A, copy);
        house.keys.forget(A);
        assert!(matches!(house.keys.field(A, TYPE, FIELD), Err(KeyError::Kms(KmsError::Destroyed))));
    }
}

#[test]
fn destroying_that_was_cut_off_is_done_again() {
    let house = house();
    house.rotate();
    house.reseal();
    let set = house.keys.set(A).unwrap();
    house.keys.kms().destroy_own(set.own_keys().next().unwrap().1).unwrap();
    // Not stored yet: what is in use is served.
    assert!(house.keys.field(A, TYPE, FIELD).is_ok());
    assert!(matches!(house.keys.seal_key_at(A, "audit", 1), Err(KeyError::Kms(KmsError::Destroyed))));
    house.store(house.keys.destroy(A, 1).unwrap());
    assert!(house.keys.set(A).unwrap().generations()[0].is_destroyed());
}

/// Cut off after each of the own keys, before what is left was stored.
#[test]
fn keys_are_wrapped_again_after_destroying_was_cut_off() {
    for destroyed in 1..=3 {
        let house = house();
        let tag = |house: &House| house.keys.field(A, TYPE, FIELD).unwrap().tag.tag(b"value");
        house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
        house.rotate();
        house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
        house.reseal();
        let (set, before) = (house.keys.set(A).unwrap(), tag(&house));
        let of_first: Vec<_> = set.own_keys().filter(|(epoch, _)| *epoch == 1).map(|(_, own)| own.clone()).collect();
        assert_eq!(of_first.len(), 3);
        of_first[..destroyed].iter().for_each(|own| house.keys.kms().destroy_own(own).unwrap());
        house.keys.forget(A);
        house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
        house.store(house.keys.rewrap_by(None, &SystemEntropy, A).unwrap());
        assert_eq!(tag(&house), before);
        house.rotate();
        house.reseal();
        // Done again, nothing of it is left.
        house.store(house.keys.destroy(A, 1).unwrap());
        let set = house.keys.set(A).unwrap();
        assert!(set.generations()[0].is_destroyed());
        assert_eq!(house.own_keys(), set.own_keys().count());
        house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
    }
}

/// What is in use and does not open is not passed over.
#[test]
fn a_key_in_use_that_is_destroyed_is_not_wrapped_again_in_silence() {
    let house = house();
    house.rotate();
    let set = house.keys.set(A).unwrap();
    house.keys.kms().destroy_own(set.own_keys().next().unwrap().1).unwrap();
    assert!(matches!(house.keys.rewrap(&SystemEntropy, A), Err(KeyError::Kms(KmsError::Destroyed))));
}

#[test]
fn a_rewrap_changes_no_key_and_a_rotation_keeps_all_of_them() {
    let house = house();
    house.rotate();
    let tags = |house: &House| -> Vec<_> {
        house.keys.fields(A, TYPE, FIELD).unwrap().iter().map(|keys| keys.tag.tag(b"value")).collect()
    };
    let before = tags(&house);
    house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
    assert_eq!(tags(&house), before);
    house.rotate();
    assert_eq!(tags(&house)[1..], before);
    assert!(house.keys.kms().is_current(&house.stored.wrapped(A).unwrap()).unwrap());
    house.kms.rotate(&SystemEntropy).unwrap();
    assert!(!house.keys.kms().is_current(&house.stored.wrapped(A).unwrap()).unwrap());
    house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
    assert!(house.keys.kms().is_current(&house.stored.wrapped(A).unwrap()).unwrap());
}

#[test]
fn a_key_of_an_older_form_gets_its_own_with_the_next_rewrap() {
    let house = house();
    let key = SecretKey::generate(&SystemEntropy);
    let old = house.kms.wrap(&SystemEntropy, &tenant_key_aad(A), &key).unwrap();
    house.store(old);
    let tag = house.keys.field(A, TYPE, FIELD).unwrap().tag.tag(b"value");
    house.store(house.keys.rewrap(&SystemEntropy, A).unwrap());
    assert_eq!(house.keys.field(A, TYPE, FIELD).unwrap().tag.tag(b"value"), tag);
    assert_eq!(house.keys.set(A).unwrap().own_keys().count(), 1);
}

#[test]
fn only_the_keys_that_are_needed_are_unwrapped() {
    let (keys, stored) = keys_of(&[A], 100);
    for _ in 0..3 {
        let rotated = keys.rotate(&SystemEntropy, A).unwrap();
        stored.keys.lock().insert(A, rotated.into());
    }
    let set = keys.set(A).unwrap();
    // The oldest doesn't unwrap, and nothing needs it.
    let damaged = set.resealed(3).encode();
    let wrapped = KeySet::decode(&damaged).unwrap().generations()[0].wrapped.clone();
    let place = damaged.windows(wrapped.len()).position(|window| window == wrapped).unwrap();
    let mut changed = damaged.clone();
    changed[place + 20] ^= 1;
    stored.keys.lock().insert(A, changed.into());
    keys.forget(A);
    assert!(keys.field(A, TYPE, FIELD).is_ok() && keys.is_open(A));
    assert!(keys.seal_key(A, "audit").is_ok());
    assert!(matches!(keys.seal_key_at(A, "audit", 1), Err(KeyError::Kms(KmsError::NotAuthentic))));
    assert!(keys.seal_key_at(A, "audit", 2).is_ok());
}
