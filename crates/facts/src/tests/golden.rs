//! The forms as they are written down in `docs/formats.md`: whatever changes here needs another version.

use countersign_crypto::sha256;

use super::*;
use crate::{Index, PartKind};

/// Kind, bucket, bytes of each part.
const GOLDEN: &str = include_str!("golden.txt");

fn small() -> Sources {
    let mut facts = facts(1, 1);
    revoke(&mut facts, 1, 0x2a);
    let revocations = Arc::make_mut(&mut facts.revocations);
    revocations.sessions.insert((tenant_id(1), countersign_model::SessionId::from_u128(0x2b)), NOW);
    revocations.users.insert(user_id(0x2b), NOW);
    let attributes = [
        (name("a"), Value::Integer(-2)),
        (name("b"), Value::Boolean(true)),
        (name("c"), Value::Json(serde_json::json!({"x": [1, null]}))),
    ];
    let agent =
        User { kind: UserKind::Agent, attributes: attributes.into(), roles: vec![], ..user(tenant_id(1), "bot") };
    put(&mut facts, 0x2_0001, agent);
    sources(facts)
}

fn lines(snapshot: &Snapshot) -> String {
    let update = snapshot.update_since(&Index::default(), Service::Keys);
    let line = |part: &Part| format!("{:04x} {}\n", part.id.number(), hex::encode(&part.bytes));
    update.parts.iter().map(line).collect()
}

#[test]
fn the_form_is_the_one_written_down() {
    let world = World::new();
    let snapshot = world.publisher.publish(&small()).unwrap();
    let lines = lines(&snapshot);
    assert!(lines == GOLDEN, "another form:\n{lines}");
    let has = |kind: PartKind| lines.lines().any(|line| line.starts_with(&format!("{:02x}", kind as u8)));
    assert!(PartKind::ALL.into_iter().filter(|kind| kind.is_for(Service::Keys)).all(has));
}

#[test]
fn the_manifest_is_the_one_written_down() {
    let world = World::new();
    let snapshot = world.publisher.publish(&small()).unwrap();
    let update = snapshot.update_since(&Index::default(), Service::Keys);
    let keys = VerifyingKeys::new(vec![public(&key(1))]).unwrap();
    let claims: serde_json::Value = keys.verify("countersign-facts+jwt", &update.manifest).unwrap();
    let expected = serde_json::json!({
        "version": 2,
        "iss": "https://issuer",
        "trust_domain": "example.test",
        "epoch": 1,
        "policy_epoch": 1,
        "issued_ms": 1_800_000_000_000u64,
        "index": hex::encode(sha256(&update.index.unwrap())),
    });
    assert_eq!(claims, expected);
}

#[test]
fn what_is_written_down_can_be_read() {
    let world = World::new();
    let sources = small();
    let snapshot = world.publisher.publish(&sources).unwrap();
    let place = world.service(Service::Keys);
    place.follow(&snapshot).unwrap();
    assert_same_facts(&place.facts.load().facts, &sources.facts);
    assert_eq!(place.follower.wrapped().load(), sources.wrapped);
}
