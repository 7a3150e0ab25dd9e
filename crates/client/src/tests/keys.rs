//! Keys stay fresh, and nobody can make a service ask without end.

use super::*;

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let world = World::new().await;
    let old = world.login();
    world.caller(&old).await.unwrap();
    let key = signing_key();
    world.fake.key_set.lock()["keys"].as_array_mut().unwrap().push(json!(key.public_jwk()));
    world.clock.advance_ms(1_000);
    let new = world.login_with(&minter(&key));
    world.caller(&new).await.unwrap();
    world.caller(&old).await.unwrap();
    assert_eq!(world.fake.asked.keys.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_once_a_second() {
    let world = World::new().await;
    let strangers = minter(&signing_key());
    for second in 1..=3 {
        world.clock.advance_ms(1_000);
        let flood = (0..50).map(|_| {
            let headers = bearer(world.login_with(&strangers).token());
            let authority = world.authority.clone();
            tokio::spawn(async move { authority.authenticate(&headers).await.map(drop) })
        });
        for refused in flood.collect::<Vec<_>>() {
            assert!(matches!(refused.await.unwrap(), Err(Refused::Invalid(_))));
        }
        assert_eq!(world.fake.asked.keys.load(Ordering::SeqCst), 1 + second);
    }
}

#[tokio::test]
async fn a_key_that_was_withdrawn_is_refused_at_the_next_refresh() {
    let world = World::new().await;
    let login = world.login();
    world.caller(&login).await.unwrap();
    *world.fake.key_set.lock() = jws::jwks(&[signing_key().public_jwk().clone()]);
    world.clock.advance_ms(60_000);
    world.authority.refresh().await;
    assert!(matches!(world.caller(&login).await, Err(Refused::Invalid(_))));
}

#[tokio::test]
async fn keys_that_are_too_old_are_not_relied_on() {
    let world = World::new().await;
    let login = world.login();
    world.fake.down.store(true, Ordering::SeqCst);
    world.clock.advance_ms(599_999);
    world.authority.authenticate_offline(&bearer(login.token())).await.unwrap();
    world.clock.advance_ms(1);
    let stale = world.authority.authenticate_offline(&bearer(login.token())).await;
    assert_eq!(stale.unwrap_err(), Refused::Unavailable);
    // Back again, the next request gets new keys by itself.
    world.fake.down.store(false, Ordering::SeqCst);
    world.clock.advance_ms(1_000);
    world.caller(&login).await.unwrap();
}

#[tokio::test]
async fn what_is_no_key_set_changes_nothing() {
    let world = World::new().await;
    let login = world.login();
    *world.fake.key_set.lock() = json!({ "keys": "none" });
    world.clock.advance_ms(60_000);
    world.authority.refresh().await;
    world.caller(&login).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_make_old_keys_young() {
    let now = UnixMs::from_seconds(1_000);
    let recent = crate::keys::is_recent;
    assert!(recent(now, now, 1) && recent(now.plus_ms(9), now, 10));
    assert!(!recent(now.plus_ms(10), now, 10) && !recent(now.minus_ms(1), now, 10));
}

#[tokio::test(start_paused = true)]
async fn the_refreshing_ends_with_the_last_authority() {
    let world = World::new().await;
    world.authority.keep_fresh();
    let other = world.authority.clone();
    world.clock.advance_ms(60_000);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.fake.asked.keys.load(Ordering::SeqCst), 2);
    let fake = Arc::clone(&world.fake);
    drop((world, other));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.asked.keys.load(Ordering::SeqCst), 2);
    assert_eq!(Arc::strong_count(&fake), 1);
}
