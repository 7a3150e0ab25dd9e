//! PROPERTY: a proof of possession proves something only if it is, byte for byte, one that a client signed, and only
//! for its request, its token and its minute.

use std::sync::LazyLock;

use countersign_crypto::dpop::{Proof, ProofKey};
use countersign_model::UnixMs;

use super::{Fixed, mutant};
use crate::signature;

/// Pieces of proofs.
pub const WORDS: &[&str] = &[
    ".",
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2Iiwi",
    "andrIjp7Imt0eSI6IkVDIiwi",
    "eyJhbGciOiJub25lIn0",
    "eyJqdGkiOiI",
    "aHR1IjoiaHR0cHM6Ly9",
    "==",
    "AAAA",
    "e30",
];

/// The moment at which all of this happens.
const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);
const URL: &str = "https://data.example/rest/v1/customer";
const TOKEN: &str = "the access token";

struct Fixture {
    jkt: [u8; 32],
    signed: Vec<String>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = ProofKey::generate(&Fixed).expect("a key");
    let sign = |token| key.sign("GET", URL, token, NOW, &Fixed).expect("a proof");
    Fixture { jkt: key.jkt(), signed: vec![sign(Some(TOKEN)), sign(None)] }
});

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    let Some(proof) = mutant(data, &fixture.signed) else { return 0 };
    match Proof::verify(&proof, "GET", URL, None, NOW) {
        Ok(verified) => {
            // Anybody can make a proof by a key of their own. By this key there are two.
            assert!(verified.jkt() != fixture.jkt || fixture.signed.contains(&proof), "a proof that was never signed");
            assert!(Proof::verify(&proof, "PUT", URL, None, NOW).is_err(), "a proof for every method");
            let elsewhere = "https://elsewhere.example/rest/v1/customer";
            assert!(Proof::verify(&proof, "GET", elsewhere, None, NOW).is_err(), "a proof for every server");
            assert!(Proof::verify(&proof, "GET", URL, None, verified.expires()).is_err(), "a proof for ever");
            let with_token = Proof::verify(&proof, "GET", URL, Some(TOKEN), NOW);
            assert!(with_token.is_err() || Proof::verify(&proof, "GET", URL, Some("another"), NOW).is_err());
            1 + u64::from(with_token.is_ok())
        }
        Err(error) => signature::of(&error.to_string()),
    }
}
