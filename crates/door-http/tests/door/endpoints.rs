//! The whole way through: bound tokens, budgets, receipts, services and identity providers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here fails a test")]

use crate::support::{Got, HERE, HOST, House};
use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::ProofKey;
use countersign_model::UnixMs;
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const PATH: &str = "/rest/v1/customer";

#[tokio::test]
async fn a_bound_token_is_good_with_its_proof_and_a_proof_once() {
    let house = House::trading(NOW, &["employee", "customer"]).await;
    let key = ProofKey::generate(&SystemEntropy).unwrap();
    let granted = house.bound_login("admin", "northwind", &key).await;
    assert_eq!(granted["token_type"], "DPoP");
    let token = granted["access_token"].as_str().unwrap();
    let ask = |scheme: &str, host: &str, proofs: &[&str]| {
        let query = format!("{PATH}?select=id&limit=1");
        let ask = house.ask("GET", &query).header("authorization", &format!("{scheme} {token}")).header("host", host);
        proofs.iter().fold(ask, |ask, proof| ask.header("dpop", proof)).send()
    };
    let proof = || house.proof(&key, "GET", PATH, Some(token));
    ask("DPoP", HOST, &[&proof()]).await.ok();
    let used = proof();
    ask("DPoP", HOST, &[&used]).await.ok();

    let other_key = ProofKey::generate(&SystemEntropy).unwrap();
    let (one, two) = (proof(), proof());
    let mut answers = std::collections::BTreeSet::new();
    for (what, got) in [
        ("as a bearer token", ask("Bearer", HOST, &[]).await),
        ("as a bearer token, with a proof", ask("Bearer", HOST, &[&proof()]).await),
        ("without a proof", ask("DPoP", HOST, &[]).await),
        ("a proof used before", ask("DPoP", HOST, &[&used]).await),
        ("two proofs", ask("DPoP", HOST, &[&one, &two]).await),
        ("for another method", ask("DPoP", HOST, &[&house.proof(&key, "POST", PATH, Some(token))]).await),
        ("for another path", ask("DPoP", HOST, &[&house.proof(&key, "GET", "/v1/token", Some(token))]).await),
        ("for another token", ask("DPoP", HOST, &[&house.proof(&key, "GET", PATH, Some("x"))]).await),
        ("for no token", ask("DPoP", HOST, &[&house.proof(&key, "GET", PATH, None)]).await),
        ("by another key", ask("DPoP", HOST, &[&house.proof(&other_key, "GET", PATH, Some(token))]).await),
        ("at another server", ask("DPoP", "elsewhere:8443", &[&proof()]).await),
        ("no proof at all", ask("DPoP", HOST, &["x"]).await),
    ] {
        assert_eq!(got.status, 401, "{what}: {}", got.body);
        assert_eq!(got.no().1, "PGRST303", "{what}");
        assert!(got.header("www-authenticate").starts_with("DPoP "), "{what}: {}", got.header("www-authenticate"));
        answers.insert(got.body);
    }
    assert_eq!(answers.len(), 1, "which of them it was is not said");
    house.clock.advance_ms(120_000);
    let old = house.proof(&key, "GET", PATH, Some(token));
    house.clock.advance_ms(120_000);
    assert_eq!(ask("DPoP", HOST, &[&old]).await.no().0, 401);
    ask("DPoP", HOST, &[&proof()]).await.ok();

    // The authority's own endpoints and control requests ask for it too.
    let whoami = |proof: Option<String>| {
        let ask = house.ask("GET", "/v1/token").header("authorization", &format!("DPoP {token}")).header("host", HOST);
        proof.into_iter().fold(ask, |ask, proof| ask.header("dpop", &proof)).send()
    };
    assert_eq!(whoami(None).await.no().0, 401);
    whoami(Some(house.proof(&key, "GET", "/v1/token", Some(token)))).await.ok();
    let revoke = house.ask("POST", "/v1/token/revoke").header("authorization", &format!("DPoP {token}"));
    assert_eq!(revoke.header("host", HOST).send().await.status, 401);
}

/// What each service recorded, once all of it is on disk.
async fn receipt(house: &House, token: &str, request: &str) -> Value {
    for _ in 0..40 {
        let path = format!("/v1/audit/receipt/{request}");
        let got = house.ask("GET", &path).token(token).send().await.ok().json();
        if got["agree"] == true && got["services"].as_array().unwrap().len() == 3 {
            return got;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the services never agreed")
}

#[tokio::test]
async fn a_receipt_shows_what_three_services_counted() {
    let house = House::trading(NOW, &["employee", "customer"]).await;
    let admin = house.login("admin", "northwind").await;
    let read = house.ask("GET", "/rest/v1/customer?select=company,country&id=eq.ALFKI").token(&admin).send().await.ok();
    let shown = receipt(&house, &admin, read.header("countersign-request")).await;
    assert_eq!(shown["request"], read.header("countersign-request"));
    assert_eq!(shown["wrong"], json!([]));
    let services: Vec<&str> =
        shown["services"].as_array().unwrap().iter().map(|one| one["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["gateway", "keys", "store"]);
    for service in shown["services"].as_array().unwrap() {
        let opened = service["opened"].as_array().unwrap();
        assert!(!opened.is_empty() && opened.iter().all(|one| one["record_type"] == "customer"), "{service}");
        assert_eq!(service["token"], shown["services"][0]["token"]);
    }

    // It is the tenant's own, and for who may read the audit log.
    let path = format!("/v1/audit/receipt/{}", read.header("countersign-request"));
    let elsewhere = house.login("admin", "chinook").await;
    let nothing = house.ask("GET", &path).token(&elsewhere).send().await;
    assert!(nothing.status == 404 || nothing.json()["services"] == json!([]), "{}", nothing.body);
    let support = house.login("support", "northwind").await;
    assert_eq!(house.ask("GET", &path).token(&support).send().await.no(), (403, "42501".into()));
    assert_eq!(house.ask("GET", "/v1/audit/receipt/5").token(&admin).send().await.no(), (400, "PGRST100".into()));
}

#[tokio::test]
async fn past_the_budget_reads_are_429() {
    let house = House::trading(NOW, &["employee", "customer"]).await;
    let operator = house.operator().await;
    let policies = house.ask("GET", "/v1/policies").token(&operator).send().await.ok().json();
    let mut files = policies["files"].as_array().unwrap().clone();
    files.push(json!({ "name": "budget.toml", "text": "[people]\nper_token = 200\n" }));
    let put = house.ask("PUT", "/v1/policies").token(&operator).body(json!({ "files": files }).to_string());
    put.send().await.ok();
    let token = house.login("accountant", "northwind").await;
    let read = || house.ask("GET", "/rest/v1/customer?select=company").token(&token).send();
    read().await.ok();
    read().await.ok();
    let spent = read().await;
    assert_eq!(spent.no(), (429, "53400".into()), "91 cells twice, and not a third time");
    house.ask("GET", "/rest/v1/customer?select=company&limit=5").token(&token).send().await.ok();
    let other = house.login("accountant", "northwind").await;
    house.ask("GET", "/rest/v1/customer?select=company").token(&other).send().await.ok();
}

#[tokio::test]
async fn services_are_the_operators_and_providers_the_tenants() {
    let house = House::trading(NOW, &[]).await;
    let (operator, admin) = (house.operator().await, house.login("admin", "northwind").await);
    let ask = async |method: &str, path: &str, token: &str, body: Value| -> Got {
        house.ask(method, path).token(token).body(body.to_string()).send().await
    };
    assert_eq!(ask("GET", "/v1/services", &operator, json!(null)).await.ok().json(), json!([]));
    let invited = ask("POST", "/v1/services", &operator, json!({ "role": "keys", "name": "keys-1" })).await;
    assert_eq!((invited.status, invited.json()["role"].as_str()), (201, Some("keys")), "{}", invited.body);
    assert!(invited.json()["join_token"].as_str().unwrap().starts_with("csj1."));
    let unknown = ask("DELETE", "/v1/services/keys-1?role=keys", &operator, json!(null)).await;
    assert_eq!(unknown.no(), (404, "42704".into()), "it has not joined yet");
    for (method, path) in
        [("GET", "/v1/services"), ("POST", "/v1/services"), ("DELETE", "/v1/services/keys-1?role=keys")]
    {
        let refused = ask(method, path, &admin, json!({ "role": "keys" })).await;
        assert_eq!(refused.no(), (403, "42501".into()), "{method} {path}");
    }

    let provider = json!({
        "issuer": "https://id.northwind.example", "client_id": "countersign", "client_secret": "hush",
        "role_claim": "groups", "roles": { "Sales": "rep" },
    });
    assert_eq!(ask("GET", "/v1/provider", &admin, json!(null)).await.ok().json(), json!({ "provider": null }));
    let put = ask("PUT", "/v1/provider", &admin, provider).await.ok();
    assert_eq!(put.json()["provider"]["has_client_secret"], true);
    let shown = ask("GET", "/v1/provider", &admin, json!(null)).await.ok();
    assert_eq!(shown.json()["provider"]["issuer"], "https://id.northwind.example");
    assert!(!format!("{}{}", put.body, shown.body).contains("hush"), "never given out again");
    let elsewhere = house.login("admin", "chinook").await;
    assert_eq!(ask("GET", "/v1/provider", &elsewhere, json!(null)).await.ok().json(), json!({ "provider": null }));
    let support = house.login("support", "northwind").await;
    assert_eq!(ask("DELETE", "/v1/provider", &support, json!(null)).await.no(), (403, "42501".into()));
    ask("DELETE", "/v1/provider", &admin, json!(null)).await.ok();
    assert_eq!(ask("DELETE", "/v1/provider", &admin, json!(null)).await.no(), (404, "42704".into()));
}

#[tokio::test]
async fn introspection_and_what_is_public_come_from_the_authority() {
    let house = House::trading(NOW, &[]).await;
    let (admin, rep) = (house.login("admin", "northwind").await, house.login("rep", "northwind").await);
    let form = "application/x-www-form-urlencoded";
    let ask = async |who: &str, token: &str| {
        let ask = house.ask("POST", "/v1/token/introspect").token(who).header("content-type", form);
        ask.body(format!("token={token}")).send().await.ok().json()
    };
    let said = ask(&admin, &rep).await;
    assert_eq!((&said["active"], said["username"].as_str()), (&json!(true), Some("rep")));
    assert_eq!(ask(&rep, &admin).await, json!({ "active": false }));
    let metadata = house.ask("GET", "/.well-known/oauth-authorization-server").send().await.ok().json();
    assert_eq!(metadata["introspection_endpoint"], format!("{HERE}/v1/token/introspect"));
    // Every endpoint that it names is a route of this door.
    for (_, at) in
        metadata.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("_endpoint") || *key == "jwks_uri")
    {
        let path = at.as_str().unwrap().strip_prefix(HERE).unwrap();
        assert!(countersign_door_http::routes::ROUTES.iter().any(|route| route.path == path), "{path}");
    }
    let refused = house
        .ask("POST", "/v1/login/oidc/start")
        .body(json!({"tenant": "northwind", "redirect_uri": "https://x"}).to_string());
    assert_eq!(refused.send().await.no(), (401, "28000".into()), "there is no provider");
}
