//! What services that run apart are told: at once, signed with keys that they can follow, and by whom they are reached.

use countersign_crypto::jws::VerifyingKeys;
use countersign_facts::{Follower, FollowerParts, PartKind, ServiceEntry, nothing_known};
use countersign_guard::FactsCell;
use countersign_keys::WrappedKeys;
use countersign_model::control::Revoke;
use countersign_token::Verifier;

use super::*;
use crate::Snapshots;
use crate::snapshots::FACTS_KEY_MS;

/// A key service elsewhere.
struct Elsewhere {
    facts: Arc<FactsCell>,
    verifier: Arc<Verifier>,
    follower: Follower,
}

impl Elsewhere {
    fn of(house: &House, snapshots: &Snapshots) -> Self {
        let facts = Arc::new(FactsCell::following(nothing_known().unwrap(), 30_000));
        let verifier = Arc::new(Verifier::new(HERE, HERE, VerifyingKeys::new(Vec::new()).unwrap(), 10));
        let follower = Follower::new(FollowerParts {
            deployment: countersign_facts::Deployment {
                issuer: HERE.into(),
                trust_domain: house.registry.trust_domain().as_ref().to_owned(),
            },
            service: Service::Keys,
            keys: snapshots.keys(),
            facts: Arc::clone(&facts),
            verifier: Arc::clone(&verifier),
            clock: Arc::clone(&house.clock) as Arc<dyn Clock>,
            prepare: None,
        });
        Self { facts, verifier, follower }
    }

    fn follow(&self, snapshots: &Snapshots) -> Result<(), countersign_facts::ApplyError> {
        let newest = Arc::clone(&snapshots.newest().borrow());
        self.follower.apply(&newest.update_since(&self.follower.index(), Service::Keys)).map(|_| ())
    }
}

fn store_at(port: u16) -> ServiceEntry {
    let id = "spiffe://countersign/store/one".to_owned();
    ServiceEntry { id, service: Service::Store, address: format!("127.0.0.1:{port}") }
}

async fn open(house: &House) -> Arc<Snapshots> {
    Snapshots::open(Arc::clone(&house.registry), HERE.into()).await.unwrap()
}

#[tokio::test]
async fn a_service_elsewhere_knows_what_the_authority_knows() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let snapshots = open(&house).await;
    let elsewhere = Elsewhere::of(&house, &snapshots);
    elsewhere.follow(&snapshots).unwrap();
    let (here, there) = (house.registry.latest(), elsewhere.facts.load());
    assert_eq!(here.facts.epoch, there.facts.epoch);
    assert_eq!(here.facts.users.len(), there.facts.users.len());
    let verified = elsewhere.verifier.verify(&token, house.now()).unwrap();
    // The key service finds the keys of tenants in the snapshot.
    let tenant = verified.tenant();
    assert_eq!(elsewhere.follower.wrapped().wrapped(tenant), house.registry.wrapped_keys().get(&tenant).cloned());
    assert!(elsewhere.follower.wrapped().wrapped(tenant).is_some());
}

#[tokio::test]
async fn changes_are_told_at_once_and_renewals_in_between() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let snapshots = open(&house).await;
    let elsewhere = Elsewhere::of(&house, &snapshots);
    elsewhere.follow(&snapshots).unwrap();
    let running = tokio::spawn(Arc::clone(&snapshots).run(|error| panic!("{error}")));
    let mut newest = snapshots.newest();
    let verified = elsewhere.verifier.verify(&token, house.now()).unwrap();
    let began = std::time::Instant::now();
    house.ask(&token, Control::Revoke(Revoke::Token(verified.token()))).await.unwrap();
    let told = newest.wait_for(|snapshot| snapshot.epoch() == house.registry.latest().facts.epoch).await;
    drop(told.unwrap());
    assert!(began.elapsed() < crate::RENEW, "only by the next renewal");
    elsewhere.follow(&snapshots).unwrap();
    assert!(verified.revoked_by(&elsewhere.facts.load().facts.revocations));
    // A new signing key is told although decisions don't depend on it, and before anything is signed with it.
    house.clock.advance_ms(crate::signing::ROTATION_MS);
    house.operator_token().await;
    let mut told = false;
    while !told {
        newest.changed().await.unwrap();
        let snapshot = Arc::clone(&newest.borrow_and_update());
        let update = snapshot.update_since(&elsewhere.follower.index(), Service::Keys);
        told = update.parts.iter().any(|part| part.id.kind() == PartKind::TokenKeys);
        elsewhere.follower.apply(&update).unwrap();
    }
    house.clock.advance_ms(crate::signing::SETTLE_MS);
    let token = house.operator_token().await;
    elsewhere.verifier.verify(&token, house.now()).unwrap();
    // A service comes, comes again before it was missed, and goes.
    let addresses = || -> Vec<String> {
        let directory = elsewhere.follower.directory().borrow().clone();
        directory.of(Service::Store).map(|entry| entry.address.clone()).collect()
    };
    let mut until = async |wanted: &[&str]| {
        while addresses() != wanted {
            newest.changed().await.unwrap();
            elsewhere.follow(&snapshots).unwrap();
        }
    };
    let first = snapshots.present(store_at(1));
    until(&["127.0.0.1:1"]).await;
    let second = snapshots.present(store_at(2));
    until(&["127.0.0.1:2"]).await;
    drop(first);
    tokio::task::yield_now().await;
    assert_eq!(addresses(), ["127.0.0.1:2"]);
    drop(second);
    until(&[]).await;
    running.abort();
}

#[tokio::test]
async fn the_key_changes_daily_and_who_follows_knows_the_next_one() {
    let house = House::empty().await;
    let snapshots = open(&house).await;
    let (follows, away) = (Elsewhere::of(&house, &snapshots), Elsewhere::of(&house, &snapshots));
    let first = snapshots.keys();
    assert_eq!(first.len(), 2);
    for _ in 0..3 {
        follows.follow(&snapshots).unwrap();
        house.clock.advance_ms(FACTS_KEY_MS);
        Arc::clone(&snapshots).publish().await.unwrap();
    }
    follows.follow(&snapshots).unwrap();
    assert!(snapshots.keys().iter().all(|key| !first.contains(key)));
    assert_eq!(follows.follower.trusted(), snapshots.keys());
    // Who was away for days has to be told by other means.
    away.follow(&snapshots).unwrap_err();
    away.follower.trust(snapshots.keys());
    away.follow(&snapshots).unwrap();
}

#[tokio::test]
async fn an_authority_that_was_started_anew_goes_on_with_the_same_keys() {
    let house = House::empty().await;
    let snapshots = open(&house).await;
    let elsewhere = Elsewhere::of(&house, &snapshots);
    elsewhere.follow(&snapshots).unwrap();
    let before = snapshots.keys();
    drop(snapshots);
    let house = house.reopened().await;
    house.clock.advance_ms(10);
    let snapshots = open(&house).await;
    assert_eq!(snapshots.keys(), before);
    elsewhere.follow(&snapshots).unwrap();
}

#[tokio::test]
async fn a_removed_service_is_not_in_the_directory_though_it_is_still_there() {
    let house = House::new().await;
    let snapshots = open(&house).await;
    let elsewhere = Elsewhere::of(&house, &snapshots);
    let _present = snapshots.present(store_at(1));
    let mut change = house.registry.begin().await;
    let service = crate::identity::fact::ServiceFact {
        role: "store".into(),
        instance: "one".into(),
        joined: house.now(),
        by: "join token".into(),
        removed: Some(house.now()),
    };
    let place = service.place();
    change.write(
        crate::registry::fact::Write::put(
            crate::registry::fact::Kind::Service,
            &crate::identity::fact::service_key(&place),
            &service,
        )
        .unwrap(),
    );
    change.roster_mut().services.insert(place, service);
    change.tell_everybody();
    change.commit().await.unwrap();
    Arc::clone(&snapshots).publish().await.unwrap();
    elsewhere.follow(&snapshots).unwrap();
    let directory = elsewhere.follower.directory().borrow().clone();
    assert!(directory.is_removed("spiffe://countersign/store/one"));
    assert_eq!(directory.of(Service::Store).count(), 0);
}
