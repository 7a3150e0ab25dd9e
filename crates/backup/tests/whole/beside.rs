//! Beside requests, that go first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_backup::*;

use crate::setting::*;

/// Requests without end, two at a time, since then.
struct Busy(Instant);

impl Watch for Busy {
    fn served(&self) -> Duration {
        self.0.elapsed().saturating_mul(2)
    }
}

/// Makes a backup, reads all of it, and gives how long each took.
async fn timed(folder: &std::path::Path, watch: Arc<dyn Watch>) -> (Duration, Duration) {
    let repository = repository(folder).await;
    let began = Instant::now();
    let mut writer = repository.begin(keys(), Arc::clone(&watch)).await.unwrap();
    writer.section(Section::Tenant(tenant(1))).await.unwrap();
    for number in 0..8 {
        writer.chunk(vec![number; 300_000]).await.unwrap();
    }
    let finished = writer.finish(vec![]).await.unwrap();
    let (wrote, began) = (began.elapsed(), Instant::now());
    let verified = repository.reader(finished.manifest, keys(), watch).verify_all().await.unwrap();
    assert_eq!((finished.new_chunks, verified.chunks, verified.bytes), (8, 8, 8 * 300_000));
    (wrote, began.elapsed())
}

/// It takes several times as long beside requests as it does when nobody asks for anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_first() {
    let (quiet, busy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let alone = timed(quiet.path(), Arc::new(())).await;
    let beside = timed(busy.path(), Arc::new(Busy(Instant::now()))).await;
    assert!(beside.0 > 3 * alone.0, "made in {beside:?} beside requests, {alone:?} without");
    assert!(beside.1 > 3 * alone.1, "read in {beside:?} beside requests, {alone:?} without");
}
