use super::*;
use crate::conformance;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let open = |place: u32| SqliteStore::open(&folder.path().join(place.to_string()), Options::default()).unwrap();
    conformance::run(open).await;
}
