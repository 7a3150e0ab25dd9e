use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use countersign_crypto::SystemEntropy;

use super::*;

fn fault(result: Result<FileKms, KmsError>) -> FileFault {
    match result.err() {
        Some(KmsError::File { fault, .. }) => fault,
        other => panic!("expected a fault of the file, not {other:?}"),
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    crate::conformance::check(&SystemEntropy, || {
        count.set(count.get() + 1);
        FileKms::create(&dir.path().join(count.get().to_string()), &SystemEntropy).unwrap()
    });
}

#[test]
fn a_key_opened_again_unwraps_what_it_wrapped_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    let key = SecretKey::generate(&SystemEntropy);
    let aad = Aad::new("test.1");
    let wrapped = FileKms::create(&path, &SystemEntropy).unwrap().wrap(&SystemEntropy, &aad, &key).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    let unwrapped = FileKms::open(&path).unwrap().unwrap_key(&aad, &wrapped).unwrap();
    assert_eq!(unwrapped.expose(), key.expose());
}

#[test]
fn creating_never_overwrites_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    FileKms::create(&path, &SystemEntropy).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(fault(FileKms::create(&path, &SystemEntropy)), FileFault::Exists));
    assert_eq!(fs::read(&path).unwrap(), before);
    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(fault(FileKms::create(&dangling, &SystemEntropy)), FileFault::Exists));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let missing = dir.path().join("missing/kms.key");
    assert!(matches!(fault(FileKms::create(&missing, &SystemEntropy)), FileFault::Io(_)));
}

#[test]
fn a_file_that_group_or_others_can_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    FileKms::create(&path, &SystemEntropy).unwrap();
    for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
        chmod(&path, 0o600 | bit);
        assert!(matches!(fault(FileKms::open(&path)), FileFault::Access { mode } if mode == 0o600 | bit));
    }
    chmod(&path, 0o400);
    assert!(FileKms::open(&path).is_ok(), "less access than 0600 is fine");
}

#[test]
fn links_folders_and_pipes_are_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    FileKms::create(&path, &SystemEntropy).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(fault(FileKms::open(&link)), FileFault::NotRegular));
    assert!(matches!(fault(FileKms::open(dir.path())), FileFault::NotRegular));
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg("-m600").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(matches!(fault(FileKms::open(&pipe)), FileFault::NotRegular));
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for length in [0, 1, 31, 33, 64] {
        let path = dir.path().join(length.to_string());
        fs::write(&path, vec![7; length]).unwrap();
        chmod(&path, 0o600);
        assert!(matches!(fault(FileKms::open(&path)), FileFault::Length), "{length}");
    }
    assert!(matches!(fault(FileKms::open(&dir.path().join("missing"))), FileFault::Io(_)));
}

#[test]
fn a_file_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    FileKms::create(&path, &SystemEntropy).unwrap();
    // Only root can give a file away; for anybody else the test has nothing to show.
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        assert!(matches!(fault(FileKms::open(&path)), FileFault::Owner { owner: 12_345, .. }));
    }
}

#[test]
fn errors_name_the_file_and_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    FileKms::create(&path, &SystemEntropy).unwrap();
    chmod(&path, 0o640);
    let text = FileKms::open(&path).err().unwrap().to_string();
    assert_eq!(
        text,
        format!("key file {}: has mode 640: group and others must have no access (chmod 600)", path.display())
    );
}

/// Made by the first version of this format: `crates/crypto/tests/vectors/wrapped-key.json`.
const OLD_KEY: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31,
];
const OLD_WRAPPED: &str = "0100000000a0a1a2a3a4a5a6a7a8a9aaab4f262aa465069c17a6fc29e7cfb4c1275748c9d444e1591bc3d5237fb1fd\
                           ccb34b7e7f3ec7233794d7a34afff90980c6";
const OLD_UNWRAPPED: [u8; 16] =
    [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f];

fn old_aad() -> Aad {
    let tenant = [0x01, 0x98, 0xf0, 0xa2, 0xb6, 0xc8, 0x7d, 0x4e, 0x8f, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70];
    Aad::new("tenant-key.1").part(&tenant)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap()).collect()
}

#[test]
fn keys_wrapped_before_there_were_versions_still_unwrap_also_after_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    fs::write(&path, OLD_KEY).unwrap();
    chmod(&path, 0o600);
    let kms = FileKms::open(&path).unwrap();
    assert_eq!(crate::wrapped_version(&unhex(OLD_WRAPPED)), Some(KeyVersion(0)));
    for _ in 0..3 {
        let key = kms.unwrap_key(&old_aad(), &unhex(OLD_WRAPPED)).unwrap();
        assert_eq!(key.expose()[..16], OLD_UNWRAPPED);
        kms.rotate(&SystemEntropy).unwrap();
    }
    let rewrapped = kms.rewrap(&SystemEntropy, &old_aad(), &unhex(OLD_WRAPPED)).unwrap();
    assert_eq!(crate::wrapped_version(&rewrapped), Some(KeyVersion(3)));
    assert_eq!(kms.unwrap_key(&old_aad(), &rewrapped).unwrap().expose()[..16], OLD_UNWRAPPED);
}

#[test]
fn versions_are_found_at_open_and_those_that_another_process_made_when_they_are_met() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    let (one, aad) = (FileKms::create(&path, &SystemEntropy).unwrap(), Aad::new("test.1"));
    let other = FileKms::open(&path).unwrap();
    let key = SecretKey::generate(&SystemEntropy);
    assert_eq!(one.rotate(&SystemEntropy).unwrap(), KeyVersion(1));
    assert_eq!(fs::metadata(dir.path().join("kms.key.1")).unwrap().mode() & 0o7777, 0o600);
    let wrapped = one.wrap(&SystemEntropy, &aad, &key).unwrap();
    assert_eq!(other.unwrap_key(&aad, &wrapped).unwrap().expose(), key.expose());
    assert_eq!(FileKms::open(&path).unwrap().unwrap_key(&aad, &wrapped).unwrap().expose(), key.expose());
    assert_eq!(other.rotate(&SystemEntropy).unwrap(), KeyVersion(2));
    assert_eq!(one.version().unwrap(), KeyVersion(1));
    one.probe().unwrap();
    assert_eq!(one.version().unwrap(), KeyVersion(2));
}

#[test]
fn a_version_that_was_removed_is_named_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    let (kms, aad) = (FileKms::create(&path, &SystemEntropy).unwrap(), Aad::new("test.1"));
    let key = SecretKey::generate(&SystemEntropy);
    let old = kms.wrap(&SystemEntropy, &aad, &key).unwrap();
    kms.rotate(&SystemEntropy).unwrap();
    let new = kms.wrap(&SystemEntropy, &aad, &key).unwrap();
    fs::remove_file(&path).unwrap();
    let kms = FileKms::open(&path).unwrap();
    assert!(matches!(kms.unwrap_key(&aad, &old), Err(KmsError::UnknownVersion(KeyVersion(0)))));
    assert_eq!(kms.unwrap_key(&aad, &new).unwrap().expose(), key.expose());
}

#[test]
fn a_version_that_others_can_read_is_refused_and_names_that_only_look_alike_are_not_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.key");
    FileKms::create(&path, &SystemEntropy).unwrap();
    for name in
        ["kms.key.01", "kms.key.+1", "kms.key.0", "kms.key.old", "kms.key.1.bak", "kms.key1", "kms.key.99999999999"]
    {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    FileKms::open(&path).unwrap().rotate(&SystemEntropy).unwrap();
    let second = dir.path().join("kms.key.1");
    chmod(&second, 0o644);
    match FileKms::open(&path).err() {
        Some(KmsError::File { path, fault: FileFault::Access { mode: 0o644 } }) => assert_eq!(path, second),
        other => panic!("{other:?}"),
    }
}
