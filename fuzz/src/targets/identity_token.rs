//! PROPERTY: somebody else's identity token is believed only if its issuer signed it, byte for byte; and a key set that
//! can be read stays within its bounds.

use std::sync::LazyLock;

use countersign_crypto::jws::{self, SigningKey};
use countersign_crypto::jwt::{Accepted, Claims, Expected, JwkSet, MAX_SET_KEYS, Party, unverified_issuer, verify};
use countersign_model::UnixMs;
use serde_json::json;

use super::{Fixed, mutant};
use crate::signature;

/// Pieces of tokens and of key sets.
pub const WORDS: &[&str] = &[
    ".",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6I",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJhbGciOiJub25lIn0",
    "AAAA",
    "{\"keys\":[",
    "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"",
    "\"kty\":\"EC\",\"crv\":\"P-256\",",
    "\"kty\":\"OKP\",\"crv\":\"Ed25519\",",
    "\"x\":\"",
    "\"use\":\"sig\"",
    "\"kid\":\"1\"",
    "},{",
    "]}",
];

/// The moment at which all of this happens.
const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);
const EXPECTED: Expected<'_> = Expected {
    issuer: "https://login.example",
    audience: "countersign",
    party: Party::Client,
    nonce: Some("nonce"),
    age_max_ms: Some(600_000),
};

struct Fixture {
    keys: JwkSet,
    signed: Vec<String>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = SigningKey::generate(&Fixed).expect("a signing key");
    let keys = JwkSet::parse(&jws::jwks(&[key.public_jwk().clone()]).to_string()).expect("its public half");
    let claims = |audience: &str| {
        json!({
            "iss": EXPECTED.issuer, "sub": "248289761001", "aud": [audience], "nonce": "nonce", "groups": ["sales"],
            "iat": NOW.seconds(), "exp": NOW.seconds() + 300, "nbf": NOW.seconds(),
        })
    };
    let sign = |audience| key.sign("JWT", &claims(audience)).expect("a token");
    Fixture { keys, signed: vec![sign("countersign"), sign("somebody else")] }
});

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    if data.first() == Some(&b'{') {
        let Ok(text) = std::str::from_utf8(data) else { return 0 };
        return match JwkSet::parse(text) {
            Ok(keys) => {
                assert!(keys.len() <= MAX_SET_KEYS);
                let believed = fixture.signed.iter().filter(|token| believe(&keys, token).is_ok()).count();
                2 + u64::try_from(keys.len().min(3) + 10 * believed).unwrap_or_default()
            }
            Err(error) => signature::of(&error.to_string()),
        };
    }
    let Some(token) = mutant(data, &fixture.signed) else { return 0 };
    let _ = unverified_issuer(&token);
    match believe(&fixture.keys, &token) {
        Ok(()) => {
            assert_eq!(fixture.signed.first(), Some(&token), "a token that is not the issuer's for us");
            1
        }
        Err(why) => signature::of(&why),
    }
}

fn believe(keys: &JwkSet, token: &str) -> Result<(), String> {
    let claims: Claims = verify(keys, token, &Accepted::ID_TOKEN).map_err(|error| error.to_string())?;
    claims.check(&EXPECTED, NOW).map_err(|error| error.to_string())
}
