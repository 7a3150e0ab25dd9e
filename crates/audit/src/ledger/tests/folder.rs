//! The ledger on a real folder.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::ledger::mark;

struct OnDisk {
    _root: tempfile::TempDir,
    path: PathBuf,
    keys: Arc<TestKeys>,
}

impl OnDisk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("audit").join("gateway");
        Self { _root: root, path, keys: Arc::default() }
    }

    fn try_open(&self) -> Result<Ledger, LedgerError> {
        let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&self.keys);
        Ledger::open(&self.path, SERVICE, keys, Arc::new(SystemEntropy), small_segments())
    }

    fn open(&self) -> Ledger {
        self.try_open().unwrap()
    }

    fn mode(&self, mode: u32) {
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    let make = async || {
        let name = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
        let keys = Arc::new(TestKeys::default());
        Ledger::open(&root.path().join(name), SERVICE, keys, Arc::new(SystemEntropy), Options::default()).unwrap()
    };
    crate::conformance::run(SERVICE, make).await;
}

#[tokio::test]
async fn a_second_opening_finds_what_the_first_one_wrote() {
    let disk = OnDisk::new();
    for start in [0, 10, 20] {
        append(&disk.open(), start..start + 10).await;
    }
    assert_eq!(numbers(&disk.open()), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn files_are_their_owners_alone_and_the_ledger_its_processes() {
    let disk = OnDisk::new();
    let ledger = disk.open();
    append(&ledger, 0..30).await;
    assert!(matches!(disk.try_open(), Err(LedgerError::InUse)));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&disk.path), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&disk.path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    assert_eq!(names[0], FIRST);
    assert!(names.len() > 4 && names.contains(&mark::NAME.to_owned()));
}

#[tokio::test]
async fn nothing_that_names_anybody_is_in_the_files() {
    let disk = OnDisk::new();
    append(&disk.open(), 0..30).await;
    let record = sample(SERVICE, Some(tenant(1)), 5);
    let body = &record.body;
    let user = body.user.unwrap();
    let texts = [body.user_name.as_deref(), body.purpose.as_deref(), body.detail.as_deref(), Some("read")];
    let mut needles: Vec<Vec<u8>> = texts.into_iter().flatten().map(|text| text.as_bytes().to_vec()).collect();
    needles.push(user.as_bytes().to_vec());
    needles.push(body.session.unwrap().as_bytes().to_vec());
    needles.push(body.accesses[0].records.as_bytes().to_vec());
    drop(disk.open());
    let names = Folder::look(&disk.path).unwrap().list().unwrap();
    assert!(names.iter().any(|name| name.starts_with("index/")), "{names:?}");
    for name in names {
        let bytes = std::fs::read(disk.path.join(name)).unwrap();
        for needle in &needles {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }
}

/// Also for the administrator's account, whom permissions don't stop.
#[tokio::test]
async fn a_folder_made_read_only_refuses_and_recovers() {
    let disk = OnDisk::new();
    let ledger = disk.open();
    append(&ledger, 0..2).await;
    disk.mode(0o500);
    for _ in 0..2 {
        let outcome = ledger.append(sample(SERVICE, Some(tenant(1)), 9)).await;
        assert!(matches!(outcome, Err(AuditError::Unavailable)));
    }
    assert_eq!(numbers(&ledger), [0, 1]);
    disk.mode(0o700);
    append(&ledger, 2..3).await;
    drop(ledger);
    assert_eq!(numbers(&disk.open()), [0, 1, 2]);
}

#[tokio::test]
async fn a_file_or_folder_removed_under_it_refuses() {
    let disk = OnDisk::new();
    let ledger = disk.open();
    append(&ledger, 0..2).await;
    std::fs::remove_file(disk.path.join(FIRST)).unwrap();
    for _ in 0..2 {
        assert!(matches!(ledger.append(sample(SERVICE, None, 1)).await, Err(AuditError::Unavailable)));
    }
    assert!(!disk.path.join(FIRST).exists(), "no empty file in its place");
    drop(ledger);
    assert!(matches!(disk.try_open(), Err(LedgerError::Truncated { found: 0, acknowledged: 2 })));

    let disk = OnDisk::new();
    let ledger = disk.open();
    append(&ledger, 0..2).await;
    std::fs::remove_dir_all(&disk.path).unwrap();
    assert!(matches!(ledger.append(sample(SERVICE, None, 1)).await, Err(AuditError::Unavailable)));
}
