use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;

use countersign_crypto::SystemEntropy;

use super::*;

fn phrase(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

const RIGHT: &str = "correct horse battery staple";

fn fault(result: Result<PassphraseKms, KmsError>) -> PassphraseFault {
    match result.err() {
        Some(KmsError::Passphrase { fault, .. }) => fault,
        other => panic!("expected a fault of the passphrase, not {other:?}"),
    }
}

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    crate::conformance::check(&SystemEntropy, || {
        count.set(count.get() + 1);
        PassphraseKms::create(&dir.path().join(count.get().to_string()), &phrase(RIGHT), &SystemEntropy).unwrap()
    });
}

#[test]
fn the_right_passphrase_opens_and_a_wrong_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.passphrase");
    let (key, aad) = (SecretKey::generate(&SystemEntropy), Aad::new("test.1"));
    let kms = PassphraseKms::create(&path, &phrase(RIGHT), &SystemEntropy).unwrap();
    let first = kms.wrap(&SystemEntropy, &aad, &key).unwrap();
    kms.rotate(&SystemEntropy).unwrap();
    let second = kms.wrap(&SystemEntropy, &aad, &key).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    let opened = PassphraseKms::open(&path, &phrase(RIGHT)).unwrap();
    for wrapped in [first, second] {
        assert_eq!(opened.unwrap_key(&aad, &wrapped).unwrap().expose(), key.expose());
    }
    assert_eq!(opened.version().unwrap(), KeyVersion(2));
    for wrong in ["correct horse battery stapl", "", " correct horse battery staple"] {
        assert!(matches!(fault(PassphraseKms::open(&path, &phrase(wrong))), PassphraseFault::Wrong));
    }
    let stored = fs::read(&path).unwrap();
    assert!(!stored.windows(7).any(|window| window == b"battery"));
    assert!(matches!(
        fault(PassphraseKms::create(&path, &phrase(RIGHT), &SystemEntropy)),
        PassphraseFault::File(FileFault::Exists)
    ));
    let other = dir.path().join("other");
    assert!(matches!(
        fault(PassphraseKms::create(&other, &phrase("elevenchars"), &SystemEntropy)),
        PassphraseFault::Short
    ));
}

#[test]
fn the_passphrase_changes_and_the_keys_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.passphrase");
    let (key, aad) = (SecretKey::generate(&SystemEntropy), Aad::new("test.1"));
    let kms = PassphraseKms::create(&path, &phrase(RIGHT), &SystemEntropy).unwrap();
    let wrapped = kms.wrap(&SystemEntropy, &aad, &key).unwrap();
    kms.change_passphrase(&phrase("another set of words"), &SystemEntropy).unwrap();
    kms.rotate(&SystemEntropy).unwrap();
    assert!(matches!(fault(PassphraseKms::open(&path, &phrase(RIGHT))), PassphraseFault::Wrong));
    let opened = PassphraseKms::open(&path, &phrase("another set of words")).unwrap();
    assert_eq!(opened.unwrap_key(&aad, &wrapped).unwrap().expose(), key.expose());
    assert!(kms.change_passphrase(&phrase("short"), &SystemEntropy).is_err());
}

#[test]
fn what_another_process_wrote_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.passphrase");
    let one = PassphraseKms::create(&path, &phrase(RIGHT), &SystemEntropy).unwrap();
    let other = PassphraseKms::open(&path, &phrase(RIGHT)).unwrap();
    other.rotate(&SystemEntropy).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = one.rotate(&SystemEntropy);
    assert!(matches!(refused, Err(KmsError::Passphrase { fault: PassphraseFault::Changed, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(one.version().unwrap(), KeyVersion(1));
}

#[test]
fn a_changed_file_is_damaged_and_never_costs_more_than_the_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.passphrase");
    PassphraseKms::create(&path, &phrase(RIGHT), &SystemEntropy).unwrap();
    let good = fs::read(&path).unwrap();
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 0x80;
        fs::write(&path, &changed).unwrap();
        assert!(matches!(fault(PassphraseKms::open(&path, &phrase(RIGHT))), PassphraseFault::Damaged), "{position}");
        fs::write(&path, &good[..position]).unwrap();
        let cut = fault(PassphraseKms::open(&path, &phrase(RIGHT)));
        assert!(matches!(cut, PassphraseFault::Damaged | PassphraseFault::File(FileFault::Size)), "{position}");
    }
    // Somebody who also computes the check.
    for (at, value) in [(8, u32::MAX), (8, 1), (12, u32::MAX), (16, u32::MAX), (16, 0), (36, 0), (36, u32::MAX)] {
        let mut changed = good[..good.len() - CHECK_BYTES].to_vec();
        changed[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let check = sha256(&changed);
        changed.extend_from_slice(&check[..CHECK_BYTES]);
        fs::write(&path, &changed).unwrap();
        assert!(matches!(fault(PassphraseKms::open(&path, &phrase(RIGHT))), PassphraseFault::Damaged), "{at} {value}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.passphrase");
    PassphraseKms::create(&path, &phrase(RIGHT), &SystemEntropy).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let fault = fault(PassphraseKms::open(&path, &phrase(RIGHT)));
    assert!(matches!(fault, PassphraseFault::File(FileFault::Access { mode: 0o644 })));
}
