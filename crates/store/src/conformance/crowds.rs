use std::sync::Arc;

use super::*;
use crate::Requirement;

/// Many want the same key at once: one gets it, the others learn who has it.
pub(super) async fn one_winner<S: Store + 'static>(store: S) {
    let store = Arc::new(store);
    let one = tenant(1);
    library_of(&*store, one).await;
    let tasks: Vec<_> = (1..=64u64)
        .map(|number| {
            let store = Arc::clone(&store);
            let change = tagged(number, &[(KEY, 0)]);
            tokio::spawn(async move { (number, write(&*store, one, vec![change]).await) })
        })
        .collect();
    let mut winners = Vec::new();
    let mut losers = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (number, Ok(())) => winners.push(record(number)),
            (_, Err(Rejected::Unique { change: 0, field: KEY, existing })) => losers.push(existing),
            (_, Err(other)) => panic!("{other:?}"),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 63));
    assert!(losers.iter().all(|existing| *existing == winners[0]));
    assert_eq!(store.count(one, BOOK).await, Ok(1));
}

/// A book goes away while others refer to it: either the book is gone or the loans are not made.
pub(super) async fn references_hold<S: Store + 'static>(store: S) {
    let store = Arc::new(store);
    let one = tenant(1);
    library_of(&*store, one).await;
    for round in 0..20u64 {
        write(&*store, one, vec![insert(round, 0)]).await.unwrap();
        let lend = |number: u64| {
            let requires = vec![Requirement::Exists { record_type: BOOK, field: KEY, tags: vec![tag(round)] }];
            let store = Arc::clone(&store);
            let wish =
                Batch { changes: vec![loan(round * 10 + number, round)], requires, once: None, ..Batch::default() };
            tokio::spawn(async move { store.write(one, wish).await.unwrap() })
        };
        let discard = {
            let requires = vec![Requirement::Absent { record_type: LOAN, field: LOAN_BOOK, tags: vec![tag(round)] }];
            let store = Arc::clone(&store);
            let wish = Batch { changes: vec![delete(round, 1)], requires, once: None, ..Batch::default() };
            move || tokio::spawn(async move { store.write(one, wish).await.unwrap() })
        };
        let (first, gone, second) = if round % 2 == 0 {
            let first = lend(1);
            (first, discard(), lend(2))
        } else {
            let gone = discard();
            (lend(1), gone, lend(2))
        };
        let (first, gone, second) = (first.await.unwrap(), gone.await.unwrap(), second.await.unwrap());
        assert_ne!(gone.is_ok(), first.is_ok() || second.is_ok(), "a loan without a book, or a book that nobody lends");
    }
}

/// Readers and writers at once: a batch is seen whole or not at all, and what was acknowledged is seen.
pub(super) async fn no_half_batches<S: Store + 'static>(store: S) {
    const PAIRS: u64 = 150;
    let store = Arc::new(store);
    let one = tenant(1);
    library_of(&*store, one).await;
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for pair in 0..PAIRS {
                    let number = (writer * PAIRS + pair) * 2;
                    write(&*store, one, vec![insert(number, 1), insert(number + 1, 2)]).await.unwrap();
                    let both = scan(Access::Records(vec![record(number), record(number + 1)]));
                    assert_eq!(numbers(&*store, one, &both).await.len(), 2, "what was acknowledged is seen");
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..3u64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < usize::try_from(PAIRS * 8).unwrap() {
                    let rows = numbers(&*store, one, &scan(on_shelves(&[1, 2]))).await;
                    assert_eq!(rows.len() % 2, 0, "half a batch was seen");
                    assert!(rows.len() >= seen, "something vanished");
                    seen = rows.len();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(readers) {
        task.await.unwrap();
    }
    assert_eq!(store.count(one, BOOK).await, Ok(PAIRS * 8));
}

/// Callers that go away in the middle leave all or nothing, and nobody after them is disturbed.
pub(super) async fn given_up<S: Store + 'static>(store: S) {
    let store = Arc::new(store);
    let one = tenant(1);
    library_of(&*store, one).await;
    for round in 0..60u64 {
        let number = round * 2;
        let task = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { write(&*store, one, vec![insert(number, 1), insert(number + 1, 1)]).await })
        };
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
    }
    write(&*store, one, vec![insert(1000, 1)]).await.unwrap();
    let mut seen = numbers(&*store, one, &scan(Access::All)).await;
    assert_eq!(seen.pop(), Some(1000));
    assert!(seen.chunks(2).all(|pair| pair.len() == 2 && pair[0] % 2 == 0 && pair[1] == pair[0] + 1), "{seen:?}");
}
