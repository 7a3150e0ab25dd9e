//! Signing keys: one a day, published as long as their tokens live.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_crypto::jws::VerifyingKeys;
use countersign_model::control::Control;
use countersign_token::{MAX_LIFETIME_MS, TokenError, Verifier};
use serde_json::Value;

use super::{HERE, House};
use crate::signing::{RETIREMENT_MS, ROTATION_MS, SETTLE_MS};

fn kids(jwks: &Value) -> Vec<String> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The `kid` in a token's header.
fn signer(token: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_signs_for_a_day_and_is_published_until_its_last_token_is_dead() {
    let house = House::empty().await;
    // Whoever fetches the keys before the first login finds one.
    let first = kids(&house.authority.jwks());
    assert_eq!(first.len(), 1);

    house.clock.advance_ms(ROTATION_MS - 1);
    let last = house.operator_token().await;
    assert_eq!(kids(&house.authority.jwks()), first);
    house.clock.advance_ms(1);
    // The next one is published first, and signs when everybody has had time to learn it.
    let settling = house.operator_token().await;
    let both = kids(&house.authority.jwks());
    assert_eq!(both.len(), 2);
    assert_eq!(both[1], first[0]);
    assert_eq!(signer(&settling), first[0]);
    house.clock.advance_ms(SETTLE_MS - 1);
    assert_eq!(signer(&house.operator_token().await), first[0]);
    house.clock.advance_ms(1);
    assert_eq!(signer(&house.operator_token().await), both[0]);
    assert_eq!(kids(&house.authority.jwks()), both);
    // The private half is gone.
    let keys = house.registry.signing_keys();
    assert!(keys[0].1.private.is_some() && keys[1].1.private.is_none());
    // The old key's last token lives on, also for a verifier that knows only the published set.
    assert!(house.ask(&last, Control::WhoAmI).await.is_ok());
    let published = VerifyingKeys::from_jwks(&house.authority.jwks().to_string()).unwrap();
    assert!(Verifier::new(HERE, HERE, published, 10).verify(&last, house.now()).is_ok());

    house.clock.advance_ms(MAX_LIFETIME_MS);
    assert_eq!(house.authority.verifier().verify(&last, house.now()).unwrap_err(), TokenError::Expired);
    assert_eq!(kids(&house.authority.jwks()).len(), 2);
    house.clock.advance_ms(RETIREMENT_MS);
    assert_eq!(kids(&house.authority.jwks()), both[..1]);
}

#[tokio::test]
async fn opening_again_goes_on_with_the_same_key() {
    let house = House::empty().await;
    let token = house.operator_token().await;
    let before = kids(&house.authority.jwks());
    let house = house.reopened().await;
    house.operator_token().await;
    assert_eq!(kids(&house.authority.jwks()), before);
    assert!(house.ask(&token, Control::WhoAmI).await.is_ok());
    house.clock.advance_ms(3 * ROTATION_MS);
    let house = house.reopened().await;
    house.operator_token().await;
    let after = kids(&house.authority.jwks());
    assert!(after[0] != before[0] && after.len() == 2, "{after:?}");
}

#[tokio::test]
async fn only_public_halves_are_published() {
    let house = House::empty().await;
    house.operator_token().await;
    for key in house.authority.jwks()["keys"].as_array().unwrap() {
        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    }
    let metadata = house.authority.metadata();
    assert_eq!(metadata["issuer"], HERE);
    assert_eq!(metadata["jwks_uri"], format!("{HERE}/v1/jwks.json"));
}

#[tokio::test]
async fn opening_again_while_a_key_waits_goes_on_waiting() {
    let house = House::empty().await;
    let first = signer(&house.operator_token().await);
    house.clock.advance_ms(ROTATION_MS);
    house.operator_token().await;
    let both = kids(&house.authority.jwks());
    let house = house.reopened().await;
    assert_eq!(signer(&house.operator_token().await), first);
    house.clock.advance_ms(SETTLE_MS);
    let house = house.reopened().await;
    assert_eq!(signer(&house.operator_token().await), both[0]);
    assert_eq!(kids(&house.authority.jwks()), both);
}
