use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::*;
use crate::SystemEntropy;

const URL: &str = "https://data.example/rest/orders";
const NOW: UnixMs = UnixMs(1_800_000_000_500);
const TOKEN: &str = "the.access.token";

fn key() -> ProofKey {
    ProofKey::generate(&SystemEntropy).unwrap()
}

fn verify(proof: &str) -> Result<Proof, DpopError> {
    Proof::verify(proof, "GET", URL, Some(TOKEN), NOW)
}

fn header(key: &ProofKey) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&key.header).unwrap()).unwrap()
}

fn claims() -> Value {
    json!({"jti": "x1", "htm": "GET", "htu": URL, "iat": NOW.seconds(), "ath": token_hash(TOKEN)})
}

fn signed(key: &ProofKey, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Claims with changes; `null` takes one away.
fn changed(changes: Value) -> Result<Proof, DpopError> {
    let (key, mut claims) = (key(), claims());
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    verify(&signed(&key, &header(&key).to_string(), &claims.to_string()))
}

/// RFC 9449, section 4.1 (a proof for the token endpoint), section 7.1 (one with a token) and section 6.1 (`jkt`).
#[test]
fn the_examples_of_rfc_9449() {
    let header = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    let at_login = format!(
        "{header}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    );
    let now = UnixMs::from_seconds(1_562_262_616);
    let proof = Proof::verify(&at_login, "POST", "https://server.example.com/token", None, now).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(proof.jkt()), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!(proof.issued(), now);

    let with_token = format!(
        "{header}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    let url = "https://resource.example.org/protectedresource";
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let second = Proof::verify(&with_token, "GET", url, Some(token), now).unwrap();
    assert_eq!(second.jkt(), proof.jkt());
    assert_ne!(second.digest(), proof.digest());
    assert_eq!(Proof::verify(&with_token, "GET", url, Some("other"), now), Err(DpopError::Token));
    assert_eq!(Proof::verify(&at_login, "GET", url, Some(token), now), Err(DpopError::Method));
}

#[test]
fn what_a_client_signs_is_verified_and_never_the_same_twice() {
    let key = key();
    let again = ProofKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
    assert_eq!(again.jkt(), key.jkt());
    let one = key.sign("GET", &format!("{URL}?limit=5#x"), Some(TOKEN), NOW, &SystemEntropy).unwrap();
    let two = again.sign("GET", URL, Some(TOKEN), NOW, &SystemEntropy).unwrap();
    let (one, two) = (verify(&one).unwrap(), verify(&two).unwrap());
    assert_eq!((one.jkt(), two.jkt()), (key.jkt(), key.jkt()));
    assert_ne!(one.digest(), two.digest());
    assert_eq!(ProofKey::from_pkcs8(b"nonsense").err(), Some(DpopError::Key));
    assert_eq!(key.sign("GET", "orders", None, NOW, &SystemEntropy), Err(DpopError::Url));
    let long = format!("{URL}/{}", "x".repeat(MAX_BYTES));
    assert_eq!(key.sign("GET", &long, None, NOW, &SystemEntropy), Err(DpopError::TooLong));
    assert_eq!(format!("{key:?}"), "ProofKey(..)");
}

#[test]
fn a_proof_is_for_one_method_url_token_and_moment() {
    assert!(changed(json!({})).is_ok());
    for method in ["POST", "get", "", "GET "] {
        assert_eq!(changed(json!({ "htm": method })), Err(DpopError::Method), "{method}");
    }
    for url in ["http://data.example/rest/orders", "https://data.example/rest/suppliers", "https://evil.example/", ""] {
        assert_eq!(changed(json!({ "htu": url })), Err(DpopError::Url), "{url}");
    }
    for hash in [json!(null), json!(""), json!(TOKEN), json!(token_hash("other")), json!(token_hash(TOKEN) + "=")] {
        assert_eq!(changed(json!({ "ath": hash })), Err(DpopError::Token), "{hash}");
    }
    let moment = |seconds: i64| changed(json!({"iat": i64::try_from(NOW.seconds()).unwrap() + seconds}));
    assert!(moment(-60).is_ok() && moment(60).is_ok());
    assert_eq!(moment(-61), Err(DpopError::Moment));
    assert_eq!(moment(61), Err(DpopError::Moment));
    for claims in [
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"jti": "x".repeat(MAX_ID_BYTES + 1)}),
        json!({"iat": null}),
        json!({"iat": "1800000000"}),
        json!({"iat": -1}),
        json!({"htm": null}),
        json!({"htu": null}),
    ] {
        assert_eq!(changed(claims.clone()), Err(DpopError::Malformed), "{claims}");
    }
    assert!(changed(json!({"nonce": "of the server", "extra": 1})).is_ok());
}

#[test]
fn only_a_proof_s_header_is_accepted() {
    let key = key();
    let claims = claims().to_string();
    let with = |member: &str, value: Value| {
        let mut header = header(&key);
        header[member] = value;
        verify(&signed(&key, &header.to_string(), &claims))
    };
    assert!(with("kid", json!("1")).is_ok());
    for (member, value) in [
        ("typ", json!("JWT")),
        ("typ", json!("at+jwt")),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("RS256")),
        ("alg", json!("ES384")),
        ("crit", json!(["b64"])),
        ("jku", json!("https://evil.example/")),
        ("x5c", json!([])),
        ("jwk", json!(null)),
        ("jwk", json!([])),
    ] {
        assert_eq!(with(member, value.clone()), Err(DpopError::Header), "{member} {value}");
    }
    let jwk = |member: &str, value: Value| {
        let mut jwk = header(&key)["jwk"].clone();
        jwk[member] = value;
        with("jwk", jwk)
    };
    assert!(jwk("alg", json!("EdDSA")).is_ok());
    for (member, value) in
        [("d", json!("AAAA")), ("kty", json!("oct")), ("crv", json!("Ed448")), ("x", json!("AAAA")), ("x", json!(null))]
    {
        assert_eq!(jwk(member, value.clone()), Err(DpopError::Key), "{member} {value}");
    }
    assert_eq!(with("alg", json!("ES256")), Err(DpopError::Key));
    let other = ProofKey::generate(&SystemEntropy).unwrap();
    assert_eq!(with("jwk", header(&other)["jwk"].clone()), Err(DpopError::BadSignature));
    let twice = header(&key).to_string().replacen('{', r#"{"alg":"EdDSA","#, 1);
    assert_eq!(verify(&signed(&key, &twice, &claims)), Err(DpopError::Header));
    let twice = claims.replacen('{', r#"{"htm":"GET","#, 1);
    assert_eq!(verify(&signed(&key, &header(&key).to_string(), &twice)), Err(DpopError::Malformed));
}

/// As a browser does it: P-256, and the exported key with what WebCrypto adds.
#[test]
fn a_p256_key_as_browsers_export_it() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({
        "crv": "P-256", "ext": true, "key_ops": ["verify"], "kty": "EC",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}).to_string();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_string()));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    assert!(verify(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))).is_ok());
}

#[test]
fn length_is_bounded() {
    assert_eq!(verify(&"x".repeat(MAX_BYTES + 1)), Err(DpopError::TooLong));
    for text in ["", "..", "e30.e30", "e30.e30.", "*.*.*"] {
        assert_eq!(verify(text), Err(DpopError::Malformed), "{text}");
    }
}
