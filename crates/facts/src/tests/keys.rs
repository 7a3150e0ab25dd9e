//! The key that signs snapshots, and its replacement.

use countersign_crypto::jws::JwsError;

use super::*;
use crate::PublishError;

fn untrusted() -> Result<Applied, ApplyError> {
    Err(ApplyError::Signature(JwsError::UnknownKey))
}

#[test]
fn a_key_is_replaced_by_the_one_it_announced_and_is_good_for_nothing_after_that() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    let away = world.service(Service::Store);
    place.follow(&world.publish()).unwrap();
    away.follow(&world.publish()).unwrap();
    world.publisher.announce(public(&key(2)));
    place.follow(&world.publish()).unwrap();
    assert_eq!(place.follower.trusted(), [public(&key(1)), public(&key(2))]);
    world.publisher.use_key(key(2));
    let snapshot = world.publish();
    place.follow(&snapshot).unwrap();
    assert_eq!(place.follower.trusted(), [public(&key(2))]);
    // Whoever has the old key now can't make anybody believe anything.
    world.publisher.use_key(key(1));
    assert_eq!(place.follow(&world.publish()), untrusted());
    // Whoever was away has to be told by other means.
    assert_eq!(away.follow(&snapshot), untrusted());
    away.follower.trust(vec![public(&key(2))]);
    away.follow(&snapshot).unwrap();
}

#[test]
fn a_key_that_was_announced_and_then_not_any_more_is_not_trusted() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    world.publisher.announce(public(&key(2)));
    place.follow(&world.publish()).unwrap();
    world.publisher.announce(public(&key(3)));
    place.follow(&world.publish()).unwrap();
    world.publisher.use_key(key(2));
    assert_eq!(place.follow(&world.publish()), untrusted());
    world.publisher.use_key(key(3));
    place.follow(&world.publish()).unwrap();
}

#[test]
fn an_announcement_counts_only_in_a_snapshot_that_was_taken() {
    let mut world = World::new();
    let place = world.service(Service::Gateway);
    let forger = Publisher::new(deployment(), key(2), Arc::clone(&world.clock) as Arc<dyn Clock>);
    forger.announce(public(&key(2)));
    assert_eq!(place.follow(&forger.publish(&world.sources).unwrap()), untrusted());
    assert_eq!(place.follower.trusted(), [public(&key(1))]);
    place.follow(&world.publish()).unwrap();
}

#[test]
fn there_is_nothing_to_renew_before_the_first() {
    assert_eq!(World::new().publisher.renew().unwrap_err(), PublishError::NothingYet);
}
