//! What records were.

use countersign_model::{FieldSet, RecordId, UnixMs};

use super::fixture::*;
use crate::carry::{CarriedRow, Carry, PastRow};
use crate::history::{NotRewound, Rewound, state_at};
use crate::{Access, Batch, Rejected, SealedChange, SealedState, StateScan, Store, StoreError};

/// A batch of one time.
async fn at(store: &impl Store, at: u64, changes: Vec<SealedChange>) -> Result<(), Rejected> {
    store.write(tenant(1), Batch { at: UnixMs(at), ..batch(changes) }).await.unwrap()
}

fn states_of(access: Access) -> StateScan {
    StateScan { record_type: BOOK, access, cells: FieldSet::first(4), limit: usize::MAX, after: None }
}

async fn states(store: &impl Store, scan: &StateScan) -> Vec<SealedState> {
    store.history().unwrap().states(tenant(1), scan).await.unwrap()
}

fn times(states: &[SealedState]) -> Vec<(u64, u64, Option<u64>)> {
    states.iter().map(|state| (state.row.version, state.at.0, state.until.map(|until| until.0))).collect()
}

fn rekey(number: u64, version: u64, key: u64) -> SealedChange {
    SealedChange::Update {
        record_type: BOOK,
        record: record(number),
        version,
        cells: vec![(KEY, Some(cell(key)))],
        tags: vec![(KEY, Some(tag(key)))],
    }
}

/// Every change leaves what was before it.
pub(super) async fn every_change(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    at(store, 10, vec![insert(1, 4), insert(2, 4)]).await.unwrap();
    at(store, 20, vec![update(1, 1, b"a")]).await.unwrap();
    // The clock went back, and stands still.
    at(store, 15, vec![update(1, 2, b"b")]).await.unwrap();
    at(store, 20, vec![update(1, 3, b"c")]).await.unwrap();
    at(store, 30, vec![rekey(2, 1, 22)]).await.unwrap();
    at(store, 40, vec![delete(1, 4)]).await.unwrap();
    at(store, 50, vec![delete(2, 2)]).await.unwrap();
    // What is rejected leaves nothing.
    assert_eq!(at(store, 60, vec![insert(3, 4), delete(1, 4)]).await, Err(Rejected::Stale { change: 1 }));
    at(store, 60, vec![insert(3, 4)]).await.unwrap();
    let changes = vec![update(3, 1, b"x"), update(3, 1, b"y")];
    assert_eq!(at(store, 61, changes).await, Err(Rejected::Stale { change: 1 }));
    let taken = SealedChange::Update {
        record_type: BOOK,
        record: record(3),
        version: 1,
        cells: vec![(KEY, Some(cell(3))), (NOTE, None)],
        tags: vec![(KEY, Some(tag(3)))],
    };
    at(store, 62, vec![taken]).await.unwrap();
    at(store, 63, vec![insert(4, 4)]).await.unwrap();
    let unique = Rejected::Unique { change: 0, field: KEY, existing: record(4) };
    assert_eq!(at(store, 64, vec![rekey(3, 2, 4)]).await, Err(unique));

    let all = states(store, &states_of(Access::All)).await;
    let of = |number: u64| -> Vec<SealedState> {
        all.iter().filter(|state| state.row.record == record(number)).cloned().collect()
    };
    assert_eq!(times(&of(1)), [(1, 10, Some(20)), (2, 20, Some(20)), (3, 20, Some(20)), (4, 20, Some(40))]);
    assert_eq!(times(&of(2)), [(1, 10, Some(30)), (2, 30, Some(50))]);
    assert_eq!(times(&of(3)), [(1, 60, Some(62)), (2, 62, None)]);
    assert_eq!(times(&of(4)), [(1, 63, None)]);
    let notes: Vec<_> = of(1).into_iter().map(|state| state.row.cells[3].1.clone().unwrap()).collect();
    assert_eq!(notes, [cell(1000), b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    assert_eq!(of(3)[1].row.cells[3], (NOTE, None));

    // By record and by the tags that each state itself had; in pages; only the cells asked for.
    let by = |access: Access| states_of(access);
    let two = Access::Records(vec![record(2), record(1), record(1), record(9)]);
    assert_eq!(states(store, &by(two.clone())).await, [of(1), of(2)].concat());
    let mut paged = Vec::new();
    while let [state] = &states(
        store,
        &StateScan {
            limit: 1,
            after: paged.last().map(|state: &SealedState| (state.row.record, state.row.version)),
            ..by(two.clone())
        },
    )
    .await[..]
    {
        paged.push(state.clone());
    }
    assert_eq!(paged, [of(1), of(2)].concat());
    let keyed = |keys: &[u64]| Access::Tags { field: KEY, tags: keys.iter().map(|key| tag(*key)).collect() };
    assert_eq!(states(store, &by(keyed(&[22]))).await, of(2)[1..]);
    assert_eq!(states(store, &by(keyed(&[2]))).await, of(2)[..1]);
    assert_eq!(states(store, &by(keyed(&[3, 1, 3]))).await, [of(1), of(3)].concat());
    assert!(states(store, &by(keyed(&[]))).await.is_empty());
    let few = StateScan { cells: FieldSet::EMPTY.with(NOTE), ..by(keyed(&[1])) };
    assert!(states(store, &few).await.iter().all(|state| state.row.cells.len() == 1));
    assert_eq!(states(store, &by(on_shelves(&[4]))).await.len(), all.len());

    let history = store.history().unwrap();
    assert_eq!(history.states(tenant(2), &by(Access::All)).await, Err(StoreError::UnknownTenant));
    let wrong = StateScan { access: Access::Tags { field: NOTE, tags: vec![tag(1)] }, ..by(Access::All) };
    assert_eq!(history.states(one, &wrong).await, Err(StoreError::UnknownField));
    let wrong = StateScan { cells: FieldSet::first(5), ..by(Access::All) };
    assert_eq!(history.states(one, &wrong).await, Err(StoreError::UnknownField));

    // Another tenant has nothing of it.
    store.create_tenant(tenant(2)).await.unwrap();
    assert_eq!(history.states(tenant(2), &by(Access::All)).await, Ok(vec![]));
    // A record that comes again goes on where it ended.
    at(store, 5, vec![insert(1, 4)]).await.unwrap();
    let again = states(store, &by(Access::Records(vec![record(1)]))).await;
    assert_eq!(times(&again)[4..], [(5, 40, None)], "neither version nor time goes back");
}

/// What need not be kept goes, a little at a time; what must be kept stays.
pub(super) async fn retention(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    let history = store.history().unwrap();
    history.keep(100);
    assert_eq!(history.kept_ms(), 100);
    at(store, 1000, (0..20).map(|number| insert(number, 4)).collect()).await.unwrap();
    for number in 0..20 {
        at(store, 1001 + number, vec![update(number, 1, b"a")]).await.unwrap();
    }
    let kept = async || states(store, &states_of(Access::All)).await.iter().filter(|one| one.until.is_some()).count();
    assert_eq!(history.prune(one, BOOK, UnixMs(1000), 100).await, Ok(0));
    assert_eq!(history.prune(one, BOOK, UnixMs(1101), 100).await, Ok(0), "to the millisecond");
    assert_eq!(history.prune(one, BOOK, UnixMs(1111), 7).await, Ok(7));
    assert_eq!(history.prune(one, BOOK, UnixMs(1111), 7).await, Ok(3));
    assert_eq!(kept().await, 10);
    assert_eq!(history.prune(one, LOAN, UnixMs(1_000_000), 7).await, Ok(0));
    // Shortened, and then nothing is kept any more, of changes nor of what was kept.
    history.keep(95);
    assert_eq!(history.prune(one, BOOK, UnixMs(1111), 100).await, Ok(5));
    history.keep(0);
    at(store, 1200, vec![update(1, 2, b"b"), delete(2, 2)]).await.unwrap();
    assert_eq!(at(store, 1200, vec![update(1, 2, b"b")]).await, Err(Rejected::Stale { change: 0 }));
    assert_eq!(kept().await, 5);
    assert_eq!(history.prune(one, BOOK, UnixMs(1200), 100).await, Ok(5));
    assert_eq!(everything(store, one).await.len(), 19);
    history.keep(100);
    at(store, 1201, vec![delete(1, 3)]).await.unwrap();
    assert_eq!(kept().await, 1);
}

/// All records as they were, in one change that can be undone.
pub(super) async fn rewinding(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    library_of(store, tenant(2)).await;
    let history = store.history().unwrap();
    let rewind = async |to: u64, now: u64| history.rewind(one, UnixMs(to), UnixMs(now), 0).await.unwrap();
    at(store, 10, vec![insert(1, 4), insert(2, 4), insert(3, 4), loan(1, 1)]).await.unwrap();
    write(store, tenant(2), vec![insert(1, 4)]).await.unwrap();
    // The keys of 1 and 2 change places; 3 goes; 4 comes.
    at(store, 20, vec![rekey(1, 1, 9), rekey(2, 1, 1), rekey(1, 2, 2), delete(3, 1), insert(4, 4)]).await.unwrap();
    let then = everything(store, one).await;
    assert_eq!(rewind(19, 30).await, Ok(Rewound { changed: 3, restored: 3 }));
    let rows = everything(store, one).await;
    let keys: Vec<_> = rows.iter().map(|row| (row.version, row.cells[0].1.clone().unwrap())).collect();
    assert_eq!(keys, [(4, cell(1)), (3, cell(2)), (2, cell(3))]);
    assert_eq!(numbers(store, one, &scan(Access::Tags { field: KEY, tags: vec![tag(1), tag(3)] })).await, [1, 3]);
    assert_eq!(store.count(one, LOAN).await, Ok(1));
    // Undone by the same way.
    assert_eq!(rewind(29, 40).await, Ok(Rewound { changed: 3, restored: 3 }));
    let values = |rows: Vec<crate::SealedRow>| rows.into_iter().map(|row| (row.record, row.cells)).collect::<Vec<_>>();
    assert_eq!(values(everything(store, one).await), values(then));
    assert_eq!(rewind(40, 50).await, Ok(Rewound { changed: 0, restored: 0 }));
    assert_eq!(rewind(0, 60).await, Ok(Rewound { changed: 4, restored: 0 }), "before there was anything");
    assert_eq!(rewind(50, 70).await, Ok(Rewound { changed: 0, restored: 4 }));
    assert_eq!(store.count(tenant(2), BOOK).await, Ok(1), "another tenant's stay");
    // What is not known is not made up.
    assert_eq!(rewind(81, 80).await, Err(NotRewound::Later));
    assert_eq!(history.since(one).await, Ok(UnixMs(0)));
    history.keep(45);
    let gone = history.prune(one, BOOK, UnixMs(80), 100).await.unwrap();
    assert!(gone > 0);
    let since = history.since(one).await.unwrap();
    assert_eq!(since, UnixMs(30));
    assert_eq!(rewind(29, 80).await, Err(NotRewound::NotKept { since }));
    rewind(30, 80).await.unwrap();
    history.keep(0);
    at(store, 90, vec![insert(7, 4)]).await.unwrap();
    assert_eq!(history.since(one).await, Ok(since), "nothing is forgotten by what is new");
    at(store, 95, vec![delete(7, 1)]).await.unwrap();
    assert_eq!(history.since(one).await, Ok(UnixMs(95)));
    // A newer key.
    history.keep(1000);
    let newer = Batch { at: UnixMs(100), epoch: 2, ..batch(under(2, vec![insert(8, 4)])) };
    store.write(one, newer).await.unwrap().unwrap();
    assert_eq!(rewind(99, 110).await, Err(NotRewound::Epoch));
    assert_eq!(history.rewind(one, UnixMs(99), UnixMs(110), 2).await.unwrap().unwrap().changed, 1);
    // Two had the same key, as a clock says that was set back.
    let epoch = |at: u64, changes| Batch { at: UnixMs(at), epoch: 2, ..batch(under(2, changes)) };
    store.write(one, epoch(200, vec![insert(20, 4)])).await.unwrap().unwrap();
    store.write(one, epoch(300, vec![delete(20, 1)])).await.unwrap().unwrap();
    let again = tagged(21, &[(KEY, 20)]);
    store.write(one, epoch(250, vec![again])).await.unwrap().unwrap();
    store.write(one, epoch(310, vec![update(21, 1, b"x")])).await.unwrap().unwrap();
    let before = everything(store, one).await;
    assert_eq!(history.rewind(one, UnixMs(260), UnixMs(400), 2).await, Ok(Err(NotRewound::Contradiction)));
    assert_eq!(everything(store, one).await, before);
    history.rewind(one, UnixMs(305), UnixMs(400), 2).await.unwrap().unwrap();
}

/// The newest version that each book has had.
async fn newest<S: Store + Carry>(store: &S) -> Vec<(RecordId, u64)> {
    let now = Carry::rows(store, tenant(1), BOOK, None, usize::MAX).await.unwrap();
    let was = store.past(tenant(1), BOOK, None, usize::MAX).await.unwrap();
    state_at(UnixMs(0), now, was).map(|then| (then.record, then.newest)).collect()
}

/// Random changes, told back at every moment; and carried elsewhere.
///
/// # Panics
/// If one does not do what it must.
pub async fn remembers<S: Store + Carry>(store: &S) {
    let one = tenant(1);
    library_of(store, one).await;
    let mut seen = Vec::new();
    let mut draw = 7u64;
    let mut next = |bound: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % bound
    };
    for moment in 1..=60u64 {
        for _ in 0..=next(3) {
            let number = next(12);
            let found = everything(store, one).await.into_iter().find(|row| row.record == record(number));
            let change = match found {
                None => insert(number, next(5)),
                Some(row) if next(3) == 0 => delete(number, row.version),
                Some(row) => update(number, row.version, &moment.to_be_bytes()),
            };
            at(store, moment * 10, vec![change]).await.unwrap();
        }
        seen.push((moment * 10, Carry::rows(store, one, BOOK, None, usize::MAX).await.unwrap()));
    }
    let now = Carry::rows(store, one, BOOK, None, usize::MAX).await.unwrap();
    let was: Vec<PastRow> = store.past(one, BOOK, None, usize::MAX).await.unwrap();
    for (moment, rows) in &seen {
        for at in [*moment, *moment + 9] {
            let then = state_at(UnixMs(at), now.clone(), was.clone());
            assert_eq!(then.filter_map(|then| then.then).collect::<Vec<_>>(), *rows, "at {at}");
        }
    }
    // Back to each moment and forth again: what is known of other moments stays known.
    let history = store.history().unwrap();
    let values = |rows: &[CarriedRow]| -> Vec<_> {
        rows.iter().map(|row| (row.record, row.cells.clone(), row.tags.clone())).collect()
    };
    for (step, (moment, rows)) in (1..).zip(seen.iter().rev().step_by(7).chain(seen.last())) {
        let newest: Vec<(RecordId, u64)> = newest(store).await;
        let when = UnixMs(1000 + step);
        history.rewind(one, UnixMs(*moment), when, 0).await.unwrap().unwrap();
        let now = Carry::rows(store, one, BOOK, None, usize::MAX).await.unwrap();
        assert_eq!(values(&now), values(rows), "back at {moment}");
        for row in now.iter().filter(|row| row.at == when) {
            assert!(newest.contains(&(row.record, row.version - 1)), "versions go up by one");
        }
    }
    let was_then = store.past(one, BOOK, None, usize::MAX).await.unwrap();
    for (moment, rows) in &seen {
        let now = Carry::rows(store, one, BOOK, None, usize::MAX).await.unwrap();
        let then: Vec<_> = state_at(UnixMs(*moment), now, was_then.clone()).filter_map(|then| then.then).collect();
        assert_eq!(then, *rows, "at {moment}, after all that");
    }
    let was = was_then;
    let mut paged: Vec<PastRow> = Vec::new();
    loop {
        let after = paged.last().map(|past| (past.row.record, past.row.version));
        let page = store.past(one, BOOK, after, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, was);
    let some: Vec<RecordId> = vec![record(3), record(1)];
    let expected: Vec<PastRow> = was.iter().filter(|past| some.contains(&past.row.record)).cloned().collect();
    assert_eq!(store.past_of(one, BOOK, &some).await.unwrap(), expected);
}
