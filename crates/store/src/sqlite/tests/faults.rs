//! Files that are gone, damaged, newer, not ours or can't be written.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn files_are_private_and_named_by_ids_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_records(&folder.path().join("data"), 10).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let tenants = folder.path().join("data/tenants");
    assert_eq!((mode(&folder.path().join("data")), mode(&tenants)), (0o700, 0o700));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&tenants).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    let id = tenant(1);
    assert_eq!(names, [format!("{id}.db"), format!("{id}.db-shm"), format!("{id}.db-wal")]);
    drop(store);
}

#[tokio::test]
async fn a_folder_is_kept_by_one_store_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_records(folder.path(), 1).await;
    assert_eq!(SqliteStore::open(folder.path(), Options::default()).err(), Some(StoreError::InUse));
    drop(store);
    open(folder.path());
}

#[tokio::test]
async fn a_missing_file_is_not_an_empty_tenant() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_records(folder.path(), 1).await);
    std::fs::remove_file(file(folder.path(), tenant(1))).unwrap();
    let store = open(folder.path());
    store.apply_types(&library()).await.unwrap();
    assert_eq!(store.read(tenant(1), &scan(Access::All)).await, Err(StoreError::UnknownTenant));
    assert_eq!(store.write(tenant(1), batch(vec![])).await, Err(StoreError::UnknownTenant));
}

#[tokio::test]
async fn newer_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_records(folder.path(), 1).await);
    let path = file(folder.path(), tenant(1));
    let spoil = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    spoil("PRAGMA user_version = 9");
    let store = open(folder.path());
    store.apply_types(&library()).await.unwrap();
    let newer = StoreError::NewerFormat { found: 9, known: 2 };
    assert_eq!(store.read(tenant(1), &scan(Access::All)).await, Err(newer));
    assert_eq!(store.write(tenant(1), batch(vec![])).await, Err(newer));
    assert_eq!(newer.to_string(), "stored data has format 9; this program knows formats up to 2");
    std::fs::write(file(folder.path(), tenant(2)), b"not a database, and long enough to be looked at").unwrap();
    assert_eq!(store.read(tenant(2), &scan(Access::All)).await, Err(StoreError::Damaged));
}

/// Whatever bytes are broken, the answer is what was written or an error: never a panic, and never for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_bytes_are_an_error_or_leave_the_answer_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_records(folder.path(), 200).await);
    let path = file(folder.path(), tenant(1));
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = 0;
    for step in 0..60usize {
        let mut bytes = whole.clone();
        let start = (step * 7919 * 13) % bytes.len();
        let end = (start + 200).min(bytes.len());
        bytes[start..end].fill(0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let store = open(folder.path());
        store.apply_types(&library()).await.unwrap();
        match store.read(tenant(1), &scan(Access::All)).await {
            // A broken cell is found by whoever unseals it.
            Ok(rows) => assert!(rows.len() <= 200),
            Err(StoreError::Damaged | StoreError::NewerFormat { .. }) => damaged += 1,
            Err(other) => panic!("{other:?}"),
        }
        let _ = store.read(tenant(1), &scan(on_shelves(&[1, 2]))).await;
        let _ = store.write(tenant(1), batch(vec![update(1, 1, b"x"), insert(900, 1)])).await;
    }
    assert!(damaged > 5, "{damaged}");
}

/// Writes that meet a full disk fail as that, lose nothing, and go on when there is space again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_records(folder.path(), 50).await;
    let open = store.shared.tenant(tenant(1)).unwrap();
    let pages = |most: u32| {
        open.with_writer(|writer| {
            writer.pragma_update_and_check(None, "max_page_count", most, |_| Ok(())).map_err(failure::fault)
        })
    };
    pages(1).unwrap();
    let large = || {
        let cells = vec![(KEY, vec![9; 200_000])];
        SealedChange::Insert { record_type: BOOK, record: record(900), cells, tags: vec![(KEY, tag(900))] }
    };
    let before = everything(&store, tenant(1)).await;
    let full = StoreError::Unavailable(Unavailable::Full);
    assert_eq!(store.write(tenant(1), batch(vec![update(1, 1, b"x"), large()])).await, Err(full));
    assert_eq!(everything(&store, tenant(1)).await, before);
    // The connection that failed was closed; the next one knows nothing of the limit.
    store.write(tenant(1), batch(vec![update(1, 1, b"x"), large()])).await.unwrap().unwrap();
    assert_eq!(everything(&store, tenant(1)).await.len(), 51);
}

/// Batches that were queued together with one that can't be made are not its victims.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_survives_its_bad_batches() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(with_records(folder.path(), 1).await);
    let tasks: Vec<_> = (1..200u64)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let one = match number % 4 {
                    0 => batch(vec![insert(number, 1), insert(number + 4000, 1), insert(number + 4000, 2)]),
                    1 => Batch {
                        changes: vec![insert(number, 1)],
                        requires: vec![Requirement::Absent { record_type: BOOK, field: SHELF, tags: vec![tag(1)] }],
                        once: None,
                        ..Batch::default()
                    },
                    2 => batch(vec![SealedChange::Delete { record_type: TypeId(77), record: record(1), version: 1 }]),
                    _ => batch(vec![insert(number, 1)]),
                };
                (number, store.write(tenant(1), one).await)
            })
        })
        .collect();
    let mut made = 1;
    for task in tasks {
        let (number, verdict) = task.await.unwrap();
        match (number % 4, verdict) {
            (0, Ok(Err(Rejected::Stale { change: 2 }))) | (1, Ok(Err(Rejected::Present { requirement: 0, .. }))) => {}
            (2, Err(StoreError::UnknownField)) => {}
            // Nothing was on the shelf yet.
            (1 | 3, Ok(Ok(()))) => made += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.count(tenant(1), BOOK).await.unwrap(), made);
}

#[tokio::test]
async fn what_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_records(folder.path(), 1).await);
    // Rights do not hold the superuser back, under whom tests may run: a folder in the place of a file does.
    let blocked = folder.path().join("tenants").join(format!("{}.new", tenant(2)));
    std::fs::create_dir(&blocked).unwrap();
    let store = open(folder.path());
    store.apply_types(&library()).await.unwrap();
    assert!(matches!(store.create_tenant(tenant(2)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.read(tenant(2), &scan(Access::All)).await, Err(StoreError::UnknownTenant));
    std::fs::remove_dir(&blocked).unwrap();
    std::fs::write(&blocked, b"left by a crash").unwrap();
    store.create_tenant(tenant(2)).await.unwrap();
    assert!(everything(&store, tenant(2)).await.is_empty());
    let shown = format!("{:?} {store:?}", StoreError::Unavailable(Unavailable::Io));
    assert!(!shown.contains("tenants/") && !shown.contains(&tenant(1).to_string()), "{shown}");
}
