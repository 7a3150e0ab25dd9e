//! Key epochs and counts in a database that several stores use.

use std::time::Duration;

use countersign_crypto::SealKey;
use countersign_postgres::Transaction;

use super::*;
use crate::SealedChange;
use crate::carry::{Carry, Moments, Reseals};
use crate::conformance::fixture::*;

fn of(epoch: u32, number: u64) -> Batch {
    let mut sealed = vec![1];
    sealed.extend(epoch.to_be_bytes());
    sealed.resize(SealKey::OVERHEAD_BYTES + 8, 7);
    let change = SealedChange::Insert {
        record_type: BOOK,
        record: record(number),
        cells: vec![(KEY, sealed)],
        tags: vec![(KEY, tag(number))],
    };
    Batch { changes: vec![change], epoch, ..Batch::default() }
}

/// INVARIANT epoch-floor: a writer of the older epoch that has begun ends before the epoch is raised, and nobody else of it
/// begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_is_raised_after_writers_of_the_older_one() {
    let server = Postgres::start().unwrap();
    let store = Arc::new(store(&server, "epochs", 8).await);
    library_of(&*store, tenant(1)).await;
    store.create_tenant(tenant(2)).await.unwrap();
    store.write(tenant(1), of(1, 1)).await.unwrap().unwrap();
    // It has asked for the epoch and stored something, and is slow to commit.
    let batch = of(1, 2);
    let types = store.shared.types();
    let (pool, replacing, id) = (&store.shared.pool, &*store.shared.replacing, Uuid::from_u128(7));
    let writing = Writing { pool, types: &types, replacing, tenant: tenant(1), id, batch: &batch, keeps: true };
    let mut slow: Transaction = pool.begin(Scope::Tenant(tenant(1))).await.unwrap();
    let change = writing.change(&batch.changes[0]).unwrap();
    let steps = [writing.note(epoch::Hold::Shared), epoch::asks(tenant(1)), change];
    let done = slow.together(&steps).await.unwrap();
    assert_eq!(epoch::answer(&done[1].as_ref().unwrap().rows), Ok(1));
    let raising = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.raise(tenant(1), 2).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!raising.is_finished(), "it waits for the writer");
    assert_eq!(store.epoch(tenant(1)).await, Ok(1));
    // Another tenant's writers wait for nobody.
    store.write(tenant(2), of(1, 1)).await.unwrap().unwrap();
    let late = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.write(tenant(1), of(1, 3)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    slow.commit().await.unwrap();
    raising.await.unwrap().unwrap();
    assert_eq!(late.await.unwrap(), Ok(Err(Rejected::Epoch)), "it came after whoever raises");
    assert_eq!(store.count(tenant(1), BOOK).await, Ok(2));
}

/// What one store raises, another finds, whatever it thought; and both share what a key may seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_on_one_database_share_epochs_and_counts() {
    let server = Postgres::start().unwrap();
    let [one, other] = [store(&server, "shared", 4).await, store(&server, "shared", 4).await];
    let mine = tenant(1);
    library_of(&one, mine).await;
    other.apply_types(&library()).await.unwrap();
    for store in [&one, &other] {
        store.limit_seals(320);
    }
    one.write(mine, of(1, 1)).await.unwrap().unwrap();
    other.write(mine, of(1, 2)).await.unwrap().unwrap();
    other.raise(mine, 2).await.unwrap();
    assert_eq!(one.write(mine, of(1, 3)).await, Ok(Err(Rejected::Epoch)), "not known here, found there");
    one.raise(mine, 1).await.unwrap();
    assert_eq!((one.epoch(mine).await, other.epoch(mine).await), (Ok(2), Ok(2)));
    let (mut stored, mut refused) = (0, [0, 0]);
    for number in 0..400 {
        let which = (number % 2) as usize;
        match [&one, &other][which].write(mine, of(2, 1000 + number)).await.unwrap() {
            Ok(()) => stored += 1,
            rejected => {
                assert_eq!(rejected, Err(Rejected::Epoch));
                refused[which] += 1;
            }
        }
    }
    assert!((300..=320).contains(&stored), "{stored} stored");
    assert!(refused[0] > 0 && refused[1] > 0);
    assert_eq!(one.counts(mine).await, other.counts(mine).await);
    assert!(one.counts(mine).await.unwrap().iter().all(|count| count.sealed <= 320));
    // Opened again, what was set aside is gone.
    drop(one);
    let again = store(&server, "shared", 4).await;
    again.apply_types(&library()).await.unwrap();
    again.limit_seals(320);
    assert_eq!(again.write(mine, of(2, 5000)).await, Ok(Err(Rejected::Epoch)));
    assert_eq!(again.rows(mine, BOOK, None, 1000).await.unwrap().len(), stored + 2);
}

/// Tables of before: a tenant without a row is at no epoch yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_before_are_brought_up_to_date() {
    let server = Postgres::start().unwrap();
    let store = store(&server, "before", 4).await;
    library_of(&store, tenant(1)).await;
    write(&store, tenant(1), vec![insert(1, 1)]).await.unwrap();
    assert_eq!(server.sql("before", "SELECT count(*) FROM countersign.key_epoch").unwrap(), "0");
    assert_eq!(store.epoch(tenant(1)).await, Ok(0));
    store.write(tenant(1), of(1, 2)).await.unwrap().unwrap();
    assert_eq!(server.sql("before", "SELECT epoch FROM countersign.key_epoch").unwrap(), "1");
}

/// A tenant of which everything is being replaced: its writers wait without a connection that others need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_replacement_holds_no_connection() {
    let server = Postgres::start().unwrap();
    let store = Arc::new(store(&server, "replacing", 2).await);
    let [mine, other] = [tenant(1), tenant(2)];
    library_of(&*store, mine).await;
    store.create_tenant(other).await.unwrap();
    store.write(mine, of(1, 1)).await.unwrap().unwrap();
    store.write(other, of(1, 1)).await.unwrap().unwrap();
    for commits in [true, false] {
        let replacement = store.replacement(mine).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..8 {
            let store = Arc::clone(&store);
            waiting.spawn(async move {
                match number {
                    0 => store.raise(mine, 1).await.map(Ok),
                    1 => store.reseal(mine, BOOK, 1, vec![], Some(vec![1])).await.map(|done| done.map(drop)),
                    _ => store.write(mine, of(1, 100 + number)).await,
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for number in 0..20 {
            assert_eq!(everything(&*store, other).await.len(), 1 + number);
            store.write(other, of(1, 1000 + number as u64)).await.unwrap().unwrap();
        }
        assert!(waiting.try_join_next().is_none(), "others do not wait for them");
        if commits {
            replacement.commit().await.unwrap();
            while let Some(done) = waiting.join_next().await {
                done.unwrap().unwrap().unwrap();
            }
            assert_eq!(everything(&*store, mine).await.len(), 6);
        } else {
            while let Some(done) = waiting.join_next().await {
                assert_eq!(done.unwrap(), Err(StoreError::Unavailable(Unavailable::Busy)));
            }
            drop(replacement);
            store.write(mine, of(1, 2)).await.unwrap().unwrap();
        }
        store.erasing().unwrap().remove_tenant(other).await.unwrap();
        store.create_tenant(other).await.unwrap();
        store.write(other, of(1, 1)).await.unwrap().unwrap();
    }
}
