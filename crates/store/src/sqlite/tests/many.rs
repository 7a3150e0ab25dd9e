//! Many tenants, many readers, a settled file that begins to be written.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_beyond_the_limit_are_closed_and_come_back() {
    const TENANTS: u128 = 40;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { descriptors_max: 20, ..Options::default() };
    let store = SqliteStore::open(folder.path(), options).unwrap();
    store.apply_types(&library()).await.unwrap();
    for number in 0..TENANTS {
        store.create_tenant(tenant(number)).await.unwrap();
    }
    for round in 0..3u64 {
        for number in 0..TENANTS {
            store.write(tenant(number), batch(vec![insert(round, 1)])).await.unwrap().unwrap();
            assert_eq!(everything(&store, tenant(number)).await.len() as u64, round + 1);
            assert!(store.shared.open.read().len() <= 12, "{store:?}");
        }
    }
}

/// Tenants are opened, written, closed and opened again under each other's hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_and_opening_at_once_disturbs_nobody() {
    const TENANTS: u64 = 24;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { descriptors_max: 16, ..Options::default() };
    let store = Arc::new(SqliteStore::open(folder.path(), options).unwrap());
    store.apply_types(&library()).await.unwrap();
    for number in 0..TENANTS {
        store.create_tenant(tenant(number.into())).await.unwrap();
    }
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for turn in 0..90u64 {
                    let one = tenant(((task * 5 + turn * 7) % TENANTS).into());
                    if turn % 3 == 0 {
                        store.write(one, batch(vec![insert(task * 1000 + turn, 0)])).await.unwrap().unwrap();
                    } else {
                        everything(&*store, one).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut rows = 0;
    for number in 0..TENANTS {
        rows += everything(&*store, tenant(number.into())).await.len();
    }
    assert_eq!(rows, 8 * 30);
}

#[tokio::test]
async fn a_settled_tenant_takes_one_descriptor_and_no_log() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_records(folder.path(), 100).await);
    let path = file(folder.path(), tenant(1));
    let log = path.with_extension("db-wal");
    assert!(!log.exists(), "closing copies the log into the file");
    let store = open(folder.path());
    store.apply_types(&library()).await.unwrap();
    assert_eq!(everything(&store, tenant(1)).await.len(), 100);
    assert!(!log.exists(), "reading needs no log");
    store.write(tenant(1), batch(vec![insert(500, 0)])).await.unwrap().unwrap();
    assert!(log.exists());
    assert_eq!(everything(&store, tenant(1)).await.len(), 101);
}

/// Long scans of the bare file are under way when the first write comes: they see it whole, from before or after.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_write_waits_for_bare_readers_and_they_see_no_half() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_records(folder.path(), 4000).await);
    for round in 0..8u64 {
        let store = Arc::new(open(folder.path()));
        store.apply_types(&library()).await.unwrap();
        let expected = 4000 + usize::try_from(round).unwrap() * 2000;
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    for _ in 0..6 {
                        seen.push(everything(&*store, tenant(1)).await.len());
                    }
                    seen
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(round)).await;
        // Large enough to be copied into the file while readers are at work.
        let first = 10_000 * (round + 1);
        let changes = (first..first + 2000).map(|number| insert(number, 1)).collect();
        store.write(tenant(1), batch(changes)).await.unwrap().unwrap();
        for reader in readers {
            let seen = reader.await.unwrap();
            assert!(seen.iter().all(|rows| *rows == expected || *rows == expected + 2000), "{seen:?}");
            assert!(seen.is_sorted());
        }
    }
}

#[tokio::test]
async fn types_applied_while_tenants_are_open_come_into_force_at_the_next_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_records(folder.path(), 3).await;
    let by_code = scan(Access::Tags { field: CODE, tags: vec![tag(1)] });
    assert!(store.read(tenant(1), &by_code).await.unwrap().is_empty());
    let mut types = library();
    types.types[0].fields[2].indexed = false;
    types.types[0].fields[2].unique = false;
    store.apply_types(&types).await.unwrap();
    assert_eq!(store.read(tenant(1), &by_code).await, Err(StoreError::UnknownField));
    assert_eq!(everything(&store, tenant(1)).await.len(), 3);
}

#[test]
fn without_a_runtime_nothing_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(with_records(folder.path(), 1));
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let mut write = store.write(tenant(1), batch(vec![insert(7, 0)]));
    let interrupted = Err(StoreError::Unavailable(Unavailable::Interrupted));
    assert_eq!(write.as_mut().poll(&mut context), std::task::Poll::Ready(interrupted));
    drop(write);
    // The next one, on a runtime, is not kept waiting by the one that failed.
    runtime.block_on(async { store.write(tenant(1), batch(vec![insert(8, 0)])).await.unwrap().unwrap() });
    assert_eq!(runtime.block_on(everything(&store, tenant(1))).len(), 2);
}
