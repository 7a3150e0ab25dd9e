//! How long snapshots take from the facts to the state that a guard decides by: `measure [TENANTS USERS]…`.
//!
//! Each line is one kind of change: making and signing the snapshot, what is sent, and verifying it and putting it in
//! force. The best and the median of several.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is a measurement")]
#![expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "it is a measurement")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_crypto::SystemEntropy;
use countersign_crypto::jws::{SigningKey, VerifyingKeys};
use countersign_facts::{Deployment, Follower, FollowerParts, Index, Publisher, Snapshot, Sources, nothing_known};
use countersign_guard::FactsCell;
use countersign_model::clock::SystemClock;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Facts, Tenant, User, UserKind};
use countersign_model::types::{Field, RecordType, Sensitivity};
use countersign_model::{Clock, FieldId, Kind, Name, RecordTypes, Service, TenantId, TokenId, UnixMs, UserId, Value};
use countersign_token::Verifier;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Twenty types of ten fields.
fn types() -> RecordTypes {
    let field = |number: usize| Field {
        name: name(&format!("field{number}")),
        kind: Kind::Text,
        required: number == 0,
        unique: number == 0,
        indexed: number == 0,
        references: None,
        class: Sensitivity::Personal,
    };
    let one = |number: usize| RecordType {
        name: name(&format!("type{number}")),
        key: FieldId(0),
        fields: (0..10).map(field).collect(),
    };
    RecordTypes { types: (0..20).map(one).collect(), principal: [(name("region"), Kind::Text)].into() }
}

fn policies(count: usize) -> Vec<PolicyFile> {
    let one = |number: usize| {
        let (role, kind) = (number % 50, number % 20);
        format!("permit (principal in Role::\"role{role}\", action == Type{kind}::Action::\"read\", resource);\n")
    };
    let text = |file: usize| (0..100).map(|number| one(file * 100 + number)).collect();
    (0..count.div_ceil(100)).map(|file| PolicyFile { name: format!("{file}.cedar"), text: text(file) }).collect()
}

fn user(tenant: TenantId, number: u64) -> User {
    User {
        tenant,
        name: name(&format!("person{number}")),
        roles: vec![name(&format!("role{}", number % 50)), name("role1")],
        attributes: [(name("region"), Value::Text(format!("region {}", number % 10)))].into(),
        ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()],
        changed: NOW,
        kind: UserKind::Person,
        external: None,
    }
}

fn facts(tenants: u64, users: u64) -> Facts {
    let mut facts = Facts {
        epoch: 1,
        policy_epoch: 1,
        types: Arc::new(types()),
        policies: Arc::new(policies(100)),
        ..Facts::default()
    };
    let ids: Vec<TenantId> = (0..tenants).map(|_| TenantId::new(NOW, &SystemEntropy)).collect();
    for (number, id) in ids.iter().enumerate() {
        let tenant = Tenant { name: name(&format!("tenant{number}")), created: NOW };
        Arc::make_mut(&mut facts.tenant_names).insert(tenant.name.clone(), *id);
        Arc::make_mut(&mut facts.tenants).insert(*id, tenant);
    }
    for number in 0..users {
        let (id, user) = (UserId::new(NOW, &SystemEntropy), user(ids[(number % tenants) as usize], number));
        Arc::make_mut(&mut facts.user_names).insert((user.tenant, user.name.clone()), id);
        Arc::make_mut(&mut facts.users).insert(id, Arc::new(user));
    }
    facts
}

struct Measured {
    made: Duration,
    applied: Duration,
    bytes: usize,
}

fn measure(follower: &Follower, make: impl FnOnce() -> Arc<Snapshot>) -> Measured {
    let began = Instant::now();
    let update = make().update_since(&follower.index(), Service::Keys);
    let made = began.elapsed();
    let bytes = update.len_bytes();
    let began = Instant::now();
    follower.apply(&update).unwrap();
    Measured { made, applied: began.elapsed(), bytes }
}

fn print(what: &str, mut several: Vec<Measured>) {
    several.sort_by_key(|one| one.made + one.applied);
    let ms = |one: &Measured| format!("{:8.2} + {:8.2}", one.made.as_secs_f64() * 1e3, one.applied.as_secs_f64() * 1e3);
    let (best, median) = (&several[0], &several[several.len() / 2]);
    println!("  {what:<34} best {} ms  median {} ms  {:>9} bytes", ms(best), ms(median), median.bytes);
}

fn publisher(key: &Arc<SigningKey>) -> Publisher {
    let deployment = Deployment { issuer: "https://here".into(), trust_domain: "here".into() };
    Publisher::new(deployment, Arc::clone(key), Arc::new(SystemClock) as Arc<dyn Clock>)
}

fn follower(key: &SigningKey) -> Follower {
    let none = VerifyingKeys::new(Vec::new()).unwrap();
    Follower::new(FollowerParts {
        deployment: Deployment { issuer: "https://here".into(), trust_domain: "here".into() },
        service: Service::Keys,
        keys: vec![key.public_jwk().clone()],
        facts: Arc::new(FactsCell::following(nothing_known().unwrap(), 30_000)),
        verifier: Arc::new(Verifier::new("https://here", "https://here", none, 100)),
        clock: Arc::new(SystemClock),
    })
}

fn run(tenants: u64, users: u64) {
    println!("{tenants} tenants, {users} users (made and signed + verified and in force):");
    let key = Arc::new(SigningKey::generate(&SystemEntropy).unwrap());
    let mut facts = facts(tenants, users);
    let wrapped: HashMap<TenantId, Arc<[u8]>> = facts.tenants.keys().map(|id| (*id, vec![7; 65].into())).collect();
    let mut sources = Sources {
        facts: Arc::new(facts.clone()),
        token_keys: vec![key.public_jwk().clone()],
        directory: Arc::default(),
        wrapped: Arc::new(wrapped),
    };
    let first = |_| measure(&follower(&key), || publisher(&key).publish(&sources).unwrap());
    print("first snapshot, 100 policies", (0..3).map(first).collect());

    let (publisher, follower) = (publisher(&key), follower(&key));
    measure(&follower, || publisher.publish(&sources).unwrap());
    let mut changed = |what: &str, times: usize, change: &dyn Fn(&mut Facts)| {
        let one = |_| {
            change(&mut facts);
            facts.epoch += 1;
            sources.facts = Arc::new(facts.clone());
            measure(&follower, || publisher.publish(&sources).unwrap())
        };
        print(what, (0..times).map(one).collect());
    };
    let tenant = *follower.wrapped().load().keys().next().unwrap();
    let revoke = |facts: &mut Facts| {
        let id = (tenant, TokenId::new(NOW, &SystemEntropy));
        Arc::make_mut(&mut facts.revocations).tokens.insert(id, NOW);
    };
    let whom = UserId::new(NOW, &SystemEntropy);
    changed("one revocation", 11, &revoke);
    changed("one user changed", 11, &|facts| {
        let changed = User { changed: UnixMs(facts.epoch), ..user(tenant, 1_000_000) };
        Arc::make_mut(&mut facts.user_names).insert((changed.tenant, changed.name.clone()), whom);
        Arc::make_mut(&mut facts.users).insert(whom, Arc::new(changed));
    });
    changed("one of 1,000 policies changed", 3, &|facts| {
        let mut files = policies(1000);
        files[0].text.push_str(&"\n".repeat(facts.epoch as usize % 7 + 1));
        facts.policies = Arc::new(files);
        facts.policy_epoch = facts.epoch + 1;
    });
    changed("100,000 revocations at once", 1, &|facts| (0..100_000).for_each(|_| revoke(facts)));
    changed("one revocation more", 11, &revoke);
    print("heartbeat", (0..101).map(|_| measure(&follower, || publisher.renew().unwrap())).collect());
    let whole = publisher.renew().unwrap().messages_since(&Index::default(), Service::Keys);
    println!("  the whole is {} messages", whole.len());
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|text| text.parse().unwrap()).collect();
    match numbers.as_slice() {
        [] => {
            run(10, 100);
            run(10_000, 100_000);
        }
        given => given.as_chunks::<2>().0.iter().for_each(|[tenants, users]| run(*tenants, *users)),
    }
}
