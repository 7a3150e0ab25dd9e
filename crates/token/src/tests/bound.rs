//! Tokens that are bound to a key.

use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::{DpopError, ProofKey};
use countersign_model::UnixMs;
use countersign_model::request::Narrowing;
use serde_json::json;

use super::{House, NOW};
use crate::{
    Binding, Evidence, MAX_LIFETIME_MS, NotProved, Presented, ProofOf, Replay, ReplayWindow, TokenError, Unverified,
};

const KEY: Binding = Binding::Jkt([7; 32]);
const CERTIFICATE: Binding = Binding::Certificate([8; 32]);
const THUMBPRINT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

#[test]
fn a_token_says_which_key_it_is_bound_to() {
    let house = House::new();
    for binding in [None, Some(KEY), Some(CERTIFICATE)] {
        let minter = house.minter.bound_to(binding);
        let minted = minter.mint(house.user, house.tenant, house.session, 5000, NOW, &SystemEntropy).unwrap();
        let verified = house.verifier.verify(minted.token(), NOW).unwrap();
        assert_eq!(verified.binding(), binding.as_ref());
        assert_eq!(Unverified::read(minted.token()).unwrap().binding, binding);
    }
    // RFC 9449, section 6.1, and RFC 8705, section 3.1.
    let token = house.with("cnf", json!({ "jkt": THUMBPRINT }));
    assert_eq!(house.verifier.verify(&token, NOW).unwrap().binding(), Some(&KEY));
    let token = house.with("cnf", json!({ "x5t#S256": THUMBPRINT }));
    assert_eq!(house.verifier.verify(&token, NOW).unwrap().binding(), Some(&Binding::Certificate([7; 32])));
    assert_eq!(format!("{KEY:?} {CERTIFICATE:?}"), "Jkt(..) Certificate(..)");
    let schemes = [None, Some(&KEY), Some(&CERTIFICATE)].map(Binding::scheme);
    assert_eq!(schemes, ["Bearer", "DPoP", "Bearer"]);
}

/// A confirmation that isn't understood is a limit that isn't kept.
#[test]
fn other_confirmations_are_refused() {
    let house = House::new();
    for cnf in [
        json!(null),
        json!({}),
        json!([]),
        json!(THUMBPRINT),
        json!({ "jkt": null }),
        json!({ "jkt": "" }),
        json!({ "jkt": "BwcH" }),
        json!({ "jkt": format!("{THUMBPRINT}=") }),
        json!({ "jkt": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd" }),
        json!({ "jkt": THUMBPRINT, "x5t#S256": THUMBPRINT }),
        json!({ "jkt": THUMBPRINT, "kid": "1" }),
        json!({ "kid": "1" }),
        json!({ "jwk": { "kty": "OKP" } }),
        json!({ "x5t": THUMBPRINT }),
    ] {
        let token = house.with("cnf", cnf.clone());
        assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::Malformed, "{cnf}");
    }
}

#[test]
fn a_child_is_bound_as_its_parent_or_anew_and_never_unbound() {
    let house = House::new();
    let bound = house.minter.bound_to(Some(KEY));
    let minted = bound.mint(house.user, house.tenant, house.session, MAX_LIFETIME_MS, NOW, &SystemEntropy).unwrap();
    let parent = house.verifier.verify(minted.token(), NOW).unwrap();
    let unbound = house.login(NOW);
    let child = |of, minter: &crate::Minter| {
        let minted = minter.narrow(of, &Narrowing::default(), None, NOW, &SystemEntropy).unwrap();
        house.verifier.verify(minted.token(), NOW).unwrap().binding().copied()
    };
    assert_eq!(child(&parent, &house.minter), Some(KEY));
    assert_eq!(child(&parent, &house.minter.bound_to(Some(CERTIFICATE))), Some(CERTIFICATE));
    assert_eq!(child(&unbound, &bound), Some(KEY));
    assert_eq!(child(&unbound, &house.minter), None);
}

#[test]
fn a_proof_is_used_once_until_nobody_would_take_it_any_more() {
    let window = ReplayWindow::new(100);
    let (one, two) = ([1; 32], [2; 32]);
    let expires = NOW.plus_ms(60_000);
    assert_eq!(window.spend(one, expires, NOW), Ok(()));
    assert_eq!(window.spend(one, expires, NOW), Err(Replay::Used));
    assert_eq!(window.spend(two, expires, NOW), Ok(()));
    assert_eq!(window.spend(one, expires, UnixMs(expires.0 - 1)), Err(Replay::Used));
    assert_eq!(window.remembered(), 2);
    // Whoever verifies proofs refuses it for its age from then on. A clock that goes back changes nothing.
    assert_eq!(window.spend([3; 32], expires.plus_ms(60_000), expires.plus_ms(1000)), Ok(()));
    assert_eq!(window.remembered(), 1);
    for again in [expires, NOW] {
        assert_eq!(window.spend(one, expires, again), Err(Replay::Used));
    }
}

#[test]
fn a_full_window_forgets_nothing() {
    let window = ReplayWindow::new(3);
    let proof = |n: u8| [n; 32];
    for n in 0..3 {
        assert_eq!(window.spend(proof(n), NOW.plus_ms(1000 * u64::from(n)).plus_ms(5000), NOW), Ok(()));
    }
    assert_eq!(window.spend(proof(9), NOW.plus_ms(5000), NOW), Err(Replay::Full));
    assert_eq!(window.spend(proof(0), NOW.plus_ms(5000), NOW), Err(Replay::Used));
    let later = NOW.plus_ms(6000);
    assert_eq!(window.spend(proof(9), later.plus_ms(5000), later), Ok(()));
    assert_eq!(window.spend(proof(2), NOW.plus_ms(7000), later), Err(Replay::Used));
}

/// Of many threads with one proof, one wins.
#[test]
fn a_race_has_one_winner() {
    let window = ReplayWindow::new(1000);
    let wins = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| (0..100u8).filter(|n| window.spend([*n; 32], NOW.plus_ms(1000), NOW).is_ok()).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(wins, 100);
}

const URL: &str = "https://data.example/rest/orders";

fn evidence(proof: &str) -> Evidence<'_> {
    Evidence { proof: Some(ProofOf { proof, method: "GET", url: URL }), certificate: None }
}

#[test]
fn a_bound_token_is_good_with_a_fresh_proof_of_its_key_for_this_request() {
    let house = House::new();
    let (key, other) = (ProofKey::generate(&SystemEntropy).unwrap(), ProofKey::generate(&SystemEntropy).unwrap());
    let minter = house.minter.bound_to(Some(Binding::Jkt(key.jkt())));
    let minted = minter.mint(house.user, house.tenant, house.session, MAX_LIFETIME_MS, NOW, &SystemEntropy).unwrap();
    let presented = Presented::new(minted.token().to_owned());
    let verified = house.verifier.verify_presented(&presented, NOW).unwrap();
    let window = ReplayWindow::new(100);
    let sign = |key: &ProofKey, method: &str, url: &str, token: Option<&str>| {
        key.sign(method, url, token, NOW, &SystemEntropy).unwrap()
    };
    let check = |evidence: &Evidence<'_>| verified.check_possession(&presented, evidence, &window, NOW);
    let token = Some(minted.token());

    let good = sign(&key, "GET", URL, token);
    assert_eq!(check(&evidence(&good)), Ok(()));
    assert_eq!(check(&evidence(&good)), Err(NotProved::Replay(Replay::Used)));
    assert_eq!(check(&evidence(&sign(&key, "GET", URL, token))), Ok(()));
    assert_eq!(window.remembered(), 2);

    assert_eq!(check(&Evidence::default()), Err(NotProved::Missing));
    assert_eq!(check(&Evidence { certificate: Some(key.jkt()), proof: None }), Err(NotProved::Missing));
    for (proof, expected) in [
        (sign(&other, "GET", URL, token), NotProved::OtherKey),
        (sign(&key, "POST", URL, token), NotProved::Proof(DpopError::Method)),
        (sign(&key, "GET", "https://elsewhere.example/rest/orders", token), NotProved::Proof(DpopError::Url)),
        (sign(&key, "GET", URL, None), NotProved::Proof(DpopError::Token)),
        (sign(&key, "GET", URL, Some("another token")), NotProved::Proof(DpopError::Token)),
        (String::new(), NotProved::Proof(DpopError::Malformed)),
    ] {
        assert_eq!(check(&evidence(&proof)), Err(expected));
    }
    let late = NOW.plus_ms(61_000);
    let late = verified.check_possession(&presented, &evidence(&sign(&key, "GET", URL, token)), &window, late);
    assert_eq!(late, Err(NotProved::Proof(DpopError::Moment)));
    // Only the holder of the key fills the window.
    assert_eq!(window.remembered(), 2);
    let full = verified.check_possession(&presented, &evidence(&good), &ReplayWindow::new(0), NOW);
    assert_eq!(full, Err(NotProved::Replay(Replay::Full)));
}

#[test]
fn a_token_bound_to_a_certificate_is_good_on_its_connection_and_an_unbound_one_anywhere() {
    let house = House::new();
    let window = ReplayWindow::new(100);
    let check = |binding, certificate, proof| {
        let minter = house.minter.bound_to(binding);
        let minted = minter.mint(house.user, house.tenant, house.session, 5000, NOW, &SystemEntropy).unwrap();
        let presented = Presented::new(minted.into_token());
        let verified = house.verifier.verify_presented(&presented, NOW).unwrap();
        verified.check_possession(&presented, &Evidence { certificate, proof }, &window, NOW)
    };
    assert_eq!(check(Some(CERTIFICATE), Some([8; 32]), None), Ok(()));
    assert_eq!(check(Some(CERTIFICATE), Some([9; 32]), None), Err(NotProved::OtherKey));
    assert_eq!(check(Some(CERTIFICATE), None, None), Err(NotProved::Missing));
    let nonsense = Some(ProofOf { proof: "no proof", method: "GET", url: URL });
    assert_eq!(check(Some(CERTIFICATE), None, nonsense), Err(NotProved::Missing));
    assert_eq!(check(None, None, nonsense), Ok(()));
    assert_eq!(check(None, Some([9; 32]), None), Ok(()));
}
