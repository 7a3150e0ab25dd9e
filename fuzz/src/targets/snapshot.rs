//! PROPERTY: an update is put in force only if it is, byte for byte, the one that was signed, and otherwise changes
//! nothing; and whatever a signed part says, what is put in force is whole, and is the same after it was published anew.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use countersign_crypto::jws::{SigningKey, VerifyingKeys};
use countersign_crypto::sha256;
use countersign_facts::{
    Deployment, Follower, FollowerParts, Index, Part, PartId, PartKind, Publisher, Snapshot, Sources, Update,
    nothing_known,
};
use countersign_guard::FactsCell;
use countersign_model::clock::ManualClock;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Facts, Tenant, User, UserKind};
use countersign_model::{Clock, Name, Service, TenantId, TokenId, UnixMs, UserId};
use countersign_token::Verifier;
use serde_json::json;

use super::Fixed;
use crate::signature;

/// Pieces of parts.
pub const WORDS: &[&str] =
    &["@", "i\u{1}", "4\u{1}\u{1}", "\u{1}\u{0}", "reader", "tenant1", "spiffe://here/store/1", "OKP", "{\"a\":[1]}"];

const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);

/// A key service, which is sent every kind of part.
struct Place {
    facts: Arc<FactsCell>,
    follower: Follower,
}

struct Fixture {
    key: Arc<SigningKey>,
    /// Holds the first snapshot.
    place: Mutex<Place>,
    first: Arc<Snapshot>,
    /// From the first snapshot to the second.
    update: Update,
    second: Arc<Facts>,
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(NOW.plus_ms(1000)))
}

fn deployment() -> Deployment {
    Deployment { issuer: "https://issuer".into(), trust_domain: "here".into() }
}

fn place(key: &SigningKey) -> Place {
    let facts = Arc::new(FactsCell::following(nothing_known().expect("the built-in policies"), 30_000));
    let none = VerifyingKeys::new(Vec::new()).expect("no keys");
    let follower = Follower::new(FollowerParts {
        deployment: deployment(),
        service: Service::Keys,
        keys: vec![key.public_jwk().clone()],
        facts: Arc::clone(&facts),
        verifier: Arc::new(Verifier::new("https://issuer", "https://audience", none, 1)),
        clock: clock(),
        prepare: None,
    });
    Place { facts, follower }
}

fn place_with(key: &SigningKey, snapshot: &Snapshot) -> Place {
    let place = place(key);
    place.follower.apply(&snapshot.update_since(&Index::default(), Service::Keys)).expect("a true snapshot");
    place
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = Arc::new(SigningKey::generate(&Fixed).expect("a signing key"));
    let tenant = TenantId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let policy = PolicyFile { name: "a.cedar".into(), text: "".into() };
    let mut facts = Facts { epoch: 1, policy_epoch: 1, policies: Arc::new(vec![policy]), ..Facts::default() };
    Arc::make_mut(&mut facts.tenants).insert(tenant, Tenant { name: name("tenant1"), created: NOW });
    Arc::make_mut(&mut facts.tenant_names).insert(name("tenant1"), tenant);
    let mut sources = Sources {
        facts: Arc::new(facts.clone()),
        token_keys: vec![key.public_jwk().clone()],
        directory: Arc::default(),
        wrapped: Arc::new([(tenant, vec![7; 65].into())].into()),
        contacts: Arc::default(),
    };
    let publisher = Publisher::new(deployment(), Arc::clone(&key), Arc::new(ManualClock::at(NOW)));
    let first = publisher.publish(&sources).expect("a snapshot");
    let user = User {
        tenant,
        name: name("anna"),
        roles: vec![name("reader")],
        attributes: Default::default(),
        ssh_keys: Vec::new(),
        changed: NOW,
        kind: UserKind::Person,
        external: None,
        expires: None,
    };
    let id = UserId::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0002);
    Arc::make_mut(&mut facts.user_names).insert((tenant, name("anna")), id);
    Arc::make_mut(&mut facts.users).insert(id, Arc::new(user));
    Arc::make_mut(&mut facts.revocations).tokens.insert((tenant, TokenId::from_u128(3)), NOW);
    facts.epoch = 2;
    sources.facts = Arc::new(facts);
    let second = publisher.publish(&sources).expect("a snapshot");
    let update = second.update_since(first.index(), Service::Keys);
    let place = Mutex::new(place_with(&key, &first));
    Fixture { key, place, first, update, second: sources.facts }
});

/// Runs the target. The first byte chooses: `@` and then groups of four bytes (what, two of place, difference) change
/// the true update; `i` reads the rest as an index; a digit is the number of a kind, then comes the bucket, and the
/// rest is a part of that kind, signed as if the authority had made it.
pub fn run(data: &[u8]) -> u64 {
    match data {
        [b'@', changes @ ..] => changed(changes),
        [b'i', index @ ..] => read_index(index),
        [kind @ b'1'..=b'9', bucket, bytes @ ..] => signed(kind.wrapping_sub(b'0'), *bucket, bytes),
        _ => 0,
    }
}

fn read_index(bytes: &[u8]) -> u64 {
    match Index::decode(bytes) {
        Ok(index) => {
            assert_eq!(index.encode(), bytes, "two forms of one index");
            1
        }
        Err(error) => signature::of(&format!("{error:?}")),
    }
}

fn alter(bytes: &mut Vec<u8>, place: usize, difference: u8) {
    let length = bytes.len().max(1);
    match bytes.get_mut(place % length) {
        // No difference: cut there.
        _ if difference == 0 => bytes.truncate(place % length),
        Some(byte) => *byte ^= difference,
        None => bytes.push(difference),
    }
}

fn changed(changes: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    let mut update = fixture.update.clone();
    for group in changes.chunks_exact(4) {
        let [what, high, low, difference] = group else { continue };
        let at = usize::from(u16::from_be_bytes([*high, *low]));
        match what % 6 {
            0 => {
                let mut text = update.manifest.into_bytes();
                alter(&mut text, at, difference & 0x7f);
                update.manifest = String::from_utf8_lossy(&text).into_owned();
            }
            1 => {
                let mut index = update.index.map(|index| index.to_vec()).unwrap_or_default();
                alter(&mut index, at, *difference);
                update.index = Some(index.into());
            }
            2 => drop((at < update.parts.len()).then(|| update.parts.remove(at))),
            3 => {
                let number = u16::from_be_bytes([*high, *low]);
                let Some(id) = PartId::from_number(number) else { continue };
                update.parts.push(Part { id, bytes: vec![1, *difference].into() });
            }
            4 => {
                let other = usize::from(*difference);
                if at < update.parts.len() && other < update.parts.len() {
                    update.parts.swap(at, other);
                }
            }
            _ => {
                let which = usize::from(*difference).checked_rem(update.parts.len()).unwrap_or(0);
                let Some(part) = update.parts.get_mut(which) else { continue };
                let mut bytes = part.bytes.to_vec();
                alter(&mut bytes, at, difference | 1);
                part.bytes = bytes.into();
            }
        }
    }
    let mut place = fixture.place.lock().unwrap_or_else(PoisonError::into_inner);
    let before = place.facts.load();
    match place.follower.apply(&update) {
        Ok(_) => {
            let facts = Arc::clone(&place.facts.load().facts);
            *place = place_with(&fixture.key, &fixture.first);
            assert_eq!(update.manifest, fixture.update.manifest, "a manifest that was never signed was accepted");
            assert_eq!(update.index, fixture.update.index, "an index that was never signed was accepted");
            assert!(is_same(&facts, &fixture.second), "other facts than the signed ones are in force");
            1
        }
        Err(error) => {
            assert!(Arc::ptr_eq(&before, &place.facts.load()), "what was refused changed the state");
            signature::of(&format!("{error:?}"))
        }
    }
}

fn is_same(one: &Facts, other: &Facts) -> bool {
    one.types == other.types
        && one.policies == other.policies
        && one.tenants == other.tenants
        && one.tenant_names == other.tenant_names
        && one.users == other.users
        && one.user_names == other.user_names
        && one.revocations == other.revocations
}

/// The true parts of the first snapshot but for one, under a signature that is good.
fn signed(kind: u8, bucket: u8, bytes: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    let Some(kind) = PartKind::ALL.into_iter().find(|known| *known as u8 == kind) else { return 0 };
    let number = u16::from_be_bytes([kind as u8, if kind.is_split() { bucket } else { 0 }]);
    let Some(id) = PartId::from_number(number) else { return 0 };
    let mut parts = fixture.first.update_since(&Index::default(), Service::Keys).parts;
    parts.retain(|part| part.id != id);
    let part = Part { id, bytes: bytes.to_vec().into() };
    let at = parts.partition_point(|other| other.id < id);
    parts.insert(at, part.clone());
    let mut index = vec![1];
    for part in &parts {
        index.extend(part.id.number().to_be_bytes());
        index.extend(sha256(&part.bytes));
    }
    let claims = json!({
        "version": 1, "iss": "https://issuer", "trust_domain": "here", "epoch": 2, "policy_epoch": 2,
        "issued_ms": NOW.plus_ms(1).0, "index": index_digest(&index),
    });
    let manifest = fixture.key.sign("countersign-facts+jwt", &claims).expect("a manifest");
    let update = Update { manifest, index: Some(index.into()), parts: vec![part] };
    let mut place = fixture.place.lock().unwrap_or_else(PoisonError::into_inner);
    let before = place.facts.load();
    match place.follower.apply(&update) {
        Ok(_) => {
            let taken = std::mem::replace(&mut *place, place_with(&fixture.key, &fixture.first));
            drop(place);
            whole_and_the_same_again(&fixture.key, &taken);
            signature::of(kind.as_str())
        }
        Err(error) => {
            assert!(Arc::ptr_eq(&before, &place.facts.load()), "what was refused changed the state");
            signature::of(&format!("{error:?}"))
        }
    }
}

fn index_digest(index: &[u8]) -> String {
    sha256(index).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn whole_and_the_same_again(key: &Arc<SigningKey>, place: &Place) {
    let facts = Arc::clone(&place.facts.load().facts);
    for (id, user) in facts.users.iter() {
        assert!(facts.tenants.contains_key(&user.tenant), "a user of no tenant");
        assert_eq!(facts.user_names.get(&(user.tenant, user.name.clone())), Some(id), "a user who has no name");
    }
    assert_eq!(facts.users.len(), facts.user_names.len(), "a name of nobody");
    for (id, tenant) in facts.tenants.iter() {
        assert_eq!(facts.tenant_names.get(&tenant.name), Some(id), "a tenant that has no name");
    }
    assert_eq!(facts.tenants.len(), facts.tenant_names.len(), "a name of no tenant");
    let sources = Sources {
        facts: Arc::clone(&facts),
        token_keys: vec![key.public_jwk().clone()],
        directory: place.follower.directory().borrow().clone(),
        wrapped: place.follower.wrapped().load(),
        // Told to the monitor alone.
        contacts: Arc::default(),
    };
    let publisher = Publisher::new(deployment(), Arc::clone(key), clock());
    let again = place_with(key, &publisher.publish(&sources).expect("what was taken can be published"));
    assert!(is_same(&facts, &again.facts.load().facts), "facts changed on the way");
    assert_eq!(*sources.directory, **again.follower.directory().borrow());
    assert_eq!(sources.wrapped, again.follower.wrapped().load());
}
