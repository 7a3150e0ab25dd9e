//! PROPERTY: a token verifies only if it is, byte for byte, one that was minted, and lives at most 12 hours.

use std::sync::{Arc, LazyLock};

use countersign_crypto::jws;
use countersign_model::request::{Action, Narrowing};
use countersign_model::{Name, SessionId, TenantId, UnixMs, UserId};
use countersign_token::{Binding, MAX_LIFETIME_MS, Minter, Unverified, Verifier};

use super::{Fixed, mutant};
use crate::signature;

/// Pieces of tokens.
pub const WORDS: &[&str] = &[
    ".",
    "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIs",
    "eyJhbGciOiJub25lIn0",
    "==",
    "IiwiZXhwIjo",
    "AAAA",
    "fX0",
    "e30",
];

/// The moment at which all of this happens.
const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);

struct Fixture {
    verifier: Verifier,
    minted: Vec<String>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = Arc::new(jws::SigningKey::generate(&Fixed).expect("a signing key"));
    let keys = jws::VerifyingKeys::new(vec![key.public_jwk().clone()]).expect("its public half");
    let verifier = Verifier::new("https://issuer", "https://audience", keys, 16);
    let minter = Minter::new("https://issuer", "https://audience", key);
    let (user, tenant) = (UserId::new(NOW, &Fixed), TenantId::new(NOW, &Fixed));
    let session = SessionId::new(NOW, &Fixed);
    let whole = minter.mint(user, tenant, session, MAX_LIFETIME_MS, NOW, &Fixed).expect("a token").into_token();
    let narrowing = Narrowing {
        actions: Some(vec![Action::Read]),
        types: Some(vec![Name::new("customer").expect("a name")]),
        fields: Some(vec![Name::new("company").expect("a name")]),
        purpose: Some("support case".into()),
    };
    let parent = verifier.verify(&whole, NOW).expect("what was just minted");
    let narrowed = minter.narrow(&parent, &narrowing, Some(600_000), NOW, &Fixed).expect("a token").into_token();
    let bound = minter.bound_to(Some(Binding::Jkt([7; 32])));
    let agent = UserId::from_u128(7);
    let actor = bound.mint(agent, tenant, session, MAX_LIFETIME_MS, NOW, &Fixed).expect("a token").into_token();
    let acting = verifier.verify(&actor, NOW).expect("what was just minted");
    let acting = bound.exchange(&parent, &acting, &narrowing, None, NOW, &Fixed).expect("a token").into_token();
    Fixture { verifier, minted: vec![whole, narrowed, actor, acting] }
});

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    let Some(token) = mutant(data, &fixture.minted) else { return 0 };
    // Showing a token to its holder must not fall over either.
    let _ = Unverified::read(&token);
    match fixture.verifier.verify(&token, NOW) {
        Ok(verified) => {
            assert!(fixture.minted.contains(&token), "a token that was never minted was accepted");
            assert!(verified.expires().since(verified.issued()) <= MAX_LIFETIME_MS, "a token that lives too long");
            let late = UnixMs(verified.expires().0.saturating_add(1));
            assert!(fixture.verifier.verify(&token, late).is_err(), "an expired token was accepted");
            1
        }
        Err(error) => signature::of(&error.to_string()),
    }
}
