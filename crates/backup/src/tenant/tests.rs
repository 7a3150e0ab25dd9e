use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TypeId, UnixMs};
use countersign_store::carry::{CarriedRow, PastRow};
use countersign_store::{Done, Once};

use super::form::{Page, parse_page_for_tests};

fn row(number: u128) -> CarriedRow {
    CarriedRow {
        record: RecordId::from_u128(number),
        version: 7,
        at: UnixMs(9),
        cells: vec![(FieldId(0), vec![1, 2, 3]), (FieldId(4), vec![])],
        tags: vec![(FieldId(0), Tag([5; 16]))],
    }
}

fn pages() -> Vec<Page> {
    let once = |number: u8| Once {
        id: [number; 32],
        at: UnixMs(3),
        done: Done { request: [number; 32], answer: vec![number; 3] },
    };
    vec![
        Page::Rows(TypeId(3), vec![row(1), row(2)]),
        Page::Past(TypeId(300), vec![PastRow { row: row(1), until: UnixMs(10) }]),
        Page::Known(vec![once(1), once(2)]),
        Page::Rows(TypeId(0), vec![]),
    ]
}

/// Written down, so that a change of the form is seen.
#[test]
fn the_form_is_the_one_written_down() {
    let encoded = pages().first().unwrap().encode_for_tests();
    let record = |number: &str| {
        format!(
            "000000000000000000000000000000{number}{}{}0002{}{}0001{}",
            "0000000000000007",
            "0000000000000009",
            "0000000003010203",
            "0400000000",
            "0005050505050505050505050505050505"
        )
    };
    assert_eq!(hex::encode(encoded), format!("01010003{}{}", record("01"), record("02")));
}

#[test]
fn pages_come_back() {
    for page in pages() {
        let encoded = page.encode_for_tests();
        assert_eq!(parse_page_for_tests(&encoded), Some((page, encoded)));
    }
}

/// Whatever is cut off or changed is either refused or something else that is written the same way.
#[test]
fn nothing_is_read_two_ways() {
    for page in pages() {
        let encoded = page.encode_for_tests();
        for length in 0..encoded.len() {
            if let Some((_, again)) = parse_page_for_tests(&encoded[..length]) {
                assert_eq!(again, encoded[..length]);
            }
        }
        for at in 0..encoded.len() {
            for bit in 0..8 {
                let mut changed = encoded.clone();
                changed[at] ^= 1 << bit;
                if let Some((_, again)) = parse_page_for_tests(&changed) {
                    assert_eq!(again, changed);
                }
            }
        }
    }
}

#[test]
fn records_out_of_order_are_refused() {
    for rows in [vec![row(2), row(1)], vec![row(1), row(1)]] {
        let encoded = Page::Rows(TypeId(0), rows).encode_for_tests();
        assert_eq!(parse_page_for_tests(&encoded), None);
    }
    let mut twice = row(1);
    twice.cells = vec![(FieldId(1), vec![]), (FieldId(1), vec![])];
    assert_eq!(parse_page_for_tests(&Page::Rows(TypeId(0), vec![twice]).encode_for_tests()), None);
}
