//! A whole deployment behind the router: everything real, everything over requests, no TLS.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here fails a test")]

mod places;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use countersign_audit::{AuditKeys, AuditSink, Ledger, Service};
use countersign_authority::{
    Authority, AuthorityParts, BreachRules, LOGIN_NAMESPACE, LocalFront, Registry, RegistryParts, Signing,
};
use countersign_crypto::dpop::ProofKey;
use countersign_crypto::{SystemEntropy, ssh};
use countersign_door_http::{App, AppParts, Limits, Router};
use countersign_engine::{Engine, EngineLimits};
use countersign_guard::{Guard, GuardParts, Peer};
use countersign_keys::FileKms;
use countersign_model::clock::ManualClock;
use countersign_model::{Clock, Entropy, UnixMs};
use countersign_services::{
    KeyRelease, KeyService, KeyServiceParts, LedgerTrail, Mail, MailFailure, Mailer, Records, StoreService, Trail,
};
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use self::places::Places;

pub const HERE: &str = "https://localhost:8443";
/// The name in `Host` of those who prove that they hold a key.
pub const HOST: &str = "127.0.0.1:8443";

pub struct House {
    pub router: Router<App>,
    pub clock: Arc<ManualClock>,
    pub registry: Arc<Registry>,
    pub authority: Arc<Authority>,
    pub mailbox: Arc<Mailbox>,
    operator: ssh::PrivateKey,
    key: ssh::PrivateKey,
    _places: Places,
}

/// Takes mail and keeps it; refuses it while it is closed.
#[derive(Default)]
pub struct Mailbox {
    pub taken: Mutex<Vec<Mail>>,
    pub is_closed: AtomicBool,
}

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, mail: &Mail) -> Result<(), MailFailure> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(MailFailure::Unavailable);
        }
        self.taken.lock().unwrap().push(mail.clone());
        Ok(())
    }
}

pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self
    }

    /// Status and code of an answer that is a no.
    #[track_caller]
    pub fn no(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

/// One request being put together.
pub struct Ask<'a> {
    house: &'a House,
    builder: http::request::Builder,
    body: String,
}

impl Ask<'_> {
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Got {
        let request = self.builder.body(Full::new(Bytes::from(self.body))).unwrap();
        let response = self.house.router.answer(Peer::default(), request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: parts.status.as_u16(), headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

pub fn example(path: &str) -> String {
    let file = format!("{}/../../examples/trading/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

impl House {
    /// Nobody but the operator, no types, no policies.
    pub async fn empty(now: UnixMs) -> Self {
        let places = Places::new().await;
        let clock = Arc::new(ManualClock::at(now));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let new_key = || ssh::PrivateKey::generate_ed25519(&SystemEntropy, "").unwrap();
        let operator = new_key();
        let parts = RegistryParts {
            place: places.control(),
            kms: Arc::new(FileKms::create(&places.path().join("kms.key"), &SystemEntropy).unwrap()).into(),
            clock: clock.clone(),
            entropy: Arc::clone(&entropy),
            key_open_ms: countersign_keys::MAX_OPEN_MS,
            key_capacity: 1000,
        };
        let registry = Registry::create(parts, &operator.public().unwrap()).unwrap();
        let ledger = |service: Service| {
            let keys = Arc::clone(&registry) as Arc<dyn AuditKeys>;
            let (entropy, options) = (Arc::new(SystemEntropy), Default::default());
            let opened = Ledger::open_on(places.ledger(service), service, keys, entropy, options, None);
            Arc::new(opened.unwrap())
        };
        let ledgers: Vec<_> = Service::ALL.into_iter().map(ledger).collect();
        let sink = |service: Service| {
            let at = Service::ALL.iter().position(|one| *one == service).unwrap();
            Arc::clone(&ledgers[at]) as Arc<dyn AuditSink>
        };
        let store = places.store();
        let signing = Signing::open(&registry, HERE.into(), HERE.into(), 100).await.unwrap();
        let verifier = signing.verifier();
        let guard = |service: Service| {
            Arc::new(Guard::new(GuardParts {
                service,
                verifier: Arc::clone(&verifier),
                facts: registry.facts(),
                audit: sink(service),
                clock: clock.clone(),
                limits: countersign_guard::Limits::default(),
                plan_capacity: 1000,
                observe: Arc::new(countersign_guard::Unobserved),
            }))
        };
        let keys: Arc<dyn KeyRelease> = Arc::new(KeyService::new(KeyServiceParts {
            guard: guard(Service::Keys),
            keys: registry.tenant_keys(),
            budgets: Arc::new(places.budgets(now)),
            entropy: Arc::clone(&entropy),
        }));
        let records: Arc<dyn Records> =
            Arc::new(StoreService::new(guard(Service::Store), Arc::clone(&store), Arc::clone(&keys)));
        let trail = |service: Service| {
            let at = Service::ALL.iter().position(|one| *one == service).unwrap();
            let trail: Arc<dyn Trail> = Arc::new(LedgerTrail::new(guard(service), Arc::clone(&ledgers[at])));
            (service.to_string(), trail)
        };
        let trails: Vec<_> = Service::ALL.into_iter().map(trail).collect();
        let authority = Authority::open(AuthorityParts {
            registry: Arc::clone(&registry),
            store: Some(store),
            keys: Arc::clone(&keys),
            records: Arc::clone(&records),
            audit: sink(Service::Authority),
            trails: Arc::new(trails),
            signing,
            login_lifetime_ms: 3_600_000,
        });
        let mailbox = Arc::new(Mailbox::default());
        let mailer = Some(Arc::clone(&mailbox) as Arc<dyn Mailer>);
        let rules = BreachRules { mailer, ..BreachRules::embedded().unwrap() };
        let authority = Arc::new(authority.await.unwrap().with_breach_rules(rules));
        if places.are_shared() {
            clock.advance_ms(1000);
        }
        let engine =
            Engine::new(Arc::clone(&keys), records, clock.clone(), Arc::clone(&entropy), EngineLimits::default());
        let app = App::new(AppParts {
            guard: guard(Service::Gateway),
            verifier: Arc::clone(&verifier),
            engine: Arc::new(engine),
            keys,
            front: Arc::new(LocalFront::new(Arc::clone(&authority), guard(Service::Authority))),
            names: vec!["127.0.0.1".into()],
            key_capacity: 100,
            clock: clock.clone(),
            entropy,
        });
        let router = Router::new(Arc::new(app), Limits::default());
        Self { router, clock, registry, authority, mailbox, operator, key: new_key(), _places: places }
    }

    /// The trading example: both companies, one person for each role, the records that `load` names.
    pub async fn trading(now: UnixMs, load: &[&str]) -> Self {
        let house = Self::empty(now).await;
        let operator = house.operator().await;
        let types = house.ask("PUT", "/v1/types").token(&operator).header("content-type", "text/plain");
        types.body(example("types.toml")).send().await.ok();
        let folder = format!("{}/../../examples/trading/policies", env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            files.push(json!({ "name": name, "text": example(&format!("policies/{name}")) }));
        }
        let policies = house.ask("PUT", "/v1/policies").token(&operator);
        policies.body(json!({ "files": files }).to_string()).send().await.ok();
        for tenant in ["northwind", "chinook"] {
            let added = house.ask("POST", "/v1/tenants").token(&operator);
            assert_eq!(added.body(json!({ "name": tenant }).to_string()).send().await.status, 201);
            // The operator lets the first person in, who lets in the others.
            let path = |role: &str| format!("/v1/users/{role}?tenant={tenant}");
            house.ask("PUT", &path("admin")).token(&operator).body(house.person("admin")).send().await.ok();
            let admin = house.login("admin", tenant).await;
            for role in ["support", "accountant", "analyst", "rep", "auditor"] {
                house.ask("PUT", &path(role)).token(&admin).body(house.person(role)).send().await.ok();
            }
            for record_type in load {
                let csv = example(&format!("data/{tenant}/{record_type}.csv"));
                let post = house.ask("POST", &format!("/rest/v1/{record_type}")).token(&admin);
                post.header("content-type", "text/csv").body(csv).send().await.ok();
            }
        }
        house
    }

    pub fn person(&self, role: &str) -> String {
        let key = self.key.public().unwrap().to_line();
        json!({ "roles": [role], "attributes": { "employee": 4 }, "ssh_keys": [key] }).to_string()
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        Ask { house: self, builder: http::Request::builder().method(method).uri(path), body: String::new() }
    }

    pub async fn operator(&self) -> String {
        self.login_with(&self.operator, "operator", "operators").await
    }

    pub async fn login(&self, user: &str, tenant: &str) -> String {
        self.login_with(&self.key, user, tenant).await
    }

    async fn login_with(&self, key: &ssh::PrivateKey, user: &str, tenant: &str) -> String {
        let granted = self.login_proving(key, user, tenant, None).await;
        granted["access_token"].as_str().unwrap().to_owned()
    }

    /// A login whose token is bound to a key.
    pub async fn bound_login(&self, user: &str, tenant: &str, bound_to: &ProofKey) -> Value {
        self.login_proving(&self.key, user, tenant, Some(bound_to)).await
    }

    async fn login_proving(
        &self,
        key: &ssh::PrivateKey,
        user: &str,
        tenant: &str,
        bound_to: Option<&ProofKey>,
    ) -> Value {
        let who = json!({ "user": user, "tenant": tenant });
        let challenge = self.ask("POST", "/v1/login/challenge").body(who.to_string()).send().await.ok().json();
        let text = challenge["text"].as_str().unwrap();
        let signature = ssh::sign(key, LOGIN_NAMESPACE, text.as_bytes()).unwrap();
        let login = json!({ "user": user, "tenant": tenant, "id": challenge["id"], "signature": signature });
        let ask = self.ask("POST", "/v1/login").body(login.to_string());
        let ask = match bound_to {
            Some(key) => ask.header("host", HOST).header("dpop", &self.proof(key, "POST", "/v1/login", None)),
            None => ask,
        };
        ask.send().await.ok().json()
    }

    /// A proof of possession for a request to this server.
    pub fn proof(&self, key: &ProofKey, method: &str, path: &str, token: Option<&str>) -> String {
        key.sign(method, &format!("https://{HOST}{path}"), token, self.now(), &SystemEntropy).unwrap()
    }

    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }
}
