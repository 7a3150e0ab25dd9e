//! PROPERTY: sealed bytes open only if they are exactly what was sealed, for the same tenant, type, field and record;
//! and stored bytes that are read as a value at all are written back as the same bytes or read back as the same value.

use std::sync::LazyLock;

use countersign_crypto::{Aad, SealKey, SecretKey, cell_aad};
use countersign_model::{FieldId, Kind, RecordId, TenantId, TypeId, UnixMs, Value};

use super::Fixed;
use crate::signature;

/// Pieces of values.
pub const WORDS: &[&str] = &["@", "true", "12.50", "2026-07-01", "{\"a\":[1,null]}", "\u{0}", "é", "-0", "1e9999"];

const KINDS: [Kind; 9] = [
    Kind::Text,
    Kind::Integer,
    Kind::Decimal,
    Kind::Boolean,
    Kind::Date,
    Kind::Timestamp,
    Kind::Uuid,
    Kind::Json,
    Kind::Bytes,
];

struct Fixture {
    key: SealKey,
    aad: Aad,
    other: Aad,
    sealed: Vec<u8>,
}

const PLAIN: &[u8] = b"Alfreds Futterkiste";

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let now = UnixMs::from_seconds(1_800_000_000);
    let key = SealKey::new(&SecretKey::from_bytes([9; 32]));
    let (tenant, record) = (TenantId::new(now, &Fixed), RecordId::new(now, &Fixed));
    let aad = cell_aad(tenant, TypeId(1), FieldId(2), record);
    let other = cell_aad(tenant, TypeId(1), FieldId(3), record);
    let sealed = key.seal(&Fixed, &aad, PLAIN);
    Fixture { key, aad, other, sealed }
});

/// Runs the target. The first byte chooses: `@` reads the rest as sealed bytes laid over a sealed cell (so that an
/// empty rest is the cell itself), anything else is a kind, and the rest are stored bytes of it.
pub fn run(data: &[u8]) -> u64 {
    match data.split_first() {
        None => 0,
        Some((b'@', rest)) => sealed(rest),
        Some((kind, rest)) => stored(KINDS[usize::from(*kind) % KINDS.len()], rest),
    }
}

fn sealed(data: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    // Pairs of (place, difference), then a cut: changes that stay near a valid cell.
    let mut bytes = fixture.sealed.clone();
    for pair in data.chunks(2) {
        match pair {
            [place, difference] => {
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(usize::from(*place) % length) {
                    *byte ^= difference;
                }
            }
            [cut] => bytes.truncate(usize::from(*cut)),
            _ => {}
        }
    }
    assert!(fixture.key.open(&fixture.other, &bytes).is_err(), "a cell opened as that of another field");
    assert!(fixture.key.open(&fixture.aad, data).is_err(), "bytes that nobody sealed were opened");
    match fixture.key.open(&fixture.aad, &bytes) {
        Ok(plain) => {
            assert_eq!(bytes, fixture.sealed, "a changed cell was opened");
            assert_eq!(plain, PLAIN);
            1
        }
        Err(error) => signature::of(&error.to_string()),
    }
}

fn stored(kind: Kind, data: &[u8]) -> u64 {
    let Ok(value) = Value::from_bytes(kind, data) else { return 2 };
    assert_eq!(value.kind(), Some(kind));
    let again = Value::from_bytes(kind, &value.to_bytes()).expect("what was written can be read");
    assert!(again == value, "a value of kind {} changed when it was written and read", kind.as_str());
    assert_eq!(value.to_tag_bytes(), again.to_tag_bytes());
    // The text form is what clients send back.
    if let Some(text) = value.to_text()
        && let Ok(parsed) = Value::parse(kind, &text)
    {
        assert!(parsed == value, "a value of kind {} changed when it was printed and parsed", kind.as_str());
        assert_eq!(parsed.to_tag_bytes(), value.to_tag_bytes());
    }
    signature::of(kind.as_str())
}
