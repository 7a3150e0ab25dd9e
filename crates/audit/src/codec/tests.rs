use countersign_crypto::{SecretKey, SystemEntropy};

use super::*;
use crate::conformance::{sample, tenant};
use crate::record::Reason;

fn key() -> SealKey {
    SealKey::new(&SecretKey::from_bytes([7; 32]))
}

fn leaf(record: &Record) -> Vec<u8> {
    let leaves = seal(&key(), &SystemEntropy, record.clone()).unwrap();
    assert_eq!(leaves.len(), 1);
    leaves.into_iter().next().unwrap()
}

fn open(key: &SealKey, leaf: &[u8]) -> Option<Record> {
    let (header, sealed) = Header::parse(leaf)?;
    let mut plain = Vec::new();
    sealed.open_into(key, &mut plain).then(|| decode(header, &plain))?
}

#[test]
fn a_record_comes_back_from_its_leaf() {
    for owner in [None, Some(tenant(1))] {
        let record = sample(Service::Keys, owner, 5);
        assert_eq!(open(&key(), &leaf(&record)), Some(record));
    }
}

#[test]
fn changing_any_byte_or_the_length_of_a_leaf_is_noticed() {
    let good = leaf(&sample(Service::Gateway, Some(tenant(1)), 5));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(open(&key(), &bad), None, "byte {at}");
        assert_eq!(open(&key(), &good[..at]), None, "cut to {at}");
    }
    assert_eq!(open(&key(), &[good.as_slice(), &[0]].concat()), None);
}

/// Each part of the header, given to the body of a record that differs in that part alone.
#[test]
fn a_body_opens_only_under_its_own_header() {
    let record = sample(Service::Gateway, Some(tenant(1)), 5);
    let mut others = vec![
        Record { tenant: Some(tenant(2)), ..record.clone() },
        Record { tenant: None, ..record.clone() },
        Record { service: Service::Store, ..record.clone() },
        Record { verdict: Verdict::Refused, ..record.clone() },
        Record { time: record.time.plus_ms(1), ..record.clone() },
    ];
    others.push(Record { request: RequestId::from_u128(1), ..record.clone() });
    let body_of = |leaf: &[u8]| Header::parse(leaf).map(|(_, sealed)| sealed.body.to_vec()).unwrap();
    let body = body_of(&leaf(&record));
    for other in others {
        let theirs = leaf(&other);
        let clear = &theirs[..theirs.len() - body_of(&theirs).len()];
        assert!(open(&key(), &theirs).is_some());
        assert_eq!(open(&key(), &[clear, &body].concat()), None, "{:?}", Header::of(&other));
    }
    let another_key = SealKey::new(&SecretKey::from_bytes([8; 32]));
    assert_eq!(open(&another_key, &leaf(&record)), None);
}

/// The bytes in `docs/formats.md`.
#[test]
fn the_form_is_the_one_written_down() {
    let record = sample(Service::Gateway, Some(tenant(0xabcd)), 5);
    let leaf = leaf(&record);
    let (_, sealed) = Header::parse(&leaf).unwrap();
    assert_eq!(
        hex(sealed.clear),
        "010102010000019e70448805\
         00000000000000010000000000000005\
         0000000000000000000000000000abcd"
    );
    let mut plain = Vec::new();
    assert!(sealed.open_into(&key(), &mut plain));
    assert_eq!(
        hex(&plain),
        "0107898080808080808080808080808080808080020810\
         0000000000000000000000000000000501\
         011000000000000000000000000000000004\
         01056e616e6379\
         011000000000000000000000000000000007\
         011000000000000000000000000000000006\
         011000000000000000000000000000000001\
         0472656164\
         0105\
         0113717561727465726c792073746174656d656e74\
         050105\
         010e6e6f7468696e6720736563726574\
         0100"
    );
    assert_eq!(leaf.len(), sealed.clear.len() + SealKey::OVERHEAD_BYTES + plain.len());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_search_for_a_record_agrees_with_the_whole_body() {
    let mut record = sample(Service::Gateway, None, 5);
    record.body.accesses.push(Access {
        record_type: TypeId(9),
        records: [6, 7, 8, 900].map(RecordId::from_u128).into_iter().collect(),
        ..record.body.accesses[0].clone()
    });
    let leaf = leaf(&record);
    let (_, sealed) = Header::parse(&leaf).unwrap();
    let mut plain = Vec::new();
    assert!(sealed.open_into(&key(), &mut plain));
    for (record_type, id, expected) in [(7, 5, true), (7, 6, false), (9, 7, true), (9, 900, true), (8, 5, false)] {
        assert_eq!(is_about(&plain, TypeId(record_type), RecordId::from_u128(id)), Some(expected));
    }
    assert_eq!(is_about(&plain[..40], TypeId(7), RecordId::from_u128(5)), None, "cut bytes are no answer");
}

#[test]
fn long_lists_take_several_leaves_and_nothing_else_may() {
    let mut record = sample(Service::Gateway, Some(tenant(1)), 1);
    record.body.accesses[0].records = (0..30_000u128).map(|number| RecordId::from_u128(number << 80)).collect();
    let leaves = seal(&key(), &SystemEntropy, record.clone()).unwrap();
    assert!(leaves.len() > 5 && leaves.iter().all(|leaf| leaf.len() <= LEAF_MAX_BYTES));
    record.body.detail = Some("x".repeat(70_000));
    assert!(matches!(seal(&key(), &SystemEntropy, record), Err(AuditError::TooLarge)));
}

#[test]
fn reasons_and_verdicts_keep_their_numbers() {
    let numbers: Vec<Vec<u8>> = Reason::ALL.iter().map(|reason| postcard::to_stdvec(reason).unwrap()).collect();
    assert_eq!(numbers, (0..14u8).map(|number| vec![number]).collect::<Vec<_>>());
    assert_eq!(Reason::ALL.last(), Some(&Reason::BadProof));
}

#[test]
fn debug_shows_no_person_and_no_record() {
    let text = format!("{:?}", sample(Service::Gateway, Some(tenant(1)), 5).body);
    assert!(!text.contains("nancy") && !text.contains("quarterly") && !text.contains("secret"), "{text}");
}
