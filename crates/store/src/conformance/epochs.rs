//! Key epochs: which batches are stored, what was sealed again, and how much each key may seal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::{SealKey, sealed_epoch};
use countersign_model::{FieldId, TenantId};

use super::fixture::*;
use crate::carry::{CarriedRow, Resealed, Reseals, bring_counts};
use crate::{Access, Batch, CellKey, Once, Rejected, Requirement, SealCount, SealedChange, Store, StoreError, UnixMs};

/// A cell in the form of one that was sealed under a key of this epoch.
fn sealed(value: u64, epoch: u32) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(epoch.to_be_bytes());
    bytes.resize(SealKey::OVERHEAD_BYTES, 7);
    bytes.extend(value.to_be_bytes());
    bytes
}

/// The tag of a value in an epoch.
fn tag_in(value: u64, epoch: u32) -> countersign_crypto::Tag {
    tag(value | u64::from(epoch) << 40)
}

fn book(number: u64, epoch: u32) -> SealedChange {
    SealedChange::Insert {
        record_type: BOOK,
        record: record(number),
        cells: vec![(KEY, sealed(number, epoch)), (SHELF, sealed(number % 7, epoch))],
        tags: vec![(KEY, tag_in(number, epoch)), (SHELF, tag_in(number % 7, epoch))],
    }
}

fn annotate(number: u64, version: u64, epoch: u32) -> SealedChange {
    update(number, version, &sealed(9, epoch))
}

fn of(epoch: u32, changes: Vec<SealedChange>) -> Batch {
    Batch { changes, epoch, ..Batch::default() }
}

/// A row sealed again under a newer epoch.
fn again(row: &CarriedRow, epoch: u32, past: bool) -> Resealed {
    let value = |cell: &[u8]| u64::from_be_bytes(cell[cell.len() - 8..].try_into().unwrap());
    let stale = row.cells.iter().filter(|(_, cell)| sealed_epoch(cell) != Some(epoch));
    let cells: Vec<_> = stale.map(|(field, cell)| (*field, sealed(value(cell), epoch))).collect();
    let tagged = cells.iter().filter(|(field, _)| *field != NOTE);
    let tags = tagged.map(|(field, cell)| (*field, tag_in(value(cell), epoch))).collect();
    Resealed { record: row.record, version: row.version, past, cells, tags }
}

/// What every implementation of [`Reseals`] must do. `make` opens a store at a place of that number, empty the first time;
/// the second argument is the limit of its keys.
///
/// # Panics
/// If the store does not do what it must.
pub async fn reseals<S: Store + Reseals + 'static>(make: impl AsyncFn(u32, u64) -> S) {
    floor(&make(50, crate::SEALS_MAX).await).await;
    admitted(&make(58, crate::SEALS_MAX).await).await;
    lowered(&make(59, crate::SEALS_MAX).await).await;
    named(&make(60, crate::SEALS_MAX).await).await;
    race(Arc::new(make(51, crate::SEALS_MAX).await)).await;
    replaced(&make(52, crate::SEALS_MAX).await).await;
    limit(&make(53, 100).await).await;
    crowd(Arc::new(make(54, 1000).await)).await;
    kept(&make).await;
    carried(&make(56, crate::SEALS_MAX).await, &make(57, crate::SEALS_MAX).await).await;
}

/// INVARIANT epoch-floor: what is below is not stored, what is above raises.
async fn floor<S: Store + Reseals>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    store.create_tenant(tenant(2)).await.unwrap();
    let epoch = Err(Rejected::Epoch);
    assert_eq!(store.epoch(one).await, Ok(0));
    write(store, one, vec![insert(1, 1)]).await.unwrap();
    assert_eq!(store.epoch(one).await, Ok(0), "of before the first epoch");
    assert_eq!(store.write(one, of(1, vec![book(2, 1)])).await, Ok(Ok(())));
    assert_eq!(store.epoch(one).await, Ok(1));
    assert_eq!(store.write(one, batch(vec![insert(3, 1)])).await, Ok(epoch), "cells of no epoch");
    assert_eq!(store.write(one, of(3, vec![book(3, 3)])).await, Ok(Ok(())));
    for below in [0, 1, 2] {
        let brings = if below == 0 { insert(4, 1) } else { book(4, below) };
        assert_eq!(store.write(one, of(below, vec![brings])).await, Ok(epoch));
        let asking = Requirement::Absent { record_type: BOOK, field: KEY, tags: vec![tag(77)] };
        let asks = Batch { requires: vec![asking], epoch: below, ..Batch::default() };
        assert_eq!(store.write(one, asks).await, Ok(epoch), "what looks for tags must know all of them");
    }
    assert_eq!(store.write(one, of(2, vec![delete(2, 1)])).await, Ok(epoch));
    // What seals and looks for nothing is of no epoch.
    assert_eq!(store.write(one, batch(vec![delete(2, 1)])).await, Ok(Ok(())));
    let id = [9; 32];
    let once = Once { id, at: UnixMs(1), done: crate::Done { request: [1; 32], answer: vec![] } };
    assert_eq!(store.write(one, Batch { once: Some(once), ..Batch::default() }).await, Ok(Ok(())));
    assert_eq!(store.count(one, BOOK).await, Ok(2));
    store.raise(one, 2).await.unwrap();
    assert_eq!(store.epoch(one).await, Ok(3), "it never goes back");
    store.raise(one, 4).await.unwrap();
    store.raise(one, 4).await.unwrap();
    assert_eq!(store.write(one, of(3, vec![book(5, 3)])).await, Ok(epoch));
    assert_eq!(store.write(one, of(4, vec![book(5, 4)])).await, Ok(Ok(())));
    assert_eq!(store.epoch(tenant(2)).await, Ok(0), "each tenant has its own");
    assert_eq!(store.epoch(tenant(3)).await, Err(StoreError::UnknownTenant));
    assert_eq!(store.raise(tenant(3), 1).await, Err(StoreError::UnknownTenant));
}

/// A batch that is not made raises nothing, whatever it is not made for.
async fn admitted<S: Store + Reseals>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    store.write(one, of(1, vec![book(1, 1), book(2, 1)])).await.unwrap().unwrap();
    let missing = Requirement::Exists { record_type: BOOK, field: KEY, tags: vec![tag_in(77, 9)] };
    let present = Requirement::Absent { record_type: BOOK, field: KEY, tags: vec![tag_in(1, 1)] };
    let requiring = |requirement| Batch { requires: vec![requirement], ..of(9, vec![book(3, 9)]) };
    for (batch, rejected) in [
        (of(9, vec![book(3, 9), annotate(1, 7, 9)]), Rejected::Stale { change: 1 }),
        (of(9, vec![delete(1, 7)]), Rejected::Stale { change: 0 }),
        (requiring(missing), Rejected::Missing { requirement: 0 }),
        (requiring(present), Rejected::Present { requirement: 0, existing: record(1) }),
    ] {
        assert_eq!(store.write(one, batch).await, Ok(Err(rejected)));
        assert_eq!(store.epoch(one).await, Ok(1));
    }
    let wrong =
        Resealed { record: record(1), version: 1, past: false, cells: vec![(FieldId(9), vec![])], tags: vec![] };
    assert_eq!(store.reseal(one, BOOK, 9, vec![wrong], None).await, Err(StoreError::UnknownField));
    assert_eq!(store.epoch(one).await, Ok(1));
    let id = [8; 32];
    let once = || Some(Once { id, at: UnixMs(1), done: crate::Done { request: [1; 32], answer: vec![] } });
    assert_eq!(store.write(one, Batch { once: once(), ..of(1, vec![]) }).await, Ok(Ok(())));
    assert_eq!(store.write(one, Batch { once: once(), ..of(9, vec![]) }).await, Ok(Err(Rejected::Done)));
    assert_eq!(store.epoch(one).await, Ok(1));
    // What was made of nothing of that stays possible.
    assert_eq!(store.write(one, of(1, vec![book(3, 1)])).await, Ok(Ok(())));
    assert_eq!(store.write(one, of(2, vec![book(4, 2)])).await, Ok(Ok(())));
    assert_eq!(store.epoch(one).await, Ok(2));
}

/// An epoch that nobody has keys of is put down, and never below what is asked for.
async fn lowered<S: Store + Reseals>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    assert_eq!(store.lower(one, 3).await, Ok(false), "it is at none");
    assert_eq!(store.epoch(one).await, Ok(0));
    store.write(one, of(u32::MAX, vec![book(1, 1)])).await.unwrap().unwrap();
    assert_eq!(store.write(one, of(2, vec![book(2, 2)])).await, Ok(Err(Rejected::Epoch)));
    store.note_progress(one, Some(vec![7])).await.unwrap();
    assert_eq!(store.lower(one, 2).await, Ok(true));
    assert_eq!((store.epoch(one).await, store.progress(one).await), (Ok(2), Ok(Some(vec![7]))));
    assert_eq!(store.write(one, of(1, vec![book(2, 1)])).await, Ok(Err(Rejected::Epoch)));
    assert_eq!(store.write(one, of(2, vec![book(2, 2)])).await, Ok(Ok(())));
    for epoch in [2, 3, u32::MAX] {
        assert_eq!(store.lower(one, epoch).await, Ok(false));
    }
    assert_eq!(store.epoch(one).await, Ok(2));
    assert_eq!(store.lower(tenant(3), 1).await, Err(StoreError::UnknownTenant));
}

/// Cells name epochs that there are by their batch's.
async fn named<S: Store + Reseals>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    store.write(one, of(3, vec![book(1, 1), book(2, 3)])).await.unwrap().unwrap();
    let noted = |cell: Vec<u8>| vec![update(1, 1, &cell)];
    let short = sealed(1, 3)[..SealKey::OVERHEAD_BYTES - 1].to_vec();
    let other = [vec![2], sealed(1, 3)[1..].to_vec()].concat();
    for cell in [sealed(1, 0), sealed(1, 4), sealed(1, u32::MAX), short, other, vec![]] {
        assert_eq!(store.write(one, of(3, noted(cell.clone()))).await, Err(StoreError::UnknownField), "{cell:?}");
    }
    for epoch in [0, 4, u32::MAX] {
        assert_eq!(store.write(one, of(3, vec![book(9, 3), book(10, epoch)])).await, Err(StoreError::UnknownField));
    }
    // None of a batch of before the first epoch names any.
    assert_eq!(store.write(one, of(0, noted(sealed(1, 1)))).await, Err(StoreError::UnknownField));
    assert_eq!((store.epoch(one).await, store.count(one, BOOK).await), (Ok(3), Ok(2)));
    assert!(store.counts(one).await.unwrap().iter().all(|count| [1, 3].contains(&count.key.epoch)));
    assert_eq!(store.write(one, of(3, noted(sealed(1, 2)))).await, Ok(Ok(())));
}

/// Writers of both epochs at once while the epoch is raised: what is stored of the older one was stored before anything of
/// the newer one, and a value that both write is stored once.
async fn race<S: Store + Reseals + 'static>(store: Arc<S>) {
    let one = tenant(1);
    library_of(&*store, one).await;
    store.raise(one, 1).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..12_u64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut epoch = 1;
            for value in 0..25_u64 {
                let begins = writer == 0 && value == 10;
                // Of a value that nobody else writes, so that it is stored: what is not stored raises nothing.
                let value = if begins { 25 } else { value };
                epoch = if begins { 2 } else { epoch };
                loop {
                    let number = 1000 * (writer + 1) + value;
                    let SealedChange::Insert { record_type, cells, .. } = book(value, epoch) else { unreachable!() };
                    let tags = vec![(KEY, tag_in(value, epoch)), (SHELF, tag_in(value % 7, epoch))];
                    let change = SealedChange::Insert { record_type, record: record(number), cells, tags };
                    let other = Requirement::Absent { record_type: BOOK, field: KEY, tags: vec![tag_in(value, 1)] };
                    let requires = if epoch == 2 { vec![other] } else { vec![] };
                    let batch = Batch { changes: vec![change], requires, epoch, ..Batch::default() };
                    match store.write(one, batch).await.unwrap() {
                        Err(Rejected::Epoch) => {
                            assert_eq!(epoch, 1);
                            epoch = 2;
                        }
                        Ok(()) | Err(Rejected::Unique { .. } | Rejected::Present { .. }) => break,
                        other => panic!("{other:?}"),
                    }
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.epoch(one).await, Ok(2));
    let rows = store.rows(one, BOOK, None, usize::MAX).await.unwrap();
    let value = |row: &CarriedRow| row.cells[0].1[SealKey::OVERHEAD_BYTES..].to_vec();
    let mut values: Vec<_> = rows.iter().map(value).collect();
    values.sort_unstable();
    let stored = values.len();
    values.dedup();
    assert_eq!((stored, values.len()), (26, 26), "each value once, whatever the epoch");
    assert_eq!(store.write(one, of(1, vec![book(1, 1)])).await, Ok(Err(Rejected::Epoch)));
}

/// Cells and tags are replaced where the version is what it was, and nothing else changes.
async fn replaced<S: Store + Reseals>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    let books = (1..=40).map(|number| book(number, 1)).collect();
    store.write(one, of(1, books)).await.unwrap().unwrap();
    store.write(one, of(1, vec![annotate(7, 1, 1), annotate(7, 2, 1), delete(8, 1)])).await.unwrap().unwrap();
    let before = store.rows(one, BOOK, None, 100).await.unwrap();
    let past = store.past(one, BOOK, None, 100).await.unwrap();
    let rows: Vec<_> = before.iter().map(|row| again(row, 2, false)).collect();
    // Changed meanwhile, under the new epoch, but for its other cells.
    store.write(one, of(2, vec![annotate(9, 1, 2)])).await.unwrap().unwrap();
    assert_eq!(store.reseal(one, BOOK, 1, rows.clone(), None).await, Ok(Err(Rejected::Epoch)), "for an older epoch");
    assert_eq!(store.progress(one).await, Ok(None));
    assert_eq!(store.reseal(one, BOOK, 2, rows.clone(), Some(vec![1, 0xff, 0])).await, Ok(Ok(38)));
    assert_eq!(store.progress(one).await, Ok(Some(vec![1, 0xff, 0])));
    assert_eq!(store.reseal(one, BOOK, 2, vec![], Some(vec![2])).await, Ok(Ok(0)));
    assert_eq!(store.reseal(one, BOOK, 2, vec![], None).await, Ok(Ok(0)));
    assert_eq!(store.progress(one).await, Ok(Some(vec![2])), "left as it is");
    let after = store.rows(one, BOOK, None, 100).await.unwrap();
    assert_eq!(after.len(), before.len());
    for (was, is) in before.iter().zip(&after).filter(|(was, _)| was.record != record(9)) {
        assert_eq!((is.version, is.at), (was.version, was.at));
        assert!(is.cells.iter().all(|(_, cell)| sealed_epoch(cell) == Some(2)));
        let wanted = again(was, 2, false);
        assert_eq!((&is.cells, &is.tags), (&wanted.cells, &wanted.tags));
    }
    let nine = store.these(one, BOOK, &[record(9)]).await.unwrap().remove(0);
    let nine = again(&nine, 2, false);
    assert_eq!(nine.cells.len(), 2, "what was not replaced still is to be");
    assert_eq!(store.reseal(one, BOOK, 2, vec![nine], None).await, Ok(Ok(1)));
    let shelf = Access::Tags { field: SHELF, tags: vec![tag_in(2, 1), tag_in(2, 2)] };
    assert_eq!(numbers(store, one, &scan(shelf)).await, [2, 9, 16, 23, 30, 37]);
    // The past, too.
    let kept: Vec<_> = past.iter().map(|past| again(&past.row, 2, true)).collect();
    assert_eq!(store.reseal(one, BOOK, 2, kept, None).await, Ok(Ok(past.len())));
    for (was, is) in past.iter().zip(store.past(one, BOOK, None, 100).await.unwrap()) {
        assert_eq!(
            (is.row.record, is.row.version, is.row.at, is.until),
            (was.row.record, was.row.version, was.row.at, was.until)
        );
        assert!(is.row.cells.iter().all(|(_, cell)| sealed_epoch(cell) == Some(2)));
    }
    // A tag that another record has is left out, and what is no field is refused.
    let rows = store.rows(one, BOOK, None, 2).await.unwrap();
    let taken = Resealed {
        tags: vec![(KEY, rows[1].tags[0].1)],
        cells: vec![(KEY, sealed(1, 3))],
        ..again(&rows[0], 3, false)
    };
    let other = Resealed { tags: vec![], cells: vec![(NOTE, sealed(1, 3))], ..again(&rows[1], 3, false) };
    assert_eq!(store.reseal(one, BOOK, 3, vec![taken, other], Some(vec![3])).await, Ok(Ok(1)));
    assert_eq!((store.progress(one).await, store.epoch(one).await), (Ok(Some(vec![3])), Ok(3)));
    let untagged = Resealed { tags: vec![], cells: vec![(KEY, sealed(1, 3))], ..again(&rows[0], 3, false) };
    assert_eq!(store.reseal(one, BOOK, 3, vec![untagged], None).await, Err(StoreError::UnknownField));
    let unknown = Resealed { tags: vec![], cells: vec![(FieldId(9), sealed(1, 3))], ..again(&rows[0], 3, false) };
    assert_eq!(store.reseal(one, BOOK, 3, vec![unknown], None).await, Err(StoreError::UnknownField));
    store.note_progress(one, None).await.unwrap();
    assert_eq!(store.progress(one).await, Ok(None));
}

fn count_of(counts: &[SealCount], field: FieldId, epoch: u32) -> u64 {
    let key = CellKey { record_type: BOOK, field, epoch };
    counts.iter().find(|count| count.key == key).map_or(0, |count| count.sealed)
}

/// INVARIANT seal-limit, with a limit of 100.
async fn limit<S: Store + Reseals>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    assert_eq!(store.counts(one).await, Ok(vec![]));
    let nearing = store.nearing();
    let quiet = async || tokio::time::timeout(Duration::from_millis(20), nearing.wait()).await.is_err();
    let mut number = 0;
    let mut more = async |epoch: u32, count: u64| {
        let changes = (number + 1..=number + count).map(|number| book(number, epoch)).collect();
        let made = store.write(one, of(epoch, changes)).await.unwrap();
        number += if made.is_ok() { count } else { 0 };
        made
    };
    assert_eq!(more(1, 50).await, Ok(()));
    assert!(quiet().await);
    // What is refused needs another key, however little this one has sealed: else it would be refused for ever.
    assert_eq!(more(1, 51).await, Err(Rejected::Epoch), "nothing of a batch that passes the limit");
    let counts = store.counts(one).await.unwrap();
    assert!(counts.iter().all(|count| !count.is_near()), "{counts:?}");
    let key = |field: FieldId| CellKey { record_type: BOOK, field, epoch: 1 };
    let refused: BTreeSet<CellKey> = counts.iter().map(|count| count.key).collect();
    assert!(refused.contains(&key(KEY)) && refused.contains(&key(SHELF)));
    assert_eq!(nearing.wait().await, [(one, refused)].into());
    assert_eq!(more(1, 101).await, Err(Rejected::Limit), "which no other key could seal either");
    assert!(quiet().await);
    assert_eq!(store.count(one, BOOK).await, Ok(50));
    assert_eq!(more(1, 50).await, Ok(()));
    let counts = store.counts(one).await.unwrap();
    assert_eq!((count_of(&counts, KEY, 1), count_of(&counts, SHELF, 1)), (100, 100));
    assert!(counts.iter().all(|count| count.is_near() && count.limit == 100));
    assert_eq!(more(1, 1).await, Err(Rejected::Epoch));
    // Another field's key is another key, and null and what goes to the past are not sealed.
    assert_eq!(store.write(one, of(1, vec![annotate(1, 1, 1), delete(2, 1)])).await, Ok(Ok(())));
    assert_eq!(count_of(&store.counts(one).await.unwrap(), SHELF, 1), 100);
    // A new key begins anew.
    assert_eq!(more(2, 40).await, Ok(()));
    let rows = store.rows(one, BOOK, None, 60).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| again(row, 2, false)).collect();
    let past_it = store.reseal(one, BOOK, 2, [rows.clone(), rows[..1].to_vec()].concat(), Some(vec![1])).await;
    assert_eq!((past_it, store.progress(one).await), (Ok(Err(Rejected::Epoch)), Ok(None)));
    let never = store.reseal(one, BOOK, 2, [rows.clone(), rows.clone()].concat(), Some(vec![1])).await;
    assert_eq!((never, store.progress(one).await), (Ok(Err(Rejected::Limit)), Ok(None)));
    assert_eq!(store.reseal(one, BOOK, 2, rows, None).await, Ok(Ok(60)));
    assert_eq!(count_of(&store.counts(one).await.unwrap(), KEY, 2), 100);
    let key = CellKey { record_type: BOOK, field: KEY, epoch: 3 };
    assert_eq!(store.charge(one, vec![(key, 101)]).await, Ok(Err(Rejected::Limit)));
    assert_eq!(store.charge(one, vec![(key, 99)]).await, Ok(Ok(())));
    assert_eq!(store.charge(one, vec![(key, 2)]).await, Ok(Err(Rejected::Epoch)));
    assert_eq!(store.charge(one, vec![(key, 1)]).await, Ok(Ok(())));
}

/// Many writers at once, with a limit of 1000: not one more than that is stored.
async fn crowd<S: Store + Reseals + 'static>(store: Arc<S>) {
    let one = tenant(1);
    library_of(&*store, one).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8_u64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut made = 0;
            for number in 0..30 {
                let first = 100_000 * (writer + 1) + 10 * number;
                let changes = (first..first + 5).map(|number| book(number, 1)).collect();
                match store.write(one, of(1, changes)).await.unwrap() {
                    Ok(()) => made += 5,
                    rejected => assert_eq!(rejected, Err(Rejected::Epoch)),
                }
            }
            made
        });
    }
    let mut made = 0;
    while let Some(one) = writers.join_next().await {
        made += one.unwrap();
    }
    assert_eq!(store.count(one, BOOK).await, Ok(made));
    let counts = store.counts(one).await.unwrap();
    assert!(made <= 1000 && made > 900, "{made} stored");
    assert!(counts.iter().all(|count| count.sealed <= 1000 && count.sealed >= made));
    assert!(store.nearing().wait().await.contains_key(&one));
}

/// Opened again, it is at the same epoch, and what was set aside is counted.
async fn kept<S: Store + Reseals>(make: &impl AsyncFn(u32, u64) -> S) {
    const PLACE: u32 = 55;
    let one = tenant(1);
    for opened in 0..3_u64 {
        let store = make(PLACE, 1600).await;
        store.apply_types(&library()).await.unwrap();
        store.create_tenant(one).await.unwrap();
        let counted = count_of(&store.counts(one).await.unwrap(), KEY, 2);
        assert!((opened..=100 * opened).contains(&counted), "{counted}");
        assert_eq!(store.write(one, of(2, vec![book(opened + 1, 2)])).await, Ok(Ok(())));
        assert_eq!(store.write(one, of(1, vec![book(77, 1)])).await, Ok(Err(Rejected::Epoch)));
        assert!(count_of(&store.counts(one).await.unwrap(), KEY, 2) > counted);
    }
}

/// Epochs and counts go where the records go.
async fn carried<S: Store + Reseals>(here: &S, there: &S) {
    let one: TenantId = tenant(1);
    library_of(here, one).await;
    library_of(there, one).await;
    here.write(one, of(2, vec![book(1, 2)])).await.unwrap().unwrap();
    there.charge(one, vec![(CellKey { record_type: BOOK, field: KEY, epoch: 2 }, 5000)]).await.unwrap().unwrap();
    let higher = count_of(&there.counts(one).await.unwrap(), KEY, 2);
    for _ in 0..2 {
        bring_counts(here, there, one).await.unwrap();
        assert_eq!(there.epoch(one).await, Ok(2));
        let (from, to) = (here.counts(one).await.unwrap(), there.counts(one).await.unwrap());
        assert_eq!((count_of(&to, KEY, 2), count_of(&to, SHELF, 2)), (higher, count_of(&from, SHELF, 2)));
    }
    assert_eq!(there.write(one, of(1, vec![book(2, 1)])).await, Ok(Err(Rejected::Epoch)));
}
