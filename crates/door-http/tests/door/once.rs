//! A change under an idempotency key is made once, whoever asks again gets no more than is theirs now.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here fails a test")]

use crate::support::{Got, House};
use countersign_model::UnixMs;
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const HOUR_MS: u64 = 3_600_000;
const KEY: &str = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";
const CUSTOMERS: &str = "/rest/v1/customer";

async fn house() -> House {
    House::trading(NOW, &["employee"]).await
}

/// A change under a key.
async fn send(house: &House, token: &str, key: &str, method: &str, path: &str, prefer: &str, body: &Value) -> Got {
    let ask = house.ask(method, path).token(token).header("idempotency-key", key).header("prefer", prefer);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask.body(body).send().await
}

async fn companies(house: &House, token: &str) -> String {
    let got = house.ask("GET", "/rest/v1/customer?select=id,company&order=id").token(token).send().await.ok();
    let row = |row: &Value| format!("{}={}", row["id"].as_str().unwrap(), row["company"].as_str().unwrap_or("-"));
    got.json().as_array().unwrap().iter().map(row).collect::<Vec<_>>().join(" ")
}

fn is_replayed(got: &Got) -> bool {
    got.header("idempotency-replayed") == "true"
}

#[tokio::test]
async fn a_change_is_made_once_and_answered_again() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let give = "return=representation";
    let new = json!({"id": "NEW", "company": "First"});
    let path = "/rest/v1/customer?select=id,company";
    let made = send(&house, &token, KEY, "POST", path, give, &new).await;
    assert_eq!((made.status, is_replayed(&made)), (201, false));
    let again = send(&house, &token, KEY, "POST", path, give, &new).await;
    assert_eq!((again.status, is_replayed(&again), &again.body), (201, true, &made.body));
    assert_eq!(again.header("content-range"), made.header("content-range"));
    // With or without quotes it is the same key, and with another token the same person.
    let other = house.login("admin", "northwind").await;
    let unquoted = send(&house, &other, KEY.trim_matches('"'), "POST", path, give, &new).await;
    assert!(is_replayed(&unquoted), "{}", unquoted.body);
    // Without a key, or with another, it is another request.
    assert_eq!(send(&house, &token, "other", "POST", path, give, &new).await.no(), (409, "23505".into()));

    // What is given back is what is there now.
    let renamed = json!({"company": "Second"});
    let one = "/rest/v1/customer?id=eq.NEW";
    assert_eq!(send(&house, &token, "b", "PATCH", one, "count=exact", &renamed).await.status, 204);
    let again = send(&house, &token, KEY, "POST", path, give, &new).await;
    assert_eq!((again.status, again.body.as_str()), (201, r#"[{"id":"NEW","company":"Second"}]"#));
    // An older change that comes again does not undo a newer one.
    assert_eq!(send(&house, &token, "c", "PATCH", one, "", &json!({"company": "Third"})).await.status, 204);
    let again = send(&house, &token, "b", "PATCH", one, "count=exact", &renamed).await;
    assert_eq!((again.status, is_replayed(&again), again.header("content-range")), (204, true, "0-0/1"));
    assert_eq!(companies(&house, &token).await, "NEW=Third");

    let removed = send(&house, &token, "d", "DELETE", one, give, &Value::Null).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(send(&house, &token, "e", "POST", CUSTOMERS, "", &new).await.status, 201);
    let again = send(&house, &token, "d", "DELETE", one, give, &Value::Null).await;
    assert_eq!((again.status, is_replayed(&again), again.body.as_str()), (200, true, "[]"));
    assert_eq!(companies(&house, &token).await, "NEW=First", "what was made after it stays");
    // One record was asked for, and there is none to give.
    let object = "application/vnd.pgrst.object+json";
    let ask = || house.ask("DELETE", one).token(&token).header("idempotency-key", "f").header("prefer", give);
    assert_eq!(ask().header("accept", object).send().await.status, 200);
    assert_eq!(ask().header("accept", object).send().await.no(), (406, "PGRST116".into()));
}

#[tokio::test]
async fn that_nothing_was_there_to_change_is_answered_again_too() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let (path, body) = ("/rest/v1/customer?id=eq.NEW", json!({"company": "Changed"}));
    let none = send(&house, &token, KEY, "PATCH", path, "return=representation", &body).await;
    assert_eq!((none.status, none.body.as_str(), is_replayed(&none)), (200, "[]", false));
    send(&house, &token, "b", "POST", CUSTOMERS, "", &json!({"id": "NEW", "company": "Made"})).await.ok();
    let again = send(&house, &token, KEY, "PATCH", path, "return=representation", &body).await;
    assert_eq!((again.status, again.body.as_str(), is_replayed(&again)), (200, "[]", true));
    assert_eq!(companies(&house, &token).await, "NEW=Made");
    // What was refused or failed left nothing behind: its key is as good as new.
    let failing = send(&house, &token, "c", "POST", CUSTOMERS, "", &json!({"id": "NEW"})).await;
    assert_eq!(failing.no(), (409, "23505".into()));
    send(&house, &token, "c", "POST", CUSTOMERS, "", &json!({"id": "OTHER", "company": "O"})).await.ok();
    assert_eq!(companies(&house, &token).await, "NEW=Made OTHER=O");
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let body = json!({"id": "NEW", "company": "First"});
    send(&house, &token, KEY, "POST", CUSTOMERS, "", &body).await.ok();
    let others = [
        ("POST", CUSTOMERS, "", json!({"id": "NEW", "company": "Other"})),
        ("POST", CUSTOMERS, "return=representation", body.clone()),
        ("POST", "/rest/v1/customer?select=id", "", body.clone()),
        ("PATCH", "/rest/v1/customer?id=eq.NEW", "", json!({"company": "Other"})),
        ("DELETE", "/rest/v1/customer?id=eq.NEW", "", Value::Null),
    ];
    for (method, path, prefer, body) in others {
        let got = send(&house, &token, KEY, method, path, prefer, &body).await;
        assert_eq!(got.no(), (422, "22023".into()), "{method} {path}");
    }
    assert_eq!(companies(&house, &token).await, "NEW=First");
    for wrong in ["", "\"", "\"a\"b\"", &"k".repeat(256)] {
        let got = send(&house, &token, wrong, "POST", CUSTOMERS, "", &json!({"id": "X"})).await;
        assert_eq!(got.no(), (400, "PGRST100".into()), "{wrong}");
    }
    // To reading it means nothing.
    let read = house.ask("GET", CUSTOMERS).token(&token).header("idempotency-key", KEY).send().await.ok();
    assert!(!is_replayed(&read));
}

/// INVARIANT once-is-own
#[tokio::test]
async fn nobody_finds_anybody_elses_key() {
    let house = house().await;
    let admin = house.login("admin", "northwind").await;
    house.ask("PUT", "/v1/users/second").token(&admin).body(house.person("admin")).send().await.ok();
    let second = house.login("second", "northwind").await;
    let chinook = house.login("admin", "chinook").await;
    let body = json!({"id": "NEW", "company": "Ours"});
    send(&house, &admin, KEY, "POST", CUSTOMERS, "", &body).await.ok();
    // Whoever knows key and request is answered as if nobody had used them.
    let got = send(&house, &second, KEY, "POST", CUSTOMERS, "", &body).await;
    assert_eq!(got.no(), (409, "23505".into()));
    let got = send(&house, &second, KEY, "POST", CUSTOMERS, "", &json!({"id": "SECOND", "company": "Mine"})).await;
    assert_eq!((got.status, is_replayed(&got)), (201, false), "and not told of another request");
    let theirs = json!({"id": 1, "company": "Theirs", "first_name": "A", "last_name": "B", "email": "a@b.c"});
    let got = send(&house, &chinook, KEY, "POST", CUSTOMERS, "", &theirs).await;
    assert!(!is_replayed(&got) && got.status != 422, "{} {}", got.status, got.body);
    assert_eq!(companies(&house, &admin).await, "NEW=Ours SECOND=Mine");
    // In another tenant's name nobody asks at all.
    let ask = house.ask("POST", CUSTOMERS).token(&chinook).header("idempotency-key", KEY);
    let got = ask.header("content-profile", "northwind").body(body.to_string()).send().await;
    assert_eq!(got.no(), (403, "42501".into()));
    assert!(is_replayed(&send(&house, &admin, KEY, "POST", CUSTOMERS, "", &body).await));
}

#[tokio::test]
async fn who_has_lost_the_right_is_refused_whatever_was_answered_before() {
    let house = house().await;
    let admin = house.login("admin", "northwind").await;
    house.ask("PUT", "/v1/users/second").token(&admin).body(house.person("admin")).send().await.ok();
    let second = house.login("second", "northwind").await;
    let body = json!({"id": "NEW", "company": "N", "email": "a@example.com", "contact_name": "C", "country": "Chile"});
    let ask = async |token: &str, key: &str| {
        let path = "/rest/v1/customer?select=id,company";
        send(&house, token, key, "POST", path, "return=representation", &body).await
    };
    assert_eq!(ask(&second, KEY).await.status, 201);
    assert!(is_replayed(&ask(&second, KEY).await));
    // One who may read customers and not make them.
    house.ask("PUT", "/v1/users/second").token(&admin).body(house.person("analyst")).send().await.ok();
    let second = house.login("second", "northwind").await;
    assert_eq!(ask(&second, KEY).await.no(), (403, "42501".into()));
    assert_eq!(ask(&second, "never used").await.no(), (403, "42501".into()), "the same as without an answer");
    house.ask("PUT", "/v1/users/second").token(&admin).body(house.person("admin")).send().await.ok();
    let second = house.login("second", "northwind").await;
    assert!(is_replayed(&ask(&second, KEY).await));
    house.ask("POST", "/v1/token/revoke").token(&second).send().await.ok();
    assert_eq!(ask(&second, KEY).await.no(), (401, "PGRST303".into()));
    assert_eq!(ask("nonsense", KEY).await.no().0, 401);
}

#[tokio::test]
async fn after_a_day_a_key_is_new() {
    let house = house().await;
    let body = json!({"id": "NEW", "company": "N"});
    let token = house.login("admin", "northwind").await;
    send(&house, &token, KEY, "POST", CUSTOMERS, "", &body).await.ok();
    house.clock.advance_ms(24 * HOUR_MS - 1);
    let token = house.login("admin", "northwind").await;
    assert!(is_replayed(&send(&house, &token, KEY, "POST", CUSTOMERS, "", &body).await));
    house.clock.advance_ms(1);
    assert_eq!(send(&house, &token, KEY, "POST", CUSTOMERS, "", &body).await.no(), (409, "23505".into()));
    send(&house, &token, KEY, "POST", CUSTOMERS, "", &json!({"id": "NEXT", "company": "X"})).await.ok();
    assert_eq!(companies(&house, &token).await, "NEW=N NEXT=X");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_is_made() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let body = json!({"id": "NEW", "company": "N"});
    let asks = (0..16).map(|_| send(&house, &token, KEY, "POST", CUSTOMERS, "", &body));
    let (mut made, mut replayed, mut under_way) = (0, 0, 0);
    for got in futures_util::future::join_all(asks).await {
        match got.status {
            201 if is_replayed(&got) => replayed += 1,
            201 => made += 1,
            _ => {
                assert_eq!(got.no(), (409, "55006".into()), "{}", got.body);
                assert_eq!(got.header("retry-after"), "1");
                under_way += 1;
            }
        }
    }
    assert_eq!((made, replayed + under_way), (1, 15));
    assert!(is_replayed(&send(&house, &token, KEY, "POST", CUSTOMERS, "", &body).await));
}
