//! A tenant at one moment, and replaced as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_model::UnixMs;

use super::fixture::*;
use crate::carry::{CarriedRow, Carry, Moment, Moments, PastRow};
use crate::{Batch, Done, Once, Rejected, Store, StoreError, Unavailable};

/// Everything of a moment, in pages.
#[derive(Clone, PartialEq, Eq, Debug)]
struct All {
    books: Vec<CarriedRow>,
    loans: Vec<CarriedRow>,
    past: Vec<PastRow>,
    known: Vec<Once>,
}

async fn all(moment: &mut dyn Moment) -> All {
    let mut all = All { books: vec![], loans: vec![], past: vec![], known: vec![] };
    for (of, rows) in [(BOOK, &mut all.books), (LOAN, &mut all.loans)] {
        loop {
            let page = moment.rows(of, rows.last().map(|row| row.record), 40).await.unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
    }
    loop {
        let after = all.past.last().map(|past| (past.row.record, past.row.version));
        let page = moment.past(BOOK, after, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.past.extend(page);
    }
    loop {
        let page = moment.known(UnixMs(0), all.known.last().map(|once| (once.at, once.id)), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.known.extend(page);
    }
    all
}

fn once(number: u8) -> Once {
    let done = Done { request: [number; 32], answer: vec![number; 40] };
    Once { id: [number; 32], at: UnixMs(1_000 + u64::from(number)), done }
}

/// What every implementation of [`Moments`] must do.
///
/// # Panics
/// If it does not.
pub async fn moments<S: Store + Carry + Moments + 'static>(store: S) {
    let store = Arc::new(store);
    let [one, two] = [tenant(1), tenant(2)];
    library_of(&*store, one).await;
    store.create_tenant(two).await.unwrap();
    assert_eq!(store.moment(tenant(9)).await.err(), Some(StoreError::UnknownTenant));
    assert_eq!(store.replacement(tenant(9)).await.err(), Some(StoreError::UnknownTenant));

    // A tenant that nobody has written to.
    let nothing = all(&mut *store.moment(one).await.unwrap()).await;
    assert!(nothing.books.is_empty() && nothing.past.is_empty() && nothing.known.is_empty());

    let first = (1..=300).map(|number| insert(number, number % 7)).collect();
    store.write(one, Batch { at: UnixMs(10), once: Some(once(1)), ..batch(first) }).await.unwrap().unwrap();
    let changes = vec![update(5, 1, b"changed"), update(5, 2, b"again"), delete(6, 1), loan(1, 5)];
    store.write(one, Batch { at: UnixMs(20), once: Some(once(2)), ..batch(changes) }).await.unwrap().unwrap();
    write(&*store, two, vec![insert(1, 0), tagged(2, &[(KEY, 2), (CODE, 70)])]).await.unwrap();

    // It stays as it was while others write, and they do not wait for it.
    let mut moment = store.moment(one).await.unwrap();
    let (going, stop) = (Arc::clone(&store), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let writing = tokio::spawn(async move {
        let mut made = 0u64;
        while !stopped.load(Ordering::Relaxed) || made < 20 {
            let number = 1_000 + made;
            let changes = vec![insert(number, 1), update(7, made + 1, b"meanwhile")];
            let changed = Batch { at: UnixMs(30), ..batch(changes) };
            going.write(tenant(1), changed).await.unwrap().unwrap();
            made += 1;
        }
        made
    });
    let then = all(&mut *moment).await;
    for _ in 0..5 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(all(&mut *moment).await, then, "a moment does not move");
    }
    stop.store(true, Ordering::Relaxed);
    let made = writing.await.unwrap();
    assert_eq!(all(&mut *moment).await, then);
    assert_eq!((then.books.len(), then.loans.len(), then.past.len(), then.known.len()), (299, 1, 3, 2));
    assert_eq!(then.books.iter().find(|row| row.record == record(7)).map(|row| row.version), Some(1));
    drop(moment);
    let now = all(&mut *store.moment(one).await.unwrap()).await;
    assert_eq!(now.books.len() as u64, 299 + made);

    // One that is dropped changes nothing.
    let mut dropped = store.replacement(one).await.unwrap();
    dropped.rows(BOOK, then.books.iter().take(10).cloned().collect()).await.unwrap();
    dropped.known(vec![once(9)]).await.unwrap();
    assert_eq!(everything(&*store, one).await.len() as u64, 299 + made, "nothing of it is seen before");
    drop(dropped);
    assert_eq!(all(&mut *store.moment(one).await.unwrap()).await, now);
    // One that fails, neither.
    let mut failing = store.replacement(one).await.unwrap();
    failing.rows(BOOK, then.books.clone()).await.unwrap();
    let mut twice = then.books.first().cloned().unwrap();
    twice.record = record(77_777);
    assert!(failing.rows(BOOK, vec![twice]).await.is_err(), "its key is unique");
    drop(failing);
    assert_eq!(all(&mut *store.moment(one).await.unwrap()).await, now);

    // Put back, everything is as it was then, and the other tenant as it is.
    let other = everything(&*store, two).await;
    let mut replacement = store.replacement(one).await.unwrap();
    for part in then.books.chunks(100) {
        replacement.rows(BOOK, part.to_vec()).await.unwrap();
    }
    replacement.past(BOOK, then.past.clone()).await.unwrap();
    replacement.rows(LOAN, then.loans.clone()).await.unwrap();
    replacement.known(then.known.clone()).await.unwrap();
    replacement.commit().await.unwrap();
    assert_eq!(all(&mut *store.moment(one).await.unwrap()).await, then);
    assert_eq!(everything(&*store, two).await, other);
    let again = store.write(one, Batch { once: Some(once(2)), ..batch(vec![]) }).await.unwrap();
    assert_eq!(again, Err(Rejected::Done));
    write(&*store, one, vec![update(7, 1, b"goes on")]).await.unwrap();

    // What is put back while it is being removed goes, too.
    write(&*store, one, vec![delete(8, 1)]).await.unwrap();
    let mut replacement = store.replacement(one).await.unwrap();
    replacement.rows(BOOK, then.books.clone()).await.unwrap();
    replacement.rows(LOAN, then.loans.clone()).await.unwrap();
    let erasing = Arc::clone(&store);
    let purging = tokio::spawn(async move {
        let erasing = erasing.erasing().unwrap();
        loop {
            match erasing.purge(tenant(1), BOOK, &[record(8)]).await {
                Err(StoreError::Unavailable(Unavailable::Busy)) => {}
                purged => return purged.unwrap(),
            }
        }
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    replacement.commit().await.unwrap();
    assert_eq!(purging.await.unwrap().records, 1, "it waits");
    assert!(store.erasing().unwrap().traces(one, BOOK, &[record(8)]).await.unwrap().is_none());
    assert_eq!(everything(&*store, one).await.len(), 298, "the others are there");

    // Nothing put back leaves nothing.
    store.replacement(one).await.unwrap().commit().await.unwrap();
    let nothing = all(&mut *store.moment(one).await.unwrap()).await;
    assert_eq!((nothing.books.len(), nothing.loans.len(), nothing.past.len(), nothing.known.len()), (0, 0, 0, 0));
}
