//! What telling other services costs: from a change of facts to the state that their guards decide by, without the
//! network between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_crypto::SystemEntropy;
use countersign_crypto::jws::{SigningKey, VerifyingKeys};
use countersign_facts::{Deployment, Follower, FollowerParts, Publisher, Snapshot, Sources, nothing_known};
use countersign_guard::FactsCell;
use countersign_model::clock::SystemClock;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Facts, Tenant, User, UserKind};
use countersign_model::types::{Field, RecordType, Sensitivity};
use countersign_model::{FieldId, Kind, Name, RecordTypes, Service, TenantId, TokenId, UnixMs, UserId, Value};
use countersign_token::Verifier;

use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::median;

/// Some moment in the past.
const NOW: UnixMs = UnixMs(1_700_000_000_000);
/// A revocation has to be in force everywhere within a second, of which this much may go here.
const REVOCATION_MS: f64 = 20.0;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let rounds = if options.quick { 3 } else { 31 };
    for (tenants, users) in [(10, 100), (10_000, 100_000)] {
        let mut bench = Bench::new(tenants, users)?;
        let size = format!("{tenants} tenants, {users} users");
        let mut add = |what: &str, target: Target, several: &mut Vec<Told>| {
            let of = |figure: fn(&Told) -> f64| median(&mut several.iter().map(figure).collect::<Vec<_>>());
            let (made, applied, bytes) = (of(|told| told.made_ms), of(|told| told.applied_ms), of(|told| told.bytes));
            report.add(Row {
                name: format!("facts, {what}, {size}"),
                figure: made + applied,
                unit: "ms",
                limit: None,
                target,
                note: format!("made and signed {made:.2} ms, {bytes:.0} bytes, verified and in force {applied:.2} ms"),
            });
        };
        add("first snapshot", Target::Unset, &mut vec![bench.first()?]);
        add("a revocation", Target::Under(REVOCATION_MS), &mut bench.times(rounds, Bench::revoke)?);
        add("a user changed", Target::Unset, &mut bench.times(rounds, Bench::change_user)?);
        add("a policy of 1,000 changed", Target::Unset, &mut bench.times(3, Bench::change_policies)?);
        add("heartbeat", Target::Unset, &mut bench.times(rounds, |_| Ok(()))?);
        for _ in 0..100_000 {
            bench.revoke()?;
        }
        add("100,000 revocations", Target::Unset, &mut bench.times(1, Bench::revoke)?);
        add("one more", Target::Under(REVOCATION_MS), &mut bench.times(rounds, Bench::revoke)?);
    }
    Ok(())
}

/// What it took to tell one change.
struct Told {
    made_ms: f64,
    applied_ms: f64,
    bytes: f64,
}

/// An authority and a key service, which is sent the most.
struct Bench {
    key: Arc<SigningKey>,
    publisher: Publisher,
    follower: Follower,
    facts: Facts,
    sources: Sources,
    tenant: TenantId,
    user: UserId,
    changed: bool,
}

fn deployment() -> Deployment {
    Deployment { issuer: "https://here".into(), trust_domain: "here".into() }
}

fn publisher(key: &Arc<SigningKey>) -> Publisher {
    Publisher::new(deployment(), Arc::clone(key), Arc::new(SystemClock))
}

fn follower(key: &SigningKey) -> Result<Follower> {
    Ok(Follower::new(FollowerParts {
        deployment: deployment(),
        service: Service::Keys,
        keys: vec![key.public_jwk().clone()],
        facts: Arc::new(FactsCell::following(nothing_known()?, 30_000)),
        verifier: Arc::new(Verifier::new("https://here", "https://here", VerifyingKeys::new(Vec::new())?, 100)),
        clock: Arc::new(SystemClock),
        prepare: None,
    }))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn tell(follower: &Follower, make: impl FnOnce() -> Result<Arc<Snapshot>>) -> Result<Told> {
    let began = Instant::now();
    let update = make()?.update_since(&follower.index(), Service::Keys);
    let made_ms = milliseconds(began.elapsed());
    let began = Instant::now();
    follower.apply(&update)?;
    Ok(Told { made_ms, applied_ms: milliseconds(began.elapsed()), bytes: update.len_bytes() as f64 })
}

impl Bench {
    fn new(tenants: u64, users: u64) -> Result<Self> {
        let key = Arc::new(SigningKey::generate(&SystemEntropy)?);
        let facts = facts(tenants, users)?;
        let wrapped: HashMap<TenantId, Arc<[u8]>> = facts.tenants.keys().map(|id| (*id, [7; 65].into())).collect();
        let sources = Sources {
            facts: Arc::new(facts.clone()),
            token_keys: vec![key.public_jwk().clone()],
            directory: Arc::default(),
            wrapped: Arc::new(wrapped),
            contacts: Arc::default(),
        };
        let (tenant, user) = (facts.users.values().next().context("a user")?.tenant, UserId::new(NOW, &SystemEntropy));
        let (publisher, follower) = (publisher(&key), follower(&key)?);
        tell(&follower, || Ok(publisher.publish(&sources)?))?;
        Ok(Self { key, publisher, follower, facts, sources, tenant, user, changed: false })
    }

    /// To a service that knows nothing, from an authority that was just started.
    fn first(&self) -> Result<Told> {
        let publisher = publisher(&self.key);
        tell(&follower(&self.key)?, || Ok(publisher.publish(&self.sources)?))
    }

    fn times(&mut self, times: usize, change: fn(&mut Self) -> Result<()>) -> Result<Vec<Told>> {
        let one = |_| {
            change(self)?;
            if !std::mem::take(&mut self.changed) {
                return tell(&self.follower, || Ok(self.publisher.renew()?));
            }
            self.facts.epoch += 1;
            self.sources.facts = Arc::new(self.facts.clone());
            tell(&self.follower, || Ok(self.publisher.publish(&self.sources)?))
        };
        (0..times).map(one).collect()
    }

    fn revoke(&mut self) -> Result<()> {
        let token = (self.tenant, TokenId::new(NOW, &SystemEntropy));
        Arc::make_mut(&mut self.facts.revocations).tokens.insert(token, NOW);
        self.changed = true;
        Ok(())
    }

    fn change_user(&mut self) -> Result<()> {
        let user = User { changed: UnixMs(self.facts.epoch), ..user(self.tenant, "somebody".into(), 1)? };
        Arc::make_mut(&mut self.facts.user_names).insert((user.tenant, user.name.clone()), self.user);
        Arc::make_mut(&mut self.facts.users).insert(self.user, Arc::new(user));
        self.changed = true;
        Ok(())
    }

    fn change_policies(&mut self) -> Result<()> {
        self.facts.policies = Arc::new(policies(1000, self.facts.epoch));
        self.facts.policy_epoch = self.facts.epoch + 1;
        self.changed = true;
        Ok(())
    }
}

/// Twenty types of ten fields.
fn types() -> Result<RecordTypes> {
    let field = |number: usize| {
        Ok(Field {
            name: Name::new(&format!("field{number}"))?,
            kind: Kind::Text,
            required: number == 0,
            unique: number == 0,
            indexed: number == 0,
            references: None,
            class: Sensitivity::Personal,
        })
    };
    let one = |number: usize| {
        let fields = (0..10).map(field).collect::<Result<_>>()?;
        Ok(RecordType { name: Name::new(&format!("type{number}"))?, key: FieldId(0), fields })
    };
    let principal = [(Name::new("region")?, Kind::Text)].into();
    Ok(RecordTypes { types: (0..20).map(one).collect::<Result<_>>()?, principal })
}

fn policies(count: u64, version: u64) -> Vec<PolicyFile> {
    let one = |number: u64| {
        let (role, named) = (number % 50, number % 20);
        format!("permit (principal in Role::\"role{role}\", action == Type{named}::Action::\"read\", resource);\n")
    };
    let text = (0..count).map(one).collect::<String>() + &format!("// version {version}\n");
    vec![PolicyFile { name: "all.cedar".into(), text }]
}

fn user(tenant: TenantId, name: String, number: u64) -> Result<User> {
    Ok(User {
        tenant,
        name: Name::new(&name)?,
        roles: vec![Name::new(&format!("role{}", number % 50))?, Name::new("role1")?],
        attributes: [(Name::new("region")?, Value::Text(format!("region {}", number % 10)))].into(),
        ssh_keys: Vec::new(),
        changed: NOW,
        kind: UserKind::Person,
        external: None,
        expires: None,
    })
}

fn facts(tenants: u64, users: u64) -> Result<Facts> {
    let mut facts = Facts {
        epoch: 1,
        policy_epoch: 1,
        types: Arc::new(types()?),
        policies: Arc::new(policies(100, 1)),
        ..Facts::default()
    };
    let ids: Vec<TenantId> = (0..tenants).map(|_| TenantId::new(NOW, &SystemEntropy)).collect();
    for (number, id) in ids.iter().enumerate() {
        let tenant = Tenant { name: Name::new(&format!("tenant{number}"))?, created: NOW };
        Arc::make_mut(&mut facts.tenant_names).insert(tenant.name.clone(), *id);
        Arc::make_mut(&mut facts.tenants).insert(*id, tenant);
    }
    for (number, tenant) in (0..users).zip(ids.iter().cycle()) {
        let (id, user) = (UserId::new(NOW, &SystemEntropy), user(*tenant, format!("person{number}"), number)?);
        Arc::make_mut(&mut facts.user_names).insert((user.tenant, user.name.clone()), id);
        Arc::make_mut(&mut facts.users).insert(id, Arc::new(user));
    }
    Ok(facts)
}
