//! The formats of `docs/formats.md`, pinned: whoever changes one of these changes what is stored.
//!
//! The vectors were computed by another implementation, `vectors/independent.py`.

#![expect(clippy::unwrap_used, reason = "a vector that can't be read fails the test")]

use countersign_crypto::{Aad, KeyEncryptionKey, SealKey, SecretKey, TagKey, TenantKey, cell_aad, sealed_epoch};
use countersign_model::{Entropy, FieldId, RecordId, TenantId, TypeId};
use serde_json::Value;

/// Gives the nonce of the vector.
struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn cases(file: &Value) -> &Vec<Value> {
    file.as_array().unwrap()
}

fn bytes(case: &Value, name: &str) -> Vec<u8> {
    hex::decode(case[name].as_str().unwrap()).unwrap()
}

fn key(case: &Value, name: &str) -> SecretKey {
    SecretKey::from_slice(&bytes(case, name)).unwrap()
}

fn number<T: TryFrom<u64>>(case: &Value, name: &str) -> T {
    T::try_from(case[name].as_u64().unwrap()).ok().unwrap()
}

fn id(case: &Value, name: &str) -> [u8; 16] {
    bytes(case, name).try_into().unwrap()
}

fn place(case: &Value) -> (TenantId, TypeId, FieldId) {
    (TenantId::from_bytes(id(case, "tenant")), TypeId(number(case, "type")), FieldId(number(case, "field")))
}

#[test]
fn cells() {
    let file = read(include_str!("vectors/cell.json"));
    assert_eq!(cases(&file).len(), 4);
    for case in cases(&file) {
        let (tenant, record_type, field) = place(case);
        let aad = cell_aad(tenant, record_type, field, RecordId::from_bytes(id(case, "record")));
        assert_eq!(aad.as_bytes(), bytes(case, "aad"));
        let key = SealKey::with_epoch(&key(case, "key"), number(case, "epoch"));
        let sealed = bytes(case, "sealed");
        assert_eq!(key.seal(&Fixed(bytes(case, "nonce")), &aad, &bytes(case, "plain")), sealed);
        assert_eq!(key.open(&aad, &sealed).unwrap(), bytes(case, "plain"));
        assert_eq!(sealed_epoch(&sealed), Some(number(case, "epoch")));
    }
}

#[test]
fn tags() {
    let file = read(include_str!("vectors/tag.json"));
    assert_eq!(cases(&file).len(), 4);
    for case in cases(&file) {
        assert_eq!(TagKey::new(&key(case, "key")).tag(&bytes(case, "value")).0, id(case, "tag"));
    }
}

#[test]
fn derivation() {
    let file = read(include_str!("vectors/derivation.json"));
    let (entropy, aad) = (Fixed(bytes(&file, "nonce")), Aad::new("vector.1"));
    let (fields, labels) = (cases(&file["fields"]), cases(&file["labels"]));
    assert_eq!((fields.len(), labels.len()), (3, 3));
    for case in fields {
        let (tenant, record_type, field) = place(case);
        let epoch = number(case, "epoch");
        let keys = TenantKey::new(key(case, "tenant_key")).field_keys(tenant, record_type, field, epoch);
        let sealed = bytes(case, "sealed_by_cell_key");
        assert_eq!(keys.cell.seal(&entropy, &aad, b"value"), sealed);
        assert_eq!(SealKey::with_epoch(&key(case, "cell_key"), epoch).open(&aad, &sealed).unwrap(), b"value");
        assert_eq!(keys.tag.tag(b"value").0, id(case, "tag_of_value"));
        assert_eq!(TagKey::new(&key(case, "tag_key")).tag(b"value").0, id(case, "tag_of_value"));
    }
    for case in labels {
        let label = match case["label"].as_str().unwrap() {
            "audit" => "audit",
            "cursor" => "cursor",
            other => panic!("{other}"),
        };
        let epoch = number(case, "epoch");
        let sealed = bytes(case, "sealed_by_seal_key");
        let derived = TenantKey::new(key(case, "tenant_key")).seal_key(label, epoch);
        assert_eq!(derived.seal(&entropy, &aad, b"value"), sealed);
        assert!(SealKey::with_epoch(&key(case, "seal_key"), epoch).open(&aad, &sealed).is_ok());
    }
}

#[test]
fn wrapped_keys() {
    let file = read(include_str!("vectors/wrapped-key.json"));
    assert_eq!(cases(&file).len(), 1);
    for case in cases(&file) {
        let aad = Aad::new("tenant-key.1").part(&bytes(case, "tenant"));
        assert_eq!(aad.as_bytes(), bytes(case, "aad"));
        let kek = KeyEncryptionKey::new(&key(case, "key_encryption_key"));
        let wrapped = bytes(case, "wrapped");
        assert_eq!(kek.wrap(&Fixed(bytes(case, "nonce")), &aad, &key(case, "key")), wrapped);
        assert_eq!(kek.unwrap_key(&aad, &wrapped).ok().unwrap().expose()[..], bytes(case, "key"));
    }
}
