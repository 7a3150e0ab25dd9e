use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_crypto::{KeyEncryptionKey, SystemEntropy};

use super::*;
use crate::kms::{KeyVersion, wrapped_version};

/// Counts how often it is asked.
struct Counting(KeyEncryptionKey, AtomicUsize);

impl Counting {
    fn new(version: u32) -> Arc<Self> {
        let key = SecretKey::generate(&SystemEntropy);
        Arc::new(Self(KeyEncryptionKey::with_version(&key, version), AtomicUsize::new(0)))
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

impl KmsProvider for Counting {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        Ok(self.0.wrap(entropy, aad, key))
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unwrap_key(aad, wrapped).map_err(|_| KmsError::NotAuthentic)
    }

    fn name(&self) -> &'static str {
        "counting"
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn each_key_is_unwrapped_by_the_provider_that_wrapped_it_and_no_other_is_asked() {
    let (default, a, b) = (Counting::new(7), Counting::new(8), Counting::new(9));
    let named = HashMap::from([
        (name("a"), Arc::clone(&a) as Arc<dyn KmsProvider>),
        (name("b"), Arc::clone(&b) as Arc<dyn KmsProvider>),
    ]);
    let set = KmsSet::new(Arc::clone(&default) as Arc<dyn KmsProvider>, named);
    let (key, aad) = (SecretKey::generate(&SystemEntropy), Aad::new("test.1"));
    let by_default = set.wrap(None, &SystemEntropy, &aad, &key).unwrap();
    let by_a = set.wrap(Some(&name("a")), &SystemEntropy, &aad, &key).unwrap();
    assert_eq!(set.unwrap_key(&aad, &by_default).unwrap().expose(), key.expose());
    assert_eq!((default.asked(), a.asked(), b.asked()), (1, 0, 0));
    assert_eq!(set.unwrap_key(&aad, &by_a).unwrap().expose(), key.expose());
    assert_eq!((default.asked(), a.asked(), b.asked()), (1, 1, 0));
    let elsewhere = [&[NAMED, 1, b'b'], &by_a[3..]].concat();
    assert!(matches!(set.unwrap_key(&aad, &elsewhere), Err(KmsError::NotAuthentic)));
    assert_eq!((default.asked(), a.asked(), b.asked()), (1, 1, 1));
    assert_eq!((wrapped_by(&by_default), wrapped_by(&by_a)), (None, Some(name("a"))));
    assert_eq!((wrapped_version(&by_default), wrapped_version(&by_a)), (Some(KeyVersion(7)), Some(KeyVersion(8))));
}

#[test]
fn a_name_that_is_not_configured_is_told_and_what_is_no_name_is_not_authentic() {
    let set = KmsSet::from(Counting::new(0));
    let (key, aad) = (SecretKey::generate(&SystemEntropy), Aad::new("test.1"));
    let gone = name("gone");
    assert!(
        matches!(set.wrap(Some(&gone), &SystemEntropy, &aad, &key), Err(KmsError::UnknownProvider(n)) if n == gone)
    );
    let wrapped = [&[NAMED, 4], b"gone".as_slice(), &set.wrap(None, &SystemEntropy, &aad, &key).unwrap()].concat();
    assert!(matches!(set.unwrap_key(&aad, &wrapped), Err(KmsError::UnknownProvider(n)) if n == gone));
    for broken in [&[NAMED][..], &[NAMED, 0], &[NAMED, 200, b'a'], &[NAMED, 1, b'A'], &[NAMED, 1, 0xff], &[], &[9; 70]]
    {
        assert!(matches!(set.unwrap_key(&aad, broken), Err(KmsError::NotAuthentic)), "{broken:?}");
    }
}
