//! What every [`KmsProvider`] must do. Fails by panicking, as tests do.

use countersign_crypto::{Aad, SecretKey};
use countersign_model::Entropy;

use crate::kms::{KmsError, KmsProvider, wrapped_version};
use crate::own::{OwnKeyId, own_of};

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
    let other = make();
    own_keys(entropy, &kms, &other);
    rotates_or_says_that_it_does_not(entropy, &kms);
    own_keys(entropy, &kms, &other);
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
    let refused = kms.unwrap_key(aad, wrapped).err();
    matches!(refused, Some(KmsError::NotAuthentic | KmsError::UnknownVersion(_) | KmsError::Destroyed))
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
    refuses_changes_of(kms, &wrap(entropy, kms, &SecretKey::generate(entropy)));
}

fn refuses_changes_of(kms: &dyn KmsProvider, wrapped: &[u8]) {
    for position in 0..wrapped.len() {
        let mut changed = wrapped.to_vec();
        if let Some(byte) = changed.get_mut(position) {
            *byte ^= 1;
        }
        assert!(refused(kms, &aad(b"a"), &changed), "a change of byte {position} is refused");
        let short = wrapped.get(..position).unwrap_or_default();
        assert!(refused(kms, &aad(b"a"), short), "the first {position} bytes alone are refused");
    }
    let long = [wrapped, &[0]].concat();
    assert!(refused(kms, &aad(b"a"), &long), "a byte too many is refused");
}

fn refuses_what_another_wrapped(entropy: &dyn Entropy, kms: &dyn KmsProvider, other: &dyn KmsProvider) {
    let key = SecretKey::generate(entropy);
    let wrapped = wrap(entropy, kms, &key);
    assert!(refused(other, &aad(b"a"), &wrapped), "what one key wrapped another doesn't unwrap");
}

/// Keys that are destroyed one by one, without the others; `other` is another service.
#[expect(clippy::panic, reason = "a conformance suite fails as a test does")]
fn own_keys(entropy: &dyn Entropy, kms: &dyn KmsProvider, other: &dyn KmsProvider) {
    let make = || kms.make_own(entropy).unwrap_or_else(|error| panic!("an own key is made: {error}"));
    let wrap = |own, key: &SecretKey| {
        let wrapped = kms.wrap_own(own, entropy, &aad(b"a"), key);
        wrapped.unwrap_or_else(|error| panic!("a key is wrapped by an own key: {error}"))
    };
    let listed = |own| kms.own().is_ok_and(|all| all.iter().filter(|one| **one == own).count() == 1);
    let key = SecretKey::generate(entropy);
    let (one, two) = (make(), make());
    assert!(one != two && listed(one) && listed(two), "own keys are listed");
    let (by_one, by_two) = (wrap(one, &key), wrap(two, &key));
    assert!(own_of(&by_one).is_some_and(|own| own.id == one), "what an own key wrapped names it");
    assert!(wrapped_version(&by_one) == kms.version().ok(), "and the newest version");
    assert!(unwraps_to(kms, &by_one, &key) && unwraps_to(kms, &by_two, &key), "own keys unwrap what they wrapped");
    for elsewhere in [aad(b"b"), aad(b"a").part(b""), Aad::new("other.1").part(b"a")] {
        assert!(refused(kms, &elsewhere, &by_one), "a key wrapped for one use is refused for another");
    }
    assert!(other.make_own(entropy).is_ok_and(|others| !listed(others)), "each service has its own");
    assert!(refused(other, &aad(b"a"), &by_one), "what one service's own key wrapped another doesn't unwrap");
    refuses_changes_of(kms, &by_one);
    let swapped: Vec<u8> = by_two.iter().take(17).chain(by_one.iter().skip(17)).copied().collect();
    assert!(refused(kms, &aad(b"a"), &swapped), "an own key doesn't unwrap what another wrapped");
    let again = wrap(one, &key);
    for _ in 0..2 {
        kms.destroy_own(one).unwrap_or_else(|error| panic!("an own key is destroyed, once or twice: {error}"));
        for gone in [&by_one, &again] {
            assert!(matches!(kms.unwrap_key(&aad(b"a"), gone), Err(KmsError::Destroyed)), "nothing unwraps any more");
        }
        let wrapped = kms.wrap_own(one, entropy, &aad(b"a"), &key);
        assert!(matches!(wrapped, Err(KmsError::Destroyed)), "and nothing is wrapped");
        assert!(!listed(one) && listed(two), "it is not listed any more");
        assert!(unwraps_to(kms, &by_two, &key), "another own key is still there");
    }
    let never = OwnKeyId::new(entropy);
    assert!(kms.destroy_own(never).is_ok(), "what isn't there is destroyed");
    assert!(matches!(kms.wrap_own(never, entropy, &aad(b"a"), &key), Err(KmsError::Destroyed)), "and wraps nothing");
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
