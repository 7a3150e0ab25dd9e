//! The authorization code flow.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_audit::{Reason, Verdict};
use countersign_crypto::dpop::ProofKey;
use countersign_crypto::{SystemEntropy, sha256};
use countersign_model::control::Control;
use countersign_model::facts::UserKind;
use countersign_services::{PublicCall, PublicReply};
use countersign_token::Binding;
use serde_json::{Value, json};

use super::{REDIRECT, World, call, read, settings};
use crate::people::pending::LOGIN_MS;
use crate::tests::{HERE, name, new_key, user};

#[tokio::test]
async fn a_person_logs_in_and_has_the_roles_that_the_mapping_gives() {
    let world = World::new().await;
    let (id, asked) = world.begin().await;
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["client_id"], "countersign");
    assert_eq!(asked["redirect_uri"], REDIRECT);
    assert_eq!(asked["scope"], "openid profile groups");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(asked.values().all(|value| *value != id), "the secret of the login is in a URL");

    world.fake.says("nonce", json!(asked["nonce"]));
    let (status, token) = world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await;
    assert_eq!((status, &token["token_type"]), (200, &json!("Bearer")), "{token}");
    assert_eq!(token["expires_in"], 12 * 3600 - 1);

    // What the provider was asked: the code, with the proof of who asked for it.
    let (form, authorization) = world.fake.last("/token");
    let field = |key: &str| form.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}=")));
    assert_eq!((field("grant_type"), field("code")), (Some("authorization_code"), Some("a-code")));
    assert_eq!(field("redirect_uri"), Some("https%3A%2F%2Fapp.example%2Fback"));
    assert_eq!(URL_SAFE_NO_PAD.encode(sha256(field("code_verifier").unwrap().as_bytes())), asked["code_challenge"]);
    assert_eq!(authorization.unwrap(), format!("Basic {}", STANDARD.encode("countersign:the-client-secret")));
    assert_eq!(field("client_secret"), None);

    let me = world.who(&token).await;
    assert_eq!(
        (&me["user"], &me["tenant"], &me["roles"]),
        (&json!("margaret"), &json!("northwind"), &json!(["accountant"]))
    );
    let facts = world.house.registry.latest();
    let id = facts.facts.user_names[&(world.tenant("northwind"), name("margaret"))];
    let made = &facts.facts.users[&id];
    assert_eq!((made.kind, made.ssh_keys.len()), (UserKind::Person, 0));

    let admin = world.admin_token().await;
    let users = world.house.ask(&admin, Control::UserList { tenant: None }).await.unwrap();
    let listed = users.as_array().unwrap().iter().find(|one| one["name"] == "margaret").unwrap();
    assert_eq!(listed["external"], json!({ "issuer": world.fake.issuer, "subject": "4711" }));

    let logins = world.logins("northwind");
    let record = logins.last().unwrap();
    assert_eq!((record.verdict, record.body.user), (Verdict::Released, Some(id)));
    assert_eq!(record.body.user_name.as_deref(), Some("margaret"));
    assert_eq!(record.body.detail.as_deref(), Some("by provider https://login.northwind.example"));
}

#[tokio::test]
async fn the_same_person_is_the_same_user_and_follows_the_provider() {
    let world = World::new().await;
    let (_, first) = world.log_in().await;
    let before = world.users();
    // Attributes are the tenant's to give, and stay.
    world.fake.says("groups", json!("Sales"));
    world.fake.says("preferred_username", json!("peggy"));
    let (_, second) = world.log_in().await;
    assert_eq!(world.users(), before);
    let me = world.who(&second).await;
    assert_eq!((&me["user"], &me["roles"]), (&json!("margaret"), &json!(["rep"])));
    // The roles of the older token are those of now, too.
    assert_eq!(world.who(&first).await["roles"], json!(["rep"]));

    // Without any role nobody comes in, and the roles are gone.
    for groups in [json!(["Bowling"]), json!([]), Value::Null, json!({ "Sales": true }), json!(7)] {
        world.fake.says("groups", groups);
        assert_eq!(world.log_in().await.0, 401);
    }
    assert_eq!(world.who(&first).await["roles"], json!([]));
    let last = world.logins("northwind").pop().unwrap();
    assert_eq!((last.body.reason, last.body.detail.as_deref()), (Some(Reason::BadProof), Some("provider: no role")));
}

#[tokio::test]
async fn whatever_is_wrong_with_what_comes_back_is_one_answer_and_one_record() {
    let world = World::new().await;
    let users = world.users();
    let mut seen = Vec::new();
    let mut refused = async |why: &str, reply: (u16, Value)| {
        assert_eq!(reply.0, 401, "{why}: {}", reply.1);
        seen.push(reply.1.to_string());
        let record = world.logins("northwind").pop().unwrap();
        assert_eq!((record.verdict, record.body.reason), (Verdict::Refused, Some(Reason::BadProof)), "{why}");
        assert_eq!(record.body.detail.unwrap(), format!("provider: {why}"));
    };

    // What the browser brings.
    for (why, member, value) in [
        ("state", "state", json!("another")),
        ("iss", "iss", json!("https://evil.example")),
        ("iss is missing", "iss", Value::Null),
    ] {
        let (id, asked) = world.begin().await;
        world.fake.says("nonce", json!(asked["nonce"]));
        let mut back = world.back(&id, &asked);
        back[member] = value;
        refused(why, world.post("/v1/login/oidc/finish", back).await).await;
        // One use, whatever came of it.
        let again = world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await;
        assert_eq!(again.0, 401);
    }

    // What the id token says.
    let now = world.house.now().seconds();
    for (why, claim, value, right) in [
        ("id token: iss", "iss", json!("https://evil.example"), json!(world.fake.issuer)),
        ("id token: aud", "aud", json!("another-client"), json!("countersign")),
        ("id token: azp", "aud", json!(["countersign", "another"]), json!("countersign")),
        ("id token: azp", "azp", json!("another"), Value::Null),
        ("id token: exp", "exp", json!(now), json!(now + 300)),
        ("id token: nbf or iat", "iat", json!(now + 3600), json!(now)),
        ("id token: iat", "iat", json!(now - 3600), json!(now)),
        ("id token: iat", "iat", Value::Null, json!(now)),
        ("id token: claims", "exp", Value::Null, json!(now + 300)),
        ("id token: at_hash", "at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ"), Value::Null),
        ("id token: sub", "sub", json!(""), json!("4711")),
        ("id token: sub", "sub", json!("4".repeat(256)), json!("4711")),
        ("no role", "groups", json!("Bowling"), json!("Sales")),
        ("no name", "preferred_username", json!("4711"), json!("margaret")),
        ("no name", "preferred_username", Value::Null, json!("margaret")),
    ] {
        world.fake.says(claim, value);
        refused(why, world.log_in().await).await;
        world.fake.says(claim, right);
    }
    for nonce in [json!("another"), Value::Null] {
        let (id, asked) = world.begin().await;
        world.fake.says("nonce", nonce);
        refused("id token: nonce", world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await).await;
    }

    // Who signed it, and how.
    world.fake.signs_as("at+jwt");
    refused("id token: form", world.log_in().await).await;
    world.fake.signs_as("JWT");
    world
        .put(countersign_model::control::NewProvider {
            algorithms: vec!["RS256".into()],
            ..settings(&world.fake.issuer)
        })
        .await;
    refused("id token: algorithm", world.log_in().await).await;
    world.put(settings(&world.fake.issuer)).await;
    world.fake.answers(Some("invalid_grant"));
    refused("it refused the code", world.log_in().await).await;
    world.fake.answers(None);

    // Too late.
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    world.house.clock.advance_ms(LOGIN_MS);
    assert_eq!(world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await.0, 401);

    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(world.users(), users);
    let now = world.house.now().seconds();
    world.fake.says("iat", json!(now));
    world.fake.says("exp", json!(now + 300));
    assert_eq!(world.log_in().await.0, 200);
}

#[tokio::test]
async fn somebody_elses_name_is_not_taken_over() {
    let world = World::new().await;
    let key = world.house.person("northwind", &world.admin, "margaret", "accountant").await;
    let before = world.users();
    assert_eq!(world.log_in().await.0, 401);
    world.fake.says("preferred_username", json!("andrew"));
    assert_eq!(world.log_in().await.0, 401);
    assert_eq!(world.users(), before);
    assert!(world.house.login("margaret", "northwind", &key).await.is_ok());

    // Nor that of another person of the provider.
    world.fake.says("preferred_username", json!("robert"));
    assert_eq!(world.log_in().await.0, 200);
    world.fake.says("sub", json!("4712"));
    assert_eq!(world.log_in().await.0, 401);
    // And whoever came with the provider gets no key by the way.
    let token = world.admin_token().await;
    let with_key = Control::UserPut { tenant: None, user: user("robert", "rep", &new_key()) };
    assert!(world.house.ask(&token, with_key).await.is_err());
}

#[tokio::test]
async fn a_provider_is_believed_about_its_own_tenant_only() {
    let world = World::new().await;
    let (_, token) = world.log_in().await;
    let in_northwind = world.who(&token).await;
    // Another tenant with the very same provider: the same person is somebody else there.
    let admin = world.house.tenant("chinook").await;
    let admin = world.house.token("andrew", "chinook", &admin).await;
    world.house.ask(&admin, Control::ProviderPut(Box::new(settings(&world.fake.issuer)))).await.unwrap();
    world.fake.says("tenant", json!("northwind"));
    let asked = json!({ "tenant": "chinook", "redirect_uri": REDIRECT });
    let (_, begun) = world.post("/v1/login/oidc/start", asked).await;
    let url = begun["authorization_url"].as_str().unwrap();
    let field = |key: &str| url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{key}="))).unwrap();
    world.fake.says("nonce", json!(field("nonce")));
    let back = json!({ "id": begun["id"], "code": "c", "state": field("state"), "iss": world.fake.issuer });
    let (status, token) = world.post("/v1/login/oidc/finish", back).await;
    assert_eq!(status, 200);
    let in_chinook = world.who(&token).await;
    assert_eq!((&in_chinook["user"], &in_chinook["tenant"]), (&json!("margaret"), &json!("chinook")));
    let facts = world.house.registry.latest();
    let id = |tenant| facts.facts.user_names[&(world.tenant(tenant), name("margaret"))];
    assert_ne!(id("northwind"), id("chinook"));
    assert_eq!(in_northwind["tenant"], "northwind");
    assert!(world.logins("chinook").iter().all(|record| record.tenant == Some(world.tenant("chinook"))));
}

#[tokio::test]
async fn who_has_no_provider_can_not_be_told_from_who_does_not_exist() {
    let world = World::new().await;
    world.house.tenant("chinook").await;
    let start = async |tenant: &str, redirect_uri: &str| {
        let body = json!({ "tenant": tenant, "redirect_uri": redirect_uri });
        let reply = world.public.answer(call("/v1/login/oidc/start", &body)).await;
        (reply.status, reply.headers, reply.body)
    };
    let answers =
        [start("chinook", REDIRECT).await, start("nowhere", REDIRECT).await, start("operators", REDIRECT).await];
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401));
    assert_eq!(start("northwind", "https://evil.example/back").await, answers[0]);
    assert_eq!(start("northwind", "http://127.0.0.1:51234/back").await.0, 200);
    let device = async |tenant: &str| world.post("/v1/login/oidc/device", json!({ "tenant": tenant })).await;
    assert_eq!(device("chinook").await, device("nowhere").await);
}

#[tokio::test]
async fn a_token_is_bound_to_the_key_that_was_proved() {
    let world = World::new().await;
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    let key = ProofKey::generate(&SystemEntropy).unwrap();
    let url = format!("{HERE}/v1/login/oidc/finish");
    let proof = key.sign("POST", &url, None, world.house.now(), &SystemEntropy).unwrap();
    let mut finish = call("/v1/login/oidc/finish", &world.back(&id, &asked));
    finish.dpop = Some(proof);
    let (status, token) = read(&world.public.answer(finish).await);
    assert_eq!((status, &token["token_type"]), (200, &json!("DPoP")), "{token}");
    let verified = world.house.authority.verifier();
    let verified = verified.verify(token["access_token"].as_str().unwrap(), world.house.now()).unwrap();
    assert_eq!(verified.binding(), Some(&Binding::Jkt(key.jkt())));

    // A proof for something else is an error, not a token without binding, nor one that is bound to something else.
    let (id, asked) = world.begin().await;
    let mut finish = call("/v1/login/oidc/finish", &world.back(&id, &asked));
    finish.certificate = Some([7; 32]);
    finish.dpop = Some(key.sign("POST", HERE, None, world.house.now(), &SystemEntropy).unwrap());
    let (status, said) = read(&world.public.answer(finish).await);
    assert_eq!((status, &said["error"]), (400, &json!("invalid_dpop_proof")));
}

#[tokio::test]
async fn a_token_is_bound_to_the_certificate_of_the_last_call_in_either_flow() {
    let world = World::new().await;
    let bound = |reply: &PublicReply| {
        let (status, token) = read(reply);
        assert_eq!((status, &token["token_type"]), (200, &json!("Bearer")), "{token}");
        let verifier = world.house.authority.verifier();
        let verified = verifier.verify(token["access_token"].as_str().unwrap(), world.house.now()).unwrap();
        verified.binding().copied()
    };
    let certificate = Some([7; 32]);
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    let finish = PublicCall { certificate, ..call("/v1/login/oidc/finish", &world.back(&id, &asked)) };
    assert_eq!(bound(&world.public.answer(finish).await), certificate.map(Binding::Certificate));
    let begun = world.begin_device().await;
    let poll = PublicCall { certificate, ..call("/v1/login/oidc/device/poll", &json!({ "id": begun["id"] })) };
    assert_eq!(bound(&world.public.answer(poll).await), certificate.map(Binding::Certificate));
}

#[tokio::test]
async fn the_same_person_twice_is_one_user_and_the_same_return_twice_is_one_login() {
    let world = World::new().await;
    let before = world.users();
    let (first, asked) = world.begin().await;
    let (second, again) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    let one = world.post("/v1/login/oidc/finish", world.back(&first, &asked)).await;
    world.fake.says("nonce", json!(again["nonce"]));
    let other = world.post("/v1/login/oidc/finish", world.back(&second, &again)).await;
    assert_eq!((one.0, other.0, world.users()), (200, 200, before.saturating_add(1)));

    // The same return, twice at once: one of them.
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    let back = || world.post("/v1/login/oidc/finish", world.back(&id, &asked));
    let (one, other) = tokio::join!(back(), back());
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn without_a_record_nobody_comes_in() {
    let world = World::new().await;
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    world.house.ledgers[1].close().await;
    let (status, said) = world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.get("access_token").is_none());
}

#[tokio::test]
async fn nothing_of_a_login_is_kept_in_clear() {
    let world = World::new().await;
    let (id, asked) = world.begin().await;
    world.fake.says("nonce", json!(asked["nonce"]));
    let (_, token) = world.post("/v1/login/oidc/finish", world.back(&id, &asked)).await;
    world.fake.says("aud", json!("another-client"));
    assert_eq!(world.log_in().await.0, 401);
    for ledger in &world.house.ledgers {
        ledger.close().await;
    }
    let token = token["access_token"].as_str().unwrap();
    let (form, _) = world.fake.last("/token");
    let verifier = form.split('&').find_map(|pair| pair.strip_prefix("code_verifier=")).unwrap();
    let secrets = [token, "the-client-secret", "a-code", "margaret", "Accounting", &id, verifier];
    let mut folders = vec![world.house.dir.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            files = usize::saturating_add(files, usize::from(!bytes.is_empty()));
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} in {}", path.display());
            }
        }
    }
    assert!(files > 3);
}
