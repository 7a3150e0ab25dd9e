//! Who can read what.

use countersign_model::{RecordId, TypeId};

use super::*;

/// Tenant B's key is gone: tenant A's answers don't change, so B's bodies are not opened for them.
#[tokio::test]
async fn one_tenants_query_never_opens_anothers_bodies() {
    let bench = Bench::new(small_segments());
    let ledger = bench.open();
    for number in 0..40 {
        ledger.append(sample(SERVICE, Some(tenant(1 + u128::from(number % 2))), number)).await.unwrap();
    }
    bench.keys.withhold(Some(tenant(2)));
    let found = ledger.query(Some(tenant(1)), &LedgerQuery::default()).unwrap();
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|(_, record)| record.tenant == Some(tenant(1))));
    assert!(matches!(ledger.query(Some(tenant(2)), &LedgerQuery::default()), Err(AuditError::NoKey)));
}

/// A record that says in clear that it is A's, and whose body is B's, is an error and not an answer.
#[tokio::test]
async fn a_record_under_anothers_key_is_damage() {
    let bench = Bench::filled(Options::default(), 3).await;
    let bench = Bench { keys: Arc::default(), ..bench };
    let ledger = bench.open();
    let found = ledger.query(Some(tenant(1)), &LedgerQuery::default());
    assert!(matches!(found, Err(AuditError::Damaged(Position(2)))));
}

#[tokio::test]
async fn a_query_walks_every_segment_both_ways() {
    let bench = Bench::filled(small_segments(), 60).await;
    let ledger = bench.open();
    for limit in [1, 7, 59, 60, 61] {
        let newest = ledger.query(Some(tenant(1)), &LedgerQuery { limit, ..LedgerQuery::default() }).unwrap();
        assert!(newest.iter().map(|(position, _)| position.0).eq((60 - limit.min(60) as u64)..60));
        let (mut after, mut seen) = (Some(Position(4)), Vec::new());
        loop {
            let page = LedgerQuery { after, limit, ..LedgerQuery::default() };
            let page = ledger.query(Some(tenant(1)), &page).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            seen.extend(page.iter().map(|(position, _)| position.0));
        }
        assert!(seen.into_iter().eq(5..60));
    }
}

#[tokio::test]
async fn leaves_come_as_stored_and_end_with_the_ledger() {
    let bench = Bench::filled(small_segments(), 30).await;
    let ledger = bench.open();
    let mut leaves = Vec::new();
    loop {
        let more = ledger.leaves(Position(leaves.len() as u64), 5).unwrap();
        if more.is_empty() {
            break;
        }
        leaves.extend(more);
    }
    assert_eq!(leaves.len(), 30);
    let stored: Vec<u8> =
        bench.storage.list().unwrap().iter().flat_map(|name| bench.storage.contents(name).unwrap()).collect();
    for leaf in &leaves {
        assert!(stored.windows(leaf.len()).any(|window| window == leaf));
    }
}

/// Unoptimised and on a busy machine it takes some 10 to 40 ms; the bound only keeps out what grows with the square.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_saw_is_quick_among_many_records() {
    const RECORDS: u64 = 20_000;
    let bench = Bench::new(Options::default());
    let ledger = Arc::new(bench.open());
    let appenders: Vec<_> = (0..64)
        .map(|first| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                for number in (first..RECORDS).step_by(64) {
                    let owner = Some(tenant(1 + u128::from(number % 10)));
                    ledger.append(sample(SERVICE, owner, number)).await.unwrap();
                }
            })
        })
        .collect();
    for appender in appenders {
        appender.await.unwrap();
    }
    let started = std::time::Instant::now();
    let record = Some((TypeId(7), RecordId::from_u128(500)));
    let found = ledger.query(Some(tenant(1)), &LedgerQuery { record, ..LedgerQuery::default() }).unwrap();
    assert_eq!(found.len(), 1);
    let took = started.elapsed();
    println!("who-saw among {RECORDS} records, a tenth of them the tenant's: {took:?}");
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}
