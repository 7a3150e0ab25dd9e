mod epochs;
mod outage;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_crypto::{KeyEncryptionKey, OpenError, SystemEntropy, cell_aad};
use countersign_model::RecordId;
use parking_lot::Mutex;

use super::*;

const A: TenantId = TenantId::from_u128(0xa);
const B: TenantId = TenantId::from_u128(0xb);
const TYPE: TypeId = TypeId(3);
const FIELD: FieldId = FieldId(4);

struct MemoryKms(KeyEncryptionKey);

impl KmsProvider for MemoryKms {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        Ok(self.0.wrap(entropy, aad, key))
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        self.0.unwrap_key(aad, wrapped).map_err(|_| KmsError::NotAuthentic)
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

#[derive(Default)]
struct Stored {
    keys: Mutex<HashMap<TenantId, Arc<[u8]>>>,
    asked: AtomicUsize,
}

impl WrappedKeys for Stored {
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.keys.lock().get(&tenant).cloned()
    }
}

fn keys_of(tenants: &[TenantId], capacity: usize) -> (TenantKeys, Arc<Stored>) {
    let stored = Arc::new(Stored::default());
    let kms = Arc::new(MemoryKms(KeyEncryptionKey::new(&SecretKey::generate(&SystemEntropy))));
    let keys = TenantKeys::new(kms, Arc::clone(&stored) as Arc<dyn WrappedKeys>, capacity);
    for tenant in tenants {
        let wrapped = keys.wrap_new(&SystemEntropy, *tenant).unwrap();
        stored.keys.lock().insert(*tenant, wrapped.into());
    }
    (keys, stored)
}

fn rotate_field(keys: &TenantKeys, stored: &Stored, tenant: TenantId) {
    let rotated = keys.rotate_field(tenant, TYPE, FIELD).unwrap();
    stored.keys.lock().insert(tenant, rotated.into());
    keys.forget(tenant);
}

#[test]
fn a_cell_of_one_tenant_never_opens_with_the_keys_of_another() {
    let (keys, _) = keys_of(&[A, B], 100);
    let aad = cell_aad(A, TYPE, FIELD, RecordId::from_u128(1));
    let sealed = keys.field(A, TYPE, FIELD).unwrap().cell.seal(&SystemEntropy, &aad, b"value");
    assert_eq!(keys.field(A, TYPE, FIELD).unwrap().cell.open(&aad, &sealed).unwrap(), b"value");
    let of_b = keys.field(B, TYPE, FIELD).unwrap();
    assert_eq!(of_b.cell.open(&aad, &sealed), Err(OpenError::NotAuthentic));
    let as_b = cell_aad(B, TYPE, FIELD, RecordId::from_u128(1));
    assert_eq!(of_b.cell.open(&as_b, &sealed), Err(OpenError::NotAuthentic));
    assert_ne!(of_b.tag.tag(b"value"), keys.field(A, TYPE, FIELD).unwrap().tag.tag(b"value"));
}

#[test]
fn the_wrapped_key_of_one_tenant_is_refused_for_another() {
    let (keys, stored) = keys_of(&[A], 100);
    let of_a = stored.wrapped(A).unwrap();
    stored.keys.lock().insert(B, of_a);
    assert!(matches!(keys.field(B, TYPE, FIELD), Err(KeyError::Kms(KmsError::NotAuthentic))));
    assert!(matches!(keys.seal_key(B, "audit"), Err(KeyError::Kms(KmsError::NotAuthentic))));
    assert!(keys.field(A, TYPE, FIELD).is_ok());
}

#[test]
fn neighbouring_fields_types_epochs_and_labels_have_other_keys() {
    let (keys, stored) = keys_of(&[A], 100);
    rotate_field(&keys, &stored, A);
    let tag = |record_type, field, epoch| keys.field_at(A, record_type, field, epoch).unwrap().tag.tag(b"value");
    let tags = [
        tag(TYPE, FIELD, 1),
        tag(TYPE, FieldId(5), 1),
        tag(TypeId(2), FIELD, 1),
        tag(TYPE, FIELD, 2),
        tag(TypeId(4), FieldId(3), 1),
    ];
    assert!(tags.iter().enumerate().all(|(i, tag)| !tags[i + 1..].contains(tag)));
    let aad = Aad::new("test.1");
    let sealed = keys.seal_key(A, "audit").unwrap().seal(&SystemEntropy, &aad, b"x");
    assert!(keys.seal_key(A, "cursor").unwrap().open(&aad, &sealed).is_err());
    assert!(keys.seal_key(A, "audit").unwrap().open(&aad, &sealed).is_ok());
    let old = keys.field_at(A, TYPE, FIELD, 1).unwrap().cell.seal(&SystemEntropy, &aad, b"x");
    let newer = keys.field_at(A, TYPE, FIELD, 2).unwrap();
    assert_eq!(newer.cell.open(&aad, &old), Err(OpenError::Epoch));
}

#[test]
fn keys_in_use_are_unwrapped_and_derived_once() {
    let (keys, stored) = keys_of(&[A, B], 100);
    for _ in 0..10 {
        let one = keys.field(A, TYPE, FIELD).unwrap();
        assert!(Arc::ptr_eq(&one, &keys.field(A, TYPE, FIELD).unwrap()));
        keys.field(A, TYPE, FieldId(9)).unwrap();
        keys.seal_key(A, "audit").unwrap();
        keys.field(B, TYPE, FIELD).unwrap();
    }
    assert_eq!(stored.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn an_unknown_tenant_has_no_key() {
    let (keys, _) = keys_of(&[A], 100);
    assert!(matches!(keys.field(B, TYPE, FIELD), Err(KeyError::UnknownTenant)));
    assert!(matches!(keys.seal_key(B, "audit"), Err(KeyError::UnknownTenant)));
}

#[test]
fn forgetting_drops_that_tenants_keys_and_no_others() {
    let (keys, stored) = keys_of(&[A, B], 100);
    for tenant in [A, B] {
        keys.field(tenant, TYPE, FIELD).unwrap();
        keys.seal_key(tenant, "audit").unwrap();
    }
    stored.keys.lock().clear();
    keys.forget(A);
    assert!(matches!(keys.field(A, TYPE, FIELD), Err(KeyError::UnknownTenant)));
    assert!(matches!(keys.seal_key(A, "audit"), Err(KeyError::UnknownTenant)));
    assert!(keys.field(B, TYPE, FIELD).is_ok());
    assert!(keys.seal_key(B, "audit").is_ok());
}

#[test]
fn what_is_kept_is_bounded_and_what_made_room_comes_back_the_same() {
    const CAPACITY: usize = 64;
    let (keys, _) = keys_of(&[A], CAPACITY);
    let first = keys.field(A, TypeId(0), FIELD).unwrap().tag.tag(b"value");
    for record_type in 0..1000 {
        keys.field(A, TypeId(record_type), FIELD).unwrap();
    }
    // The cache is divided in parts, each of which may round up.
    assert!(keys.fields.len() <= CAPACITY * 2, "{}", keys.fields.len());
    assert_eq!(keys.field(A, TypeId(0), FIELD).unwrap().tag.tag(b"value"), first);
    let none = keys_of(&[A], 0).0;
    assert!(none.field(A, TYPE, FIELD).is_ok());
}

#[test]
fn no_key_comes_back_after_it_was_forgotten_while_others_ask_for_it() {
    for _ in 0..200 {
        let (keys, stored) = keys_of(&[A], 100);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let _ = keys.field(A, TYPE, FIELD);
            });
            stored.keys.lock().clear();
            keys.forget(A);
            asking.join().unwrap();
        });
        assert!(matches!(keys.field(A, TYPE, FIELD), Err(KeyError::UnknownTenant)));
    }
}
