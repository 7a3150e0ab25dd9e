//! Servers and wires that fail.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use countersign_postgres::Settings;
use countersign_testkit::{DATABASE, Proxy};

use super::*;
use crate::conformance::fixture::*;
use crate::{Access, SealedChange};

/// A store that reaches the server through a wire, with this much patience.
async fn through(server: &Postgres, proxy: &Proxy, patience: Duration) -> PostgresStore {
    let mut settings: Settings = server.settings().unwrap();
    let schema = Pool::new(settings.clone(), server.owner().unwrap());
    migrate(&schema, &[CORE, RECORDS]).await.unwrap();
    settings.hosts = vec![("127.0.0.1".into(), proxy.port())];
    settings.answer_timeout = Duration::from_secs(1);
    settings.patience = patience;
    let pool = Pool::new(settings, server.identity(Service::Store).unwrap());
    PostgresStore::new(pool, Some(schema), Arc::new(SystemEntropy))
}

/// How many records and ids of batches there are, as the administrator sees.
fn stored(server: &Postgres) -> String {
    server
        .sql(DATABASE, "SELECT (SELECT count(*) FROM countersign.r0), (SELECT count(*) FROM countersign.written)")
        .unwrap()
}

/// INVARIANT never-twice: a batch is made once, however often the wire breaks around its commit, and its caller learns so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_asked_for_again() {
    let server = Postgres::start().unwrap();
    let proxy = Arc::new(Proxy::to(server.port()).unwrap());
    let store = Arc::new(through(&server, &proxy, Duration::from_secs(30)).await);
    library_of(&*store, tenant(1)).await;
    write(&*store, tenant(1), vec![insert(0, 0)]).await.unwrap();
    for round in 1..=12u64 {
        let writing = Arc::clone(&store);
        let written = tokio::spawn(async move { write(&*writing, tenant(1), vec![insert(round, 1)]).await });
        // Somewhere in the round trips.
        tokio::time::sleep(Duration::from_micros(round * 300)).await;
        match round % 3 {
            0 => proxy.cut(),
            _ => {
                proxy.mute(true);
                tokio::time::sleep(Duration::from_millis(100)).await;
                proxy.cut();
                proxy.mute(false);
            }
        }
        assert_eq!(written.await.unwrap(), Ok(()), "not made, or made twice and taken for another's");
    }
    assert_eq!(numbers(&*store, tenant(1), &scan(Access::All)).await, (0..=12).collect::<Vec<_>>());
    assert_eq!(stored(&server), "13|13");
}

/// What is asked for again was made, and others have gone on since: that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_since_does_not_come_back() {
    let server = Postgres::start().unwrap();
    let store = store(&server, DATABASE, 4).await;
    library_of(&store, tenant(1)).await;
    let first = batch(vec![insert(1, 1)]);
    let types = store.shared.types();
    let id = Uuid::from_u128(7);
    let (pool, replacing) = (&store.shared.pool, &*store.shared.replacing);
    let writing = Writing { pool, types: &types, replacing, tenant: tenant(1), id, batch: &first, keeps: true };
    assert_eq!(writing.make().await, Ok(Ok(())));
    let SealedChange::Insert { record_type, record, .. } = insert(1, 1) else { panic!() };
    write(&store, tenant(1), vec![SealedChange::Delete { record_type, record, version: 1 }]).await.unwrap();
    assert_eq!(writing.make().await, Ok(Ok(())));
    assert_eq!(stored(&server), "0|2");
}

/// What is known of earlier batches no longer has to be removed: a batch does not wait for whoever does that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_do_not_wait_for_what_is_forgotten() {
    let server = Postgres::start().unwrap();
    let store = store(&server, DATABASE, 4).await;
    library_of(&store, tenant(1)).await;
    let once = |id: u8, at: u64| {
        Some(crate::Once { id: [id; 32], at: UnixMs(at), done: Done { request: [0; 32], answer: Vec::new() } })
    };
    let make = async |number: u64, once| {
        store.write(tenant(1), Batch { once, ..batch(vec![insert(number, 1)]) }).await.unwrap()
    };
    make(1, once(1, 1)).await.unwrap();
    let mut removing = store.shared.pool.begin(Scope::Tenant(tenant(1))).await.unwrap();
    assert_eq!(removing.execute(&"DELETE FROM once".into(), &[]).await, Ok(1));
    make(2, once(2, 1 + crate::ONCE_MS)).await.unwrap();
    removing.roll_back().await.unwrap();
    // The id is a new one.
    make(3, once(1, 1 + crate::ONCE_MS)).await.unwrap();
    assert_eq!(stored(&server), "3|3");
}

/// The answer to a commit is lost, and nobody is there to be asked: unknown, and never anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_tell_is_unknown() {
    let server = Postgres::start().unwrap();
    let proxy = Arc::new(Proxy::to(server.port()).unwrap());
    let store = Arc::new(through(&server, &proxy, Duration::from_secs(3)).await);
    library_of(&*store, tenant(1)).await;
    // Its commit waits, as for a standby, until the wire is cut.
    write(&*store, tenant(1), vec![insert(1, 1)]).await.unwrap();
    server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let writing = Arc::clone(&store);
    let written = tokio::spawn(async move { writing.write(tenant(1), batch(vec![insert(2, 1)])).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.close(true);
    proxy.cut();
    assert_eq!(written.await.unwrap(), Err(StoreError::Unknown));
    // Before a commit was asked for, it is known.
    let refused = store.write(tenant(1), batch(vec![insert(3, 1)])).await;
    assert_eq!(refused, Err(StoreError::Unavailable(Unavailable::Unreachable)));
    let refused = store.read(tenant(1), &scan(Access::All)).await;
    assert_eq!(refused, Err(StoreError::Unavailable(Unavailable::Unreachable)));
    // The server comes back, with what was committed.
    server.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names").unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    proxy.close(false);
    let found = numbers(&*store, tenant(1), &scan(Access::All)).await;
    assert!(found == [1] || found == [1, 2], "{found:?}");
}

/// The server crashes and comes back under load: what was acknowledged is there, nothing is there twice, reads wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_restarts() {
    const WRITERS: u64 = 6;
    let mut server = Postgres::start_with("fsync = on\nwal_sync_method = fdatasync").unwrap();
    let proxy = Proxy::to(server.port()).unwrap();
    let store = Arc::new(through(&server, &proxy, Duration::from_secs(60)).await);
    library_of(&*store, tenant(1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut acknowledged, mut unknown) = (BTreeSet::new(), BTreeSet::new());
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let number = writer * 1_000_000 + number;
                    match store.write(tenant(1), batch(vec![insert(number, number % 3)])).await {
                        Ok(made) => {
                            made.unwrap();
                            acknowledged.insert(number);
                        }
                        Err(StoreError::Unknown) => drop(unknown.insert(number)),
                        Err(other) => panic!("{other}"),
                    }
                }
                (acknowledged, unknown)
            })
        })
        .collect();
    let reader = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        tokio::spawn(async move {
            let (mut seen, mut longest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let count = store.count(tenant(1), BOOK).await.unwrap();
                longest = longest.max(began.elapsed());
                assert!(count >= seen, "older than what was seen");
                seen = count;
            }
            longest
        })
    };
    for signal in ["QUIT", "INT", "QUIT"] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        tokio::task::block_in_place(|| server.restart(signal)).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for writer in writers {
        let (known, not) = writer.await.unwrap();
        acknowledged.extend(known);
        unknown.extend(not);
    }
    let longest = reader.await.unwrap();
    let found: BTreeSet<u64> = numbers(&*store, tenant(1), &scan(Access::All)).await.into_iter().collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{} acknowledged, lost: {lost:?}", acknowledged.len());
    assert!(found.iter().all(|number| acknowledged.contains(number) || unknown.contains(number)));
    println!("{} acknowledged, {} unknown, the longest read {longest:?}", acknowledged.len(), unknown.len());
}

/// A change that others make at the same time in another order is done again, not refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_are_no_failures() {
    let server = Postgres::start_with("deadlock_timeout = 20ms").unwrap();
    let store = Arc::new(store(&server, "deadlocks", 8).await);
    library_of(&*store, tenant(1)).await;
    write(&*store, tenant(1), (0..8).map(|number| insert(number, 0)).collect()).await.unwrap();
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..10u64 {
                    let order: Vec<u64> = if task % 2 == 0 { (0..8).collect() } else { (0..8).rev().collect() };
                    let rows = everything(&*store, tenant(1)).await;
                    let change = |number: u64| -> SealedChange {
                        let version = rows.iter().find(|row| row.record == record(number)).unwrap().version;
                        update(number, version, &round.to_be_bytes())
                    };
                    // Somebody was faster, or it was made.
                    let _ = store.write(tenant(1), batch(order.into_iter().map(change).collect())).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let versions: BTreeSet<u64> = everything(&*store, tenant(1)).await.iter().map(|row| row.version).collect();
    assert_eq!(versions.len(), 1, "a batch was made in part");
}
