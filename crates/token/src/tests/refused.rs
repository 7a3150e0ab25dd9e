//! Every way in which a token can be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_crypto::{SystemEntropy, sha256};
use countersign_model::facts::Revocations;
use countersign_model::{TenantId, UnixMs};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{House, NOW, keys, signing_key};
use crate::{MAX_LIFETIME_MS, MintError, TokenError, Unverified};

#[test]
fn a_good_token_says_what_was_minted() {
    let house = House::new();
    let minted =
        house.minter.mint(house.user, house.tenant, house.session, MAX_LIFETIME_MS, NOW, &SystemEntropy).unwrap();
    let verified = house.verifier.verify(minted.token(), NOW).unwrap();
    assert_eq!((verified.user(), verified.tenant()), (house.user, house.tenant));
    assert_eq!((verified.session(), verified.token()), (house.session, minted.id()));
    assert_eq!(verified.expires(), minted.expires());
    assert_eq!(verified.expires().since(verified.issued()), MAX_LIFETIME_MS);
    assert!(!verified.narrowing().is_limiting());

    let shown = Unverified::read(minted.token()).unwrap();
    assert_eq!((shown.token, shown.expires), (minted.id(), minted.expires()));

    // The hand-made claims of this module are good too, so each refusal below is about what was bent.
    assert!(house.verifier.verify(&house.sign(&house.claims()), NOW).is_ok());
}

#[test]
fn nothing_shows_the_token() {
    let house = House::new();
    let minted = house.minter.mint(house.user, house.tenant, house.session, 5000, NOW, &SystemEntropy).unwrap();
    let verified = house.verifier.verify(minted.token(), NOW).unwrap();
    let signature = minted.token().rsplit('.').next().unwrap();
    let shown = format!("{minted:?} {verified:?} {:?} {:?}", house.verifier, house.minter);
    assert!(!shown.contains(signature) && !shown.contains("eyJ"), "{shown}");
}

#[test]
fn shapes_that_are_no_token() {
    let house = House::new();
    let good = house.sign(&house.claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let shapes = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "not a token".into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{good}.{signature}"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\0"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{}.{signature}", "é"),
    ];
    for shape in shapes {
        let refused = house.verifier.verify(&shape, NOW).unwrap_err();
        assert!(
            matches!(refused, TokenError::Malformed | TokenError::Header | TokenError::BadSignature),
            "{shape}: {refused}"
        );
    }
    let huge = format!("{header}.{}.{signature}", "A".repeat(9000));
    assert_eq!(house.verifier.verify(&huge, NOW).unwrap_err(), TokenError::TooLarge);
    assert_eq!(Unverified::read(&huge).unwrap_err(), TokenError::TooLarge);
    assert_eq!(Unverified::read("a.b").unwrap_err(), TokenError::Malformed);
    assert_eq!(Unverified::read("a.b.c").unwrap_err(), TokenError::Malformed);
}

#[test]
fn altered_tokens() {
    let house = House::new();
    let good = house.sign(&house.claims());
    let dots: Vec<usize> = good.match_indices('.').map(|(at, _)| at).collect();
    // One character changed, anywhere: the header, the payload, the signature.
    for at in (0..good.len()).filter(|at| !dots.contains(at)).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(bytes).unwrap();
        assert!(house.verifier.verify(&altered, NOW).is_err(), "character {at}");
    }
    let mut claims = house.claims();
    claims["exp"] = json!(NOW.seconds() + 7200);
    let altered = URL_SAFE_NO_PAD.encode(claims.to_string());
    let altered = format!("{}.{altered}.{}", &good[..dots[0]], &good[dots[1] + 1..]);
    assert_eq!(house.verifier.verify(&altered, NOW).unwrap_err(), TokenError::BadSignature);
}

fn with_header(house: &House, header: &Value, signature: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(header), encode(&house.claims()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature(signed.as_bytes())))
}

#[test]
fn other_algorithms() {
    let house = House::new();
    let kid = house.key.kid();
    for alg in ["none", "None", "NONE", "", "HS256", "RS256", "ES256", "eddsa", "EdDSA "] {
        let token = with_header(&house, &json!({ "alg": alg, "typ": "at+jwt", "kid": kid }), |_| vec![]);
        let refused = house.verifier.verify(&token, NOW).unwrap_err();
        assert!(matches!(refused, TokenError::Header | TokenError::Malformed), "{alg}: {refused}");
    }
    // The classic confusion: the published public key used as an HMAC secret.
    let jwk = house.key.public_jwk();
    let public = URL_SAFE_NO_PAD.decode(&jwk.x).unwrap();
    let token = with_header(&house, &json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }), |m| hmac(&public, m));
    let refused = house.verifier.verify(&token, NOW).unwrap_err();
    assert!(matches!(refused, TokenError::Header | TokenError::Malformed), "{refused}");
}

/// HMAC-SHA-256 (RFC 2104), for a key of at most one block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> {
        let key = key.iter().copied().chain(std::iter::repeat(0)).take(64);
        key.map(|byte| byte ^ with).collect()
    };
    let inner = sha256(&[pad(0x36), message.to_vec()].concat());
    sha256(&[pad(0x5c), inner.to_vec()].concat()).to_vec()
}

#[test]
fn headers_with_anything_else_in_them() {
    let house = House::new();
    let kid = house.key.kid();
    let plain = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid });
    let extra = [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jku", json!("https://elsewhere/jwks.json")),
        ("jwk", json!(house.key.public_jwk())),
        ("x5u", json!("https://elsewhere/x5u")),
        ("x5c", json!([])),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
    ];
    for (name, value) in extra {
        let mut header = plain.clone();
        header[name] = value;
        let token = with_header(&house, &header, |_| vec![0; 64]);
        assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::Header, "{name}");
    }
    for missing in ["alg", "typ", "kid"] {
        let mut header = plain.clone();
        header.as_object_mut().unwrap().remove(missing);
        let token = with_header(&house, &header, |_| vec![0; 64]);
        assert!(house.verifier.verify(&token, NOW).is_err(), "{missing}");
    }
}

#[test]
fn another_type_of_token() {
    let house = House::new();
    for typ in ["JWT", "jwt", "", "id+jwt", "at+jwt ", "logout+jwt"] {
        let token = house.key.sign(typ, &house.claims()).unwrap();
        assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::WrongType, "{typ}");
    }
}

#[test]
fn another_key() {
    let house = House::new();
    let stranger = signing_key();
    let token = stranger.sign("at+jwt", &house.claims()).unwrap();
    assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::UnknownKey);
    // The stranger's signature under the house's `kid`.
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": house.key.kid() });
    let foreign = URL_SAFE_NO_PAD.decode(token.rsplit('.').next().unwrap()).unwrap();
    let token = with_header(&house, &header, |_| foreign.clone());
    assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::BadSignature);
}

#[test]
fn claims_missing_wrong_or_too_many() {
    let house = House::new();
    let names: Vec<String> = house.claims().as_object().unwrap().keys().cloned().collect();
    for name in &names {
        let mut claims = house.claims();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(house.verifier.verify(&house.sign(&claims), NOW).unwrap_err(), TokenError::Malformed, "{name}");
        for wrong in [json!(null), json!({}), json!([]), json!(true), json!(-1), json!(1.5), json!("x")] {
            let refused = house.verifier.verify(&house.with(name, wrong.clone()), NOW).unwrap_err();
            let by_claim = match (name.as_str(), wrong.is_string()) {
                ("iss", true) => TokenError::WrongIssuer,
                ("aud", true) => TokenError::WrongAudience,
                _ => TokenError::Malformed,
            };
            assert_eq!(refused, by_claim, "{name} {wrong}");
        }
    }
    for unknown in ["nbf", "scope", "roles", "cnf", "act"] {
        let token = house.with(unknown, json!("x"));
        assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::Malformed, "{unknown}");
    }
    for payload in [json!([]), json!("x"), json!(null), json!(1)] {
        assert_eq!(house.verifier.verify(&house.sign(&payload), NOW).unwrap_err(), TokenError::Malformed);
    }
}

struct Twice<'a>(&'a Value, &'a str, Value);

impl Serialize for Twice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.as_object().unwrap() {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(self.1, &self.2)?;
        map.end()
    }
}

#[test]
fn a_claim_said_twice() {
    let house = House::new();
    let claims = house.claims();
    for name in claims.as_object().unwrap().keys() {
        let token = house.sign(&Twice(&claims, name, claims[name].clone()));
        assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::Malformed, "{name}");
    }
}

#[test]
fn details_of_another_shape() {
    let house = House::new();
    let good = json!({ "type": "countersign", "actions": ["read"] });
    assert!(house.verifier.verify(&house.with("authorization_details", json!([good])), NOW).is_ok());
    let bad = [
        json!(null),
        json!([]),
        json!({}),
        json!([good, good]),
        json!([{ "actions": ["read"] }]),
        json!([{ "type": "payment" }]),
        json!([{ "type": "countersign", "actions": ["fly"] }]),
        json!([{ "type": "countersign", "actions": null }]),
        json!([{ "type": "countersign", "fields": "company" }]),
        json!([{ "type": "countersign", "datatypes": ["No Name"] }]),
        json!([{ "type": "countersign", "locations": [] }]),
    ];
    for details in bad {
        let token = house.with("authorization_details", details.clone());
        assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::Malformed, "{details}");
    }
}

#[test]
fn another_house() {
    let house = House::new();
    let token = house.with("iss", json!("https://elsewhere"));
    assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::WrongIssuer);
    let token = house.with("aud", json!("https://elsewhere"));
    assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::WrongAudience);
}

#[test]
fn times() {
    let house = House::new();
    let now = NOW.seconds();
    let at = |iat: u64, exp: u64, login: u64| {
        let mut claims = house.claims();
        claims["iat"] = json!(iat);
        claims["exp"] = json!(exp);
        claims["auth_time"] = json!(login);
        house.verifier.verify(&house.sign(&claims), NOW).map(|_| ())
    };
    let hours = 3600;
    assert_eq!(at(now, now + 12 * hours, now), Ok(()));
    assert_eq!(at(now, now + 12 * hours + 1, now), Err(TokenError::TooLong));
    assert_eq!(at(now, now + 13 * hours, now), Err(TokenError::TooLong));
    assert_eq!(at(now - hours, now + 12 * hours, now - hours), Err(TokenError::TooLong));
    // A narrowed token counts from its login.
    assert_eq!(at(now, now + hours, now - 12 * hours), Err(TokenError::TooLong));
    assert_eq!(at(now, u64::MAX, now), Err(TokenError::TooLong));
    assert_eq!(at(0, u64::MAX, 0), Err(TokenError::TooLong));
    assert_eq!(at(now - 10, now, now - 10), Err(TokenError::Expired));
    assert_eq!(at(now - 10, now + 1, now - 10), Ok(()));
    assert_eq!(at(now + 60, now + 100, now + 60), Ok(()));
    assert_eq!(at(now + 61, now + 100, now + 61), Err(TokenError::NotYetValid));
    assert_eq!(at(now, now, now), Err(TokenError::Malformed));
    assert_eq!(at(now, now - 1, now), Err(TokenError::Malformed));
    assert_eq!(at(now, now + 10, now + 1), Err(TokenError::Malformed));
}

#[test]
fn nothing_longer_than_twelve_hours_is_minted() {
    let house = House::new();
    let mint = |ms, at| house.minter.mint(house.user, house.tenant, house.session, ms, at, &SystemEntropy).map(|_| ());
    assert_eq!(mint(MAX_LIFETIME_MS + 1, NOW), Err(MintError::TooLong));
    assert_eq!(mint(u64::MAX, NOW), Err(MintError::TooLong));
    assert_eq!(mint(0, NOW), Err(MintError::TooShort));
    assert_eq!(mint(MAX_LIFETIME_MS, NOW), Ok(()));
    // Whatever the fraction of the second, what was minted is accepted at once.
    for fraction in [0, 1, 500, 999] {
        let at = UnixMs(1_800_000_000_000 + fraction);
        assert_eq!(house.login(at).expires().since(at) / 1000, (MAX_LIFETIME_MS - fraction) / 1000);
    }
}

#[test]
fn revocation_by_token_session_and_user() {
    let house = House::new();
    let verified = house.login(NOW);
    assert!(!verified.revoked_by(&Revocations::default()));

    let mut by_token = Revocations::default();
    by_token.tokens.insert((verified.tenant(), verified.token()), NOW);
    assert!(verified.revoked_by(&by_token));
    // Another tenant that knows the identifier revokes nothing with it.
    let mut by_stranger = Revocations::default();
    let stranger = TenantId::new(NOW, &SystemEntropy);
    by_stranger.tokens.insert((stranger, verified.token()), NOW);
    by_stranger.sessions.insert((stranger, verified.session()), NOW);
    assert!(!verified.revoked_by(&by_stranger));

    let mut by_session = Revocations::default();
    by_session.sessions.insert((verified.tenant(), verified.session()), NOW);
    assert!(verified.revoked_by(&by_session));

    let revoked_at = |moment| {
        let mut by_user = Revocations::default();
        by_user.users.insert(verified.user(), moment);
        verified.revoked_by(&by_user)
    };
    // The token says only the second in which it was issued: the whole of that second is refused.
    assert!(revoked_at(NOW));
    assert!(revoked_at(UnixMs(NOW.0 - 499)));
    assert!(revoked_at(NOW.plus_ms(3_600_000)));
    assert!(!revoked_at(UnixMs(NOW.0 - 501)));

    // Narrowing after the revocation doesn't escape it: the login counts.
    let later = NOW.plus_ms(60_000);
    let child = house.minter.narrow(&verified, &Default::default(), None, later, &SystemEntropy).unwrap();
    let child = house.verifier.verify(child.token(), later).unwrap();
    let mut by_user = Revocations::default();
    by_user.users.insert(verified.user(), NOW.plus_ms(30_000));
    assert!(child.revoked_by(&by_user) && child.revoked_by(&by_session));
    assert!(!child.revoked_by(&by_token));
}

#[test]
fn keys_that_are_withdrawn() {
    let house = House::new();
    let token = house.sign(&house.claims());
    assert!(house.verifier.verify(&token, NOW).is_ok());
    let next = signing_key();
    house.verifier.replace_keys(keys(&[&next, &house.key]));
    assert!(house.verifier.verify(&token, NOW).is_ok());
    house.verifier.replace_keys(keys(&[&next]));
    assert_eq!(house.verifier.verify(&token, NOW).unwrap_err(), TokenError::UnknownKey);
}
