//! Everything that is not exactly what the authority made is refused, and what was in force stays.

use bytes::Bytes;
use countersign_crypto::jws::JwsError;
use countersign_crypto::sha256;
use serde_json::{Value as Json, json};

use super::*;
use crate::{FUTURE_MAX_MS, Index, MANIFEST_TYPE, PART_BYTES_MAX, PartId, PartKind};

/// A gateway that has taken a first snapshot, and an update for it that brings every kind of change.
fn before_a_change() -> (World, Place, Update) {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let snapshot = world.change(|facts| {
        revoke(facts, 1, 1);
        revoke(facts, 1, 2);
        put(facts, 1, user(tenant_id(1), "anna"));
        put(facts, 2, user(tenant_id(1), "bert"));
        Arc::make_mut(&mut facts.policies)[0].text.push('\n');
        facts.policy_epoch = facts.epoch.saturating_add(1);
    });
    let update = place.update(&snapshot);
    (world, place, update)
}

/// The update is refused so, and nothing changed; without the damage it is taken.
#[track_caller]
fn refused(damage: impl FnOnce(&mut Update), expected: ApplyError) {
    let (world, place, update) = before_a_change();
    let mut damaged = update.clone();
    damage(&mut damaged);
    let (state, index) = (place.facts.load(), place.follower.index());
    assert_eq!(place.follower.apply(&damaged).unwrap_err(), expected);
    assert!(Arc::ptr_eq(&state, &place.facts.load()), "the state changed");
    assert_eq!(place.follower.index(), index);
    place.follower.apply(&update).unwrap();
    assert_same_facts(&place.facts.load().facts, &world.facts);
}

fn position(update: &Update, kind: PartKind) -> usize {
    update.parts.iter().position(|part| part.id.kind() == kind).unwrap()
}

fn with_bytes(part: &mut Part, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = part.bytes.to_vec();
    change(&mut bytes);
    part.bytes = bytes.into();
}

#[test]
fn a_changed_bit_in_any_part() {
    let (_, _, update) = before_a_change();
    assert_eq!(kinds(&update), ["policies", "users", "users", "revocations", "revocations"]);
    for at in 0..update.parts.len() {
        let kind = update.parts[at].id.kind();
        refused(|update| with_bytes(&mut update.parts[at], |bytes| bytes[5] ^= 1), ApplyError::Altered(kind));
        refused(
            |update| with_bytes(&mut update.parts[at], |bytes| bytes.truncate(bytes.len() - 1)),
            ApplyError::Altered(kind),
        );
        refused(|update| with_bytes(&mut update.parts[at], |bytes| bytes.push(0)), ApplyError::Altered(kind));
        refused(|update| with_bytes(&mut update.parts[at], Vec::clear), ApplyError::Altered(kind));
    }
}

#[test]
fn swapped_parts() {
    let swap = |update: &mut Update| {
        let at = position(update, PartKind::Users);
        let bytes = update.parts[at].bytes.clone();
        update.parts[at].bytes = update.parts[at + 1].bytes.clone();
        update.parts[at + 1].bytes = bytes;
    };
    refused(swap, ApplyError::Altered(PartKind::Users));
    let across = |update: &mut Update| {
        let (users, revocations) = (position(update, PartKind::Users), position(update, PartKind::Revocations));
        update.parts[revocations].bytes = update.parts[users].bytes.clone();
    };
    refused(across, ApplyError::Altered(PartKind::Revocations));
}

#[test]
fn a_missing_part() {
    for kind in [PartKind::Policies, PartKind::Users, PartKind::Revocations] {
        refused(|update| drop(update.parts.remove(position(update, kind))), ApplyError::Missing(kind));
    }
    refused(|update| update.parts.clear(), ApplyError::Missing(PartKind::Policies));
}

#[test]
fn a_part_that_does_not_belong_there() {
    let bucket = PartId::from_number(0x04ee).unwrap();
    let part = Part { id: bucket, bytes: Bytes::from_static(b"\x01\x00") };
    refused(|update| update.parts.push(part), ApplyError::Unasked(PartKind::Users));
    refused(|update| update.parts.push(update.parts[0].clone()), ApplyError::Unasked(PartKind::Policies));
    // A tenant's wrapped key, true as it is, is not for a gateway.
    let (mut world, place, _) = before_a_change();
    let snapshot = world.publish();
    let update = snapshot.update_since(&Index::default(), Service::Keys);
    assert_eq!(place.follower.apply(&update).unwrap_err(), ApplyError::Unasked(PartKind::Wrapped));
}

#[test]
fn a_part_too_many_of_those_in_force_does_no_harm() {
    let (mut world, place, _) = before_a_change();
    let snapshot = world.publish();
    let applied = place.follower.apply(&snapshot.update_since(&Index::default(), Service::Gateway)).unwrap();
    assert_eq!(applied.parts, 5, "only those that differ count");
}

#[test]
fn an_index_that_is_not_the_one_signed() {
    refused(|update| update.index = None, ApplyError::Index);
    refused(|update| update.index = Some(Bytes::new()), ApplyError::Index);
    refused(
        |update| {
            let mut bytes = update.index.clone().unwrap().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            update.index = Some(bytes.into());
        },
        ApplyError::Index,
    );
}

#[test]
fn a_manifest_that_was_touched() {
    let bad = |error| ApplyError::Signature(error);
    refused(|update| update.manifest.clear(), bad(JwsError::Malformed));
    refused(|update| update.manifest.truncate(update.manifest.len() - 1), bad(JwsError::Malformed));
    refused(
        |update| {
            let at = update.manifest.find('.').unwrap() + 5;
            let other = if update.manifest.as_bytes()[at] == b'A' { "B" } else { "A" };
            update.manifest.replace_range(at..=at, other);
        },
        bad(JwsError::BadSignature),
    );
    refused(|update| update.manifest = "x".repeat(9000), bad(JwsError::TooLong));
}

#[test]
fn an_old_manifest_again() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    let first = world.publish();
    place.follow(&first).unwrap();
    let revoked = world.change(|facts| revoke(facts, 1, 1));
    place.follow(&revoked).unwrap();
    // With all that belongs to it, as somebody who recorded the connection could send it after a reconnection.
    let old = first.update_since(&place.follower.index(), Service::Gateway);
    assert_eq!(place.follower.apply(&old).unwrap_err(), ApplyError::Replayed);
    let whole = first.update_since(&Index::default(), Service::Gateway);
    assert_eq!(place.follower.apply(&whole).unwrap_err(), ApplyError::Replayed);
    assert_eq!(place.epoch(), 2);
    assert_eq!(place.facts.load().facts.revocations.tokens.len(), 1);
    // Whoever has seen nothing takes it, but can't decide by it for longer than if it had come in time.
    world.clock.advance_ms(MAX_AGE_MS + 1);
    let fresh = world.service(Service::Gateway);
    fresh.follower.apply(&whole).unwrap();
    assert!(!fresh.facts.is_fresh(world.clock.now()));
}

#[test]
fn an_authority_that_went_back_to_an_earlier_epoch() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    place.follow(&world.change(|facts| revoke(facts, 1, 1))).unwrap();
    // As if the authority's database had been restored from an older copy: signed anew, and later.
    world.facts.epoch = 1;
    Arc::make_mut(&mut world.facts.revocations).tokens.clear();
    assert_eq!(place.follow(&world.publish()).unwrap_err(), ApplyError::Rollback);
    // The same epoch with other contents is no better.
    world.facts.epoch = 2;
    assert_eq!(place.follow(&world.publish()).unwrap_err(), ApplyError::SameEpoch);
    assert_eq!(place.facts.load().facts.revocations.tokens.len(), 1);
    // Policies that change without a policy epoch of their own would leave plans in force that were made of the old.
    world.facts.epoch = 3;
    Arc::make_mut(&mut world.facts.policies)[0].text.push('\n');
    assert_eq!(place.follow(&world.publish()).unwrap_err(), ApplyError::SameEpoch);
    world.facts.policy_epoch = 4;
    assert_eq!(place.follow(&world.publish()).unwrap_err(), ApplyError::Rollback);
    world.facts.policy_epoch = 3;
    place.follow(&world.publish()).unwrap();
    world.facts.epoch = 4;
    world.facts.policy_epoch = 2;
    assert_eq!(place.follow(&world.publish()).unwrap_err(), ApplyError::Rollback);
}

#[test]
fn a_manifest_from_the_future() {
    let world = World::new();
    let place = world.service(Service::Gateway);
    let ahead = Arc::new(ManualClock::at(world.clock.now().plus_ms(FUTURE_MAX_MS + 1)));
    let publisher = Publisher::new(deployment(), key(1), ahead as Arc<dyn Clock>);
    let snapshot = publisher.publish(&world.sources).unwrap();
    assert_eq!(place.follow(&snapshot).unwrap_err(), ApplyError::Future);
    world.clock.advance_ms(1);
    place.follow(&snapshot).unwrap();
}

/// A clock that can be put right.
struct Settable(std::sync::atomic::AtomicU64);

impl Clock for Settable {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[test]
fn an_authority_whose_clock_was_put_right_is_followed_again() {
    let world = World::new();
    let place = world.service(Service::Gateway);
    let now = world.clock.now();
    let clock = Arc::new(Settable(now.0.into()));
    let publisher = Publisher::new(deployment(), key(1), Arc::clone(&clock) as Arc<dyn Clock>);
    place.follow(&publisher.publish(&world.sources).unwrap()).unwrap();
    // A little back: each is still later than the one before.
    clock.0.store(now.0 - 1000, std::sync::atomic::Ordering::SeqCst);
    let renewed = publisher.renew().unwrap();
    assert_eq!(renewed.issued(), now.plus_ms(1));
    place.follow(&renewed).unwrap();
    clock.0.store(now.0 + 3_600_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(place.follow(&publisher.renew().unwrap()).unwrap_err(), ApplyError::Future);
    clock.0.store(now.0 + 10, std::sync::atomic::Ordering::SeqCst);
    place.follow(&publisher.renew().unwrap()).unwrap();
}

#[test]
fn another_deployments_snapshot() {
    let mut world = World::new();
    let snapshot = world.publish();
    let issuer = Deployment { issuer: "https://other".into(), ..deployment() };
    let trust_domain = Deployment { trust_domain: "other.test".into(), ..deployment() };
    for other in [issuer, trust_domain] {
        let place = world.service_of(Service::Gateway, other);
        assert_eq!(place.follow(&snapshot).unwrap_err(), ApplyError::OtherDeployment);
        assert_eq!(place.epoch(), 0);
    }
}

#[test]
fn another_key() {
    let world = World::new();
    let place = world.service(Service::Gateway);
    let publisher = Publisher::new(deployment(), key(2), Arc::clone(&world.clock) as Arc<dyn Clock>);
    let snapshot = publisher.publish(&world.sources).unwrap();
    assert_eq!(place.follow(&snapshot).unwrap_err(), ApplyError::Signature(JwsError::UnknownKey));
}

/// What an authority could sign if it were of another version, or broken. `parts` are those of a true snapshot.
fn signed(world: &World, typ: &str, change: impl FnOnce(&mut Json), parts: Vec<Part>) -> Update {
    let mut index = Index::default();
    for part in &parts {
        index.put(part.id, sha256(&part.bytes));
    }
    let index = index.encode();
    let mut claims = json!({
        "version": 2, "iss": "https://issuer", "trust_domain": "example.test", "epoch": 5, "policy_epoch": 5,
        "issued_ms": world.clock.now().0, "index": hex::encode(sha256(&index)),
    });
    change(&mut claims);
    Update { manifest: key(1).sign(typ, &claims).unwrap(), index: Some(index), parts }
}

fn true_parts(world: &mut World) -> Vec<Part> {
    world.publish().update_since(&Index::default(), Service::Gateway).parts
}

#[test]
fn what_another_version_would_sign() {
    let mut world = World::new();
    let parts = true_parts(&mut world);
    let try_one = |typ: &str, change: &dyn Fn(&mut Json)| {
        let place = world.service(Service::Gateway);
        place.follower.apply(&signed(&world, typ, change, parts.clone())).map(|_| ())
    };
    let claims = Err(ApplyError::Signature(JwsError::Claims));
    assert_eq!(try_one(MANIFEST_TYPE, &|_| ()), Ok(()));
    assert_eq!(try_one("at+jwt", &|_| ()), Err(ApplyError::Signature(JwsError::WrongType)));
    assert_eq!(try_one(MANIFEST_TYPE, &|claims| claims["version"] = json!(3)), Err(ApplyError::Version));
    assert_eq!(try_one(MANIFEST_TYPE, &|claims| claims["limit"] = json!(1)), claims);
    assert_eq!(try_one(MANIFEST_TYPE, &|claims| claims["epoch"] = json!(-1)), claims);
    assert_eq!(try_one(MANIFEST_TYPE, &|claims| claims["epoch"] = json!(1.5)), claims);
    assert_eq!(try_one(MANIFEST_TYPE, &|claims| drop(claims.as_object_mut().unwrap().remove("epoch"))), claims);
    assert_eq!(try_one(MANIFEST_TYPE, &|claims| claims["index"] = json!("00")), Err(ApplyError::Index));
}

#[test]
fn parts_that_are_signed_and_wrong() {
    let mut world = World::new();
    let parts = true_parts(&mut world);
    let replace = |kind: PartKind, bytes: Vec<u8>| {
        let mut parts = parts.clone();
        let part = parts.iter_mut().find(|part| part.id.kind() == kind).unwrap();
        part.bytes = bytes.into();
        parts
    };
    let place = world.service(Service::Gateway);
    let attempt = |parts: Vec<Part>| {
        let outcome = place.follower.apply(&signed(&world, MANIFEST_TYPE, |_| (), parts));
        assert!(outcome.is_ok() || place.epoch() == 0 && place.follower.index().is_empty());
        outcome.map(|applied| applied.epoch)
    };
    let elsewhere = [PartKind::Wrapped, PartKind::Contacts, PartKind::Revocations];
    for kind in PartKind::ALL.into_iter().filter(|kind| !elsewhere.contains(kind)) {
        let bytes = parts.iter().find(|part| part.id.kind() == kind).unwrap().bytes.to_vec();
        for cut in 0..bytes.len() {
            let outcome = attempt(replace(kind, bytes[..cut].to_vec()));
            assert_eq!(outcome, Err(ApplyError::Malformed(kind)), "{kind} cut to {cut} of {}", bytes.len());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(attempt(replace(kind, longer)), Err(ApplyError::Malformed(kind)));
        let mut version = bytes.clone();
        version[0] = 2;
        assert_eq!(attempt(replace(kind, version)), Err(ApplyError::Malformed(kind)));
        // A length that promises more than memory has.
        let lie = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01].to_vec();
        assert_eq!(attempt(replace(kind, lie)), Err(ApplyError::Malformed(kind)));
    }
    for kind in PartKind::ALL.into_iter().filter(|kind| !kind.is_split()) {
        let without = parts.iter().filter(|part| part.id.kind() != kind).cloned().collect();
        assert_eq!(attempt(without), Err(ApplyError::Missing(kind)));
    }
    let without_tenants = parts.iter().filter(|part| part.id.kind() != PartKind::Tenants).cloned().collect();
    assert_eq!(attempt(without_tenants), Err(ApplyError::Contradiction(PartKind::Users)));
    // The right bytes in another bucket.
    let mut moved = parts.clone();
    let part = moved.iter_mut().find(|part| part.id.kind() == PartKind::Users).unwrap();
    part.id = PartId::from_number(part.id.number() ^ 0x80).unwrap();
    assert_eq!(attempt(moved), Err(ApplyError::Malformed(PartKind::Users)));
    // An empty bucket doesn't exist.
    assert_eq!(attempt(replace(PartKind::Users, vec![1, 0])), Err(ApplyError::Malformed(PartKind::Users)));
    let mut too_long = vec![0; PART_BYTES_MAX + 1];
    too_long[0] = 1;
    assert_eq!(attempt(replace(PartKind::Policies, too_long)), Err(ApplyError::TooLarge));
    assert_eq!(attempt(parts.clone()), Ok(5));
}

#[test]
fn facts_that_contradict_each_other() {
    let attempt = |change: &dyn Fn(&mut Facts)| {
        let mut world = World::new();
        change(&mut world.facts);
        let snapshot = world.publish();
        world.service(Service::Gateway).follow(&snapshot).map(|applied| applied.epoch)
    };
    let contradiction = |kind| Err(ApplyError::Contradiction(kind));
    let (first, second) = (tenant_id(1), tenant_id(2));
    let twin = |facts: &mut Facts| put(facts, 0x7777, user(first, "u1"));
    assert_eq!(attempt(&twin), contradiction(PartKind::Users));
    let same_name = |facts: &mut Facts| {
        Arc::make_mut(&mut facts.tenants).get_mut(&second).unwrap().name = name("tenant1");
    };
    assert_eq!(attempt(&same_name), contradiction(PartKind::Tenants));
    let orphan = |facts: &mut Facts| put(facts, 0x7777, user(tenant_id(200), "zoe"));
    assert_eq!(attempt(&orphan), contradiction(PartKind::Users));
    let bad_policy = |facts: &mut Facts| Arc::make_mut(&mut facts.policies)[0].text = "permit (".into();
    assert_eq!(attempt(&bad_policy), Err(ApplyError::Policies));
    // A tenant that goes and leaves its users behind, later.
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let snapshot = world.change(|facts| drop(Arc::make_mut(&mut facts.tenants).remove(&second)));
    assert_eq!(place.follow(&snapshot).unwrap_err(), ApplyError::Contradiction(PartKind::Users));
    let snapshot = world.change(|facts| Arc::make_mut(&mut facts.users).retain(|_, user| user.tenant != second));
    place.follow(&snapshot).unwrap();
    assert_eq!(place.facts.load().facts.users.len(), 8);
}

#[test]
fn types_whose_ids_name_nothing_are_not_even_sent() {
    let mut world = World::new();
    let types = Arc::make_mut(&mut world.facts.types);
    types.types[0].key = FieldId(7);
    world.sources.facts = Arc::new(world.facts.clone());
    assert_eq!(world.publisher.publish(&world.sources).unwrap_err(), crate::PublishError::Invalid(PartKind::Types));
    // The next one is whole again.
    Arc::make_mut(&mut world.facts.types).types[0].key = FieldId(0);
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    assert_same_facts(&place.facts.load().facts, &world.facts);
}

#[test]
fn an_index_is_in_order_and_names_only_known_parts() {
    let entry = |number: u16| [number.to_be_bytes().as_slice(), &[7; 32]].concat();
    let index = |numbers: &[u16]| {
        let entries = numbers.iter().flat_map(|number| entry(*number));
        Index::decode(&std::iter::once(1).chain(entries).collect::<Vec<u8>>()).map(|index| index.len())
    };
    assert_eq!(index(&[]), Ok(0));
    assert_eq!(index(&[0x0100, 0x0300, 0x0301]), Ok(3));
    for bad in [&[0x0301, 0x0300][..], &[0x0300, 0x0300], &[0x0101], &[0x0b00], &[0x0000], &[0xffff]] {
        assert_eq!(index(bad), Err(ApplyError::Index), "{bad:?}");
    }
    assert_eq!(Index::decode(&[]), Err(ApplyError::Index));
    assert_eq!(Index::decode(&[2]), Err(ApplyError::Index));
    assert_eq!(Index::decode(&[1, 0]), Err(ApplyError::Index));
}
