//! What every [`KmsProvider`] must do. Fails by panicking, as tests do.

use countersign_crypto::{Aad, SecretKey};
use countersign_model::Entropy;

use crate::kms::{KmsError, KmsProvider, wrapped_version};

/// Runs the whole suite. `make` gives a provider with a key of its own each time it is called.
///
/// # Panics
/// If the provider doesn't conform; the message says in what.
pub fn check<P: KmsProvider>(entropy: &dyn Entropy, make: impl Fn() -> P) {
    let kms = make();
    assert!(!kms.name().is_empty(), "a provider has a name");
    unwraps_what_it_wrapped(entropy, &kms);
    binds_the_associated_data(entropy, &kms);
    refuses_every_changed_byte(entropy, &kms);
    refuses_what_another_wrapped(entropy, &kms, &make());
    rotates_or_says_that_it_does_not(entropy, &kms);
}

fn aad(use_for: &[u8]) -> Aad {
    Aad::new("conformance.1").part(use_for)
}

#[expect(clippy::panic, reason = "a conformance suite fails as a test does")]
fn wrap(entropy: &dyn Entropy, kms: &dyn KmsProvider, key: &SecretKey) -> Vec<u8> {
    kms.wrap(entropy, &aad(b"a"), key).unwrap_or_else(|error| panic!("a key is wrapped: {error}"))
}

fn unwraps_to(kms: &dyn KmsProvider, wrapped: &[u8], key: &SecretKey) -> bool {
    kms.unwrap_key(&aad(b"a"), wrapped).is_ok_and(|unwrapped| unwrapped.expose() == key.expose())
}

fn refused(kms: &dyn KmsProvider, aad: &Aad, wrapped: &[u8]) -> bool {
    matches!(kms.unwrap_key(aad, wrapped), Err(KmsError::NotAuthentic | KmsError::UnknownVersion(_)))
}

fn unwraps_what_it_wrapped(entropy: &dyn Entropy, kms: &dyn KmsProvider) {
    let key = SecretKey::generate(entropy);
    let (one, other) = (wrap(entropy, kms, &key), wrap(entropy, kms, &key));
    assert!(unwraps_to(kms, &one, &key), "a wrapped key unwraps to the same key");
    assert!(unwraps_to(kms, &one, &key), "and does so again");
    assert!(unwraps_to(kms, &other, &key), "whenever it was wrapped");
    assert!(one != other, "wrapping the same key twice doesn't show that it is the same");
    let shown = one.windows(SecretKey::BYTES).any(|window| window == key.expose());
    assert!(!shown, "a wrapped key doesn't contain the key");
}

fn binds_the_associated_data(entropy: &dyn Entropy, kms: &dyn KmsProvider) {
    let wrapped = wrap(entropy, kms, &SecretKey::generate(entropy));
    for other in [aad(b""), aad(b"b"), aad(b"a").part(b""), Aad::new("other.1").part(b"a")] {
        assert!(refused(kms, &other, &wrapped), "a key wrapped for one use is refused for another");
    }
}

fn refuses_every_changed_byte(entropy: &dyn Entropy, kms: &dyn KmsProvider) {
    let wrapped = wrap(entropy, kms, &SecretKey::generate(entropy));
    for position in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        if let Some(byte) = changed.get_mut(position) {
            *byte ^= 1;
        }
        assert!(refused(kms, &aad(b"a"), &changed), "a change of byte {position} is refused");
        let short = wrapped.get(..position).unwrap_or_default();
        assert!(refused(kms, &aad(b"a"), short), "the first {position} bytes alone are refused");
    }
    let long = [wrapped.as_slice(), &[0]].concat();
    assert!(refused(kms, &aad(b"a"), &long), "a byte too many is refused");
}

fn refuses_what_another_wrapped(entropy: &dyn Entropy, kms: &dyn KmsProvider, other: &dyn KmsProvider) {
    let key = SecretKey::generate(entropy);
    let wrapped = wrap(entropy, kms, &key);
    assert!(refused(other, &aad(b"a"), &wrapped), "what one key wrapped another doesn't unwrap");
}

#[expect(clippy::panic, reason = "a conformance suite fails as a test does")]
fn rotates_or_says_that_it_does_not(entropy: &dyn Entropy, kms: &dyn KmsProvider) {
    let key = SecretKey::generate(entropy);
    let mut wrapped = vec![wrap(entropy, kms, &key)];
    for _ in 0..3 {
        let before = kms.version().unwrap_or_else(|error| panic!("the version is known: {error}"));
        match kms.rotate(entropy) {
            Err(KmsError::CannotRotate) => return,
            Err(error) => panic!("a rotation works: {error}"),
            Ok(now) => assert!(now > before && kms.version().is_ok_and(|version| version == now), "versions count up"),
        }
        let newest = wrap(entropy, kms, &key);
        assert!(wrapped_version(&newest) == kms.version().ok(), "what is wrapped names the newest version");
        let oldest = wrapped.first().map(Vec::as_slice).unwrap_or_default();
        let again = kms.rewrap(entropy, &aad(b"a"), oldest).unwrap_or_else(|error| panic!("it rewraps: {error}"));
        assert!(wrapped_version(&again) == kms.version().ok(), "what is rewrapped names the newest version");
        wrapped.extend([newest, again]);
        assert!(wrapped.iter().all(|wrapped| unwraps_to(kms, wrapped, &key)), "every version unwraps what it wrapped");
    }
    refuses_every_changed_byte(entropy, kms);
}
