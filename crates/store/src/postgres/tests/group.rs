use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;
use crate::Access;
use crate::conformance::fixture::*;

/// Reads of several tenants at once, over one connection and over several, with callers who go away: everybody gets the
/// record that was asked for, of the tenant whose it is, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_that_go_together_are_answered_each_its_own() {
    const TENANTS: u64 = 3;
    const READS: u64 = 400;
    let server = Postgres::start().unwrap();
    for connections in [1, 8] {
        let store = Arc::new(store(&server, &format!("together{connections}"), connections).await);
        for number in 0..TENANTS {
            let one = tenant(u128::from(number));
            library_of(&*store, one).await;
            // Every tenant has the records of the same ids and tags, with cells that say whose they are.
            let books = (0..20).map(|book| tagged(book, &[(KEY, book), (SHELF, 1), (CODE, number * 1000 + book)]));
            write(&*store, one, books.collect()).await.unwrap();
        }
        let answered = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..READS)
            .flat_map(|read| (0..TENANTS).map(move |number| (read, number)))
            .map(|(read, number)| {
                let (store, answered) = (Arc::clone(&store), Arc::clone(&answered));
                tokio::spawn(async move {
                    let (one, book) = (tenant(u128::from(number)), read % 20);
                    let access = match read % 4 {
                        0 => Access::Records(vec![record(book)]),
                        1 => Access::Tags { field: KEY, tags: vec![tag(book)] },
                        2 => Access::Tags { field: CODE, tags: vec![tag(number * 1000 + book)] },
                        // As while there are keys of two epochs.
                        _ => Access::Tags { field: KEY, tags: vec![tag(9_000 + book), tag(book)] },
                    };
                    let scan = Scan { cells: [CODE].into_iter().collect(), ..scan(access) };
                    let rows = store.read(one, &scan).await.unwrap();
                    assert_eq!(rows.len(), 1);
                    assert_eq!(rows[0].record, record(book));
                    assert_eq!(rows[0].cells, [(CODE, Some(cell(number * 1000 + book)))]);
                    answered.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        for (place, task) in tasks.into_iter().enumerate() {
            if place % 7 == 0 {
                task.abort();
            }
            if let Err(error) = task.await {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        assert!(answered.load(Ordering::Relaxed) > 900);
        assert!(store.shared.groups.is_empty(), "nobody waits and nobody asks");
    }
}
