//! What Countersign says of a token holds for seconds, and doubt counts against the token.

use super::*;
use crate::{Action, Records};

#[tokio::test]
async fn a_caller_may_what_countersign_says_and_nothing_else() {
    let world = World::new().await;
    let caller = world.caller(&world.login()).await.unwrap();
    for (action, record_type, fields, expected) in [
        (Action::Read, "customer", &["company", "country"][..], true),
        (Action::Read, "customer", &[], true),
        (Action::Read, "customer", &["company", "phone"], false),
        (Action::Read, "Customer", &["company"], false),
        (Action::Update, "customer", &["company"], false),
        (Action::Delete, "customer", &[], false),
        (Action::Read, "invoice", &["total"], true),
        (Action::Read, "product", &[], false),
        (Action::Read, "", &[""], false),
    ] {
        assert_eq!(caller.may(action, record_type, fields).await, Ok(expected), "{action:?} {record_type} {fields:?}");
    }
    let permissions = caller.permissions().await.unwrap();
    assert_eq!((permissions.user(), permissions.tenant()), ("nancy", "northwind"));
    assert_eq!(permissions.roles(), ["accountant"]);
    assert_eq!(permissions.on(Action::Read, "customer").unwrap().records(), Records::All);
    assert_eq!(permissions.on(Action::Read, "invoice").unwrap().records(), Records::Some);
    assert_eq!(world.fake.asked.tokens.load(Ordering::SeqCst), 1, "one question serves them all");
}

#[tokio::test]
async fn a_revoked_token_is_refused_within_the_bound() {
    let world = World::new().await;
    let login = world.login();
    let caller = world.caller(&login).await.unwrap();
    world.say(&login, 401, Value::Null);
    world.clock.advance_ms(4_999);
    world.caller(&login).await.unwrap();
    assert_eq!(caller.may(Action::Read, "customer", &[]).await, Ok(true));
    world.clock.advance_ms(1);
    assert_eq!(caller.may(Action::Read, "customer", &[]).await, Err(Refused::Revoked));
    assert_eq!(world.caller(&login).await.unwrap_err(), Refused::Revoked);
    // The clock set back: how old the answer is, nobody knows, so it is asked for again.
    assert_eq!(world.fake.asked.tokens.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_is_as_old_as_its_question() {
    let world = World::new().await;
    let login = world.login();
    let slot = crate::permissions::Slot::default();
    let settings = Settings { clock: Arc::clone(&world.clock) as Arc<dyn Clock>, ..Settings::default() };
    let verified = world.authority.verified(login.token()).unwrap();
    let read = || crate::Permissions::read(StatusCode::OK, may_read(&login).to_string().as_bytes(), &verified);
    let slow = async || {
        world.clock.advance_ms(5_000);
        read()
    };
    slot.recent_or(&settings, slow).await.unwrap();
    let mut asked_again = false;
    let again = async || {
        asked_again = true;
        read()
    };
    slot.recent_or(&settings, again).await.unwrap();
    assert!(asked_again);
}

#[tokio::test]
async fn nothing_is_remembered_past_a_tokens_expiry() {
    let world = World::new().await;
    let login = world.login();
    world.clock.advance_ms(HOUR_MS - 1_000);
    let caller = world.caller(&login).await.unwrap();
    world.clock.advance_ms(1_000);
    assert_eq!(caller.may(Action::Read, "customer", &[]).await, Err(Refused::Expired));
}

#[tokio::test]
async fn doubt_is_no_answer_and_is_not_remembered() {
    let world = World::new().await;
    let login = world.login();
    let mut strange = may_read(&login);
    strange["token"] = json!(world.login().id());
    for (status, body) in
        [(200, strange), (200, json!({})), (200, json!([])), (500, json!({})), (302, json!({})), (204, json!({}))]
    {
        world.say(&login, status, body);
        assert_eq!(world.caller(&login).await.unwrap_err(), Refused::Unavailable, "{status}");
    }
    world.say(&login, 403, json!({}));
    assert_eq!(world.caller(&login).await.unwrap_err(), Refused::Forbidden);
    world.clock.advance_ms(5_000);
    world.fake.down.store(true, Ordering::SeqCst);
    assert_eq!(world.caller(&login).await.unwrap_err(), Refused::Unavailable);
    world.fake.down.store(false, Ordering::SeqCst);
    world.say(&login, 200, may_read(&login));
    world.caller(&login).await.unwrap();
}

#[tokio::test]
async fn many_requests_at_once_ask_once() {
    let world = World::new().await;
    let login = world.login();
    let many: Vec<_> = (0..100)
        .map(|_| {
            let (authority, headers) = (world.authority.clone(), bearer(login.token()));
            tokio::spawn(async move { authority.authenticate(&headers).await.map(drop) })
        })
        .collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
    assert_eq!(world.fake.asked.tokens.load(Ordering::SeqCst), 1);
}
