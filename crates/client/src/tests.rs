//! Against a Countersign that is made up: its answers are set by the test, and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use countersign_crypto::{SystemEntropy, jws};
use countersign_model::clock::ManualClock;
use countersign_model::request::Narrowing;
use countersign_model::{Clock, SessionId, TenantId, UnixMs, UserId};
use countersign_token::{Binding, Minted, Minter};
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::authority::{Answered, Source};
use crate::builder::{ConnectError, Settings};
use crate::{Authority, Caller, Refused};

mod forward;
mod keys;
mod layer;
mod permissions;

pub(super) const HERE: &str = "https://countersign.example";
pub(super) const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);
pub(super) const HOUR_MS: u64 = 3_600_000;

/// What is asked, and how often.
#[derive(Default)]
pub(super) struct Asked {
    pub metadata: AtomicUsize,
    pub keys: AtomicUsize,
    pub tokens: AtomicUsize,
}

/// A deployment, without the deployment.
pub(super) struct Fake {
    pub asked: Asked,
    pub down: AtomicBool,
    pub key_set: Mutex<Value>,
    /// What is said of tokens; 401 of any other.
    pub said: Mutex<HashMap<String, (u16, Value)>>,
}

/// `Source` for an `Arc`.
struct Shared(Arc<Fake>);

impl Source for Shared {
    fn get<'a>(&'a self, path: &'static str, authorization: Option<HeaderValue>) -> Answered<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let Fake { asked, down, key_set, said } = &*self.0;
            let counter = match path {
                "/.well-known/oauth-authorization-server" => &asked.metadata,
                "/v1/jwks.json" => &asked.keys,
                "/v1/token" => &asked.tokens,
                other => panic!("asked for {other}"),
            };
            counter.fetch_add(1, Ordering::SeqCst);
            if down.load(Ordering::SeqCst) {
                return Err("down".into());
            }
            let (status, body) = match path {
                "/v1/jwks.json" => (200, key_set.lock().clone()),
                "/v1/token" => {
                    let bearer = authorization.expect("who-am-i without a token");
                    assert!(bearer.is_sensitive());
                    let token = bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
                    said.lock().get(&token).cloned().unwrap_or((401, Value::Null))
                }
                _ => (200, json!({ "issuer": HERE })),
            };
            Ok((StatusCode::from_u16(status).unwrap(), Bytes::from(body.to_string())))
        })
    }
}

/// A deployment and a service's view of it.
pub(super) struct World {
    pub fake: Arc<Fake>,
    pub clock: Arc<ManualClock>,
    pub authority: Authority,
    pub minter: Minter,
}

pub(super) fn signing_key() -> Arc<jws::SigningKey> {
    Arc::new(jws::SigningKey::generate(&SystemEntropy).unwrap())
}

pub(super) fn minter(key: &Arc<jws::SigningKey>) -> Minter {
    Minter::new(HERE, "countersign", Arc::clone(key))
}

impl World {
    pub async fn new() -> Self {
        Self::with_issuer(None).await.unwrap()
    }

    pub async fn with_issuer(issuer: Option<&str>) -> Result<Self, ConnectError> {
        let key = signing_key();
        let key_set = Mutex::new(jws::jwks(&[key.public_jwk().clone()]));
        let fake = Fake { asked: Asked::default(), down: false.into(), key_set, said: Mutex::default() };
        let (fake, clock) = (Arc::new(fake), Arc::new(ManualClock::at(NOW)));
        let settings = Settings {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            answer_within: Duration::from_secs(60),
            ..Settings::default()
        };
        let source = Box::new(Shared(Arc::clone(&fake)));
        let issuer = issuer.map(str::to_owned);
        let authority = Authority::open(source, issuer, "countersign".to_owned(), settings).await?;
        Ok(Self { fake, clock, authority, minter: minter(&key) })
    }

    /// A one-hour token that Countersign knows and has permissions for.
    pub fn login(&self) -> Minted {
        self.login_with(&self.minter)
    }

    pub fn login_with(&self, minter: &Minter) -> Minted {
        let now = self.clock.now();
        let (user, tenant) = (UserId::new(now, &SystemEntropy), TenantId::new(now, &SystemEntropy));
        let session = SessionId::new(now, &SystemEntropy);
        let minted = minter.mint(user, tenant, session, HOUR_MS, now, &SystemEntropy).unwrap();
        self.say(&minted, 200, may_read(&minted));
        minted
    }

    pub fn say(&self, minted: &Minted, status: u16, body: Value) {
        self.fake.said.lock().insert(minted.token().to_owned(), (status, body));
    }

    pub async fn caller(&self, minted: &Minted) -> Result<Caller, Refused> {
        self.authority.authenticate(&bearer(minted.token())).await
    }
}

/// What `GET /v1/token` says.
pub(super) fn may_read(minted: &Minted) -> Value {
    json!({
        "user": "nancy", "tenant": "northwind", "roles": ["accountant"], "token": minted.id(), "later": {},
        "records": {
            "customer": { "read": { "fields": ["id", "company", "country"], "records": "all" } },
            "invoice": {
                "read": { "fields": ["id", "total"], "records": "some" },
                "audit": { "fields": [], "records": "all" },
            },
        },
        "control": [],
    })
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    [(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())].into_iter().collect()
}

#[tokio::test]
async fn a_caller_is_what_its_token_says() {
    let world = World::new().await;
    let login = world.login();
    let caller = world.caller(&login).await.unwrap();
    assert_eq!(caller.token(), login.id().uuid());
    assert_eq!(caller.expires().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), NOW.seconds() + 3600);
    assert!(!caller.limits().is_limiting());
    assert_eq!(caller.actor(), None);
    for printed in [format!("{caller:?}"), format!("{:?}", world.authority)] {
        assert!(!printed.contains("eyJ") && printed.len() < 300, "{printed}");
    }
}

#[tokio::test]
async fn a_narrowed_token_says_so() {
    let world = World::new().await;
    let login = world.login();
    let parent = world.authority.verified(login.token()).unwrap();
    let limits = Narrowing {
        types: Some(vec!["customer".parse().unwrap()]),
        purpose: Some("call back".to_owned()),
        ..Narrowing::default()
    };
    let narrowed = world.minter.narrow(&parent, &limits, None, NOW, &SystemEntropy).unwrap();
    world.say(&narrowed, 200, may_read(&narrowed));
    let caller = world.caller(&narrowed).await.unwrap();
    assert_eq!(caller.limits().types.as_deref(), Some(["customer".to_owned()].as_slice()));
    assert_eq!(caller.limits().purpose.as_deref(), Some("call back"));
    assert!(caller.limits().is_limiting() && !format!("{:?}", caller.limits()).contains("call back"));
}

#[tokio::test]
async fn a_bound_token_is_not_enough_for_a_service_that_is_shown_no_proof() {
    let world = World::new().await;
    for binding in [Binding::Jkt([7; 32]), Binding::Certificate([7; 32])] {
        let bound = world.login_with(&world.minter.bound_to(Some(binding)));
        assert_eq!(world.caller(&bound).await.unwrap_err(), Refused::Bound);
        let offline = world.authority.authenticate_offline(&bearer(bound.token())).await;
        assert_eq!(offline.unwrap_err(), Refused::Bound);
    }
    assert_eq!(world.fake.asked.tokens.load(Ordering::SeqCst), 0, "the token went to Countersign all the same");
}

#[tokio::test]
async fn tokens_of_others_are_refused() {
    let world = World::new().await;
    let (key, known) = (signing_key(), signing_key());
    *world.fake.key_set.lock() = jws::jwks(&[known.public_jwk().clone()]);
    world.clock.advance_ms(2_000);
    let minters = [
        ("an unknown key", minter(&key)),
        ("another issuer", Minter::new("https://evil.example", "countersign", Arc::clone(&known))),
        ("another audience", Minter::new(HERE, "elsewhere", Arc::clone(&known))),
    ];
    for (what, minter) in minters {
        let token = world.login_with(&minter);
        assert!(matches!(world.caller(&token).await, Err(Refused::Invalid(_))), "{what}");
    }
    let good = world.login_with(&minter(&known));
    world.caller(&good).await.unwrap();
    let expired = good.expires().since(world.clock.now());
    world.clock.advance_ms(expired);
    assert_eq!(world.caller(&good).await.unwrap_err(), Refused::Expired);
}

#[tokio::test]
async fn an_issuer_can_be_pinned() {
    assert!(World::with_issuer(Some(HERE)).await.is_ok());
    assert!(matches!(World::with_issuer(Some("https://other.example")).await, Err(ConnectError::OtherIssuer)));
}
