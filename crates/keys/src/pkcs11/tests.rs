//! With SoftHSM from Debian's package `softhsm2`. Each test runs in a process of its own, because SoftHSM reads where
//! its tokens are from the environment, once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use countersign_crypto::SystemEntropy;
use countersign_model::clock::ManualClock;
use countersign_model::{FieldId, TenantId, TypeId, UnixMs};
use cryptoki::object::{Attribute, AttributeType};

use super::*;
use crate::guarded_file::FileFault;
use crate::kms::wrapped_version;
use crate::{KeyError, TenantKeys, WrappedKeys};

const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
const CHILD: &str = "COUNTERSIGN_TEST_TOKENS";
const PIN: &str = "493817";
const KEY: &str = "countersign";

/// A folder of tokens, and SoftHSM pointed at it.
struct House {
    folder: PathBuf,
    clock: Arc<ManualClock>,
}

impl House {
    fn module(&self) -> PathBuf {
        match MODULES.iter().find(|path| Path::new(path).exists()) {
            Some(path) => PathBuf::from(path),
            None => panic!(
                "SoftHSM is missing: `cargo xtask test --only tools` installs it, \
                 or `sudo apt-get install --yes softhsm2`"
            ),
        }
    }

    fn config(&self, pin: PinSource) -> Pkcs11Config {
        Pkcs11Config { module: self.module(), token: "house".to_owned(), pin, key: KEY.to_owned() }
    }

    fn named(&self, token: &str, key: &str) -> Pkcs11Config {
        Pkcs11Config { token: token.to_owned(), key: key.to_owned(), ..self.config(given(PIN)) }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    fn create(&self) -> Pkcs11Kms {
        Pkcs11Kms::create(self.config(given(PIN)), self.clock()).unwrap()
    }

    fn open(&self, pin: PinSource) -> Result<Pkcs11Kms, KmsError> {
        Pkcs11Kms::open(self.config(pin), self.clock())
    }

    fn softhsm(&self, arguments: &[&str]) {
        let output = Command::new("softhsm2-util").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn new_token(&self, label: &str) {
        self.softhsm(&["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "58203117"]);
    }

    /// As if it was pulled out.
    fn take_tokens_away(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("away")).unwrap();
        fs::create_dir(self.folder.join("tokens")).unwrap();
    }

    fn put_tokens_back(&self) {
        fs::remove_dir(self.folder.join("tokens")).unwrap();
        fs::rename(self.folder.join("away"), self.folder.join("tokens")).unwrap();
    }

    fn pin_file(&self, text: &str) -> PathBuf {
        let path = self.folder.join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn given(pin: &str) -> PinSource {
    PinSource::Given(Zeroizing::new(pin.to_owned()))
}

fn aad() -> Aad {
    Aad::new("test.1").part(b"use")
}

fn outage<T>(result: Result<T, KmsError>) -> Outage {
    match result {
        Err(KmsError::Unavailable(outage)) => outage,
        Err(other) => panic!("expected an outage, not {other:?}"),
        Ok(_) => panic!("expected an outage"),
    }
}

/// Runs `body` in a process whose SoftHSM has one new token, `house`.
fn apart(test: &str, body: fn(&House)) {
    let clock = Arc::new(ManualClock::at(UnixMs(1_800_000_000_000)));
    if let Some(folder) = std::env::var_os(CHILD) {
        return body(&House { folder: folder.into(), clock });
    }
    let dir = tempfile::tempdir().unwrap();
    let house = House { folder: dir.path().to_owned(), clock };
    house.module();
    let (tokens, conf) = (dir.path().join("tokens"), dir.path().join("softhsm2.conf"));
    fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
    fs::write(&conf, text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("pkcs11::tests::{test}"), "--nocapture"])
        .env(CHILD, dir.path())
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

struct One(Arc<[u8]>);

impl WrappedKeys for One {
    fn wrapped(&self, _: TenantId) -> Option<Arc<[u8]>> {
        Some(Arc::clone(&self.0))
    }
}

macro_rules! tests {
    ($($(#[$attribute:meta])* fn $name:ident($house:ident: &House) $body:block)+) => { $(
        #[test]
        $(#[$attribute])*
        fn $name() {
            apart(stringify!($name), |$house: &House| $body);
        }
    )+ };
}

tests! {
    fn conforms(house: &House) {
        house.new_token("house");
        let labels = std::cell::RefCell::new(["one", "two", "three"].into_iter());
        crate::conformance::check(&SystemEntropy, || {
            Pkcs11Kms::create(house.named("house", labels.borrow_mut().next().unwrap()), house.clock()).unwrap()
        });
    }

    fn a_key_made_in_the_token_wraps_and_unwraps_after_opening_it_again_and_can_t_be_read_out(house: &House) {
        house.new_token("house");
        let (kms, key) = (house.create(), SecretKey::generate(&SystemEntropy));
        let wrapped = kms.wrap(&SystemEntropy, &aad(), &key).unwrap();
        assert_eq!(wrapped.len(), 65);
        assert_eq!(wrapped_version(&wrapped), Some(KeyVersion(1)));
        drop(kms);
        let kms = house.open(given(PIN)).unwrap();
        assert_eq!(kms.unwrap_key(&aad(), &wrapped).unwrap().expose(), key.expose());
        // Asked of the token itself: it keeps the value.
        let loaded = kms.module.loaded(kms.clock.now()).unwrap();
        let slot = loaded.context().get_slots_with_initialized_token().unwrap()[0];
        let session = loaded.context().open_ro_session(slot).unwrap();
        let found = session.find_objects(&[Attribute::Label(KEY.into())]).unwrap();
        let asked = [
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::Local,
            AttributeType::Private,
        ];
        assert_eq!(
            session.get_attributes(found[0], &asked).unwrap(),
            [
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
                Attribute::Private(true),
            ]
        );
        assert_eq!(session.get_attributes(found[0], &[AttributeType::Value]).unwrap(), []);
        let again = outage(Pkcs11Kms::create(house.config(given(PIN)), house.clock()));
        assert!(matches!(again, Outage::KeyExists { .. }), "a key is never replaced: {again}");
    }

    fn after_a_rotation_old_and_new_unwrap_and_another_process_follows(house: &House) {
        house.new_token("house");
        let (one, key) = (house.create(), SecretKey::generate(&SystemEntropy));
        let other = house.open(given(PIN)).unwrap();
        let old = one.wrap(&SystemEntropy, &aad(), &key).unwrap();
        assert_eq!(one.rotate(&SystemEntropy).unwrap(), KeyVersion(2));
        let new = one.wrap(&SystemEntropy, &aad(), &key).unwrap();
        assert_eq!(wrapped_version(&new), Some(KeyVersion(2)));
        for kms in [&one, &other, &house.open(given(PIN)).unwrap()] {
            for wrapped in [&old, &new] {
                assert_eq!(kms.unwrap_key(&aad(), wrapped).unwrap().expose(), key.expose());
            }
        }
        let again = other.rewrap(&SystemEntropy, &aad(), &old).unwrap();
        assert_eq!(wrapped_version(&again), Some(KeyVersion(2)));
        let mut unknown = new.clone();
        unknown[4] = 9;
        assert!(matches!(one.unwrap_key(&aad(), &unknown), Err(KmsError::UnknownVersion(KeyVersion(9)))));
        // The same version with another key.
        unknown[4] = 1;
        assert!(matches!(one.unwrap_key(&aad(), &unknown), Err(KmsError::NotAuthentic)));
    }

    fn two_keys_of_one_version_both_unwrap(house: &House) {
        house.new_token("house");
        let (kms, key) = (house.create(), SecretKey::generate(&SystemEntropy));
        let one = kms.wrap(&SystemEntropy, &aad(), &key).unwrap();
        kms.with(|loaded, connection| connection.generate(loaded, &kms.config, 1)).unwrap();
        let mut wrapped = vec![one];
        wrapped.extend((0..4).map(|_| house.open(given(PIN)).unwrap().wrap(&SystemEntropy, &aad(), &key).unwrap()));
        for wrapped in &wrapped {
            assert_eq!(kms.unwrap_key(&aad(), wrapped).unwrap().expose(), key.expose());
        }
        let mut changed = wrapped[0].clone();
        changed[40] ^= 1;
        assert!(matches!(kms.unwrap_key(&aad(), &changed), Err(KmsError::NotAuthentic)));
    }

    fn what_is_missing_is_said(house: &House) {
        let absent = outage(house.open(given(PIN)));
        assert!(matches!(&absent, Outage::TokenAbsent { token } if token == "house"), "{absent}");
        assert_eq!(
            absent.to_string(),
            "no slot of the PKCS#11 module has a token labelled \"house\"; connect it"
        );
        house.new_token("house");
        house.clock.advance_ms(5_000);
        let absent = outage(house.open(given(PIN)));
        assert!(matches!(&absent, Outage::KeyAbsent { key, .. } if key == KEY), "{absent}");
        let config = Pkcs11Config { module: house.folder.join("none.so"), ..house.config(given(PIN)) };
        assert!(matches!(outage(Pkcs11Kms::open(config, house.clock())), Outage::Module { .. }));
        let not_one = house.folder.join("softhsm2.conf");
        let config = Pkcs11Config { module: not_one, ..house.config(given(PIN)) };
        assert!(matches!(outage(Pkcs11Kms::open(config, house.clock())), Outage::Module { .. }));
        house.new_token("house");
        house.clock.advance_ms(5_000);
        let kms = Pkcs11Kms::new(house.config(given(PIN)), house.clock());
        let generation = kms.module.loaded(kms.clock.now()).unwrap().generation();
        assert!(kms.module.start_anew(generation, kms.clock.now()));
        let two = outage(kms.probe());
        assert!(matches!(two, Outage::TokenAmbiguous { .. }), "{two}");
    }

    fn a_wrong_pin_is_tried_once(house: &House) {
        house.new_token("house");
        house.create();
        let count_low = |kms: &Pkcs11Kms| {
            let loaded = kms.module.loaded(kms.clock.now()).unwrap();
            let slot = loaded.context().get_slots_with_initialized_token().unwrap()[0];
            loaded.context().get_token_info(slot).unwrap().user_pin_count_low()
        };
        let path = house.pin_file("000000\n");
        let kms = Pkcs11Kms::new(house.config(PinSource::File(path)), house.clock());
        assert!(!count_low(&kms));
        for _ in 0..20 {
            let refused = outage(kms.probe());
            assert!(matches!(refused, Outage::PinRefused { .. }), "{refused}");
        }
        assert!(count_low(&kms), "it was tried");
        // Logging in with the right one resets the token's count; the wrong one is still not tried.
        house.pin_file(&format!("{PIN}\r\n"));
        kms.probe().unwrap();
        assert!(!count_low(&kms));
        let wrong = house.open(given("000000"));
        assert!(wrong.is_ok() || matches!(outage(wrong), Outage::PinRefused { .. }));
        assert!(!count_low(&kms), "it was not tried");
    }

    fn a_pin_file_that_others_can_read_is_refused(house: &House) {
        house.new_token("house");
        house.create();
        let path = house.pin_file(PIN);
        assert!(house.open(PinSource::File(path.clone())).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let fault = outage(house.open(PinSource::File(path.clone())));
        assert!(matches!(fault, Outage::PinFile { fault: FileFault::Access { mode: 0o640 }, .. }), "{fault}");
        fs::remove_file(&path).unwrap();
        let fault = outage(house.open(PinSource::File(path)));
        assert!(matches!(fault, Outage::PinFile { fault: FileFault::Io(_), .. }), "{fault}");
    }

    fn a_token_lost_in_mid_flight_is_unavailable_until_it_is_back(house: &House) {
        house.new_token("house");
        let (kms, key) = (house.create(), SecretKey::generate(&SystemEntropy));
        let wrapped = kms.wrap(&SystemEntropy, &aad(), &key).unwrap();
        for _ in 0..3 {
            house.take_tokens_away();
            house.clock.advance_ms(5_000);
            for _ in 0..3 {
                let lost = outage(kms.unwrap_key(&aad(), &wrapped).map(|_| ()));
                assert!(matches!(lost, Outage::TokenAbsent { .. } | Outage::Lost { .. }), "{lost}");
                assert!(kms.wrap(&SystemEntropy, &aad(), &key).is_err() && kms.probe().is_err());
                assert!(kms.rotate(&SystemEntropy).is_err());
            }
            house.put_tokens_back();
            house.clock.advance_ms(5_000);
            assert_eq!(kms.unwrap_key(&aad(), &wrapped).unwrap().expose(), key.expose());
        }
        // For good, with another of the same name in its place: that one's key is no substitute.
        house.softhsm(&["--delete-token", "--token", "house"]);
        house.clock.advance_ms(5_000);
        assert!(kms.unwrap_key(&aad(), &wrapped).is_err());
        house.new_token("house");
        house.clock.advance_ms(5_000);
        let absent = outage(kms.unwrap_key(&aad(), &wrapped).map(|_| ()));
        assert!(matches!(absent, Outage::KeyAbsent { .. }), "{absent}");
        house.create();
        assert!(matches!(kms.unwrap_key(&aad(), &wrapped), Err(KmsError::NotAuthentic)));
    }

    fn tenants_stay_open_within_their_bound_while_the_token_is_away(house: &House) {
        house.new_token("house");
        let kms: Arc<dyn KmsProvider> = Arc::new(house.create());
        let tenant = TenantId::from_u128(7);
        let wrapped = crate::new_tenant_key(&kms, &SystemEntropy, tenant, house.clock.now()).unwrap();
        let keys = TenantKeys::new(kms, Arc::new(One(wrapped.into())), 10).bounded(house.clock(), 60_000);
        let served = || keys.field(tenant, TypeId(0), FieldId(0)).is_ok();
        assert!(served());
        house.take_tokens_away();
        house.clock.advance_ms(59_999);
        keys.tend();
        let health = keys.health();
        assert!(served() && !health.is_well(), "{health:?}");
        house.clock.advance_ms(1);
        assert!(!served());
        assert!(matches!(keys.open(tenant), Err(KeyError::Kms(KmsError::Unavailable(_)))));
        house.put_tokens_back();
        house.clock.advance_ms(5_000);
        assert!(served(), "without a restart");
        keys.tend();
        assert!(keys.health().is_well());
    }

    fn one_token_lost_does_not_stop_another_of_the_same_module(house: &House) {
        house.new_token("house");
        house.new_token("guest");
        let (own, key) = (house.create(), SecretKey::generate(&SystemEntropy));
        let guest = Pkcs11Kms::create(house.named("guest", KEY), house.clock()).unwrap();
        let wrapped = own.wrap(&SystemEntropy, &aad(), &key).unwrap();
        let by_guest = guest.wrap(&SystemEntropy, &aad(), &key).unwrap();
        assert!(matches!(own.unwrap_key(&aad(), &by_guest), Err(KmsError::NotAuthentic)));
        house.softhsm(&["--delete-token", "--token", "guest"]);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        assert_eq!(own.unwrap_key(&aad(), &wrapped).unwrap().expose(), key.expose());
                    }
                });
            }
            for _ in 0..20 {
                house.clock.advance_ms(5_000);
                assert!(guest.unwrap_key(&aad(), &by_guest).is_err());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    fn sixteen_threads_share_one_session(house: &House) {
        house.new_token("house");
        let kms = house.create();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let key = SecretKey::generate(&SystemEntropy);
                        let wrapped = kms.wrap(&SystemEntropy, &aad(), &key).unwrap();
                        assert_eq!(kms.unwrap_key(&aad(), &wrapped).unwrap().expose(), key.expose());
                    }
                });
            }
        });
    }
}
