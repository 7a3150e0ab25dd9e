use std::time::Instant;

use countersign_crypto::Tag;
use countersign_model::RecordId;

use super::*;
use crate::carry::{CarriedRow, Carry as _, bring};
use crate::conformance::fixture::*;
use crate::sqlite::{Options, SqliteStore};

fn embedded(folder: &std::path::Path) -> SqliteStore {
    SqliteStore::open(folder, Options::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn carries_from_files_to_tables_and_from_tables_to_files() {
    let server = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    conformance::carries(embedded(&folder.path().join("1")), store(&server, "there", 4).await).await;
    conformance::carries(store(&server, "here", 4).await, embedded(&folder.path().join("2"))).await;
}

/// How long many records take, there and back. `RECORDS` says how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "how many is said from outside")]
#[ignore = "a measurement: a million records take about two minutes; run it with --release"]
async fn carries_a_million() {
    let count = std::env::var("RECORDS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000u64);
    let server = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (embedded(folder.path()), store(&server, "there", 8).await);
    library_of(&here, tenant(1)).await;
    library_of(&there, tenant(1)).await;
    let began = Instant::now();
    for first in (0..count).step_by(5_000) {
        let row = |number: u64| CarriedRow {
            record: RecordId::from_u128(record(number).as_u128()),
            version: 1,
            at: countersign_model::UnixMs(1),
            cells: vec![(KEY, cell(number)), (SHELF, cell(number % 7)), (NOTE, vec![7; 120])],
            tags: vec![(KEY, tag(number)), (SHELF, Tag(tag(number % 7).0))],
        };
        here.put(tenant(1), BOOK, &[], (first..(first + 5_000).min(count)).map(row).collect()).await.unwrap();
    }
    println!("{count} records made in {:?}", began.elapsed());
    for (what, from, to) in [
        ("carried", &here as &dyn crate::carry::Carry, &there as &dyn crate::carry::Carry),
        ("compared", &here, &there),
        ("compared the other way round", &there, &here),
    ] {
        let began = Instant::now();
        let brought = bring(from, to, (tenant(1), BOOK), |_| {}).await.unwrap();
        let rate = brought.rows as f64 / began.elapsed().as_secs_f64();
        println!("{what}: {brought:?} in {:?}, {rate:.0} rows/s", began.elapsed());
        assert_eq!(brought.rows, count);
    }
    let back = embedded(&folder.path().join("back"));
    library_of(&back, tenant(1)).await;
    let began = Instant::now();
    let brought = bring(&there, &back, (tenant(1), BOOK), |_| {}).await.unwrap();
    println!("carried back: {brought:?} in {:?}", began.elapsed());
}
