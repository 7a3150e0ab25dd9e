//! Published vectors, and tokens that a dishonest or careless issuer could write.

mod claims;
mod vectors;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

enum Signer {
    Elliptic(&'static str, EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl Signer {
    fn p256() -> Self {
        Self::elliptic("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn elliptic(curve: &'static str, algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::Elliptic(curve, EcdsaKeyPair::generate(algorithm).unwrap())
    }

    fn edwards() -> Self {
        Self::Edwards(Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Elliptic(curve, pair) => {
                let public = pair.public_key().as_ref();
                let (x, y) = public[1..].split_at(public.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Self::Edwards(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())}),
        }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match self {
            Self::Elliptic(_, pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Edwards(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn with(mut jwk: Value, members: Value) -> Value {
    jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    jwk
}

fn set(keys: &[Value]) -> JwkSet {
    JwkSet::parse(&json!({ "keys": keys }).to_string()).unwrap()
}

fn verified(keys: &JwkSet, token: &str) -> Result<Value, JwtError> {
    verify(keys, token, &Accepted::ID_TOKEN)
}

#[test]
fn each_algorithm_verifies_with_its_own_kind_of_key_only() {
    let p384 = Signer::elliptic("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING);
    let signers = [("ES256", Signer::p256()), ("ES384", p384), ("EdDSA", Signer::edwards())];
    for (alg, signer) in &signers {
        let keys = set(&[signer.jwk()]);
        let token = signer.sign(&json!({"alg": alg, "typ": "JWT"}).to_string(), r#"{"sub":"nancy"}"#);
        assert_eq!(verified(&keys, &token).unwrap(), json!({"sub": "nancy"}));
        for other in ["RS256", "PS256", "ES256", "ES384", "EdDSA"].iter().filter(|other| *other != alg) {
            let token = signer.sign(&json!({ "alg": other }).to_string(), "{}");
            assert_eq!(verified(&keys, &token), Err(JwtError::UnknownKey), "{alg} {other}");
        }
        for other in ["none", "None", "HS256", "HS512", "RS1", "RS512", "ES512", "ES256K", "es256", ""] {
            let token = signer.sign(&json!({ "alg": other }).to_string(), "{}");
            assert_eq!(verified(&keys, &token), Err(JwtError::Algorithm), "{other}");
        }
    }
}

/// The classic: the public key, which everybody has, taken as the secret of an HMAC.
#[test]
fn a_public_key_is_never_a_shared_secret() {
    let signer = Signer::edwards();
    let public = URL_SAFE_NO_PAD.decode(signer.jwk()["x"].as_str().unwrap()).unwrap();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode("{}"));
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&secret, message.as_bytes()));
    let shared = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(&public), "alg": "HS256"});
    let keys = set(&[signer.jwk(), shared]);
    assert_eq!(keys.len(), 1);
    assert_eq!(verified(&keys, &format!("{message}.{tag}")), Err(JwtError::Algorithm));
    assert_eq!(verified(&keys, &format!("{message}.")), Err(JwtError::Malformed));
}

#[test]
fn only_what_the_caller_accepts_is_accepted() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk()]);
    let token = |typ: Value| signer.sign(&json!({"alg": "ES256", "typ": typ}).to_string(), "{}");
    let narrow = Accepted { algorithms: &[Algorithm::EdDsa], typ: Typ::JwtOrAbsent };
    assert_eq!(verify::<Value>(&keys, &token("JWT".into()), &narrow), Err(JwtError::Algorithm));
    for (typ, good) in
        [("JWT", true), ("jwt", true), ("at+jwt", false), ("logout+jwt", false), ("dpop+jwt", false), ("", false)]
    {
        assert_eq!(verified(&keys, &token(typ.into())).is_ok(), good, "{typ}");
    }
    assert!(verified(&keys, &token(Value::Null)).is_ok());
    assert_eq!(verified(&keys, &token(json!(["JWT"]))), Err(JwtError::Header));
    let exactly = Accepted { algorithms: &Algorithm::ALL, typ: Typ::Exactly("at+jwt") };
    assert!(verify::<Value>(&keys, &token("AT+JWT".into()), &exactly).is_ok());
    for typ in [json!("JWT"), Value::Null] {
        assert_eq!(verify::<Value>(&keys, &token(typ), &exactly), Err(JwtError::WrongType));
    }
}

#[test]
fn a_header_that_changes_how_a_token_is_read_is_refused() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk()]);
    let jwk = signer.jwk().to_string();
    for member in [
        &format!(r#""jwk":{jwk}"#),
        r#""jku":"https://example.org/keys""#,
        r#""x5u":"https://example.org/""#,
        r#""x5c":[]"#,
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
        r#""cty":"JWT""#,
        r#""alg":"ES256""#,
        r#""\u0061lg":"ES256""#,
        r#""kid":7"#,
    ] {
        let header = format!(r#"{{"alg":"ES256",{member}}}"#);
        assert_eq!(verified(&keys, &signer.sign(&header, "{}")), Err(JwtError::Header), "{member}");
    }
    for header in ["", "[]", "null", "{}", r#"{"alg":["ES256"]}"#, r#"{"alg":"ES256"} {}"#, "\u{feff}{}"] {
        assert_eq!(verified(&keys, &signer.sign(header, "{}")), Err(JwtError::Header), "{header}");
    }
    // What GitHub's and Azure's tokens have.
    assert!(verified(&keys, &signer.sign(r#"{"alg":"ES256","x5t":"ISz4wHpyMCMhqNnqDNBWdKsf1H4"}"#, "{}")).is_ok());
}

#[test]
fn the_key_is_the_named_one_or_the_only_one_that_fits() {
    let (one, two, other) = (Signer::p256(), Signer::p256(), Signer::edwards());
    let named = |signer: &Signer, kid: &str| with(signer.jwk(), json!({ "kid": kid }));
    let token = |signer: &Signer, kid: &str| signer.sign(&json!({"alg": "ES256", "kid": kid}).to_string(), "{}");
    let nameless = one.sign(r#"{"alg":"ES256"}"#, "{}");

    let keys = set(&[named(&one, "1"), named(&two, "2"), named(&other, "3")]);
    assert!(verified(&keys, &token(&one, "1")).is_ok() && verified(&keys, &token(&two, "2")).is_ok());
    assert_eq!(verified(&keys, &token(&one, "2")), Err(JwtError::BadSignature));
    assert_eq!(verified(&keys, &token(&one, "3")), Err(JwtError::UnknownKey));
    assert_eq!(verified(&keys, &token(&one, "")), Err(JwtError::UnknownKey));
    assert_eq!(verified(&keys, &nameless), Err(JwtError::UnknownKey));

    assert!(verified(&set(&[named(&one, "1"), named(&other, "3")]), &nameless).is_ok());
    // A key without a name is not one that was named.
    assert_eq!(verified(&set(&[one.jwk()]), &token(&one, "1")), Err(JwtError::UnknownKey));
    // Two keys of one name and one use: nobody says which.
    assert_eq!(verified(&set(&[named(&one, "1"), named(&two, "1")]), &token(&one, "1")), Err(JwtError::UnknownKey));
    assert!(verified(&set(&[named(&one, "1"), named(&other, "1")]), &token(&one, "1")).is_ok());
    assert_eq!(verified(&set(&[]), &nameless), Err(JwtError::UnknownKey));
    // One key published twice is one key.
    assert!(verified(&set(&[named(&one, "1"), named(&one, "1")]), &token(&one, "1")).is_ok());
    assert!(verified(&set(&[named(&one, "1"), named(&one, "2")]), &nameless).is_ok());
}

#[test]
fn keys_that_can_t_be_used_are_left_out() {
    let (p256, ed) = (Signer::p256().jwk(), Signer::edwards().jwk());
    let rsa = |bytes: usize| json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(vec![0xc5; bytes])});
    let useless = [
        with(p256.clone(), json!({"use": "enc"})),
        with(p256.clone(), json!({"key_ops": ["sign"]})),
        with(p256.clone(), json!({"d": "AAAA"})),
        with(p256.clone(), json!({"crv": "P-384"})),
        with(p256.clone(), json!({"crv": "secp256k1"})),
        with(p256.clone(), json!({"x": "AAAA"})),
        with(p256.clone(), json!({"y": null})),
        with(p256.clone(), json!({"kty": "OKP"})),
        with(p256.clone(), json!({"kty": 1})),
        with(ed.clone(), json!({"crv": "Ed448"})),
        with(ed.clone(), json!({"crv": "X25519"})),
        with(ed.clone(), json!({"x": "AAAA="})),
        rsa(255),
        rsa(1025),
        with(rsa(256), json!({"e": "AA"})),
        with(rsa(256), json!({"e": URL_SAFE_NO_PAD.encode([1u8; 9])})),
        with(rsa(256), json!({"n": ""})),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({}),
        json!("key"),
        Value::Null,
    ];
    for key in &useless {
        assert_eq!(set(&[key.clone(), p256.clone()]).len(), 1, "{key}");
    }
    let useful = [
        with(p256.clone(), json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"], "x5c": ["MII"], "x5t": "x"})),
        with(ed, json!({"use": "sig"})),
        rsa(256),
        rsa(1024),
        with(rsa(256), json!({"n": URL_SAFE_NO_PAD.encode([vec![0], vec![0xc5; 256]].concat())})),
    ];
    assert_eq!(set(&useful).len(), useful.len());
    assert!(set(&useless).is_empty());
}

#[test]
fn a_key_for_one_algorithm_is_not_for_another() {
    let modulus = json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xc5; 256])});
    let keys = set(&[with(modulus, json!({"alg": "PS256"}))]);
    let token = |alg: &str| Signer::edwards().sign(&json!({ "alg": alg }).to_string(), "{}");
    assert_eq!(verified(&keys, &token("RS256")), Err(JwtError::UnknownKey));
    assert_eq!(verified(&keys, &token("PS256")), Err(JwtError::BadSignature));
}

#[test]
fn a_point_off_the_curve_verifies_nothing() {
    let signer = Signer::p256();
    let jwk = signer.jwk();
    let off = json!({"kty": "EC", "crv": "P-256", "x": jwk["y"], "y": jwk["x"]});
    assert_eq!(verified(&set(&[off]), &signer.sign(r#"{"alg":"ES256"}"#, "{}")), Err(JwtError::BadSignature));
}

#[test]
fn everything_is_bounded() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk()]);
    let long = signer.sign(r#"{"alg":"ES256"}"#, &format!("\"{}\"", "x".repeat(MAX_BYTES)));
    assert_eq!(verified(&keys, &long), Err(JwtError::TooLong));
    assert_eq!(unverified_issuer(&long), Err(JwtError::TooLong));
    let many = |count: usize| json!({"keys": vec![signer.jwk(); count]}).to_string();
    assert_eq!(JwkSet::parse(&many(MAX_SET_KEYS)).unwrap().len(), MAX_SET_KEYS);
    assert_eq!(JwkSet::parse(&many(MAX_SET_KEYS + 1)).err(), Some(JwtError::Set));
    let padded = format!("{}{}", many(1), " ".repeat(MAX_SET_BYTES));
    assert_eq!(JwkSet::parse(&padded).err(), Some(JwtError::Set));
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[{"kty":"EC","kty":"RSA"}]}"#]
    {
        assert_eq!(JwkSet::parse(text).err(), Some(JwtError::Set), "{text}");
    }
}

/// Every changed character is refused: there is one text per token.
#[test]
fn no_character_of_a_token_can_be_changed() {
    let signer = Signer::edwards();
    let keys = set(&[signer.jwk()]);
    let token = signer.sign(r#"{"alg":"EdDSA"}"#, r#"{"sub":"nancy"}"#);
    for position in 0..token.len() {
        for byte in [b'A', b'B', b'_', b'.', b'=', b'+', b' ', b'\n'] {
            let mut changed = token.clone().into_bytes();
            if changed[position] == byte {
                continue;
            }
            changed[position] = byte;
            assert!(verified(&keys, std::str::from_utf8(&changed).unwrap()).is_err(), "{position} {byte}");
        }
        assert!(verified(&keys, &token[..position]).is_err());
    }
    for text in [format!("{token}="), format!("{token}."), format!("{token}.e30"), format!(" {token}")] {
        assert!(verified(&keys, &text).is_err());
    }
    for text in ["", ".", "..", "...", "e30.e30.", "e30.e30"] {
        assert_eq!(verified(&keys, text), Err(JwtError::Malformed), "{text}");
    }
}

#[test]
fn the_issuer_can_be_read_to_choose_keys() {
    let signer = Signer::edwards();
    let named = |claims: &str| unverified_issuer(&signer.sign("{}", claims));
    assert_eq!(named(r#"{"iss":"https://a.example"}"#).unwrap(), "https://a.example");
    for claims in ["{}", "[]", r#"{"iss":7}"#, r#"{"iss":"a","iss":"b"}"#] {
        assert_eq!(named(claims), Err(JwtError::Claims), "{claims}");
    }
}
