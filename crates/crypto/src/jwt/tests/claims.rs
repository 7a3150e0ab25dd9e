use countersign_model::UnixMs;
use serde_json::{Value, json};

use super::{Claims, ClaimsError, Expected, Party, Signer, set, verify, with};
use crate::jwt::{Accepted, JwtError};

const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);
const SIGN_ON: Expected<'_> = Expected {
    issuer: "https://login.example.org",
    audience: "countersign",
    party: Party::Client,
    nonce: Some("n-0S6_WzA2Mj"),
    age_max_ms: Some(600_000),
};
const PLATFORM: Expected<'_> = Expected { party: Party::Holder, nonce: None, age_max_ms: None, ..SIGN_ON };

fn good() -> Value {
    json!({
        "iss": "https://login.example.org", "sub": "248289761001", "aud": "countersign",
        "exp": 1_800_000_300, "iat": 1_800_000_000, "nonce": "n-0S6_WzA2Mj",
    })
}

fn read(claims: &Value) -> Result<Claims, JwtError> {
    let signer = Signer::edwards();
    verify(&set(&[signer.jwk()]), &signer.sign(r#"{"alg":"EdDSA"}"#, &claims.to_string()), &Accepted::ID_TOKEN)
}

fn checked(changes: Value, expected: &Expected<'_>) -> Result<(), ClaimsError> {
    read(&with(good(), changes)).unwrap().check(expected, NOW)
}

#[test]
fn a_good_token_is_good_and_keeps_its_other_claims() {
    assert_eq!(checked(json!({}), &SIGN_ON), Ok(()));
    assert_eq!(checked(json!({}), &PLATFORM), Ok(()));
    let claims = read(&with(good(), json!({"groups": ["sales"], "hd": "example.org"}))).unwrap();
    assert_eq!(claims.other["groups"], json!(["sales"]));
    assert_eq!(claims.other.len(), 2);
    assert_eq!(format!("{claims:?}"), "Claims { .. }");
}

#[test]
fn issuer_and_audience_are_exact() {
    for iss in ["https://login.example.org/", "https://LOGIN.example.org", "login.example.org", ""] {
        assert_eq!(checked(json!({ "iss": iss }), &SIGN_ON), Err(ClaimsError::Issuer));
    }
    for aud in [json!("other"), json!("countersign2"), json!([]), json!(["Countersign"])] {
        assert_eq!(checked(json!({ "aud": aud }), &SIGN_ON), Err(ClaimsError::Audience));
    }
}

#[test]
fn several_audiences_need_an_authorised_party() {
    let both = json!(["other", "countersign"]);
    assert_eq!(checked(json!({"aud": ["countersign"]}), &SIGN_ON), Ok(()));
    assert_eq!(checked(json!({ "aud": both }), &SIGN_ON), Err(ClaimsError::Party));
    assert_eq!(checked(json!({"aud": both, "azp": "countersign"}), &SIGN_ON), Ok(()));
    assert_eq!(checked(json!({"aud": both, "azp": "other"}), &SIGN_ON), Err(ClaimsError::Party));
    assert_eq!(checked(json!({"azp": "other"}), &SIGN_ON), Err(ClaimsError::Party));
    // A platform's token: whoever else it is for could present it to us as well.
    assert_eq!(checked(json!({ "aud": both }), &PLATFORM), Err(ClaimsError::Party));
    assert_eq!(checked(json!({"azp": "112233"}), &PLATFORM), Ok(()));
}

#[test]
fn times() {
    let at = |changes: Value| checked(changes, &PLATFORM);
    assert_eq!(at(json!({"exp": 1_800_000_001})), Ok(()));
    assert_eq!(at(json!({"exp": 1_800_000_000})), Err(ClaimsError::Expired));
    assert_eq!(at(json!({"exp": 1_800_000_000.9})), Err(ClaimsError::Expired));
    assert_eq!(at(json!({"exp": 1_800_000_001.5})), Ok(()));
    assert_eq!(at(json!({"nbf": 1_800_000_060})), Ok(()));
    assert_eq!(at(json!({"nbf": 1_800_000_061})), Err(ClaimsError::NotYetValid));
    assert_eq!(at(json!({"iat": 1_800_000_061})), Err(ClaimsError::NotYetValid));
    assert_eq!(at(json!({"iat": 1_700_000_000})), Ok(()));
    assert_eq!(checked(json!({"iat": 1_799_999_400}), &SIGN_ON), Ok(()));
    assert_eq!(checked(json!({"iat": 1_799_999_399}), &SIGN_ON), Err(ClaimsError::TooOld));
    for wrong in [json!("1800000300"), json!(-1), json!(1e300), json!(1_800_000_300_000_u64), json!(null), json!([])] {
        assert_eq!(read(&with(good(), json!({ "exp": wrong }))).err(), Some(JwtError::Claims), "{wrong}");
        assert_eq!(read(&with(good(), json!({ "nbf": wrong }))).err(), Some(JwtError::Claims), "{wrong}");
    }
}

#[test]
fn a_sign_on_answers_its_own_question() {
    assert_eq!(checked(json!({"nonce": "another"}), &SIGN_ON), Err(ClaimsError::Nonce));
    assert_eq!(checked(json!({"nonce": null}), &SIGN_ON), Err(ClaimsError::Nonce));
    assert_eq!(checked(json!({"nonce": "another"}), &PLATFORM), Ok(()));
}

#[test]
fn what_must_be_there_must_be_there() {
    for name in ["iss", "sub", "aud", "exp"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(read(&claims).err(), Some(JwtError::Claims), "{name}");
    }
    let mut claims = good();
    claims.as_object_mut().unwrap().remove("iat");
    assert_eq!(read(&claims).unwrap().check(&SIGN_ON, NOW), Err(ClaimsError::TooOld));
    assert_eq!(read(&claims).unwrap().check(&PLATFORM, NOW), Ok(()));
}
