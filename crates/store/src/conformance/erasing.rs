//! What was erased is not there.

use super::fixture::*;
use crate::batch::{Done, Once};
use crate::{Access, Batch, Rejected, Requirement, Store, StoreError, Traces};
use countersign_model::UnixMs;

fn answer(first: u64, count: u32) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    bytes.extend(u64::from(count).to_be_bytes());
    bytes.extend(u64::from(count).to_be_bytes());
    bytes.extend(record(first).as_u128().to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes
}

/// Row, tags, history and answers of one record, and of no other.
pub(super) async fn records(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    let erasing = store.erasing().unwrap();
    for (number, count) in [(1, 1), (2, 2), (4, 1)] {
        let done = Done { request: [0; 32], answer: answer(number, count) };
        let mut id = [0; 32];
        id[0] = u8::try_from(number).unwrap();
        let once = Some(Once { id, at: UnixMs(5), done });
        let changes = (number..number + u64::from(count)).map(|number| insert(number, 4)).collect();
        store.write(one, Batch { once, at: UnixMs(5), ..batch(changes) }).await.unwrap().unwrap();
    }
    for number in [2, 3] {
        write(store, one, vec![update(number, 1, b"other")]).await.unwrap();
    }
    let both = |records, past, answers| Traces { records, past, answers };
    assert_eq!(erasing.traces(one, BOOK, &[record(2)]).await.unwrap(), both(1, 1, 1));
    assert!(erasing.gone(one, BOOK, KEY, &[tag(2)]).await.unwrap().is_empty(), "it is there");

    // A reference holds it, as it does against any deletion.
    write(store, one, vec![loan(70, 2)]).await.unwrap();
    let requires = vec![Requirement::Absent { record_type: LOAN, field: LOAN_BOOK, tags: vec![tag(2)] }];
    let held = store.write(one, Batch { requires, ..batch(vec![delete(2, 2)]) }).await.unwrap();
    assert_eq!(held, Err(Rejected::Present { requirement: 0, existing: record(70) }));

    write(store, one, vec![delete(2, 2)]).await.unwrap();
    assert_eq!(erasing.gone(one, BOOK, KEY, &[tag(2), tag(9)]).await.unwrap(), [record(2)]);
    assert_eq!(erasing.purge(one, BOOK, &[record(2)]).await.unwrap(), both(0, 2, 1));
    assert!(erasing.sweep(one).await.unwrap());
    assert!(erasing.traces(one, BOOK, &[record(2)]).await.unwrap().is_none());
    assert!(erasing.gone(one, BOOK, KEY, &[tag(2)]).await.unwrap().is_empty());
    assert!(erasing.purge(one, BOOK, &[record(2)]).await.unwrap().is_none(), "twice is once");
    // The others have what they had, but for the answer that named both.
    assert_eq!(erasing.traces(one, BOOK, &[record(1), record(3), record(4)]).await.unwrap(), both(3, 1, 2));
    assert_eq!(numbers(store, one, &scan(Access::All)).await, [1, 3, 4]);
}

/// A tenant is gone, another is not.
pub(super) async fn tenants(store: &impl Store) {
    let erasing = store.erasing().unwrap();
    for one in [tenant(1), tenant(2)] {
        library_of(store, one).await;
        for number in 1..=20 {
            write(store, one, vec![insert(number, 4)]).await.unwrap();
            write(store, one, vec![update(number, 1, b"other")]).await.unwrap();
        }
    }
    let traces = erasing.remove_tenant(tenant(1)).await.unwrap();
    assert_eq!((traces.records, traces.past), (20, 20));
    assert!(!erasing.has_tenant(tenant(1)).await.unwrap());
    assert_eq!(store.read(tenant(1), &scan(Access::All)).await, Err(StoreError::UnknownTenant));
    assert!(erasing.remove_tenant(tenant(1)).await.unwrap().is_none(), "twice is once");
    assert!(erasing.has_tenant(tenant(2)).await.unwrap());
    assert_eq!(everything(store, tenant(2)).await.len(), 20);
}
