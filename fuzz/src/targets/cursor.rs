//! PROPERTY: a cursor opens only if it is, byte for byte, one that was given out, for the same tenant, user and query,
//! and then gives the position it was made of.

use std::sync::LazyLock;

use countersign_crypto::{SealKey, SecretKey};
use countersign_door_http::rest::cursor::{Binding, LIFETIME_MS, fingerprint, open, seal};
use countersign_model::request::Read;
use countersign_model::row::Position;
use countersign_model::{RecordId, TenantId, UnixMs, UserId, Value};

use super::Fixed;
use crate::signature;
use crate::structured::Bytes;

/// Pieces of cursors.
pub const WORDS: &[&str] = &["@", "AAAA", "-_", "==", "/+"];

const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);

static KEY: LazyLock<SealKey> = LazyLock::new(|| SealKey::new(&SecretKey::from_bytes([5; 32])));

fn binding(user: u128) -> Binding {
    let read = Read { record_type: "customer".into(), ..Read::default() };
    Binding { tenant: TenantId::from_u128(1), user: UserId::from_u128(user), query: fingerprint(&read) }
}

/// Runs the target: `@` and bytes to build a position of, or the text of a cursor.
pub fn run(data: &[u8]) -> u64 {
    match data {
        [b'@', rest @ ..] => built(&mut Bytes::new(rest)),
        _ => {
            let Ok(text) = std::str::from_utf8(data) else { return 0 };
            match open(&KEY, NOW, &binding(2), text) {
                Ok(_) => panic!("a cursor that was never given out was opened"),
                Err(problem) => signature::of(&problem.to_string()),
            }
        }
    }
}

fn built(bytes: &mut Bytes<'_>) -> u64 {
    let count = bytes.below(4);
    let key = |bytes: &mut Bytes<'_>| match bytes.below(4) {
        0 => Value::Null,
        1 => Value::Integer(i64::from(bytes.byte())),
        _ => Value::Text(bytes.text()),
    };
    let keys: Vec<Value> = (0..count).map(|_| key(bytes)).collect();
    let position = Position { keys, record: RecordId::from_u128(u128::from(bytes.byte())) };
    let text = seal(&KEY, &Fixed, NOW, &binding(2), &position).expect("a short position");
    let after = open(&KEY, NOW, &binding(2), &text).expect("what was just sealed");
    assert_eq!(after.record, position.record);
    assert!(after.keys == position.keys.iter().map(Value::to_text).collect::<Vec<_>>(), "the keys changed");
    assert!(open(&KEY, NOW, &binding(3), &text).is_err(), "opened for somebody else");
    assert!(open(&KEY, NOW.plus_ms(LIFETIME_MS + 1), &binding(2), &text).is_err(), "opened too late");
    let mut changed = text.clone().into_bytes();
    let place = bytes.below(changed.len());
    if let Some(byte) = changed.get_mut(place) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    let changed = String::from_utf8(changed).expect("ASCII");
    assert!(open(&KEY, NOW, &binding(2), &changed).is_err(), "a changed cursor was opened");
    count as u64
}
