//! How fast a ledger in PostgreSQL is beside one in a folder. Figures are printed; nothing is asked of them.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_audit::conformance::{sample, tenant};
use countersign_audit::ledger::storage::{Folder, Storage};
use countersign_audit::{AuditSink as _, Ledger, Options};
use countersign_model::Service;

use self::support::{Server, open};

const RUN: Duration = Duration::from_secs(3);

async fn load(ledger: &Arc<Ledger>, callers: u64) -> (f64, Duration, Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    ledger.append(sample(Service::Gateway, Some(tenant(1)), caller)).await.unwrap();
                    took.push(asked.elapsed());
                }
                took
            })
        })
        .collect();
    tokio::time::sleep(RUN).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    all.sort_unstable();
    let at = |part: f64| all.get((all.len() as f64 * part) as usize).copied().unwrap_or_default();
    (rate, at(0.5), at(0.99))
}

async fn measure(name: &str, storage: Arc<dyn Storage>) {
    let ledger = open(storage, Options::default());
    for callers in [1, 16, 64] {
        let (rate, half, most) = load(&ledger, callers).await;
        println!("{name:32} {callers:3} callers: {rate:8.0} records/s, p50 {half:9.1?}, p99 {most:9.1?}");
    }
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, half a minute"]
async fn how_fast() {
    let folder = tempfile::tempdir().unwrap();
    measure("a folder", Arc::new(Folder::open(&folder.path().join("gateway")).unwrap())).await;
    for (name, lines) in [("PostgreSQL", "fsync = on"), ("PostgreSQL, fsync = off", "fsync = off")] {
        let server = Server::start_with(lines);
        let ledger = server.fresh();
        measure(name, server.open(&ledger)).await;
        println!(
            "{}",
            server
                .server
                .sql(
                    "countersign",
                    "SELECT count(*), sum(octet_length(bytes)), \
            pg_total_relation_size('countersign.ledger_part'), pg_total_relation_size('countersign.ledger') \
            FROM countersign.ledger_part"
                )
                .unwrap()
        );
    }
}
