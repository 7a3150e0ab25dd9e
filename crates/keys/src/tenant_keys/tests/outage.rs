//! What a key management service that is away stops, and what it doesn't.

use std::sync::atomic::AtomicBool;

use countersign_model::clock::ManualClock;
use countersign_model::{Name, UnixMs};

use super::*;
use crate::Outage;

const HOUR_MS: u64 = 3_600_000;

/// A provider that can be away, and counts how often it is asked.
struct Away {
    inner: MemoryKms,
    away: AtomicBool,
    asked: AtomicUsize,
}

impl Away {
    fn new() -> Arc<Self> {
        let inner = MemoryKms(KeyEncryptionKey::new(&SecretKey::generate(&SystemEntropy)));
        Arc::new(Self { inner, away: AtomicBool::new(false), asked: AtomicUsize::new(0) })
    }

    fn there(&self) -> Result<(), KmsError> {
        if self.away.load(Ordering::SeqCst) { Err(KmsError::Unavailable(Outage::NoAnswer)) } else { Ok(()) }
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

impl KmsProvider for Away {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        self.there()?;
        self.inner.wrap(entropy, aad, key)
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.there()?;
        self.inner.unwrap_key(aad, wrapped)
    }

    fn name(&self) -> &'static str {
        "away"
    }

    fn probe(&self) -> Result<(), KmsError> {
        self.there()
    }
}

struct House {
    kms: Arc<Away>,
    own: Arc<Away>,
    clock: Arc<ManualClock>,
    keys: TenantKeys,
}

/// Tenant A with the deployment's provider, tenant B with its own.
fn house() -> House {
    let (kms, own) = (Away::new(), Away::new());
    let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
    let name = Name::new("own").unwrap();
    let named = HashMap::from([(name.clone(), Arc::clone(&own) as Arc<dyn KmsProvider>)]);
    let set = KmsSet::new(Arc::clone(&kms) as Arc<dyn KmsProvider>, named);
    let stored = Arc::new(Stored::default());
    let keys = TenantKeys::new(set, Arc::clone(&stored) as Arc<dyn WrappedKeys>, 100)
        .bounded(Arc::clone(&clock) as Arc<dyn Clock>, HOUR_MS);
    stored.keys.lock().insert(A, keys.wrap_new(&SystemEntropy, A).unwrap().into());
    stored.keys.lock().insert(B, keys.wrap_new_by(Some(&name), &SystemEntropy, B).unwrap().into());
    House { kms, own, clock, keys }
}

fn served(keys: &TenantKeys, tenant: TenantId) -> bool {
    let field = keys.field(tenant, TYPE, FIELD).map(|_| ());
    let seal = keys.seal_key(tenant, "audit").map(|_| ());
    assert_eq!(field.is_ok(), seal.is_ok());
    assert!(field.is_ok() || matches!(field, Err(KeyError::Kms(KmsError::Unavailable(_)))), "{field:?}");
    field.is_ok()
}

#[test]
fn what_is_open_is_served_within_its_bound_refused_after_it_and_served_again_when_the_service_is_back() {
    let House { kms, clock, keys, .. } = house();
    assert!(!keys.is_open(A));
    assert!(served(&keys, A) && keys.is_open(A));
    kms.set_away(true);
    clock.advance_ms(HOUR_MS - 1);
    assert!(served(&keys, A), "within the bound");
    clock.advance_ms(1);
    assert!(!keys.is_open(A) && !served(&keys, A), "at the bound");
    assert_eq!(keys.health().tenants_open, 0, "what is past its bound has left memory");
    kms.set_away(false);
    assert!(served(&keys, A), "back");
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_bound_longer() {
    let (kms, clock) = (Away::new(), Arc::new(ManualClock::at(UnixMs(1_700_000_000_000))));
    let stored = Arc::new(Stored::default());
    let keys_at = |clock: &Arc<ManualClock>| {
        TenantKeys::new(Arc::clone(&kms), Arc::clone(&stored) as Arc<dyn WrappedKeys>, 10)
            .bounded(Arc::clone(clock) as Arc<dyn Clock>, HOUR_MS)
    };
    let mut keys = keys_at(&clock);
    stored.keys.lock().insert(A, keys.wrap_new(&SystemEntropy, A).unwrap().into());
    assert!(served(&keys, A));
    kms.set_away(true);
    keys.clock = Arc::new(ManualClock::at(clock.now().minus_ms(1_000)));
    assert!(served(&keys, A), "a clock that is corrected by a second");
    keys.clock = Arc::new(ManualClock::at(clock.now().minus_ms(10 * HOUR_MS)));
    assert!(!served(&keys, A));
}

#[test]
fn an_outage_stops_new_unwraps_at_once() {
    let House { kms, keys, .. } = house();
    kms.set_away(true);
    assert!(!served(&keys, A));
    kms.set_away(false);
    assert!(served(&keys, A));
}

#[test]
fn one_tenants_provider_being_away_stops_that_tenant_alone() {
    let House { kms, own, clock, keys } = house();
    own.set_away(true);
    assert!(served(&keys, A) && !served(&keys, B));
    own.set_away(false);
    assert!(served(&keys, B));
    own.set_away(true);
    clock.advance_ms(HOUR_MS);
    keys.tend();
    assert!(served(&keys, A) && !served(&keys, B));
    own.set_away(false);
    kms.set_away(true);
    clock.advance_ms(HOUR_MS);
    assert!(!served(&keys, A) && served(&keys, B));
}

#[test]
fn tending_renews_what_is_in_use_before_the_bound_and_drops_the_rest_at_it() {
    let House { kms, own, clock, keys } = house();
    assert!(served(&keys, A) && served(&keys, B));
    assert_eq!(kms.asked.load(Ordering::SeqCst), 1);
    for _ in 0..20 {
        clock.advance_ms(HOUR_MS / 4);
        keys.tend();
        assert!(keys.is_open(A), "used, so never closed");
    }
    assert_eq!(kms.asked.load(Ordering::SeqCst), 11, "once at half of each bound");
    assert!(own.asked.load(Ordering::SeqCst) <= 2, "not in use, so not renewed again and again");
    assert_eq!(keys.health().tenants_open, 1);
    assert!(keys.fields.iter().all(|(place, _)| place.0 == A));
    // The bound counts from the last renewal.
    kms.set_away(true);
    keys.tend();
    clock.advance_ms(HOUR_MS / 2);
    keys.tend();
    assert!(served(&keys, A));
    clock.advance_ms(HOUR_MS / 2);
    keys.tend();
    assert_eq!((keys.tenants.len(), keys.fields.len(), keys.seals.len()), (0, 0, 0), "nothing stays in memory");
    assert!(!served(&keys, A));
}

#[test]
fn a_provider_that_is_away_is_asked_for_one_tenant_in_a_round() {
    let House { kms, clock, keys, .. } = house();
    assert!(served(&keys, A));
    kms.set_away(true);
    clock.advance_ms(HOUR_MS / 2);
    let before = kms.asked.load(Ordering::SeqCst);
    keys.tend();
    assert_eq!(kms.asked.load(Ordering::SeqCst), before, "the probe told already");
}

#[test]
fn health_says_which_provider_is_away_since_when_and_why() {
    let House { own, clock, keys, .. } = house();
    keys.tend();
    assert!(keys.health().is_well());
    let since = clock.now();
    own.set_away(true);
    assert!(!served(&keys, B));
    clock.advance_ms(5_000);
    keys.tend();
    let health = keys.health();
    assert!(!health.is_well());
    let [default, named] = health.providers.as_slice() else { panic!("{health:?}") };
    assert_eq!((&default.name, default.kind, &default.down), (&None, "away", &None));
    assert_eq!(named.name, Name::new("own").ok());
    let down = named.down.as_ref().unwrap();
    assert_eq!(down.since, since);
    assert_eq!(down.why, "the key management service is not available: it does not answer");
    own.set_away(false);
    keys.tend();
    assert!(keys.health().is_well());
}

#[test]
fn a_tenant_moves_to_its_own_key_and_back_without_anything_sealed_changing() {
    let House { keys, .. } = house();
    let name = Name::new("own").unwrap();
    let tag = keys.field(A, TYPE, FIELD).unwrap().tag.tag(b"value");
    let moved = keys.rewrap_by(Some(&name), &SystemEntropy, A).unwrap();
    assert_eq!(wrapped_by(&moved), Some(name));
    let stored = Arc::new(Stored::default());
    stored.keys.lock().insert(A, moved.into());
    let after = TenantKeys::new(keys.kms().clone(), Arc::clone(&stored) as Arc<dyn WrappedKeys>, 10);
    assert_eq!(after.field(A, TYPE, FIELD).unwrap().tag.tag(b"value"), tag);
    let again = after.rewrap(&SystemEntropy, A).unwrap();
    assert_eq!(wrapped_by(&again), Name::new("own").ok(), "rewrapping stays with the provider");
    let back = after.rewrap_by(None, &SystemEntropy, A).unwrap();
    assert_eq!(wrapped_by(&back), None);
    assert!(matches!(keys.rewrap(&SystemEntropy, TenantId::from_u128(9)), Err(KeyError::UnknownTenant)));
}

#[test]
fn a_provider_that_hangs_stops_nobody_else() {
    struct Hanging(Arc<Away>, std::sync::Barrier);
    impl KmsProvider for Hanging {
        fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
            self.0.wrap(entropy, aad, key)
        }
        fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
            self.1.wait();
            self.1.wait();
            self.0.unwrap_key(aad, wrapped)
        }
        fn name(&self) -> &'static str {
            "hanging"
        }
    }
    let hanging = Arc::new(Hanging(Away::new(), std::sync::Barrier::new(2)));
    let name = Name::new("own").unwrap();
    let named = HashMap::from([(name.clone(), Arc::clone(&hanging) as Arc<dyn KmsProvider>)]);
    let stored = Arc::new(Stored::default());
    let set = KmsSet::new(Away::new() as Arc<dyn KmsProvider>, named);
    let keys = TenantKeys::new(set, Arc::clone(&stored) as Arc<dyn WrappedKeys>, 100);
    stored.keys.lock().insert(A, keys.wrap_new(&SystemEntropy, A).unwrap().into());
    stored.keys.lock().insert(B, keys.wrap_new_by(Some(&name), &SystemEntropy, B).unwrap().into());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| keys.field(B, TYPE, FIELD).is_ok());
        hanging.1.wait();
        // B's key is being unwrapped all this time.
        keys.forget(TenantId::from_u128(77));
        assert!(keys.field(A, TYPE, FIELD).is_ok());
        keys.forget(A);
        assert!(keys.field(A, TYPE, FIELD).is_ok());
        hanging.1.wait();
        assert!(waiting.join().unwrap());
    });
}
