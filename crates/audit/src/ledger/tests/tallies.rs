//! What those read who hold the ledgers against each other.

use std::time::{Duration, Instant};

use super::*;
use crate::tally::TallyEntry;

pub(super) fn read_all(ledger: &Ledger, limit: usize) -> Vec<(Position, TallyEntry)> {
    let mut all: Vec<(Position, TallyEntry)> = Vec::new();
    loop {
        let more = ledger.tallies(all.last().map(|(position, _)| *position), limit).unwrap();
        assert!(more.len() <= limit);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[tokio::test]
async fn tallies_come_in_order_without_a_gap_and_without_tenants_keys() {
    let bench = Bench::new(small_segments());
    let ledger = bench.open();
    let mut written = Vec::new();
    for number in 0..40 {
        let mut record = sample(SERVICE, Some(tenant(u128::from(number % 3))), number);
        record.tally = record.tally.filter(|_| number % 5 > 0);
        let position = ledger.append(record.clone()).await.unwrap();
        written.push((position, TallyEntry::of(&record)));
    }
    (0..3).for_each(|number| bench.keys.withhold(Some(tenant(number))));
    for limit in [1, 7, 1000] {
        assert_eq!(read_all(&ledger, limit), written);
    }
    assert_eq!(ledger.tallies(Some(Position(39)), 10).unwrap(), []);
    assert_eq!(ledger.tallies(Some(Position(u64::MAX)), 10).unwrap(), []);
    bench.keys.withhold(None);
    assert!(matches!(ledger.tallies(None, 10), Err(AuditError::NoKey)));
    assert_eq!(ledger.tallies(Some(Position(39)), 10).unwrap(), [], "nothing to open");
}

/// The records of these tests are a millisecond apart.
#[tokio::test]
async fn the_place_of_a_moment_is_found() {
    let bench = Bench::new(small_segments());
    let ledger = bench.open();
    let time = |number| sample(SERVICE, None, number).time;
    assert_eq!(ledger.before(time(0)).unwrap(), None);
    append(&ledger, 0..40).await;
    assert_eq!(ledger.before(time(0)).unwrap(), None);
    for number in 1..40 {
        assert_eq!(ledger.before(time(number)).unwrap(), Some(Position(number - 1)));
    }
    assert_eq!(ledger.before(time(1_000)).unwrap(), Some(Position(39)));
}

/// A tally that another key sealed is an error, not a record without one.
#[tokio::test]
async fn a_tally_that_does_not_open_is_damage() {
    let bench = Bench::filled(Options::default(), 3).await;
    let bench = Bench { keys: Arc::default(), ..bench };
    assert!(matches!(bench.open().tallies(Some(Position(0)), 10), Err(AuditError::Damaged(Position(1)))));
}

#[tokio::test]
async fn a_tenant_without_a_key_has_its_records_all_the_same() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    let record = |number| sample(SERVICE, Some(tenant(1)), number);
    ledger.append(record(0)).await.unwrap();
    bench.keys.withhold(Some(tenant(1)));
    ledger.append(record(1)).await.unwrap();
    ledger.append(sample(SERVICE, None, 2)).await.unwrap();
    let after_first = LedgerQuery { after: Some(Position(0)), ..LedgerQuery::default() };
    let found = ledger.query(Some(tenant(1)), &after_first).unwrap();
    assert_eq!(found, [(Position(1), record(1))], "the tenant's own and not the deployment's");
    assert_eq!(ledger.query(None, &LedgerQuery::default()).unwrap().len(), 1);
    assert!(matches!(ledger.query(Some(tenant(1)), &LedgerQuery::default()), Err(AuditError::NoKey)));
}

/// A follower reads what is new and nothing before it, however long the ledger is. The bound keeps out what grows
/// with the ledger: 2,000 such reads took seconds then.
#[tokio::test]
async fn following_a_long_ledger_is_cheap() {
    const RECORDS: u64 = 20_000;
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    for number in 0..RECORDS {
        ledger.note(sample(SERVICE, Some(tenant(1)), number)).await.unwrap();
    }
    ledger.append(sample(SERVICE, Some(tenant(1)), RECORDS)).await.unwrap();
    let started = Instant::now();
    assert_eq!(read_all(&ledger, 1_000).len() as u64, RECORDS + 1);
    let whole = started.elapsed();
    let started = Instant::now();
    for after in RECORDS - 2_000..RECORDS {
        assert_eq!(ledger.tallies(Some(Position(after)), 1).unwrap().len(), 1);
    }
    println!("{RECORDS} tallies in {whole:?}; 2,000 single ones at the end in {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// Whoever follows is told whether there is more to come: not while records wait to be durable.
#[tokio::test]
async fn whether_tallies_are_all_is_said() {
    let bench = Bench::new(Options { lazy_ms: 2, ..Options::default() });
    let ledger = bench.open();
    let is_all = || ledger.tallies_to_now(None, 1000).unwrap().1;
    assert!(is_all(), "nothing was recorded");
    append(&ledger, 0..3).await;
    assert!(is_all());
    assert!(!ledger.tallies_to_now(None, 2).unwrap().1, "there is a third");
    assert!(ledger.tallies_to_now(Some(Position(2)), 2).unwrap().1);
    // A sync that takes long, as while a database fails over; and one that fails.
    let wait = async |for_what: bool| {
        let started = Instant::now();
        while is_all() != for_what {
            assert!(started.elapsed() < Duration::from_secs(30), "{for_what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    bench.storage.slow_syncs(Duration::from_secs(3));
    let slow = ledger.append(sample(SERVICE, None, 3));
    tokio::join!(async { slow.await.map(drop).unwrap() }, wait(false));
    bench.storage.slow_syncs(Duration::ZERO);
    wait(true).await;
    bench.storage.fail_writes(Some(std::io::ErrorKind::StorageFull));
    assert!(ledger.append(sample(SERVICE, None, 4)).await.is_err());
    assert!(!is_all());
    bench.storage.fail_writes(None);
    wait(true).await;
}
