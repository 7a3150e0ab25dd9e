//! What arrives, and how little is sent.

use std::sync::atomic::{AtomicBool, Ordering};

use countersign_keys::WrappedKeys;
use countersign_model::facts::ExternalId;
use countersign_model::{SessionId, UserId};
use parking_lot::Mutex;

use super::*;
use crate::{Gathering, Index, Message, NotPrepared};

#[test]
fn a_first_snapshot_brings_all_facts_and_only_a_key_service_gets_keys() {
    let mut world = World::new();
    revoke(&mut world.facts, 1, 77);
    let snapshot = world.publish();
    for service in [Service::Gateway, Service::Keys, Service::Store] {
        let place = world.service(service);
        assert!(!place.facts.is_fresh(world.clock.now()));
        let applied = place.follow(&snapshot).unwrap();
        assert!(applied.compiled && applied.epoch == 1 && applied.rewrapped.is_empty());
        let state = place.facts.load();
        assert_same_facts(&state.facts, &world.facts);
        assert!(state.policies.roles().contains("reader"));
        assert!(place.facts.is_fresh(world.clock.now()));
        let tenants = place.follower.wrapped().load().len();
        assert_eq!(tenants, if service == Service::Keys { 3 } else { 0 });
        let directory = place.follower.directory().borrow().clone();
        assert_eq!(
            directory.of(Service::Store).map(|entry| entry.address.as_str()).collect::<Vec<_>>(),
            ["127.0.0.1:7003"]
        );
        assert!(directory.is_removed("spiffe://example.test/gateway/0"));
    }
}

#[test]
fn a_revocation_is_sent_as_one_small_part_and_compiles_nothing() {
    let mut world = World::new();
    let place = world.service(Service::Store);
    place.follow(&world.publish()).unwrap();
    let before = place.facts.load();
    let snapshot = world.change(|facts| revoke(facts, 2, 0xabcd));
    let update = place.update(&snapshot);
    assert_eq!(kinds(&update), ["revocations"]);
    assert!(update.parts[0].bytes.len() < 64, "{} bytes", update.parts[0].bytes.len());
    let applied = place.follower.apply(&update).unwrap();
    assert!(!applied.compiled && applied.parts == 1 && applied.epoch == 2);
    let after = place.facts.load();
    assert_same_facts(&after.facts, &world.facts);
    assert!(Arc::ptr_eq(&before.facts.users, &after.facts.users));
    assert!(Arc::ptr_eq(&before.policies, &after.policies));
    // One that is past its end goes, as one part less.
    let snapshot = world.change(|facts| Arc::make_mut(&mut facts.revocations).tokens.clear());
    let update = place.update(&snapshot);
    assert!(update.parts.is_empty() && update.index.is_some());
    place.follower.apply(&update).unwrap();
    assert!(place.facts.load().facts.revocations.tokens.is_empty());
}

#[test]
fn every_kind_of_revocation_arrives_and_goes() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    for number in 0..600u128 {
        let snapshot = world.change(|facts| {
            let revocations = Arc::make_mut(&mut facts.revocations);
            let tenant = tenant_id((number % 3) as u8);
            match number % 3 {
                0 => drop(revocations.tokens.insert((tenant, TokenId::from_u128(number)), NOW)),
                1 => drop(revocations.sessions.insert((tenant, SessionId::from_u128(number)), NOW.plus_ms(1))),
                _ => drop(revocations.users.insert(UserId::from_u128(number), NOW.plus_ms(2))),
            }
            if number % 7 == 0 {
                revocations.tokens.retain(|(_, id), _| id.as_u128() + 100 > number);
                revocations.sessions.retain(|(_, id), _| id.as_u128() + 50 > number);
            }
        });
        place.follow(&snapshot).unwrap();
        assert_eq!(place.facts.load().facts.revocations, world.facts.revocations);
    }
}

#[test]
fn a_user_change_is_sent_as_its_bucket_and_keeps_the_others_in_place() {
    let mut world = World::new();
    // Two of the same bucket.
    let tenant = tenant_id(1);
    put(&mut world.facts, 0x100_0042, user(tenant, "anna"));
    put(&mut world.facts, 0x200_0042, user(tenant, "bert"));
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let before = place.facts.load();
    let snapshot = world.change(|facts| put(facts, 0x100_0042, User { roles: Vec::new(), ..user(tenant, "anna") }));
    assert_eq!(kinds(&place.update(&snapshot)), ["users"]);
    place.follow(&snapshot).unwrap();
    let after = place.facts.load();
    assert_same_facts(&after.facts, &world.facts);
    // INVARIANT one address per state of a user: guards keep plans by it.
    let at = |state: &countersign_guard::State, number| Arc::clone(&state.facts.users[&user_id(number)]);
    assert!(Arc::ptr_eq(&at(&before, 0x200_0042), &at(&after, 0x200_0042)));
    assert!(!Arc::ptr_eq(&at(&before, 0x100_0042), &at(&after, 0x100_0042)));
    assert!(Arc::ptr_eq(&before.facts.user_names, &after.facts.user_names));
}

#[test]
fn users_come_go_and_take_over_names() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let tenant = tenant_id(1);
    let steps: [&dyn Fn(&mut Facts); 3] = [
        &|facts| put(facts, 0x7_0001, user(tenant, "new")),
        &|facts| {
            Arc::make_mut(&mut facts.users).remove(&user_id(0x7_0001));
            Arc::make_mut(&mut facts.user_names).remove(&(tenant, name("new")));
        },
        // Two users of one bucket exchange their names.
        &|facts| {
            put(facts, 0x8_0001, user(tenant, "one"));
            put(facts, 0x9_0001, user(tenant, "two"));
        },
    ];
    for step in steps {
        let snapshot = world.change(step);
        place.follow(&snapshot).unwrap();
        assert_same_facts(&place.facts.load().facts, &world.facts);
    }
    let snapshot = world.change(|facts| {
        put(facts, 0x8_0001, user(tenant, "two"));
        put(facts, 0x9_0001, user(tenant, "one"));
    });
    place.follow(&snapshot).unwrap();
    assert_same_facts(&place.facts.load().facts, &world.facts);
}

#[test]
fn names_change_hands_across_buckets_in_one_step() {
    let mut world = World::new();
    let tenant = tenant_id(1);
    put(&mut world.facts, 0x1_0001, user(tenant, "one"));
    put(&mut world.facts, 0x1_0002, user(tenant, "two"));
    world.facts.user_names =
        Arc::new(world.facts.users.iter().map(|(id, user)| ((user.tenant, user.name.clone()), *id)).collect());
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let snapshot = world.change(|facts| {
        put(facts, 0x1_0001, user(tenant, "two"));
        put(facts, 0x1_0002, user(tenant, "one"));
    });
    place.follow(&snapshot).unwrap();
    assert_same_facts(&place.facts.load().facts, &world.facts);
}

#[test]
fn what_only_the_authority_needs_stays_there() {
    let mut world = World::new();
    let external = ExternalId { issuer: "https://idp.test".into(), subject: "canary-subject".into() };
    let kept = user(tenant_id(1), "anna");
    let whole = User { ssh_keys: vec!["ssh-ed25519 canary-key".into()], external: Some(external), ..kept.clone() };
    put(&mut world.facts, 1, whole);
    let snapshot = world.publish();
    let update = snapshot.update_since(&Index::default(), Service::Keys);
    let holds = |part: &Part| part.bytes.windows(6).any(|window| window == b"canary");
    assert!(!update.parts.iter().any(holds));
    let place = world.service(Service::Keys);
    place.follow(&snapshot).unwrap();
    assert!(*place.facts.load().facts.users[&user_id(1)] == kept);
}

#[test]
fn policies_are_compiled_when_they_change_and_only_then() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let snapshot = world.change(|facts| {
        let text = POLICY.replace("reader", "auditor");
        facts.policies = Arc::new(vec![PolicyFile { name: "auditor.cedar".into(), text }]);
        facts.policy_epoch = facts.epoch + 1;
    });
    assert_eq!(kinds(&place.update(&snapshot)), ["policies"]);
    assert!(place.follow(&snapshot).unwrap().compiled);
    let state = place.facts.load();
    assert!(state.policies.roles().contains("auditor") && !state.policies.roles().contains("reader"));
    assert_eq!(state.facts.policy_epoch, 2);
}

#[test]
fn a_heartbeat_is_a_manifest_alone_and_keeps_the_state_fresh() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let before = place.facts.load();
    world.clock.advance_ms(MAX_AGE_MS);
    assert!(place.facts.is_fresh(world.clock.now()));
    world.clock.advance_ms(1);
    assert!(!place.facts.is_fresh(world.clock.now()));
    let snapshot = world.publisher.renew().unwrap();
    let update = place.update(&snapshot);
    assert!(update.parts.is_empty() && update.index.is_none());
    assert!(update.len_bytes() < 600, "{} bytes", update.len_bytes());
    place.follower.apply(&update).unwrap();
    assert!(place.facts.is_fresh(world.clock.now()));
    assert!(Arc::ptr_eq(&before, &place.facts.load()));
    // The very same once more, as after a reconnection, changes nothing and is no error.
    assert_eq!(place.follower.apply(&update).unwrap().parts, 0);
}

#[test]
fn a_clock_that_is_a_little_ahead_makes_nothing_good_for_longer() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    let snapshot = world.publish();
    let behind = ManualClock::at(UnixMs(world.clock.now().0 - 4_000));
    let behind = World { clock: Arc::new(behind), ..World::new() };
    let late = behind.service(Service::Gateway);
    late.follow(&snapshot).unwrap();
    assert_eq!(late.facts.last_heard(), Some(behind.clock.now()));
    place.follow(&snapshot).unwrap();
    assert_eq!(place.facts.last_heard(), Some(snapshot.issued()));
}

#[test]
fn a_service_that_was_away_gets_what_it_missed_and_no_more() {
    let mut world = World::new();
    let place = world.service(Service::Store);
    place.follow(&world.publish()).unwrap();
    for token in 0..20 {
        world.change(|facts| revoke(facts, 1, token));
    }
    let snapshot = world.change(|facts| put(facts, 5, user(tenant_id(1), "eve")));
    // An authority that was started anew makes the same parts.
    let again = Publisher::new(deployment(), key(1), Arc::clone(&world.clock) as Arc<dyn Clock>);
    let rebuilt = again.publish(&world.sources).unwrap();
    assert_eq!(rebuilt.index(), snapshot.index());
    let update = place.update(&rebuilt);
    let sent = kinds(&update);
    assert_eq!(sent.iter().filter(|kind| **kind == "revocations").count(), 20);
    assert_eq!(sent.iter().filter(|kind| **kind == "users").count(), 1);
    assert_eq!(sent.len(), 21);
    place.follower.apply(&update).unwrap();
    assert_same_facts(&place.facts.load().facts, &world.facts);
}

#[test]
fn a_key_service_learns_whose_key_to_forget() {
    let mut world = World::new();
    let place = world.service(Service::Keys);
    place.follow(&world.publish()).unwrap();
    let keys = place.follower.wrapped();
    let old = keys.wrapped(tenant_id(2)).unwrap();
    let known = Arc::make_mut(&mut world.sources.wrapped);
    known.insert(tenant_id(2), vec![7; 65].into());
    // Another wrapping of the same key is no change of facts: the epoch stays.
    let snapshot = world.publish();
    assert_eq!(kinds(&place.update(&snapshot)), ["wrapped keys"]);
    let applied = place.follow(&snapshot).unwrap();
    assert_eq!((applied.epoch, applied.rewrapped), (1, vec![tenant_id(2)]));
    assert_ne!(keys.wrapped(tenant_id(2)).unwrap(), old);
    assert!(keys.wrapped(tenant_id(9)).is_none());
    // A gateway is not even told.
    let gateway = world.service(Service::Gateway);
    assert!(!kinds(&gateway.update(&snapshot)).contains(&"wrapped keys"));
}

#[test]
fn token_keys_and_the_directory_change_without_an_epoch() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    let mut directory = place.follower.directory();
    directory.mark_unchanged();
    world.sources.token_keys.push(public(&key(10)));
    let snapshot = world.publish();
    assert_eq!(kinds(&place.update(&snapshot)), ["token keys"]);
    place.follow(&snapshot).unwrap();
    assert!(!directory.has_changed().unwrap());
    let now = Arc::make_mut(&mut world.sources.directory);
    now.removed.insert("spiffe://example.test/store/1".into());
    now.services.retain(|entry| entry.service != Service::Store);
    let snapshot = world.publish();
    assert_eq!(kinds(&place.update(&snapshot)), ["services", "removed services"]);
    place.follow(&snapshot).unwrap();
    assert!(directory.has_changed().unwrap());
    let seen = directory.borrow_and_update().clone();
    assert!(seen.is_removed("spiffe://example.test/store/1") && seen.of(Service::Store).next().is_none());
    assert_eq!(seen.of(Service::Keys).count(), 1);
}

#[test]
fn a_large_snapshot_comes_in_messages() {
    let mut world = World::new();
    let long = "x".repeat(300_000);
    for number in 0..10 {
        let attributes = [(name("region"), Value::Text(long.clone()))].into();
        put(&mut world.facts, number, User { attributes, ..user(tenant_id(1), &format!("v{number}")) });
    }
    let place = world.service(Service::Gateway);
    let messages = world.publish().messages_since(&Index::default(), Service::Gateway);
    assert!(messages.len() > 5, "{}", messages.len());
    let mut gathering = Gathering::default();
    let mut updates = Vec::new();
    for message in &messages {
        updates.extend(gathering.add(message.clone()).unwrap());
    }
    let [update] = updates.as_slice() else { panic!("one update") };
    place.follower.apply(update).unwrap();
    assert_same_facts(&place.facts.load().facts, &world.facts);
    // Out of order.
    let begins_late = Gathering::default().add(messages[1].clone());
    assert_eq!(begins_late.unwrap_err(), ApplyError::Messages);
    let mut twice = Gathering::default();
    assert!(twice.add(messages[0].clone()).unwrap().is_none());
    assert_eq!(twice.add(messages[0].clone()).unwrap_err(), ApplyError::Messages);
    let mut with_index = Gathering::default();
    with_index.add(messages[0].clone()).unwrap();
    let message = Message { index: messages[0].index.clone(), ..messages[1].clone() };
    assert_eq!(with_index.add(message).unwrap_err(), ApplyError::Messages);
}

#[test]
fn a_key_wrapped_anew_is_no_news_to_a_gateway_and_no_reason_to_refuse() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    place.follow(&world.publish()).unwrap();
    Arc::make_mut(&mut world.sources.wrapped).insert(tenant_id(2), vec![7; 65].into());
    let update = place.update(&world.publish());
    assert!(update.parts.is_empty() && update.index.is_some());
    place.follower.apply(&update).unwrap();
    // From then on it is as up to date as anybody.
    let update = place.update(&world.publish());
    assert!(update.parts.is_empty() && update.index.is_none());
    place.follower.apply(&update).unwrap();
}

#[test]
fn new_record_types_are_in_force_only_where_the_service_could_take_them() {
    let mut world = World::new();
    let (taken, full) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let prepare: Prepare = Box::new({
        let (taken, full) = (Arc::clone(&taken), Arc::clone(&full));
        move |types| {
            if full.load(Ordering::SeqCst) {
                return Err(NotPrepared);
            }
            taken.lock().push(types.types.len());
            Ok(())
        }
    });
    let place = world.preparing(Service::Store, deployment(), Some(prepare));
    let snapshot = world.publish();
    assert_eq!(place.follow(&snapshot).unwrap_err(), ApplyError::NotPrepared(NotPrepared));
    assert!(place.epoch() == 0 && !place.facts.is_fresh(world.clock.now()));
    full.store(false, Ordering::SeqCst);
    place.follow(&snapshot).unwrap();
    // Other changes don't concern it.
    place.follow(&world.change(|facts| revoke(facts, 1, 1))).unwrap();
    place.follow(&world.publisher.renew().unwrap()).unwrap();
    let snapshot = world.change(|facts| {
        let types = Arc::make_mut(&mut facts.types);
        let again = types.types[0].clone();
        types.types.push(countersign_model::RecordType { name: name("invoice"), ..again });
        facts.policy_epoch = facts.epoch + 1;
    });
    full.store(true, Ordering::SeqCst);
    assert_eq!(place.follow(&snapshot).unwrap_err(), ApplyError::NotPrepared(NotPrepared));
    assert_eq!(place.facts.load().facts.types.types.len(), 1);
    full.store(false, Ordering::SeqCst);
    place.follow(&snapshot).unwrap();
    assert_eq!(*taken.lock(), [1, 2]);
    assert_eq!(place.facts.load().facts.types.types.len(), 2);
}
