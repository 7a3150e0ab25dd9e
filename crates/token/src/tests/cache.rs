//! The cache saves work and nothing else.

use super::{House, NOW, keys};
use crate::{TokenError, Verifier};

#[test]
fn a_token_that_was_remembered_still_expires() {
    let house = House::new();
    let verified = house.login(NOW);
    let token = house.sign(&house.claims());
    let hour = 3_600_000;
    assert!(house.verifier.verify(&token, NOW).is_ok());
    assert!(house.verifier.verify(&token, NOW.plus_ms(hour - 1000)).is_ok());
    assert_eq!(house.verifier.verify(&token, NOW.plus_ms(hour)).unwrap_err(), TokenError::Expired);
    // And a clock that was set back doesn't help.
    assert_eq!(house.verifier.verify(&token, NOW.minus_ms(hour)).unwrap_err(), TokenError::NotYetValid);
    assert!(verified.expires() > NOW);
}

#[test]
fn the_second_look_gives_the_same_value_without_verifying_again() {
    let house = House::new();
    let token = house.sign(&house.claims());
    let first = house.verifier.verify(&token, NOW).unwrap();
    let second = house.verifier.verify(&token, NOW).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
}

#[test]
fn a_refused_token_is_not_remembered_and_a_small_cache_stays_small() {
    let house = House::new();
    let small = Verifier::new(super::HERE, super::HERE, keys(&[&house.key]), 8);
    for _ in 0..100 {
        assert!(small.verify(&house.sign(&house.claims()), NOW).is_ok());
        assert!(small.verify(&house.with("exp", 1.into()), NOW).is_err());
    }
    assert!(small.remembered() <= 16, "{}", small.remembered());
}
