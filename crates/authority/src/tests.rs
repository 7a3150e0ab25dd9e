//! A whole deployment without doors: registry, ledgers, store, authority and the guard in front of it.

mod control;
mod database;
mod files;
mod login;
mod signing;
mod snapshots;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_audit::{AuditKeys, AuditSink, Ledger, Options, Service};
use countersign_crypto::{SystemEntropy, ssh};
use countersign_guard::{Bearer, Guard, GuardParts, Limits, Peer, Refusal};
use countersign_keys::budget::Budgets;
use countersign_keys::{FileKms, KmsProvider};
use countersign_model::clock::ManualClock;
use countersign_model::control::{Control, NewUser, PolicyFile};
use countersign_model::request::{Door, Operation};
use countersign_model::{Clock, Name, Request, RequestId, UnixMs};
use countersign_postgres::{Blocking, CORE, Pool};
use countersign_services::{KeyRelease, KeyService, KeyServiceParts, LedgerTrail, StoreService, Trail};
use countersign_store::{SqliteStore, Store};
use countersign_testkit::Postgres;
use countersign_token::{MAX_LIFETIME_MS, Minted};
use serde_json::Value;

use crate::people::fetch::Outbound;
use crate::{
    Authority, AuthorityParts, CONTROL, ControlFailure, LOGIN_NAMESPACE, Login, LoginRefused, Place, Registry,
    RegistryError, RegistryParts, Signing,
};

pub(super) const HERE: &str = "https://127.0.0.1:8443";
pub(super) const NOW: UnixMs = UnixMs(1_800_000_000_500);

/// Names in the clear that must not be found in the file.
pub(super) const TYPES: &str = r#"
[principal]
employee = "integer"

[types.customer.fields]
id      = { kind = "text", class = "internal" }
company = { kind = "text", class = "internal" }
country = { kind = "text", class = "internal", index = "exact" }
email   = { kind = "text", class = "personal" }
support_rep = { kind = "integer", class = "internal" }
"#;

pub(super) const POLICIES: &str = r#"
@id("own token") permit (principal, action == Control::Action::"use_own_token", resource);
@id("admin records") permit (principal in Role::"admin", action in Data::Action::"any", resource);
@id("admin") permit (principal in Role::"admin", action in [Control::Action::"read_users",
  Control::Action::"manage_users", Control::Action::"manage_provider", Control::Action::"revoke_tokens",
  Control::Action::"introspect_tokens", Control::Action::"read_audit", Control::Action::"read_access",
  Control::Action::"decide_access", Control::Action::"read_types"], resource);
@id("auditor") permit (principal in Role::"auditor", action == Control::Action::"read_audit", resource);
@id("rep") permit (principal in Role::"rep", action == Customer::Action::"read", resource)
when { principal has employee && resource has support_rep && resource.support_rep == principal.employee };
@id("accountant") permit (principal in Role::"accountant", action == Customer::Action::"read", resource)
when { context.field in [Customer::Field::"id", Customer::Field::"company"] };
"#;

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn new_key() -> ssh::PrivateKey {
    ssh::PrivateKey::generate_ed25519(&SystemEntropy, "a comment").unwrap()
}

pub(super) fn line(key: &ssh::PrivateKey) -> String {
    key.public().unwrap().to_line()
}

pub(super) fn files() -> Vec<PolicyFile> {
    vec![PolicyFile { name: "roles.cedar".into(), text: POLICIES.into() }]
}

pub(super) fn user(who: &str, role: &str, key: &ssh::PrivateKey) -> NewUser {
    NewUser { name: name(who), roles: vec![name(role)], ssh_keys: vec![line(key)], ..NewUser::default_for(who) }
}

trait DefaultFor {
    fn default_for(who: &str) -> Self;
}

impl DefaultFor for NewUser {
    fn default_for(who: &str) -> Self {
        Self {
            name: name(who),
            roles: vec![],
            attributes: Default::default(),
            ssh_keys: vec![],
            kind: Default::default(),
        }
    }
}

/// What came of a request, as a door would see it.
#[derive(Debug)]
pub(super) enum Failed {
    Refused(Refusal),
    Control(ControlFailure),
}

/// Where a house keeps everything: in a folder, or its control data in a database of its own.
pub(super) struct Home {
    dir: tempfile::TempDir,
    pub server: Option<Postgres>,
}

impl Home {
    pub fn file() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: None }
    }

    pub async fn postgres() -> Self {
        let server = Postgres::start().unwrap();
        let owner = Pool::new(server.settings().unwrap(), server.owner().unwrap());
        countersign_postgres::migrate(&owner, &[CORE, CONTROL]).await.unwrap();
        Self { dir: tempfile::tempdir().unwrap(), server: Some(server) }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// As another process would come to it.
    pub fn place(&self) -> Place {
        let Some(server) = &self.server else { return Place::File(db(self.path())) };
        let identity = server.identity(Service::Authority).unwrap();
        let database = Blocking::start(server.settings().unwrap(), identity).unwrap();
        Place::Postgres { database, bootstrap: self.path().join("bootstrap") }
    }

    pub fn parts(&self, clock: &Arc<ManualClock>) -> RegistryParts {
        RegistryParts { place: self.place(), ..registry_parts(self.path(), clock, kms(self.path())) }
    }
}

pub(super) struct House {
    pub dir: Home,
    pub clock: Arc<ManualClock>,
    pub registry: Arc<Registry>,
    pub ledgers: Vec<Arc<Ledger>>,
    pub store: Arc<SqliteStore>,
    pub authority: Arc<Authority>,
    /// The authority's.
    pub guard: Arc<Guard>,
    /// The first operator's key.
    pub operator: ssh::PrivateKey,
}

pub(super) fn db(dir: &Path) -> PathBuf {
    dir.join("control.db")
}

pub(super) fn registry_parts(dir: &Path, clock: &Arc<ManualClock>, kms: Arc<dyn KmsProvider>) -> RegistryParts {
    RegistryParts {
        place: Place::File(db(dir)),
        kms: kms.into(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        entropy: Arc::new(SystemEntropy),
        key_open_ms: countersign_keys::MAX_OPEN_MS,
        key_capacity: 100,
    }
}

pub(super) fn kms(dir: &Path) -> Arc<dyn KmsProvider> {
    let path = dir.join("kms.key");
    let made = path.exists() || dir.join("kms.key.1").exists();
    Arc::new(if made { FileKms::open(&path) } else { FileKms::create(&path, &SystemEntropy) }.unwrap())
}

impl House {
    /// A new deployment with types and policies, and nobody but the operator.
    pub async fn new() -> Self {
        Self::calling(NOW, None).await
    }

    /// The same at another time, which calls identity providers by means of `outbound`.
    pub async fn calling(now: UnixMs, outbound: Option<Arc<dyn Outbound>>) -> Self {
        Self::furnished(Self::begun(Home::file(), now, outbound).await).await
    }

    /// A new deployment with types and policies there.
    pub async fn new_in(home: Home) -> Self {
        Self::furnished(Self::begun(home, NOW, None).await).await
    }

    async fn furnished(house: Self) -> Self {
        let operator = house.operator_token().await;
        house.ask(&operator, Control::TypesApply { text: TYPES.into(), dry_run: false }).await.unwrap();
        house.ask(&operator, Control::PoliciesApply { files: files(), dry_run: false }).await.unwrap();
        house
    }

    pub async fn empty() -> Self {
        Self::begun(Home::file(), NOW, None).await
    }

    async fn begun(dir: Home, now: UnixMs, outbound: Option<Arc<dyn Outbound>>) -> Self {
        let clock = Arc::new(ManualClock::at(now));
        let operator = new_key();
        let parts = dir.parts(&clock);
        let registry = Registry::create(parts, &operator.public().unwrap()).unwrap();
        Self::over(dir, clock, registry, operator, outbound).await
    }

    /// The same deployment, closed and opened again.
    pub async fn reopened(self) -> Self {
        for ledger in &self.ledgers {
            ledger.close().await;
        }
        let Self { dir, clock, registry, ledgers, store, authority, guard, operator } = self;
        drop((registry, ledgers, store, authority, guard));
        let registry = Registry::open(dir.parts(&clock)).unwrap();
        Self::over(dir, clock, registry, operator, None).await
    }

    async fn over(
        dir: Home,
        clock: Arc<ManualClock>,
        registry: Arc<Registry>,
        operator: ssh::PrivateKey,
        outbound: Option<Arc<dyn Outbound>>,
    ) -> Self {
        let ledger = |service: Service| {
            let keys = Arc::clone(&registry) as Arc<dyn AuditKeys>;
            let folder = dir.path().join("audit").join(service.as_str());
            std::fs::create_dir_all(&folder).unwrap();
            Arc::new(Ledger::open(&folder, service, keys, Arc::new(SystemEntropy), Options::default()).unwrap())
        };
        let ledgers = [Service::Gateway, Service::Authority, Service::Keys, Service::Store].map(ledger).to_vec();
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let store = Arc::new(SqliteStore::open(&data, countersign_store::Options::default()).unwrap());
        let signing = Signing::open(&registry, HERE.into(), HERE.into(), 100).await.unwrap();
        let guard = |ledger: &Arc<Ledger>, service| {
            Arc::new(Guard::new(GuardParts {
                service,
                verifier: signing.verifier(),
                facts: registry.facts(),
                audit: Arc::clone(ledger) as Arc<dyn AuditSink>,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                limits: Limits::default(),
                plan_capacity: 100,
                observe: Arc::new(countersign_guard::Unobserved),
            }))
        };
        let guards = [
            guard(&ledgers[0], Service::Gateway),
            guard(&ledgers[1], Service::Authority),
            guard(&ledgers[2], Service::Keys),
            guard(&ledgers[3], Service::Store),
        ];
        let trail = |(guard, ledger): (&Arc<Guard>, &Arc<Ledger>)| {
            Arc::new(LedgerTrail::new(Arc::clone(guard), Arc::clone(ledger))) as Arc<dyn Trail>
        };
        let names = ["gateway", "authority", "keys", "store"].map(str::to_owned);
        let trails: Vec<_> = names.into_iter().zip(guards.iter().zip(&ledgers).map(trail)).collect();
        let budgets = Budgets::open(&dir.path().join("budgets"), clock.now()).unwrap();
        let keys: Arc<dyn KeyRelease> = Arc::new(KeyService::new(KeyServiceParts {
            guard: Arc::clone(&guards[2]),
            keys: registry.tenant_keys(),
            budgets: Arc::new(budgets),
            entropy: Arc::new(SystemEntropy),
        }));
        let records =
            StoreService::new(Arc::clone(&guards[3]), Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&keys));
        let [_, guard, ..] = guards;
        let authority = Authority::open(AuthorityParts {
            registry: Arc::clone(&registry),
            store: Some(Arc::clone(&store) as Arc<dyn Store>),
            keys,
            records: Arc::new(records),
            audit: Arc::clone(&ledgers[1]) as Arc<dyn AuditSink>,
            trails: Arc::new(trails),
            signing,
            login_lifetime_ms: MAX_LIFETIME_MS,
        })
        .await
        .unwrap();
        let authority = match outbound {
            Some(outbound) => authority.calling(outbound),
            None => authority,
        };
        authority.finish_erasures().await;
        let authority = Arc::new(authority);
        Self { dir, clock, registry, ledgers, store, authority, guard, operator }
    }

    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// An answer to a fresh challenge, signed with `key`.
    pub fn answer(&self, who: &str, tenant: &str, key: &ssh::PrivateKey) -> Login {
        let (user, tenant) = (name(who), name(tenant));
        let challenge = self.authority.challenge(&user, &tenant);
        let signature = ssh::sign(key, LOGIN_NAMESPACE, challenge.text.as_bytes()).unwrap();
        let request = RequestId::new(self.now(), &SystemEntropy);
        Login { request, door: Some(Door::Http), user, tenant, challenge: challenge.id, signature, lifetime_ms: None }
    }

    pub async fn login(&self, who: &str, tenant: &str, key: &ssh::PrivateKey) -> Result<Minted, LoginRefused> {
        self.authority.login(self.answer(who, tenant, key)).await
    }

    pub async fn token(&self, who: &str, tenant: &str, key: &ssh::PrivateKey) -> String {
        self.login(who, tenant, key).await.unwrap().into_token()
    }

    pub async fn operator_token(&self) -> String {
        self.token("operator", "operators", &self.operator).await
    }

    pub async fn ask(&self, token: &str, control: Control) -> Result<Value, Failed> {
        let request = Request {
            id: RequestId::new(self.now(), &SystemEntropy),
            door: Door::Http,
            tenant: None,
            purpose: None,
            operation: Operation::Control(control),
        };
        let bearer = Some(Bearer::new(token.to_owned()));
        let permit = self.guard.admit(bearer, &Peer::default(), request).await.map_err(Failed::Refused)?;
        let answer = self.authority.execute(permit).await.map_err(Failed::Control)?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    /// A tenant with an admin: the way every tenant begins.
    pub async fn tenant(&self, tenant: &str) -> ssh::PrivateKey {
        let operator = self.operator_token().await;
        self.ask(&operator, Control::TenantAdd { name: name(tenant), kms: None }).await.unwrap();
        let key = new_key();
        let put = Control::UserPut { tenant: Some(name(tenant)), user: user("andrew", "admin", &key) };
        self.ask(&operator, put).await.unwrap();
        key
    }

    /// A person beside the admin.
    pub async fn person(&self, tenant: &str, admin: &ssh::PrivateKey, who: &str, role: &str) -> ssh::PrivateKey {
        let token = self.token("andrew", tenant, admin).await;
        let key = new_key();
        self.ask(&token, Control::UserPut { tenant: None, user: user(who, role, &key) }).await.unwrap();
        key
    }
}

pub(super) fn open_error(dir: &Path, clock: &Arc<ManualClock>, kms: Arc<dyn KmsProvider>) -> RegistryError {
    match Registry::open(registry_parts(dir, clock, kms)) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

pub(super) fn is_forbidden<T>(outcome: &Result<T, Failed>) -> bool {
    matches!(
        outcome,
        Err(Failed::Refused(Refusal::Forbidden | Refusal::OtherTenant)
            | Failed::Control(ControlFailure::Refused(Refusal::Forbidden | Refusal::OtherTenant)))
    )
}
