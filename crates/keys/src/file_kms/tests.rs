use std::os::unix::fs::{PermissionsExt, symlink};

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
