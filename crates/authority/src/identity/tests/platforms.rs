//! Services that a platform speaks for.

use std::collections::BTreeMap;

use async_trait::async_trait;
use countersign_crypto::jws::{self, SigningKey};
use countersign_crypto::jwt::JwkSet;

use super::*;
use crate::people::{Issuer, IssuerError};

const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

struct Platform {
    key: SigningKey,
}

impl Platform {
    fn new() -> Self {
        Self { key: SigningKey::generate(&SystemEntropy).unwrap() }
    }

    fn jwks(&self) -> String {
        jws::jwks(&[self.key.public_jwk().clone()]).to_string()
    }

    fn sign(&self, claims: &Value) -> String {
        self.key.sign("JWT", claims).unwrap()
    }

    fn rule(&self) -> PlatformRule {
        PlatformRule {
            name: "cluster".into(),
            issuer: CLUSTER.into(),
            jwks: Some(self.jwks()),
            ca_pem: None,
            audience: "countersign".into(),
            subject: "system:serviceaccount:countersign:keys".into(),
            claims: BTreeMap::from([("/kubernetes.io/namespace".into(), "countersign".into())]),
            role: "keys".into(),
            instance: Some("/kubernetes.io/pod/name".into()),
        }
    }
}

/// As Kubernetes makes them.
fn claims(house: &House) -> Value {
    let (begun, ends) = (house.now().minus_ms(60_000).seconds(), house.now().plus_ms(3_540_000).seconds());
    json!({
        "iss": CLUSTER, "sub": "system:serviceaccount:countersign:keys", "aud": ["countersign"],
        "iat": begun, "nbf": begun, "exp": ends, "jti": "1",
        "kubernetes.io": { "namespace": "countersign", "node": { "name": "n" }, "pod": { "name": "keys-0", "uid": "u" } },
    })
}

fn with(mut claims: Value, pointer: &str, value: Value) -> Value {
    *claims.pointer_mut(pointer).unwrap() = value;
    claims
}

async fn house(platforms: Vec<PlatformRule>, platform_keys: Option<Arc<dyn KeySource>>) -> House {
    let House { authority, dir, clock, registry, ledgers, store, guard, operator } = House::new().await;
    let rules = IdentityRules { platforms, platform_keys, ..Default::default() };
    let authority = Arc::new(Arc::into_inner(authority).unwrap().with_identity(rules).unwrap());
    House { authority, dir, clock, registry, ledgers, store, guard, operator }
}

async fn joins(house: &House, token: String, role: &str) -> Result<Issued, JoinRefused> {
    house.joins(JoinProof::Platform(Zeroizing::new(token)), role, csr()).await
}

#[tokio::test]
async fn a_workload_that_the_platform_vouches_for_joins_as_often_as_it_has_to() {
    let platform = Platform::new();
    let house = house(vec![platform.rule()], None).await;
    let token = platform.sign(&claims(&house));
    let issued = joins(&house, token.clone(), "keys").await.unwrap();
    assert_eq!(issued.id.to_string(), "spiffe://countersign/keys/keys-0");
    assert_eq!(joins(&house, token.clone(), "keys").await.unwrap().id, issued.id);
    assert!(house.renews(&issued).await.is_ok());
    let records = house.records("join_service");
    assert!(records[0].body.detail.as_deref().unwrap().starts_with("a token of platform cluster; from"));
    assert!(!format!("{records:?}").contains(&token));
    let list = house.operates(Control::ServiceList).await.unwrap();
    assert_eq!((&list[0]["name"], &list[0]["joined_by"]), (&json!("keys-0"), &json!("cluster")));
    // A removed one doesn't come back by itself.
    house.operates(Control::ServiceRemove { role: name("keys"), name: name("keys-0") }).await.unwrap();
    assert_eq!(joins(&house, token, "keys").await, Err(JoinRefused::Refused));
}

#[tokio::test]
async fn every_claim_has_to_be_as_the_rule_says() {
    let platform = Platform::new();
    let house = house(vec![platform.rule()], None).await;
    let (good, now) = (claims(&house), house.now().seconds());
    let bad = [
        with(good.clone(), "/iss", json!("https://elsewhere.example")),
        with(good.clone(), "/sub", json!("system:serviceaccount:countersign:keys2")),
        with(good.clone(), "/sub", json!("system:serviceaccount:other:keys")),
        with(good.clone(), "/aud", json!(["other"])),
        with(good.clone(), "/aud", json!(["countersign", "other"])),
        with(good.clone(), "/kubernetes.io/namespace", json!("other")),
        with(good.clone(), "/kubernetes.io/namespace", json!(["countersign"])),
        with(good.clone(), "/kubernetes.io/namespace", Value::Null),
        with(good.clone(), "/kubernetes.io/pod/name", json!("a/b")),
        with(good.clone(), "/kubernetes.io/pod/name", json!("Keys.0")),
        with(good.clone(), "/kubernetes.io/pod/name", json!({})),
        with(good.clone(), "/exp", json!(now)),
        with(good.clone(), "/nbf", json!(now + 600)),
        // Lives for longer than an hour.
        with(good.clone(), "/exp", json!(now + 3541)),
        with(with(good.clone(), "/iat", json!(now - 7200)), "/exp", json!(now + 60)),
        with(good.clone(), "/iat", Value::Null),
    ];
    for claims in bad {
        let outcome = joins(&house, platform.sign(&claims), "keys").await;
        assert_eq!(outcome, Err(JoinRefused::Refused), "{claims}");
    }
    assert_eq!(joins(&house, platform.sign(&good), "store").await, Err(JoinRefused::Refused));
    assert_eq!(joins(&house, platform.sign(&good), "authority").await, Err(JoinRefused::Refused));
    assert_eq!(joins(&house, Platform::new().sign(&good), "keys").await, Err(JoinRefused::Refused));
    for text in ["", "a.b.c", "csj1.AAAA"] {
        assert_eq!(joins(&house, text.to_owned(), "keys").await, Err(JoinRefused::Refused));
    }
    let refusals = house.records("join_service");
    assert!(refusals.iter().all(|one| one.body.reason == Some(Reason::BadProof)));
    assert!(joins(&house, platform.sign(&good), "keys").await.is_ok());
}

#[tokio::test]
async fn a_platform_does_not_speak_for_services_that_operators_invited() {
    let platform = Platform::new();
    let house = house(vec![platform.rule()], None).await;
    house.joined("keys", "keys-0").await;
    let outcome = joins(&house, platform.sign(&claims(&house)), "keys").await;
    assert_eq!(outcome, Err(JoinRefused::Refused));
    // An operator may, for one that the platform brought.
    let token = platform.sign(&with(claims(&house), "/kubernetes.io/pod/name", json!("keys-1")));
    joins(&house, token, "keys").await.unwrap();
    house.authority.service_remove("keys", "keys-0").await.map(|_| ()).unwrap();
    assert_eq!(house.joined("keys", "keys-1").await.id.instance(), "keys-1");
}

#[tokio::test]
async fn the_rule_for_the_role_counts_and_a_beginning_may_do_for_a_subject() {
    let ci = Platform::new();
    let subject = "repo:example/countersign:*";
    let gateway = PlatformRule {
        name: "ci".into(),
        subject: subject.into(),
        claims: BTreeMap::from([("/protected".into(), "true".into()), ("/attempt".into(), "1".into())]),
        role: "gateway".into(),
        instance: None,
        ..ci.rule()
    };
    let store = PlatformRule { role: "store".into(), name: "ci-store".into(), ..gateway.clone() };
    let house = house(vec![gateway, store], None).await;
    let now = house.now().seconds();
    let token = |sub: &str| {
        ci.sign(&json!({ "iss": CLUSTER, "sub": sub, "aud": "countersign", "iat": now, "exp": now + 300,
            "protected": true, "attempt": 1 }))
    };
    let good = token("repo:example/countersign:ref:refs/heads/main");
    let (one, two) = (joins(&house, good.clone(), "store").await, joins(&house, good.clone(), "store").await);
    let (one, two) = (one.unwrap().id, two.unwrap().id);
    assert_eq!(one.role(), "store");
    assert_ne!(one, two, "each has a name of its own");
    assert!(joins(&house, good, "gateway").await.is_ok());
    for sub in ["repo:example/other:ref:refs/heads/main", "x-repo:example/countersign:y", "repo:example/countersign"] {
        assert_eq!(joins(&house, token(sub), "store").await, Err(JoinRefused::Refused), "{sub}");
    }
    // Those that are gone don't pile up.
    let listed = async || house.operates(Control::ServiceList).await.unwrap().as_array().unwrap().len();
    assert_eq!(listed().await, 3);
    let kept = house.joined("keys", "k1").await;
    let step = registry::REMEMBERED_MS / 2;
    let mut last = kept;
    for _ in 0..4 {
        house.clock.advance_ms(step);
        last = house.renews(&last).await.unwrap();
    }
    let now = house.now().seconds();
    let late = json!({ "iss": CLUSTER, "sub": "repo:example/countersign:x", "aud": "countersign", "iat": now,
        "exp": now + 300, "protected": true, "attempt": 1 });
    joins(&house, ci.sign(&late), "gateway").await.unwrap();
    assert_eq!(listed().await, 2);
}

struct Keys(Option<Arc<JwkSet>>);

#[async_trait]
impl KeySource for Keys {
    async fn keys(&self, issuer: &Issuer, _: Option<&Arc<JwkSet>>, _: UnixMs) -> Result<Arc<JwkSet>, IssuerError> {
        assert_eq!(issuer.url, CLUSTER);
        self.0.clone().ok_or(IssuerError::Pause)
    }
}

#[tokio::test]
async fn keys_are_asked_for_where_the_rule_gives_none() {
    let platform = Platform::new();
    let rule = || PlatformRule { jwks: None, ..platform.rule() };
    let keys = Arc::new(JwkSet::parse(&platform.jwks()).unwrap());
    let good = house(vec![rule()], Some(Arc::new(Keys(Some(keys))))).await;
    assert!(joins(&good, platform.sign(&claims(&good)), "keys").await.is_ok());
    // Of an issuer that no rule names, nobody is asked.
    let elsewhere = with(claims(&good), "/iss", json!("https://elsewhere.example"));
    assert_eq!(joins(&good, platform.sign(&elsewhere), "keys").await, Err(JoinRefused::Refused));
    let down = house(vec![rule()], Some(Arc::new(Keys(None)))).await;
    assert_eq!(joins(&down, platform.sign(&claims(&down)), "keys").await, Err(JoinRefused::Unavailable));
    assert_eq!(down.records("join_service")[0].verdict, Verdict::Failed);
}

type Change = fn(&mut PlatformRule);

#[test]
fn a_rule_that_says_too_little_or_too_much_is_refused() {
    let platform = Platform::new();
    let wrong = |change: Change| {
        let mut rule = platform.rule();
        change(&mut rule);
        rule.check().unwrap_err().to_string()
    };
    assert_eq!(platform.rule().check(), Ok(()));
    let cases: [(Change, &str); 11] = [
        (|rule| rule.name.clear(), "platform '': name must be"),
        (|rule| rule.issuer = "http://plain.example".into(), "issuer must be an https URL"),
        (|rule| rule.jwks = Some("{}".into()), "jwks must be"),
        (|rule| rule.audience.clear(), "audience must be"),
        (|rule| rule.subject.clear(), "subject must be"),
        (|rule| rule.subject = "*".into(), "subject must be"),
        (|rule| rule.subject = "a*b*".into(), "subject must be"),
        (|rule| drop(rule.claims.insert("namespace".into(), "x".into())), "must be JSON pointers"),
        (|rule| rule.instance = Some("name".into()), "must be JSON pointers"),
        (|rule| rule.role = "authority".into(), "role must be one of gateway, keys, store, monitor"),
        (|rule| rule.role = "admin".into(), "role must be one of"),
    ];
    for (change, said) in cases {
        let error = wrong(change);
        assert!(error.contains(said), "{error}");
    }
    assert!(!format!("{:?}", platform.rule()).contains("kty"));
}
