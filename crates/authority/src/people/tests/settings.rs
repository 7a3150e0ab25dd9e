//! A provider's settings, keys and metadata.

use countersign_audit::{Reason, Verdict};
use countersign_model::access::AccessControl;
use countersign_model::control::{Control, NewProvider};
use serde_json::{Value, json};

use super::{REDIRECT, World, settings};
use crate::ControlFailure;
use crate::tests::{Failed, db, is_forbidden, name};

#[tokio::test]
async fn the_tenants_admin_sets_a_provider_and_nobody_reads_its_secret() {
    let world = World::new().await;
    let token = world.admin_token().await;
    let read = world.house.ask(&token, Control::ProviderRead).await.unwrap();
    assert_eq!(read["provider"]["issuer"], world.fake.issuer);
    assert_eq!(read["provider"]["has_client_secret"], true);
    assert!(!read.to_string().contains("the-client-secret"));
    let file = std::fs::read(db(world.house.dir.path())).unwrap();
    for secret in ["the-client-secret", "login.northwind.example", "Accounting"] {
        assert!(!file.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    let put = Control::ProviderPut(Box::new(settings(&world.fake.issuer)));
    assert!(!format!("{put:?}").contains("the-client-secret"));

    // Nobody else sets or reads it, an operator neither.
    let rep = world.house.person("northwind", &world.admin, "janet", "rep").await;
    let rep = world.house.token("janet", "northwind", &rep).await;
    let operator = world.house.operator_token().await;
    for other in [&rep, &operator] {
        for control in [put.clone(), Control::ProviderRead, Control::ProviderRemove] {
            assert!(is_forbidden(&world.house.ask(other, control).await));
        }
    }

    // It survives.
    let World { house, public, .. } = world;
    drop(public);
    let house = house.reopened().await;
    let tenant = house.registry.latest().facts.tenant_names[&name("northwind")];
    let kept = house.registry.provider(tenant).unwrap();
    assert_eq!(kept.settings.client_secret.as_ref().unwrap().expose(), "the-client-secret");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let world = World::new().await;
    let token = world.admin_token().await;
    let good = || settings(&world.fake.issuer);
    let roles = |value: &str, role: &str| [(value.to_owned(), name(role))].into();
    for (field, wrong) in [
        ("issuer", NewProvider { issuer: "http://login.example".into(), ..good() }),
        ("issuer", NewProvider { issuer: "https://login.example?x".into(), ..good() }),
        ("issuer", NewProvider { issuer: "https://login.example#x".into(), ..good() }),
        ("client_id", NewProvider { client_id: String::new(), ..good() }),
        ("client_id", NewProvider { client_id: "a\nb".into(), ..good() }),
        ("name_claim", NewProvider { name_claim: String::new(), ..good() }),
        ("role_claim", NewProvider { role_claim: String::new(), ..good() }),
        ("redirect_uris", NewProvider { redirect_uris: vec!["http://app.example/".into()], ..good() }),
        ("redirect_uris", NewProvider { redirect_uris: vec![REDIRECT.into(); 33], ..good() }),
        ("scopes", NewProvider { scopes: vec!["a b".into()], ..good() }),
        ("algorithms", NewProvider { algorithms: vec!["HS256".into()], ..good() }),
        ("algorithms", NewProvider { algorithms: vec!["none".into()], ..good() }),
        ("roles", NewProvider { roles: Default::default(), ..good() }),
        ("roles", NewProvider { roles: roles("x", "operator"), ..good() }),
        ("roles", NewProvider { roles: roles("", "rep"), ..good() }),
        ("ca_pem", NewProvider { ca_pem: Some("rubbish".into()), ..good() }),
    ] {
        let outcome = world.house.ask(&token, Control::ProviderPut(Box::new(wrong))).await;
        let Err(Failed::Control(ControlFailure::Invalid { field: named, .. })) = outcome else {
            panic!("{field}: {outcome:?}");
        };
        assert_eq!(named, field);
    }
    let good_ca = NewProvider { ca_pem: Some(world.house.registry.ca_pem().to_owned()), ..good() };
    world.house.ask(&token, Control::ProviderPut(Box::new(good_ca))).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_goes_takes_along_whoever_it_let_in() {
    let world = World::new().await;
    let (_, theirs) = world.log_in().await;
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    // The same provider again changes nothing for who is in, and everything for who is on the way.
    world.house.clock.advance_ms(2000);
    world.put(settings(&world.fake.issuer)).await;
    world.who(&theirs).await;
    assert_eq!(world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await.0, 401);

    let admin = world.admin_token().await;
    world.house.ask(&admin, Control::ProviderRemove).await.unwrap();
    let outcome = world.house.ask(theirs["access_token"].as_str().unwrap(), Control::WhoAmI).await;
    assert!(matches!(outcome, Err(Failed::Refused(countersign_guard::Refusal::Revoked))), "{outcome:?}");
    assert!(world.house.ask(&admin, Control::WhoAmI).await.is_ok());
    assert_eq!(world.house.ask(&admin, Control::ProviderRead).await.unwrap()["provider"], Value::Null);
    assert!(world.house.ask(&admin, Control::ProviderRemove).await.is_err());

    // Another issuer is another provider.
    world.house.clock.advance_ms(2000);
    world.put(settings(&world.fake.issuer)).await;
    let (status, theirs) = world.log_in().await;
    assert_eq!(status, 200);
    world.put(settings("https://other.example")).await;
    assert!(world.house.ask(theirs["access_token"].as_str().unwrap(), Control::WhoAmI).await.is_err());
}

#[tokio::test]
async fn keys_are_fetched_again_when_one_is_unknown_but_not_all_the_time() {
    let world = World::new().await;
    assert_eq!(world.log_in().await.0, 200);
    assert_eq!(world.log_in().await.0, 200);
    assert_eq!((world.fake.count("/.well-known/openid-configuration"), world.fake.count("/jwks")), (1, 1));

    // A new key that is published is found at the first token that needs it, once the last fetch is long enough ago.
    world.fake.rotates(true);
    assert_eq!(world.log_in().await.0, 401);
    assert_eq!(world.fake.count("/jwks"), 1);
    world.house.clock.advance_ms(30_000);
    assert_eq!(world.log_in().await.0, 200);
    assert_eq!(world.fake.count("/jwks"), 2);

    // A key that nobody published costs one fetch in half a minute.
    world.fake.rotates(false);
    for _ in 0..5 {
        assert_eq!(world.log_in().await.0, 401);
    }
    assert_eq!(world.fake.count("/jwks"), 2);
    world.house.clock.advance_ms(30_000);
    for _ in 0..5 {
        assert_eq!(world.log_in().await.0, 401);
    }
    assert_eq!(world.fake.count("/jwks"), 3);
    let last = world.logins("northwind").pop().unwrap();
    assert_eq!(last.body.detail.as_deref(), Some("provider: id token: unknown key"));
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_believed() {
    for (member, value) in [
        ("issuer", json!("https://evil.example")),
        ("issuer", json!("https://login.northwind.example/")),
        ("jwks_uri", json!("http://login.northwind.example/jwks")),
        ("jwks_uri", Value::Null),
        ("token_endpoint", json!("file:///etc/passwd")),
    ] {
        let world = World::new().await;
        world.fake.publishes(member, value);
        let asked = json!({ "tenant": "northwind", "redirect_uri": REDIRECT });
        let (status, said) = world.post("/v1/login/oidc/start", asked.clone()).await;
        assert_eq!((status, &said["error"]), (503, &json!("temporarily_unavailable")));
        let last = world.logins("northwind").pop().unwrap();
        assert_eq!((last.verdict, last.body.reason), (Verdict::Failed, Some(Reason::Unavailable)));
        // Not asked again at once.
        world.post("/v1/login/oidc/start", asked).await;
        assert_eq!(world.fake.count("/.well-known/openid-configuration"), 1);
    }
}

#[tokio::test]
async fn logins_can_not_be_begun_without_end() {
    let world = World::new().await;
    for _ in 0..300 {
        world.begin().await;
    }
    let asked = json!({ "tenant": "northwind", "redirect_uri": REDIRECT });
    assert_eq!(world.post("/v1/login/oidc/start", asked).await.0, 503);
    assert_eq!(world.post("/v1/login/oidc/device", json!({ "tenant": "northwind" })).await.0, 503);
    assert_eq!(world.fake.count("/device"), 0);
    world.house.clock.advance_ms(60_000);
    world.begin().await;
}

#[tokio::test]
async fn a_secret_goes_where_the_provider_takes_it() {
    let world = World::new().await;
    world.fake.publishes("token_endpoint_auth_methods_supported", json!(["client_secret_post"]));
    assert_eq!(world.log_in().await.0, 200);
    let (form, authorization) = world.fake.last("/token");
    assert!(authorization.is_none() && form.ends_with("client_id=countersign&client_secret=the-client-secret"));
    world.put(NewProvider { client_secret: None, ..settings(&world.fake.issuer) }).await;
    assert_eq!(world.log_in().await.0, 200);
    let (form, authorization) = world.fake.last("/token");
    assert!(authorization.is_none() && form.ends_with("client_id=countersign"));
}

#[tokio::test]
async fn somebody_is_left_who_can_log_in() {
    let world = World::new().await;
    let mapping = [("Accounting".to_owned(), name("admin"))].into();
    world.put(NewProvider { roles: mapping, ..settings(&world.fake.issuer) }).await;
    let (_, margaret) = world.log_in().await;
    let margaret = margaret["access_token"].as_str().unwrap();
    let remove = Control::UserRemove { tenant: None, user: name("andrew") };
    world.house.ask(margaret, remove).await.unwrap();
    // An operator whom the tenant lets in for an hour is nobody who stays.
    let asked = AccessControl::Request {
        tenant: name("northwind"),
        role: name("accountant"),
        reason: "why".to_owned(),
        lifetime_ms: 3_600_000,
        break_glass: false,
    };
    let asked = world.house.ask(&world.house.operator_token().await, Control::Access(asked)).await.unwrap();
    let grant = asked["id"].as_str().unwrap().parse().unwrap();
    let decide = AccessControl::Decide { grant, approve: true, role: None };
    world.house.ask(margaret, Control::Access(decide)).await.unwrap();
    let outcome = world.house.ask(margaret, Control::ProviderRemove).await;
    assert!(matches!(outcome, Err(Failed::Control(ControlFailure::LastPerson))), "{outcome:?}");
}

#[tokio::test]
async fn an_address_counts_when_the_provider_has_verified_it() {
    let world = World::new().await;
    let by_address = NewProvider {
        name_claim: "email".into(),
        role_claim: "email".into(),
        roles: [("margaret@northwind.example".to_owned(), name("rep"))].into(),
        ..settings(&world.fake.issuer)
    };
    world.put(by_address).await;
    world.fake.says("email", json!("margaret@northwind.example"));
    for verified in [Value::Null, json!(false), json!("true")] {
        world.fake.says("email_verified", verified);
        assert_eq!(world.log_in().await.0, 401);
    }
    world.fake.says("email_verified", json!(true));
    let (_, token) = world.log_in().await;
    assert_eq!(world.who(&token).await["roles"], json!(["rep"]));

    // Or one by one, by subject.
    let by_subject = NewProvider {
        role_claim: "sub".into(),
        roles: [("4711".to_owned(), name("accountant"))].into(),
        ..settings(&world.fake.issuer)
    };
    world.put(by_subject).await;
    let (_, token) = world.log_in().await;
    assert_eq!(world.who(&token).await["roles"], json!(["accountant"]));
}
