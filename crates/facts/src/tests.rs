//! From publisher to follower: what arrives, what little is sent for a change, and everything that is refused.

mod changes;
mod golden;
mod keys;
mod random;
mod refused;

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::jws::{PublicJwk, SigningKey, VerifyingKeys};
use countersign_guard::FactsCell;
use countersign_model::clock::ManualClock;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Facts, Revocations, Tenant, User, UserKind};
use countersign_model::types::{Field, RecordType, Sensitivity};
use countersign_model::{
    Clock, Entropy, FieldId, Kind, Name, RecordTypes, Service, TenantId, TokenId, UnixMs, UserId, Value,
};
use countersign_token::Verifier;

use crate::{
    Applied, ApplyError, Deployment, Directory, Follower, FollowerParts, Part, Prepare, Publisher, ServiceEntry,
    Snapshot, Sources, Update, nothing_known,
};

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MAX_AGE_MS: u64 = 30_000;

/// The same bytes every time: this many, counted up from a seed.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let mut next = self.0;
        for byte in out {
            *byte = next;
            next = next.wrapping_add(1);
        }
    }
}

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(&Counting(seed)).unwrap())
}

fn public(key: &SigningKey) -> PublicJwk {
    key.public_jwk().clone()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn deployment() -> Deployment {
    Deployment { issuer: "https://issuer".into(), trust_domain: "example.test".into() }
}

const POLICY: &str = r#"permit (principal in Role::"reader", action == Customer::Action::"read", resource);"#;

fn types() -> RecordTypes {
    let field = |text: &str, key: bool| Field {
        name: name(text),
        kind: Kind::Text,
        required: key,
        unique: key,
        indexed: key,
        references: None,
        class: Sensitivity::Personal,
    };
    let customer = RecordType {
        name: name("customer"),
        key: FieldId(0),
        fields: vec![field("id", true), field("company", false)],
    };
    RecordTypes { types: vec![customer], principal: [(name("region"), Kind::Text)].into() }
}

fn tenant_id(number: u8) -> TenantId {
    TenantId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

fn user_id(number: u128) -> UserId {
    UserId::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 | number)
}

fn user(tenant: TenantId, text: &str) -> User {
    User {
        tenant,
        name: name(text),
        roles: vec![name("reader")],
        attributes: [(name("region"), Value::Text("north".into()))].into(),
        ssh_keys: Vec::new(),
        changed: NOW,
        kind: UserKind::Person,
        external: None,
        expires: None,
    }
}

/// `tenants` tenants, each with `users` users.
fn facts(tenants: u8, users: u16) -> Facts {
    let mut facts = Facts {
        epoch: 1,
        policy_epoch: 1,
        types: Arc::new(types()),
        policies: Arc::new(vec![PolicyFile { name: "reader.cedar".into(), text: POLICY.into() }]),
        ..Facts::default()
    };
    for number in 1..=tenants {
        let tenant = tenant_id(number);
        let named = name(&format!("tenant{number}"));
        Arc::make_mut(&mut facts.tenant_names).insert(named.clone(), tenant);
        Arc::make_mut(&mut facts.tenants).insert(tenant, Tenant { name: named, created: NOW });
        for user_number in 1..=users {
            put(
                &mut facts,
                u128::from(number) << 16 | u128::from(user_number),
                user(tenant, &format!("u{user_number}")),
            );
        }
    }
    facts
}

fn put(facts: &mut Facts, number: u128, user: User) {
    let id = user_id(number);
    Arc::make_mut(&mut facts.user_names).insert((user.tenant, user.name.clone()), id);
    Arc::make_mut(&mut facts.users).insert(id, Arc::new(user));
}

fn revoke(facts: &mut Facts, tenant: u8, token: u128) {
    let revocations: &mut Revocations = Arc::make_mut(&mut facts.revocations);
    revocations.tokens.insert((tenant_id(tenant), TokenId::from_u128(token)), NOW);
}

fn wrapped_of(facts: &Facts) -> HashMap<TenantId, Arc<[u8]>> {
    let key = |tenant: &TenantId| tenant.as_bytes().repeat(4).into();
    facts.tenants.keys().map(|tenant| (*tenant, key(tenant))).collect()
}

fn sources(facts: Facts) -> Sources {
    let entry = |service: Service, port: u16| ServiceEntry {
        id: format!("spiffe://example.test/{service}/1"),
        service,
        address: format!("127.0.0.1:{port}"),
    };
    let directory = Directory {
        services: vec![entry(Service::Store, 7003), entry(Service::Keys, 7002)],
        removed: ["spiffe://example.test/gateway/0".to_owned()].into(),
    };
    Sources {
        wrapped: Arc::new(wrapped_of(&facts)),
        facts: Arc::new(facts),
        token_keys: vec![public(&key(9))],
        directory: Arc::new(directory),
        contacts: Arc::default(),
    }
}

/// An authority and the services that follow it, in simulated time.
struct World {
    clock: Arc<ManualClock>,
    publisher: Publisher,
    facts: Facts,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let publisher = Publisher::new(deployment(), key(1), Arc::clone(&clock) as Arc<dyn Clock>);
        let facts = facts(3, 4);
        let sources = sources(facts.clone());
        Self { clock, publisher, facts, sources }
    }

    fn service(&self, service: Service) -> Place {
        self.service_of(service, deployment())
    }

    fn service_of(&self, service: Service, deployment: Deployment) -> Place {
        self.preparing(service, deployment, None)
    }

    fn preparing(&self, service: Service, deployment: Deployment, prepare: Option<Prepare>) -> Place {
        let facts = Arc::new(FactsCell::following(nothing_known().unwrap(), MAX_AGE_MS));
        let none = VerifyingKeys::new(Vec::new()).unwrap();
        let verifier = Arc::new(Verifier::new("https://issuer", "https://audience", none, 10));
        let follower = Follower::new(FollowerParts {
            deployment,
            service,
            keys: vec![public(&key(1))],
            facts: Arc::clone(&facts),
            verifier,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            prepare,
        });
        Place { service, facts, follower }
    }

    /// A snapshot of the facts as they are now, one millisecond later.
    fn publish(&mut self) -> Arc<Snapshot> {
        self.clock.advance_ms(1);
        self.sources.facts = Arc::new(self.facts.clone());
        self.publisher.publish(&self.sources).unwrap()
    }

    /// The same, after a change of facts.
    fn change(&mut self, change: impl FnOnce(&mut Facts)) -> Arc<Snapshot> {
        change(&mut self.facts);
        self.facts.epoch = self.facts.epoch.saturating_add(1);
        self.publish()
    }
}

/// One service.
struct Place {
    service: Service,
    facts: Arc<FactsCell>,
    follower: Follower,
}

impl Place {
    fn update(&self, snapshot: &Snapshot) -> Update {
        snapshot.update_since(&self.follower.index(), self.service)
    }

    fn follow(&self, snapshot: &Snapshot) -> Result<Applied, ApplyError> {
        self.follower.apply(&self.update(snapshot))
    }

    fn epoch(&self) -> u64 {
        self.facts.load().facts.epoch
    }
}

/// The words for what an update carries, in order.
fn kinds(update: &Update) -> Vec<&'static str> {
    update.parts.iter().map(|part: &Part| part.id.kind().as_str()).collect()
}

#[track_caller]
fn assert_same_facts(here: &Facts, there: &Facts) {
    assert_eq!(here.epoch, there.epoch);
    assert_eq!(here.policy_epoch, there.policy_epoch);
    assert_eq!(here.types, there.types);
    assert_eq!(here.policies, there.policies);
    assert_eq!(here.tenants, there.tenants);
    assert_eq!(here.tenant_names, there.tenant_names);
    assert!(here.users == there.users, "the users differ");
    assert_eq!(here.user_names, there.user_names);
    assert_eq!(here.revocations, there.revocations);
}

/// E-mail addresses are told to the monitor, which tells tenants what they have to know, and to nobody else.
#[test]
fn contacts_are_for_the_monitor_alone() {
    let world = World::new();
    let mut sources = sources(facts(1, 1));
    let told = |sources: &Sources| {
        let snapshot = world.publisher.publish(sources).unwrap();
        let has = |service| {
            let update = snapshot.update_since(&crate::Index::default(), service);
            update.parts.iter().any(|part| part.id.kind() == crate::PartKind::Contacts)
        };
        Service::ALL.into_iter().filter(|service| has(*service)).collect::<Vec<_>>()
    };
    assert_eq!(told(&sources), []);
    sources.contacts = Arc::new([(tenant_id(1), Arc::new(vec!["dpo@northwind.example".to_owned()]))].into());
    assert_eq!(told(&sources), [Service::Monitor]);
}
