//! How fast a ledger in PostgreSQL is beside one in a folder. Figures are printed; nothing is asked of them.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_audit::conformance::{sample, tenant};
use countersign_audit::ledger::storage::{Folder, Storage};
use countersign_audit::postgres::PostgresStorage;
use countersign_audit::verify::{self, Against};
use countersign_audit::{AuditSink as _, Ledger, LedgerQuery, Options};
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

/// Memory of this process: now, and at most since it was last asked.
fn memory_mib() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    (field("VmRSS"), field("VmHWM"))
}

/// What a ledger of a million records takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, some minutes"]
async fn a_million_records() {
    const RECORDS: u64 = 1_000_000;
    let server = Server::start();
    let name = server.fresh();
    let ledger = open(server.open(&name), Options::default());
    let began = Instant::now();
    let tasks: Vec<_> = (0..500)
        .map(|caller| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                for number in 0..RECORDS / 500 {
                    let number = caller * (RECORDS / 500) + number;
                    ledger.append(sample(Service::Gateway, Some(tenant(1)), number)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("{RECORDS} records written in {:.1?}; memory {:?} MiB (now, most)", began.elapsed(), memory_mib());
    ledger.close().await;
    drop(ledger);
    let sizes = "SELECT count(*), sum(octet_length(bytes)), pg_total_relation_size('countersign.ledger_part'), \
        max(octet_length(bytes)) FROM countersign.ledger_part";
    println!("rows, bytes, on disk, largest: {}", server.server.sql("countersign", sizes).unwrap());
    server.server.sql("countersign", "VACUUM countersign.ledger_part").unwrap();
    println!("before opening: memory {:?} MiB", memory_mib());
    let began = Instant::now();
    let ledger = open(server.open(&name), Options::default());
    println!("opened in {:.1?}; memory {:?} MiB (now, most)", began.elapsed(), memory_mib());
    let began = Instant::now();
    let by = LedgerQuery { request: Some(sample(Service::Gateway, None, 777_777).request), ..LedgerQuery::default() };
    assert_eq!(ledger.query(Some(tenant(1)), &by).unwrap().len(), 1);
    println!("one record found in {:.1?}", began.elapsed());
    ledger.close().await;
    let began = Instant::now();
    let look = PostgresStorage::look(Arc::clone(&server.database), &name).unwrap();
    let report = verify::storage(Arc::new(look), &Against::default(), &mut |_, _| ()).unwrap();
    assert!(report.is_good() && report.records == RECORDS, "{report:?}");
    println!("verified in {:.1?}; memory {:?} MiB (now, most)", began.elapsed(), memory_mib());
}
