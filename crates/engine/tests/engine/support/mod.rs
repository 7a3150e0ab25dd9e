//! A whole deployment without doors: two tenants, the trading example's types and policies, every role.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "what does not fit fails the test"
)]

mod ask;
mod backend;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use countersign_audit::reconcile::judge;
use countersign_audit::{AuditError, AuditSink, Position, Record, Service, TallyEntry, Verdict};
use countersign_crypto::{SystemEntropy, jws};
use countersign_engine::{Answer, Engine, EngineLimits, Failure};
use countersign_guard::{Bearer, FactsCell, Guard, GuardParts, Limits, Peer, State};
use countersign_keys::budget::Budgets;
use countersign_keys::{FileKms, KmsProvider, TenantKeys, WrappedKeys};
use countersign_model::clock::ManualClock;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Facts, Tenant, User};
use countersign_model::request::{Door, Narrowing, Operation};
use countersign_model::{
    Clock, Entropy, Name, RecordTypes, Request, RequestId, SessionId, Tally, TenantId, UnixMs, UserId, Value,
};
use countersign_policy::Policies;
use countersign_services::{KeyRelease, KeyService, KeyServiceParts, Records, StoreService};
use countersign_store::types_file;
use countersign_token::{MAX_LIFETIME_MS, Minter, Verifier};

pub use ask::*;

pub const ACME: &str = "acme";
pub const GLOBEX: &str = "globex";

#[derive(Default)]
struct Wrapped(Mutex<HashMap<TenantId, Arc<[u8]>>>);

impl WrappedKeys for Wrapped {
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap().get(&tenant).cloned()
    }
}

/// Keeps records in memory; can be told to fail.
#[derive(Default)]
pub struct Ledger {
    pub records: Mutex<Vec<Record>>,
    pub failing: AtomicBool,
}

#[async_trait::async_trait]
impl AuditSink for Ledger {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(AuditError::Unavailable);
        }
        let mut records = self.records.lock().unwrap();
        records.push(record);
        Ok(Position(records.len() as u64 - 1))
    }
}

pub struct Stage {
    pub clock: Arc<ManualClock>,
    pub cell: Arc<FactsCell>,
    pub guard: Arc<Guard>,
    pub engine: Arc<Engine>,
    pub keys: Arc<KeyService>,
    pub records: Arc<StoreService>,
    pub limits: EngineLimits,
    /// What the gateway put on record.
    pub ledger: Arc<Ledger>,
    /// What the key service and the store put on record.
    pub behind: Arc<Ledger>,
    pub minter: Minter,
    pub tenant_keys: Arc<TenantKeys>,
    wrapped: Arc<Wrapped>,
    verifier: Arc<Verifier>,
    _dir: tempfile::TempDir,
    _server: Option<countersign_testkit::Postgres>,
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn example(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../../examples/trading/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn example_policies() -> Vec<PolicyFile> {
    let folder = format!("{}/../../examples/trading/policies", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| PolicyFile {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    files.iter().map(read).collect()
}

pub fn compile(facts: Facts) -> State {
    let policies = Policies::compile(&facts.types, &facts.policies).unwrap();
    State { facts: Arc::new(facts), policies: Arc::new(policies) }
}

impl Stage {
    /// The deployment with both companies' records in it.
    pub async fn new() -> Self {
        Self::with_limits(EngineLimits::default()).await
    }

    pub async fn with_limits(limits: EngineLimits) -> Self {
        let stage = Self::empty(limits, &example("types.toml"), example_policies(), u64::MAX).await;
        for tenant in [ACME, GLOBEX] {
            stage.fill(tenant).await;
        }
        stage.forget();
        stage
    }

    /// A deployment without records whose services are out of date when they haven't heard of the authority for so
    /// long. They have just heard of it.
    pub async fn following(max_age_ms: u64) -> Self {
        let limits = EngineLimits::default();
        Self::empty(limits, &example("types.toml"), example_policies(), max_age_ms).await
    }

    /// Empties all ledgers.
    pub fn forget(&self) {
        for ledger in [&self.ledger, &self.behind] {
            ledger.records.lock().unwrap().clear();
        }
    }

    /// The same people over other record types and policies, without records.
    pub async fn of(types: &str, policies: &str) -> Self {
        let policies = vec![PolicyFile { name: "test.cedar".to_owned(), text: policies.to_owned() }];
        Self::empty(EngineLimits::default(), types, policies, u64::MAX).await
    }

    async fn empty(limits: EngineLimits, types: &str, policies: Vec<PolicyFile>, max_age_ms: u64) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let clock = Arc::new(ManualClock::at(UnixMs(1_800_000_000_000)));
        let types: RecordTypes = types_file::parse(types).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let kms: Arc<dyn KmsProvider> = Arc::new(FileKms::create(&dir.path().join("kms.key"), &*entropy).unwrap());
        let (mut tenants, mut tenant_names) = (HashMap::new(), HashMap::new());
        let (mut users, mut user_names, mut wrapped) = (HashMap::new(), HashMap::new(), HashMap::new());
        for tenant_name in [ACME, GLOBEX] {
            let tenant = TenantId::new(clock.now(), &*entropy);
            tenants.insert(tenant, Tenant { name: name(tenant_name), created: clock.now() });
            tenant_names.insert(name(tenant_name), tenant);
            let key = countersign_keys::new_tenant_key(&kms, &*entropy, tenant, clock.now()).unwrap();
            wrapped.insert(tenant, key.into());
            let people = [("admin", 1), ("support", 2), ("accountant", 2), ("analyst", 2), ("rep", 3), ("auditor", 8)];
            for (role, employee) in people {
                let user = UserId::new(clock.now(), &*entropy);
                user_names.insert((tenant, name(role)), user);
                let user_facts = User {
                    tenant,
                    name: name(role),
                    roles: vec![name(role)],
                    attributes: BTreeMap::from([(name("employee"), Value::Integer(employee))]),
                    ssh_keys: Vec::new(),
                    changed: clock.now(),
                    kind: Default::default(),
                    external: None,
                    expires: None,
                };
                users.insert(user, Arc::new(user_facts));
            }
        }
        let (store, server) = backend::store(dir.path()).await;
        store.apply_types(&types).await.unwrap();
        for tenant in tenants.keys() {
            store.create_tenant(*tenant).await.unwrap();
        }
        let facts = Facts {
            epoch: 1,
            policy_epoch: 1,
            types: Arc::new(types),
            policies: Arc::new(policies),
            tenants: Arc::new(tenants),
            tenant_names: Arc::new(tenant_names),
            users: Arc::new(users),
            user_names: Arc::new(user_names),
            revocations: Arc::default(),
        };
        let cell = Arc::new(FactsCell::following(compile(facts), max_age_ms));
        cell.heard(clock.now());
        let signing_key = Arc::new(jws::SigningKey::generate(&*entropy).unwrap());
        let published = jws::VerifyingKeys::new(vec![signing_key.public_jwk().clone()]).unwrap();
        let verifier = Arc::new(Verifier::new("https://here", "https://here", published, 1000));
        let (ledger, behind) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
        let guard_of = |service| {
            let audit = if service == Service::Gateway { &ledger } else { &behind };
            Arc::new(Guard::new(GuardParts {
                service,
                verifier: Arc::clone(&verifier),
                facts: Arc::clone(&cell),
                audit: Arc::clone(audit) as Arc<dyn AuditSink>,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                limits: Limits::default(),
                plan_capacity: 1000,
                observe: Arc::new(countersign_guard::Unobserved),
            }))
        };
        let wrapped = Arc::new(Wrapped(Mutex::new(wrapped)));
        let tenant_keys = Arc::new(TenantKeys::new(kms, Arc::<Wrapped>::clone(&wrapped) as _, 10_000));
        let keys = Arc::new(KeyService::new(KeyServiceParts {
            guard: guard_of(Service::Keys),
            keys: Arc::clone(&tenant_keys),
            budgets: Arc::new(Budgets::open(&dir.path().join("budgets"), clock.now()).unwrap()),
            entropy: Arc::clone(&entropy) as Arc<dyn Entropy>,
        }));
        let records =
            Arc::new(StoreService::new(guard_of(Service::Store), store, Arc::clone(&keys) as Arc<dyn KeyRelease>));
        let engine = Engine::new(keys.clone(), records.clone(), clock.clone(), entropy, limits.clone());
        Self {
            guard: guard_of(Service::Gateway),
            engine: Arc::new(engine),
            minter: Minter::new("https://here", "https://here", signing_key),
            verifier,
            clock,
            cell,
            keys,
            records,
            limits,
            tenant_keys,
            wrapped,
            ledger,
            behind,
            _dir: dir,
            _server: server,
        }
    }

    /// Puts a tenant's keys in force, as the authority does.
    pub fn put_keys(&self, tenant: TenantId, keys: Vec<u8>) {
        self.wrapped.0.lock().unwrap().insert(tenant, keys.into());
        self.tenant_keys.forget(tenant);
    }

    /// A new key for the tenant.
    pub fn rotate(&self, tenant: &str) {
        let tenant = self.cell.load().facts.tenant_names[&name(tenant)];
        self.put_keys(tenant, self.tenant_keys.rotate(&SystemEntropy, tenant).unwrap());
    }

    /// New keys for one field of it.
    pub fn rotate_field(&self, tenant: &str, record_type: &str, field: &str) {
        let facts = Arc::clone(&self.cell.load().facts);
        let tenant = facts.tenant_names[&name(tenant)];
        let (id, known) = facts.types.find(record_type).unwrap();
        let field = known.find(field).unwrap().0;
        self.put_keys(tenant, self.tenant_keys.rotate_field(tenant, id, field).unwrap());
    }

    async fn fill(&self, tenant: &str) {
        let admin = self.token("admin", tenant);
        let other = if tenant == ACME { "Acme" } else { "Globex" };
        let employees = (1..=4).map(|id| {
            let boss = if id == 1 { "null".to_owned() } else { "1".to_owned() };
            row(&[
                ("id", &id.to_string()),
                ("first_name", &format!("\"First{id}\"")),
                ("last_name", "\"Last\""),
                ("title", "\"Staff\""),
                ("reports_to", &boss),
                ("birth_date", "\"1970-01-01\""),
                ("hire_date", "\"2000-01-01\""),
                ("address", "\"1 Road\""),
                ("city", "\"Town\""),
                ("country", "\"Norway\""),
                ("postal_code", "\"1234\""),
                ("phone", "\"+1\""),
            ])
        });
        self.call(&admin, insert("employee", employees.collect())).await.unwrap();
        let customers = (1..=6).map(|n| {
            let country = if n % 2 == 0 { "Brazil" } else { "Norway" };
            row(&[
                ("id", &format!("\"C{n}\"")),
                ("company", &format!("\"{other} Customer {n}\"")),
                ("contact_name", "\"A Person\""),
                ("address", &format!("\"{n} Hidden Street\"")),
                ("country", &format!("\"{country}\"")),
                ("phone", "\"+47 1\""),
                ("fax", "\"+47 2\""),
                ("email", &format!("\"c{n}@example.com\"")),
                ("support_rep_id", if n <= 2 { "3" } else { "4" }),
            ])
        });
        self.call(&admin, insert("customer", customers.collect())).await.unwrap();
        let invoices = (1..=12).map(|n| {
            row(&[
                ("id", &n.to_string()),
                ("customer_id", &format!("\"C{}\"", (n - 1) % 6 + 1)),
                ("invoice_date", "\"2026-01-01\""),
                ("billing_country", "\"Norway\""),
                ("total", &format!("{n}.50")),
            ])
        });
        self.call(&admin, insert("invoice", invoices.collect())).await.unwrap();
    }

    pub fn user_id(&self, user: &str, tenant: &str) -> (UserId, TenantId) {
        let facts = &self.cell.load().facts;
        let tenant = facts.tenant_names[&name(tenant)];
        (facts.user_names[&(tenant, name(user))], tenant)
    }

    pub fn token(&self, user: &str, tenant: &str) -> String {
        let (user, tenant) = self.user_id(user, tenant);
        let now = self.clock.now();
        let session = SessionId::new(now, &SystemEntropy);
        let minted = self.minter.mint(user, tenant, session, MAX_LIFETIME_MS, now, &SystemEntropy).unwrap();
        minted.token().to_owned()
    }

    pub fn request(&self, operation: Operation) -> Request {
        let id = RequestId::new(self.clock.now(), &SystemEntropy);
        Request { id, door: Door::Http, tenant: None, purpose: None, operation }
    }

    pub async fn call(&self, token: &str, operation: Operation) -> Result<Answer, Failure> {
        self.send(token, self.request(operation)).await
    }

    pub async fn send(&self, token: &str, request: Request) -> Result<Answer, Failure> {
        let bearer = Some(Bearer::new(token.to_owned()));
        let permit = self.guard.admit(bearer, &Peer::default(), request).await?;
        self.engine.execute(permit).await
    }

    /// Another gateway before the same key service and the same store, or one that stands in front of it.
    pub fn another_gateway(&self, records: Arc<dyn Records>) -> Gateway {
        let guard = Guard::new(GuardParts {
            service: Service::Gateway,
            verifier: Arc::clone(&self.verifier),
            facts: Arc::clone(&self.cell),
            audit: Arc::clone(&self.ledger) as Arc<dyn AuditSink>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            limits: Limits::default(),
            plan_capacity: 1000,
            observe: Arc::new(countersign_guard::Unobserved),
        });
        let (clock, limits) = (self.clock.clone(), self.limits.clone());
        let engine = Engine::new(self.keys.clone(), records, clock, Arc::new(SystemEntropy), limits);
        Gateway { guard, engine }
    }

    /// Puts budgets in force.
    pub fn budget(&self, text: &str) {
        self.publish(|facts| {
            let mut files = facts.policies.to_vec();
            files.retain(|file| !file.is_budget());
            files.push(PolicyFile { name: PolicyFile::BUDGET.to_owned(), text: text.to_owned() });
            facts.policies = Arc::new(files);
            facts.policy_epoch += 1;
        });
    }

    /// Everything on record of a request, by all services.
    pub fn entries(&self, request: RequestId) -> Vec<TallyEntry> {
        let all = [&self.ledger, &self.behind].map(|ledger| ledger.records.lock().unwrap().clone());
        all.iter().flatten().filter(|record| record.request == request).map(TallyEntry::of).collect()
    }

    /// What a service counted of a request, without what it only intended.
    pub fn counted(&self, request: RequestId, service: Service) -> Option<Tally> {
        let said = self.entries(request).into_iter().filter(|entry| entry.service == service);
        let tallies = said.filter(|entry| entry.verdict != Verdict::Intent).filter_map(|entry| entry.tally);
        tallies.reduce(|mut sum, one| {
            sum.add(&one);
            sum
        })
    }

    /// The requests on record, each once.
    pub fn requests(&self) -> BTreeSet<RequestId> {
        let all = [&self.ledger, &self.behind].map(|ledger| ledger.records.lock().unwrap().clone());
        all.iter().flatten().map(|record| record.request).collect()
    }

    /// Holds all records of all requests against each other.
    #[track_caller]
    pub fn agree(&self) {
        for request in self.requests() {
            let entries = self.entries(request);
            assert_eq!(judge(&entries), [], "{entries:#?}");
        }
    }

    /// Changes the facts as the authority would.
    pub fn publish(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = (*self.cell.load().facts).clone();
        change(&mut facts);
        facts.epoch += 1;
        self.cell.publish(compile(facts), self.clock.now());
    }

    pub fn narrowed(&self, token: &str, narrowing: &Narrowing) -> String {
        let verified = self.verified(token);
        let minted = self.minter.narrow(&verified, narrowing, None, self.clock.now(), &SystemEntropy).unwrap();
        minted.token().to_owned()
    }

    pub fn verified(&self, token: &str) -> Arc<countersign_token::Verified> {
        self.verifier.verify(token, self.clock.now()).unwrap()
    }

    pub fn recorded(&self, verdict: Verdict) -> Vec<Record> {
        let records = self.ledger.records.lock().unwrap();
        records.iter().filter(|record| record.verdict == verdict).cloned().collect()
    }
}

/// One of several gateways.
pub struct Gateway {
    pub guard: Guard,
    pub engine: Engine,
}

impl Gateway {
    pub async fn call(&self, token: &str, request: Request) -> Result<Answer, Failure> {
        let permit = self.guard.admit(Some(Bearer::new(token.to_owned())), &Peer::default(), request).await?;
        self.engine.execute(permit).await
    }
}
