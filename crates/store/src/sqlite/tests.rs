use super::*;
use crate::conformance;
use crate::conformance::fixture::*;
use crate::{Requirement, SealedChange};
use std::time::Duration;

mod crash;
mod epochs;
mod faults;
mod many;
mod sweeping;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        async |place: u32| SqliteStore::open(&folder.path().join(place.to_string()), Options::default()).unwrap();
    conformance::run(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn carries_to_another() {
    let folder = tempfile::tempdir().unwrap();
    conformance::carries(open(&folder.path().join("here")), open(&folder.path().join("there"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reseals() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |place: u32, seals_max: u64| {
        let store = open(&folder.path().join(place.to_string()));
        store.limit_seals(seals_max);
        store
    };
    conformance::reseals(open).await;
}

/// The same with so few descriptors that tenants are closed all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_the_least_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { descriptors_max: 0, cache_bytes_max: 0, readers_kept: 0 };
    conformance::run(async |place| open_with(&folder.path().join(place.to_string()), options)).await;
}

/// A store that was dropped is closed once the thread that led its last group of writes is done with it.
fn open(folder: &Path) -> SqliteStore {
    open_with(folder, Options::default())
}

fn open_with(folder: &Path, options: Options) -> SqliteStore {
    for _ in 0..500 {
        match SqliteStore::open(folder, options) {
            Err(StoreError::InUse) => std::thread::sleep(Duration::from_millis(10)),
            other => return other.unwrap(),
        }
    }
    panic!("the store stays open");
}

fn file(folder: &Path, tenant: TenantId) -> PathBuf {
    folder.join("tenants").join(format!("{tenant}.db"))
}

/// A store with one tenant and some records.
async fn with_records(folder: &Path, count: u64) -> SqliteStore {
    let store = open(folder);
    library_of(&store, tenant(1)).await;
    store
        .write(tenant(1), batch((0..count).map(|number| insert(number, number % 3)).collect()))
        .await
        .unwrap()
        .unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remembers() {
    let folder = tempfile::tempdir().unwrap();
    conformance::remembers(&open(&folder.path().join("here"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn moments() {
    let folder = tempfile::tempdir().unwrap();
    conformance::moments(open(&folder.path().join("here"))).await;
    let log = file(&folder.path().join("here"), tenant(1)).with_extension("db-wal");
    assert_eq!(log.metadata().map_or(0, |log| log.len()), 0, "nothing of what was replaced is left in the log");
}
