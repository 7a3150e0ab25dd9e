//! Removing beside others who write: nothing comes back.

use std::time::Duration;

use countersign_model::RecordId;

use super::*;
use crate::carry::{Carry, Moments, Reseals};
use crate::conformance::fixture::*;
use crate::{Access, Once, Traces, Unavailable};

/// Until the storage has time for it.
async fn until_done(store: &PostgresStore, tenant: TenantId, one: RecordId) -> Traces {
    loop {
        match store.erasing().unwrap().purge(tenant, BOOK, &[one]).await {
            Err(StoreError::Unavailable(Unavailable::Busy)) => {}
            done => return done.unwrap(),
        }
    }
}

/// Another program puts back what there was while it is removed here: whatever was put back goes, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_program_puts_back_is_removed() {
    let server = Postgres::start().unwrap();
    let (other, one) = (store(&server, "purge", 4).await, tenant(1));
    let store = Arc::new(store(&server, "purge", 4).await);
    library_of(&*store, one).await;
    library_of(&other, one).await;
    write(&*store, one, vec![insert(1, 1), insert(2, 1)]).await.unwrap();
    write(&*store, one, vec![update(1, 1, b"x")]).await.unwrap();
    let mut moment = store.moment(one).await.unwrap();
    let (rows, past) = (moment.rows(BOOK, None, 9).await.unwrap(), moment.past(BOOK, None, 9).await.unwrap());
    drop(moment);
    write(&*store, one, vec![delete(1, 2)]).await.unwrap();

    let mut replacement = other.replacement(one).await.unwrap();
    replacement.rows(BOOK, rows).await.unwrap();
    replacement.past(BOOK, past).await.unwrap();
    let done = Done { request: [1; 32], answer: vec![1, 2, 3] };
    replacement.known(vec![Once { id: [1; 32], at: UnixMs(5), done }]).await.unwrap();
    let purging = tokio::spawn({
        let store = Arc::clone(&store);
        async move { until_done(&store, one, record(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    replacement.commit().await.unwrap();
    assert_eq!(purging.await.unwrap(), Traces { records: 1, past: 1, answers: 1 });
    assert!(store.erasing().unwrap().traces(one, BOOK, &[record(1)]).await.unwrap().is_none());
    assert_eq!(numbers(&*store, one, &scan(Access::All)).await, [2], "the others are there");
}

/// A rewind has put the record back and not committed yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rewind_puts_back_is_removed() {
    let server = Postgres::start().unwrap();
    let (store, one) = (Arc::new(store(&server, "rewind", 4).await), tenant(1));
    library_of(&*store, one).await;
    write(&*store, one, vec![insert(1, 1)]).await.unwrap();
    write(&*store, one, vec![delete(1, 1)]).await.unwrap();
    let mut rewind = store.shared.pool.begin(Scope::Tenant(one)).await.unwrap();
    rewind.query(&"SELECT pg_advisory_xact_lock($1)".into(), &[&epoch::lock(one)]).await.unwrap();
    let put: Arc<str> = "INSERT INTO r0 (tenant, id, version, at, c0, x0) \
         SELECT tenant, id, version + 1, at, c0, x0 FROM h0 WHERE tenant = $1"
        .into();
    assert_eq!(rewind.execute(&put, &[&one.uuid()]).await.unwrap(), 1);
    let purging = tokio::spawn({
        let store = Arc::clone(&store);
        async move { until_done(&store, one, record(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Who reads does not wait.
    assert!(everything(&*store, one).await.is_empty());
    rewind.commit().await.unwrap();
    assert_eq!(purging.await.unwrap(), Traces { records: 1, past: 1, answers: 0 });
    assert!(everything(&*store, one).await.is_empty());
}

/// Whoever waits while a tenant is removed finds that it is gone, and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_waits_for_a_removal_stores_nothing() {
    let server = Postgres::start().unwrap();
    let (store, one) = (Arc::new(store(&server, "removal", 16).await), tenant(1));
    library_of(&*store, one).await;
    write(&*store, one, vec![insert(1, 1)]).await.unwrap();
    // One writer is under way: the removal waits for it, and everybody else for the removal.
    let mut slow = store.shared.pool.begin(Scope::Tenant(one)).await.unwrap();
    slow.query(&"SELECT pg_advisory_xact_lock_shared($1)".into(), &[&epoch::lock(one)]).await.unwrap();
    let text: Arc<str> = "INSERT INTO written (tenant, id, at) VALUES ($1, $1, now())".into();
    slow.execute(&text, &[&one.uuid()]).await.unwrap();
    let removing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.erasing().unwrap().remove_tenant(one).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let late = |work: u8| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            match work {
                0 => store.write(one, batch(vec![insert(2, 1)])).await.map(drop),
                1 => store.write(one, batch(vec![delete(2, 1)])).await.map(drop),
                _ => store.raise(one, 3).await,
            }
        })
    };
    let late = [late(0), late(1), late(2)];
    tokio::time::sleep(Duration::from_millis(200)).await;
    slow.commit().await.unwrap();
    removing.await.unwrap().unwrap();
    for (work, late) in late.into_iter().enumerate() {
        assert_eq!(late.await.unwrap(), Err(StoreError::UnknownTenant), "{work}");
    }
    assert!(!store.erasing().unwrap().has_tenant(one).await.unwrap());
    // Another program that still takes the tenant for one that is there.
    let stale = || {
        store.shared.tenants.write().insert(one);
    };
    stale();
    assert_eq!(store.note_progress(one, Some(vec![1])).await, Err(StoreError::UnknownTenant));
    stale();
    assert_eq!(store.raise(one, 4).await, Err(StoreError::UnknownTenant));
    stale();
    assert_eq!(store.write(one, batch(vec![])).await, Err(StoreError::UnknownTenant));
    stale();
    let count = crate::seals::SealCount {
        key: crate::seals::CellKey { record_type: BOOK, field: KEY, epoch: 1 },
        sealed: 5,
        limit: 9,
    };
    assert_eq!(store.put_counts(one, 0, vec![count]).await, Err(StoreError::UnknownTenant));
    stale();
    assert_eq!(Reseals::charge(&*store, one, vec![(count.key, 5)]).await, Err(StoreError::UnknownTenant));
    stale();
    assert_eq!(store.put_past_since(one, UnixMs(7)).await, Err(StoreError::UnknownTenant));
    stale();
    assert_eq!(store.replacement(one).await.err(), Some(StoreError::UnknownTenant));
    assert!(!store.erasing().unwrap().has_tenant(one).await.unwrap());
    // What a removal that was cut off has left goes when it is asked for again.
    let left = "INSERT INTO countersign.key_epoch VALUES ('{}', 3)".replace("{}", &one.uuid().to_string());
    server.sql("removal", &left).unwrap();
    assert!(store.erasing().unwrap().has_tenant(one).await.unwrap());
    store.erasing().unwrap().remove_tenant(one).await.unwrap();
    assert!(!store.erasing().unwrap().has_tenant(one).await.unwrap());
}
