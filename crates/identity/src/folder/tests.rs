use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use countersign_crypto::SystemEntropy;
use countersign_crypto::x509::{CertificateAuthority, WorkloadKey};
use countersign_model::UnixMs;

use super::*;

const NOW: UnixMs = UnixMs(1_785_000_000_000);

fn held(id: &str) -> Held {
    let authority = CertificateAuthority::generate("Countersign example", NOW, 10).unwrap();
    let key = WorkloadKey::generate().unwrap();
    let issued = authority.issue_workload(&key.request().unwrap(), &id.parse().unwrap(), &[], NOW, 60_000).unwrap();
    let known = Known {
        authority: "127.0.0.1:8471".into(),
        ca_pem: authority.ca_pem().into(),
        trust_domain: "countersign".into(),
    };
    Held::new(key.with_chain(issued.chain_der).unwrap(), known, None).unwrap()
}

fn open(path: &Path) -> Result<Folder, FolderError> {
    Folder::open(path, Arc::new(SystemEntropy))
}

fn fault(result: Result<Option<Held>, FolderError>) -> FolderFault {
    result.err().unwrap().fault
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_kept_is_read_again_and_nobody_else_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let folder = open(&path).unwrap();
    assert!(folder.load().unwrap().is_none());
    assert_eq!(folder.known().unwrap(), None);
    for id in ["spiffe://countersign/keys/a", "spiffe://countersign/keys/b"] {
        let held = held(id);
        folder.save(&held).unwrap();
        let again = open(&path).unwrap().load().unwrap().unwrap();
        assert_eq!((again.id(), again.expires()), (held.id(), held.expires()));
        assert_eq!(again.known(), held.known());
        assert_eq!(*again.certificate.key_pkcs8_der, *held.certificate.key_pkcs8_der);
        assert_eq!(again.since, NOW.minus_ms(5 * 60 * 1000));
        assert!(again.is_valid(NOW) && !again.is_valid(held.expires()));
    }
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| file.metadata().unwrap().mode() & 0o7777 == 0o600));
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
    folder.forget().unwrap();
    assert!(folder.load().unwrap().is_none());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn what_others_could_read_or_change_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let folder = open(&path).unwrap();
    folder.save(&held("spiffe://countersign/keys/a")).unwrap();
    for name in [IDENTITY, AUTHORITY] {
        for wide in [0o640, 0o604, 0o620, 0o644] {
            mode(&path.join(name), wide);
            assert!(matches!(fault(folder.load()), FolderFault::Access { mode } if mode == wide), "{name} {wide:o}");
        }
        mode(&path.join(name), 0o600);
    }
    assert!(folder.load().unwrap().is_some());
    for wide in [0o750, 0o701, 0o777] {
        mode(&path, wide);
        assert!(matches!(open(&path).err().unwrap().fault, FolderFault::Access { .. }));
    }
}

#[test]
fn links_and_other_things_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let folder = open(&path).unwrap();
    folder.save(&held("spiffe://countersign/keys/a")).unwrap();
    let elsewhere = dir.path().join("elsewhere.pem");
    fs::rename(path.join(IDENTITY), &elsewhere).unwrap();
    symlink(&elsewhere, path.join(IDENTITY)).unwrap();
    assert!(matches!(fault(folder.load()), FolderFault::Kind));
    fs::remove_file(path.join(IDENTITY)).unwrap();
    fs::create_dir(path.join(IDENTITY)).unwrap();
    assert!(matches!(fault(folder.load()), FolderFault::Kind));
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(open(&link).err().unwrap().fault, FolderFault::Kind));
    assert!(matches!(open(&elsewhere).err().unwrap().fault, FolderFault::Kind));
    let none = dir.path().join("none").join("identity");
    let error = open(&none).err().unwrap();
    assert!(matches!(error.fault(), FolderFault::Io(_)));
    assert_eq!(error.path(), none);
}

#[test]
fn what_is_not_an_identity_is_refused_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let folder = open(&path).unwrap();
    folder.save(&held("spiffe://countersign/keys/a")).unwrap();
    let good = fs::read_to_string(path.join(IDENTITY)).unwrap();
    let contents = [String::new(), good[..good.len() / 2].to_owned(), good.repeat(2), "A".repeat(70_000)];
    for content in contents {
        fs::write(path.join(IDENTITY), &content).unwrap();
        let error = folder.load().err().unwrap();
        assert!(matches!(error.fault, FolderFault::Content));
        assert!(!format!("{error:?} {error}").contains("BEGIN"));
    }
    fs::write(path.join(IDENTITY), [0xff; 10]).unwrap();
    assert!(matches!(fault(folder.load()), FolderFault::Content));
    // The key of one and the certificate of another.
    let other = held("spiffe://countersign/keys/a").certificate.expose_pem();
    let (key, _) = good.split_once("-----BEGIN CERTIFICATE").unwrap();
    let (_, certificate) = other.split_once("-----BEGIN CERTIFICATE").unwrap();
    fs::write(path.join(IDENTITY), format!("{key}-----BEGIN CERTIFICATE{certificate}")).unwrap();
    assert!(matches!(fault(folder.load()), FolderFault::Content));
    fs::write(path.join(IDENTITY), good).unwrap();
    assert!(folder.load().unwrap().is_some());
    fs::write(path.join(AUTHORITY), "{}").unwrap();
    assert!(matches!(fault(folder.load()), FolderFault::Content));
    fs::remove_file(path.join(AUTHORITY)).unwrap();
    assert!(matches!(fault(folder.load()), FolderFault::Content));
}

#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    open(&path).unwrap().save(&held("spiffe://countersign/keys/a")).unwrap();
    fs::write(path.join("identity.pem.0123456789abcdef.new"), "a key").unwrap();
    assert!(open(&path).unwrap().load().unwrap().is_some());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
}
