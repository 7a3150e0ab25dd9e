use countersign_crypto::{SecretKey, SystemEntropy};

use super::*;
use crate::conformance::{sample, tenant};
use crate::record::Reason;
use crate::testing::{FixedKeys, TestKeys};

fn leaf(record: &Record) -> Vec<u8> {
    let leaves = seal(&FixedKeys, &SystemEntropy, record.clone()).unwrap();
    assert_eq!(leaves.len(), 1);
    leaves.into_iter().next().unwrap().bytes
}

fn open(body_key: &SealKey, own_key: &SealKey, bytes: &[u8]) -> Option<Record> {
    let Leaf { header, tally, body } = Leaf::parse(bytes)?;
    let (mut plain, mut tally_plain) = (Vec::new(), Vec::new());
    let tally = match tally {
        None => None,
        Some(tally) => Some(tally.open_tally(own_key, &mut tally_plain)?),
    };
    body.open_into(body_key, &mut plain).then(|| decode(header, tally.and_then(|told| told.0), &plain))?
}

fn open_fixed(bytes: &[u8]) -> Option<Record> {
    let owner = Leaf::parse(bytes)?.header.key_owner();
    open(&FixedKeys::key(owner), &FixedKeys::key(None), bytes)
}

#[test]
fn a_record_comes_back_from_its_leaf() {
    for owner in [None, Some(tenant(1))] {
        let record = sample(Service::Keys, owner, 5);
        assert_eq!(open_fixed(&leaf(&record)), Some(record.clone()));
        let record = Record { tally: None, ..record };
        assert_eq!(open_fixed(&leaf(&record)), Some(record));
    }
}

#[test]
fn changing_any_byte_or_the_length_of_a_leaf_is_noticed() {
    for tally in [true, false] {
        let mut record = sample(Service::Gateway, Some(tenant(1)), 5);
        record.tally = record.tally.filter(|_| tally);
        let good = leaf(&record);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(open_fixed(&bad), None, "byte {at}");
            assert_eq!(open_fixed(&good[..at]), None, "cut to {at}");
        }
        assert_eq!(open_fixed(&[good.as_slice(), &[0]].concat()), None);
    }
}

/// Each part of the header, given to the sealed parts of a record that differs in that part alone.
#[test]
fn sealed_parts_open_only_under_their_own_header() {
    let record = sample(Service::Gateway, Some(tenant(1)), 5);
    let others = [
        Record { tenant: Some(tenant(2)), ..record.clone() },
        Record { tenant: None, ..record.clone() },
        Record { service: Service::Store, ..record.clone() },
        Record { verdict: Verdict::Refused, ..record.clone() },
        Record { time: record.time.plus_ms(1), ..record.clone() },
        Record { request: RequestId::from_u128(1), ..record.clone() },
    ];
    fn parts(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
        let Leaf { tally, body, .. } = Leaf::parse(bytes).unwrap();
        let clear = tally.unwrap().clear;
        (clear, &body.clear[clear.len()..], body.sealed)
    }
    let mine = leaf(&record);
    let (_, tally, body) = parts(&mine);
    let (mine_key, own_key) = (FixedKeys::key(Some(tenant(1))), FixedKeys::key(None));
    for other in others {
        let theirs = leaf(&other);
        let (clear, their_tally, their_body) = parts(&theirs);
        assert_eq!([clear, their_tally, their_body].concat(), theirs);
        assert!(open_fixed(&theirs).is_some());
        let their_key = FixedKeys::key(other.tenant);
        let moved = [
            (&mine_key, [clear, their_tally, body].concat()),
            (&mine_key, [clear, tally, body].concat()),
            (&their_key, [clear, tally, their_body].concat()),
        ];
        for (key, moved) in moved {
            assert_eq!(open(key, &own_key, &moved), None, "{:?}", Header::of(&other, false));
        }
    }
    // Of the same header, each body has its own tally.
    let again = leaf(&record);
    let (clear, another_tally, _) = parts(&again);
    assert_eq!(open_fixed(&[clear, another_tally, body].concat()), None);
    let another_key = SealKey::new(&SecretKey::from_bytes([8; 32]));
    assert_eq!(open(&another_key, &own_key, &mine), None);
    assert_eq!(open(&mine_key, &another_key, &mine), None);
}

#[test]
fn without_the_tenants_key_it_is_under_the_services_own_and_says_so() {
    let keys = TestKeys::default();
    let own = keys.audit_key(None).unwrap();
    keys.withhold(Some(tenant(1)));
    for tally in [true, false] {
        let mut record = sample(Service::Store, Some(tenant(1)), 5);
        record.tally = record.tally.filter(|_| tally);
        let leaves = seal(&keys, &SystemEntropy, record.clone()).unwrap();
        let header = Leaf::parse(&leaves[0].bytes).unwrap().header;
        assert_eq!((header.tenant, header.under_own_key, header.key_owner()), (Some(tenant(1)), true, None));
        assert_eq!(open(&own, &own, &leaves[0].bytes), Some(record));
    }
    keys.withhold(None);
    let refused = seal(&keys, &SystemEntropy, sample(Service::Store, Some(tenant(1)), 5));
    assert!(matches!(refused, Err(AuditError::NoKey)));
    let no_tally_key = seal(&keys, &SystemEntropy, sample(Service::Store, Some(tenant(2)), 5));
    assert!(matches!(no_tally_key, Err(AuditError::NoKey)));
}

/// It opens for longer than anything of the tenant may.
#[test]
fn without_a_key_for_good_it_says_no_names() {
    struct Erased;
    impl AuditKeys for Erased {
        fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
            if tenant.is_some() { Err(AuditError::Destroyed) } else { FixedKeys.audit_key(None) }
        }
    }
    let record = sample(Service::Gateway, Some(tenant(1)), 5);
    let leaves = seal(&Erased, &SystemEntropy, record.clone()).unwrap();
    let own = FixedKeys::key(None);
    let body = Body { user_name: None, purpose: None, detail: None, ..record.body.clone() };
    assert_eq!(open(&own, &own, &leaves[0].bytes), Some(Record { body, ..record }));
}

#[test]
fn leaves_of_unknown_versions_and_flags_are_none() {
    let good = leaf(&Record { tally: None, ..sample(Service::Gateway, Some(tenant(1)), 5) });
    for (at, byte) in [(0, 0), (0, 4), (3, 9), (3, 0x83), (3, 4), (3, 1)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(Leaf::parse(&bad).is_none_or(|_| open_fixed(&bad).is_none()), "{byte} at {at}");
    }
    let mut first_version = good;
    (first_version[0], first_version[3]) = (1, 1);
    assert!(Leaf::parse(&first_version).is_some());
    first_version[3] = 1 | UNDER_OWN_KEY;
    assert!(Leaf::parse(&first_version).is_none(), "a flag that the first version didn't have");
}

/// The bytes in `docs/formats.md`.
#[test]
fn the_form_is_the_one_written_down() {
    let record = sample(Service::Gateway, Some(tenant(0xabcd)), 5);
    let leaf = leaf(&record);
    let Leaf { tally, body, .. } = Leaf::parse(&leaf).unwrap();
    let (tally, mut plain) = (tally.unwrap(), Vec::new());
    assert_eq!(
        hex(tally.clear),
        "030102030000019e70448805\
         00000000000000010000000000000005\
         0000000000000000000000000000abcd"
    );
    assert!(tally.open_into(&FixedKeys::key(None), &mut plain));
    assert_eq!(
        hex(&plain),
        "011000000000000000000000000000000001050107070600\
         011000000000000000000000000000000004\
         011000000000000000000000000000000007\
         011000000000000000000000000000000006\
         011000000000000000000000000000000001\
         0472656164\
         01050100050105\
         00"
    );
    let length = &body.clear[tally.clear.len()..][..2];
    assert_eq!(hex(length), "008e");
    assert_eq!(tally.sealed.len(), SealKey::OVERHEAD_BYTES + plain.len());
    assert_eq!(body.clear, [tally.clear, length, tally.sealed].concat());
    assert!(body.open_into(&FixedKeys::key(Some(tenant(0xabcd))), &mut plain));
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
         000100"
    );
    assert_eq!(leaf.len(), body.clear.len() + SealKey::OVERHEAD_BYTES + plain.len());
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
    let mut plain = Vec::new();
    assert!(Leaf::parse(&leaf).unwrap().body.open_into(&FixedKeys::key(None), &mut plain));
    for (record_type, id, expected) in [(7, 5, true), (7, 6, false), (9, 7, true), (9, 900, true), (8, 5, false)] {
        assert_eq!(is_about(&plain, TypeId(record_type), RecordId::from_u128(id)), Some(expected));
    }
    assert_eq!(is_about(&plain[..40], TypeId(7), RecordId::from_u128(5)), None, "cut bytes are no answer");
}

#[test]
fn long_lists_take_several_leaves_and_nothing_else_may() {
    let mut record = sample(Service::Gateway, Some(tenant(1)), 1);
    record.body.accesses[0].records = (0..30_000u128).map(|number| RecordId::from_u128(number << 80)).collect();
    let leaves = seal(&FixedKeys, &SystemEntropy, record.clone()).unwrap();
    assert!(leaves.len() > 5 && leaves.iter().all(|leaf| leaf.bytes.len() <= LEAF_MAX_BYTES));
    let mut plain = Vec::new();
    let mut told = |leaf: &SealedLeaf| {
        let tally = Leaf::parse(&leaf.bytes).unwrap().tally.unwrap();
        tally.open_tally(&FixedKeys::key(None), &mut plain).unwrap()
    };
    assert!(leaves.iter().all(|leaf| told(leaf).1.is_some()), "each part tells who did what");
    let with_tally = leaves.iter().filter(|leaf| told(leaf).0.is_some());
    assert_eq!(with_tally.count(), 1);
    record.body.detail = Some("x".repeat(70_000));
    assert!(matches!(seal(&FixedKeys, &SystemEntropy, record), Err(AuditError::TooLarge)));
}

#[test]
fn reasons_and_verdicts_keep_their_numbers() {
    let numbers: Vec<Vec<u8>> = Reason::ALL.iter().map(|reason| postcard::to_stdvec(reason).unwrap()).collect();
    assert_eq!(numbers, (0..22u8).map(|number| vec![number]).collect::<Vec<_>>());
    assert_eq!(Reason::ALL.last(), Some(&Reason::Unknown));
}

#[test]
fn debug_shows_no_person_and_no_record() {
    let text = format!("{:?}", sample(Service::Gateway, Some(tenant(1)), 5).body);
    assert!(!text.contains("nancy") && !text.contains("quarterly") && !text.contains("secret"), "{text}");
}
