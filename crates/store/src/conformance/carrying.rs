//! From one backend to another and back.

use std::sync::Arc;

use countersign_model::{TenantId, UnixMs};

use super::fixture::*;
use crate::carry::{Brought, CarriedRow, Carry, Noting, bring, bring_known, bring_noted, bring_past};
use crate::{Access, Batch, Done, Once, Rejected, SealedChange, Store, StoreError};

const TYPES: [countersign_model::TypeId; 2] = [BOOK, LOAN];

/// What every implementation of [`Carry`] must do: called with each as `here` and as `there`, both empty.
///
/// # Panics
/// If one does not do what it must.
pub async fn carries<A: Store + Carry + 'static, B: Store + Carry + 'static>(here: A, there: B) {
    let here = Arc::new(here);
    let [one, two] = [tenant(1), tenant(2)];
    library_of(&*here, one).await;
    here.create_tenant(two).await.unwrap();
    for number in 1..=700 {
        write(&*here, one, vec![insert(number, number % 7)]).await.unwrap();
    }
    write(&*here, one, vec![update(5, 1, b"changed"), update(5, 2, b"again"), delete(6, 1), loan(1, 5)]).await.unwrap();
    write(&*here, two, vec![insert(1, 0), tagged(2, &[(KEY, 2), (CODE, 70)])]).await.unwrap();

    assert_eq!(Carry::tenants(&there).await, Ok(vec![]));
    library_of(&there, one).await;
    there.create_tenant(two).await.unwrap();
    assert_eq!(Carry::tenants(&there).await, Ok(vec![one, two]));
    let brought = all(&*here, &there).await;
    assert_eq!((brought.rows, brought.put, brought.removed), (702, 702, 0));
    same(&*here, &there).await;
    let row = there.these(one, BOOK, &[record(5)]).await.unwrap().remove(0);
    assert_eq!((row.version, row.cells.len(), row.tags.len()), (3, 3, 2), "versions and nulls are kept");
    assert_eq!(numbers(&there, two, &scan(Access::Tags { field: CODE, tags: vec![tag(70)] })).await, [2]);

    // It goes on at the source: tags move from record to record, records come and go.
    let noting = Noting::new(Arc::clone(&here) as Arc<dyn Store>);
    noting.begin();
    assert!(noting.take().is_empty());
    let recode = |number: u64, version: u64, code: Option<u64>| SealedChange::Update {
        record_type: BOOK,
        record: record(number),
        version,
        cells: vec![(CODE, code.map(cell))],
        tags: vec![(CODE, code.map(tag))],
    };
    let changes =
        vec![recode(2, 1, None), recode(1, 1, Some(70)), insert(900, 3), delete(1, 2), recode(2, 2, Some(70))];
    noting.write(two, Batch { changes, requires: vec![], once: None, ..Batch::default() }).await.unwrap().unwrap();
    let swap = vec![recode(9, 1, Some(1)), recode(10, 1, Some(2))];
    noting
        .write(one, Batch { changes: swap, requires: vec![], once: None, ..Batch::default() })
        .await
        .unwrap()
        .unwrap();
    let noted = noting.take();
    assert_eq!(noted.changed.len(), 5);
    let (brought, left) = bring_noted(&*here, &there, &noted).await.unwrap();
    assert_eq!((brought.put, brought.removed, left.len()), (4, 1, 0));
    same(&*here, &there).await;
    let swap = vec![recode(9, 2, None), recode(10, 2, Some(1)), recode(9, 3, Some(2))];
    noting
        .write(one, Batch { changes: swap, requires: vec![], once: None, ..Batch::default() })
        .await
        .unwrap()
        .unwrap();
    let (_, left) = bring_noted(&*here, &there, &noting.take()).await.unwrap();
    assert!(left.is_empty(), "both are replaced together");
    assert!(all(&*here, &there).await.is_same());

    // One that can't be stored yet is left out and said.
    write(&*here, one, vec![delete(9, 4), recode(11, 1, Some(2))]).await.unwrap();
    let eleven = crate::carry::Noted { changed: [(one, BOOK, record(11))].into(), ..Default::default() };
    let (_, left) = bring_noted(&*here, &there, &eleven).await.unwrap();
    assert_eq!(left, eleven.changed);
    let brought = all(&*here, &there).await;
    assert_eq!((brought.put, brought.removed), (1, 1));
    assert!(all(&*here, &there).await.is_same());

    // What nobody has at the source goes away, and back is the same way.
    write(&there, one, vec![insert(5000, 1), insert(5001, 1)]).await.unwrap();
    assert_eq!(all(&*here, &there).await.removed, 2);
    write(&there, one, vec![insert(5000, 1), update(7, 1, b"there")]).await.unwrap();
    let brought = all(&there, &*here).await;
    assert_eq!((brought.put, brought.removed), (2, 0));
    same(&there, &*here).await;

    known(&*here, &there, one).await;

    // Twice is once; what the types don't have is refused; a damaged version is not stored.
    let rows = here.rows(one, BOOK, None, 3).await.unwrap();
    there.put(one, BOOK, &[], rows.clone()).await.unwrap();
    there.put(one, BOOK, &[record(99_999)], rows.clone()).await.unwrap();
    same(&*here, &there).await;
    let wrong = CarriedRow { cells: vec![(countersign_model::FieldId(9), vec![1])], ..rows[0].clone() };
    assert_eq!(there.put(one, BOOK, &[], vec![wrong]).await, Err(StoreError::UnknownField));
    let untagged = CarriedRow { tags: vec![], ..rows[0].clone() };
    assert_eq!(there.put(one, BOOK, &[], vec![untagged]).await, Err(StoreError::UnknownField));
    assert_eq!(there.rows(tenant(3), BOOK, None, 1).await, Err(StoreError::UnknownTenant));
    let after = here.rows(one, BOOK, Some(rows[1].record), 1).await.unwrap();
    assert_eq!(after, rows[2..]);
}

/// What is known of batches that are made at most once.
async fn known<A: Store + Carry, B: Store + Carry>(here: &A, there: &B, one: TenantId) {
    let once = |number: u16, at: u64| Once {
        id: [(number >> 8) as u8 ^ (number as u8); 32].map(|byte| byte ^ (number as u8)),
        at: UnixMs(at),
        done: Done { request: [number as u8; 32], answer: number.to_be_bytes().to_vec() },
    };
    assert_eq!(bring_known(here, there, one, UnixMs(0)).await, Ok(0));
    let made: Vec<Once> =
        (0..250).map(|number| once(number << 8 | number, 1_000_000 + u64::from(number % 3))).collect();
    for once in &made {
        let empty = Batch { once: Some(once.clone()), ..Batch::default() };
        here.write(one, empty).await.unwrap().unwrap();
    }
    assert_eq!(here.known(one, UnixMs(0), None, 10).await.unwrap().len(), 10);
    assert_eq!(bring_known(here, there, one, UnixMs(0)).await, Ok(250));
    assert_eq!(bring_known(here, there, one, UnixMs(1_000_002)).await, Ok(83), "twice is once");
    let all = there.known(one, UnixMs(0), None, usize::MAX).await.unwrap();
    assert_eq!(all, here.known(one, UnixMs(0), None, usize::MAX).await.unwrap());
    assert_eq!(there.done(one, made[7].id, UnixMs(1_000_100)).await, Ok(Some(made[7].done.clone())));
    let again = Batch { once: Some(made[7].clone()), ..Batch::default() };
    assert_eq!(there.write(one, again).await, Ok(Err(Rejected::Done)), "what was made is not made again elsewhere");
    let other = Once { done: Done { request: [9; 32], answer: vec![] }, ..made[7].clone() };
    there.put_known(one, vec![other]).await.unwrap();
    assert_eq!(there.done(one, made[7].id, UnixMs(1_000_100)).await, Ok(Some(made[7].done.clone())));
}

async fn all(from: &dyn Carry, to: &dyn Carry) -> Brought {
    let mut brought = Brought::default();
    for one in from.tenants().await.unwrap() {
        for record_type in TYPES {
            brought.add(bring(from, to, (one, record_type), |_| {}).await.unwrap());
            bring_past(from, to, (one, record_type)).await.unwrap();
            assert!(bring_past(from, to, (one, record_type)).await.unwrap().is_same(), "twice is once");
        }
    }
    brought
}

/// By the store's own reading, too.
async fn same<A: Store + Carry, B: Store + Carry>(here: &A, there: &B) {
    for one in Carry::tenants(here).await.unwrap() {
        for record_type in TYPES {
            let (of_here, of_there) = (
                here.rows(one, record_type, None, usize::MAX).await,
                there.rows(one, record_type, None, usize::MAX).await,
            );
            assert_eq!(of_here.unwrap(), of_there.unwrap());
            let (was_here, was_there) = (
                here.past(one, record_type, None, usize::MAX).await,
                there.past(one, record_type, None, usize::MAX).await,
            );
            assert_eq!(was_here.unwrap(), was_there.unwrap());
            assert_eq!(here.count(one, record_type).await, there.count(one, record_type).await);
        }
        assert_eq!(everything(here, one).await, everything(there, one).await);
        for shelf in 0..7 {
            let on = scan(on_shelves(&[shelf]));
            assert_eq!(numbers(here, one, &on).await, numbers(there, one, &on).await);
        }
    }
}
