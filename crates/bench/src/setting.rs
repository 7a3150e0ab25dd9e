//! A small world in memory for measuring the guard: the example's types and policies, one tenant, one user.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use countersign_audit::{AuditError, AuditSink, Position, Record, Service};
use countersign_crypto::{SystemEntropy, jws};
use countersign_guard::{FactsCell, Guard, GuardParts, Limits, State};
use countersign_model::clock::SystemClock;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Facts, Tenant, User};
use countersign_model::request::{Door, Filter, Literal, Operation, Operator, Read, Select};
use countersign_model::{Clock as _, Name, Request, RequestId, SessionId, TenantId, UserId};
use countersign_policy::Policies;
use countersign_token::{MAX_LIFETIME_MS, Minter, Verifier};

/// Where the example's files lie.
pub fn example() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/trading")
}

/// The example's policies and more of the same kind for other roles, until there are `count`.
pub fn policies(count: usize) -> Result<Vec<PolicyFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(example().join("policies"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a file name")?.to_owned();
        files.push(PolicyFile { name, text: std::fs::read_to_string(&path)? });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let have: usize = files.iter().map(|file| file.text.matches("@id(").count()).sum();
    let types = ["Customer", "Invoice", "Employee"];
    let more = (have..count).map(|number| {
        let kind = types.get(number % types.len()).copied().unwrap_or("Customer");
        format!(
            "@id(\"more-{number}\")\npermit (principal in Role::\"role-{}\", action == {kind}::Action::\"read\", \
             resource)\nwhen {{ context.field in [{kind}::Field::\"id\"] }};\n",
            number / 4
        )
    });
    files.push(PolicyFile { name: "more.cedar".into(), text: more.collect() });
    // One person reads for as long as it takes.
    let budget =
        "[people]\nper_token = 1_000_000_000_000\nper_principal = 1_000_000_000_000\nper_hour = 1_000_000_000_000\n";
    files.push(PolicyFile { name: "budget.toml".into(), text: budget.into() });
    Ok(files)
}

/// Takes records and forgets them: the guard's own cost is measured here, not the disk's.
struct Forget;

#[async_trait::async_trait]
impl AuditSink for Forget {
    async fn append(&self, _: Record) -> Result<Position, AuditError> {
        Ok(Position(0))
    }
}

/// The world.
pub struct Setting {
    /// The guard under measurement.
    pub guard: Guard,
    facts: Arc<FactsCell>,
    minter: Minter,
    tenant: TenantId,
    user: UserId,
}

impl Setting {
    /// With so many policies.
    pub fn new(policy_count: usize) -> Result<Self> {
        let now = SystemClock.now();
        let text = std::fs::read_to_string(example().join("types.toml"))?;
        let types = countersign_store::types_file::parse(&text)?;
        let files = policies(policy_count)?;
        let compiled = Policies::compile(&types, &files)?;
        let (tenant, user) = (TenantId::new(now, &SystemEntropy), UserId::new(now, &SystemEntropy));
        let (tenant_name, user_name) = (Name::new("northwind")?, Name::new("michael")?);
        let person = User {
            tenant,
            name: user_name.clone(),
            roles: vec![Name::new("support")?],
            attributes: Default::default(),
            ssh_keys: Vec::new(),
            changed: now,
            kind: Default::default(),
            external: None,
            expires: None,
        };
        let facts = Facts {
            epoch: 1,
            policy_epoch: 1,
            types: Arc::new(types),
            policies: Arc::new(files),
            tenants: Arc::new(HashMap::from([(tenant, Tenant { name: tenant_name.clone(), created: now })])),
            tenant_names: Arc::new(HashMap::from([(tenant_name, tenant)])),
            users: Arc::new(HashMap::from([(user, Arc::new(person))])),
            user_names: Arc::new(HashMap::from([((tenant, user_name), user)])),
            revocations: Arc::default(),
        };
        let key = Arc::new(jws::SigningKey::generate(&SystemEntropy)?);
        let keys = jws::VerifyingKeys::new(vec![key.public_jwk().clone()])?;
        let state = State { facts: Arc::new(facts), policies: Arc::new(compiled) };
        let cell = Arc::new(FactsCell::new(state));
        let guard = Guard::new(GuardParts {
            service: Service::Gateway,
            verifier: Arc::new(Verifier::new("https://bench", "https://bench", keys, 100_000)),
            facts: Arc::clone(&cell),
            audit: Arc::new(Forget),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            plan_capacity: 100_000,
            observe: Arc::new(countersign_guard::Unobserved),
        });
        let minter = Minter::new("https://bench", "https://bench", key);
        Ok(Self { guard, facts: cell, minter, tenant, user })
    }

    /// Lets the next request find policies that it has no plan for yet.
    pub fn change_policies(&self) {
        let state = self.facts.load();
        let facts = Facts {
            epoch: state.facts.epoch + 1,
            policy_epoch: state.facts.policy_epoch + 1,
            ..Facts::clone(&state.facts)
        };
        let state = State { facts: Arc::new(facts), policies: Arc::clone(&state.policies) };
        self.facts.publish(state, SystemClock.now());
    }

    /// A token that the guard has not seen.
    pub fn token(&self) -> Result<String> {
        let now = SystemClock.now();
        let session = SessionId::new(now, &SystemEntropy);
        let minted = self.minter.mint(self.user, self.tenant, session, MAX_LIFETIME_MS, now, &SystemEntropy)?;
        Ok(minted.into_token())
    }
}

/// A point read of four fields.
pub fn point_read() -> Request {
    let field = |name: &str| Select::Field { field: name.into(), alias: None };
    Request {
        id: RequestId::new(SystemClock.now(), &SystemEntropy),
        door: Door::Http,
        tenant: None,
        purpose: None,
        operation: Operation::Read(Read {
            record_type: "customer".into(),
            select: ["company", "contact_name", "city", "country"].map(field).into(),
            filter: Filter::And(vec![Filter::Test {
                field: "id".into(),
                operator: Operator::Eq,
                literal: Literal::One("ALFKI".into()),
            }]),
            ..Read::default()
        }),
    }
}
