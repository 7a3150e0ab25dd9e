use super::*;
use crate::Requirement;

/// A change names the version it was decided on; another one means that somebody was faster.
pub(super) async fn versions(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    write(store, one, vec![insert(1, 0)]).await.unwrap();
    let stale = Err(Rejected::Stale { change: 0 });
    for version in [0, 2, u64::MAX] {
        assert_eq!(write(store, one, vec![update(1, version, b"no")]).await, stale);
        assert_eq!(write(store, one, vec![delete(1, version)]).await, stale);
    }
    assert_eq!(write(store, one, vec![update(9, 1, b"no")]).await, stale, "a record that is not there is stale");
    assert_eq!(write(store, one, vec![delete(9, 1)]).await, stale);
    write(store, one, vec![update(1, 1, b"a"), update(1, 2, b"b")]).await.unwrap();
    let row = &everything(store, one).await[0];
    assert_eq!((row.version, &row.cells[3].1), (3, &Some(b"b".to_vec())), "each change counts once");
    assert_eq!(&row.cells[0].1, &Some(cell(1)), "fields that are not named stay");
    let nothing =
        SealedChange::Update { record_type: BOOK, record: record(1), version: 3, cells: vec![], tags: vec![] };
    write(store, one, vec![nothing]).await.unwrap();
    assert_eq!(everything(store, one).await[0].version, 4, "a change of nothing is a change");
    assert_eq!(write(store, one, vec![insert(1, 0)]).await.map_err(|_| ()), Err(()), "a record is inserted once");
    write(store, one, vec![delete(1, 4)]).await.unwrap();
    assert!(everything(store, one).await.is_empty());
    write(store, one, vec![insert(1, 0)]).await.unwrap();
    assert_eq!(everything(store, one).await[0].version, 5, "no two states of a record have the same version");
    // The same id with other keys: no tag is taken, only the id.
    let same_id = SealedChange::Insert { record_type: BOOK, record: record(1), cells: vec![], tags: vec![] };
    assert_eq!(write(store, one, vec![same_id]).await, stale);
}

/// If one change can't be made, none is.
pub(super) async fn all_or_nothing(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    write(store, one, vec![insert(1, 0), insert(2, 0)]).await.unwrap();
    let before = everything(store, one).await;
    let changes = vec![insert(3, 0), update(1, 1, b"x"), delete(2, 1), loan(1, 1), update(1, 1, b"stale")];
    assert_eq!(write(store, one, changes.clone()).await, Err(Rejected::Stale { change: 4 }));
    assert_eq!(everything(store, one).await, before);
    assert_eq!(store.count(one, LOAN).await, Ok(0));
    let mut changes = changes;
    changes.truncate(4);
    let wish = Requirement::Exists { record_type: BOOK, field: KEY, tags: vec![tag(2)] };
    let rejected = store
        .write(one, Batch { changes: changes.clone(), requires: vec![wish], once: None, ..Batch::default() })
        .await
        .unwrap();
    assert_eq!(rejected, Err(Rejected::Missing { requirement: 0 }), "requirements see the changes");
    assert_eq!(everything(store, one).await, before);
    write(store, one, changes).await.unwrap();
    assert_eq!(numbers(store, one, &scan(Access::All)).await, [1, 3]);
    assert_eq!(store.count(one, LOAN).await, Ok(1));
}

/// No two records of a type have the same tag in a unique field; nulls are no tag.
pub(super) async fn uniqueness(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    let coded = |number: u64, key: u64, code: Option<u64>| {
        let values: Vec<_> = [(KEY, key)].into_iter().chain(code.map(|code| (CODE, code))).collect();
        tagged(number, &values)
    };
    let recode = |number: u64, version: u64, code: Option<u64>| SealedChange::Update {
        record_type: BOOK,
        record: record(number),
        version,
        cells: vec![(CODE, code.map(cell))],
        tags: vec![(CODE, code.map(tag))],
    };
    write(store, one, vec![coded(1, 1, Some(70)), coded(2, 2, None), coded(3, 3, None)]).await.unwrap();
    let taken = |change, field, existing| Err(Rejected::Unique { change, field, existing: record(existing) });
    assert_eq!(write(store, one, vec![coded(4, 1, None)]).await, taken(0, KEY, 1));
    assert_eq!(write(store, one, vec![coded(5, 5, None), coded(4, 4, Some(70))]).await, taken(1, CODE, 1));
    assert_eq!(write(store, one, vec![coded(4, 3, Some(70))]).await, taken(0, KEY, 3), "the first field counts");
    assert_eq!(write(store, one, vec![coded(8, 8, None), coded(9, 8, None)]).await, taken(1, KEY, 8), "in one batch");
    assert_eq!(write(store, one, vec![recode(2, 1, Some(70))]).await, taken(0, CODE, 1));
    write(store, one, vec![recode(1, 1, Some(70))]).await.unwrap();
    write(store, one, vec![recode(1, 2, None), recode(2, 1, Some(70))]).await.unwrap();
    assert_eq!(write(store, one, vec![recode(1, 3, Some(70))]).await, taken(0, CODE, 2), "the code moved on");
    write(store, one, vec![delete(2, 2), coded(6, 6, Some(70))]).await.unwrap();
    assert_eq!(store.count(one, BOOK).await, Ok(3), "none of what was rejected was made");
    // The same tag in another field or another type is another thing.
    write(store, one, vec![coded(10, 70, None), loan(1, 70)]).await.unwrap();
}

/// References: what must be there and what must not, seen in the same transaction.
pub(super) async fn requirements(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    let book = |key: u64| Requirement::Exists { record_type: BOOK, field: KEY, tags: vec![tag(key)] };
    let no_loan = |key: u64| Requirement::Absent { record_type: LOAN, field: LOAN_BOOK, tags: vec![tag(key)] };
    let wish = |changes, requires| Batch { changes, requires, once: None, ..Batch::default() };
    let rejected = store.write(one, wish(vec![loan(1, 5)], vec![book(5)])).await.unwrap();
    assert_eq!(rejected, Err(Rejected::Missing { requirement: 0 }));
    // Made by the same batch, after what needs it.
    let made = store.write(one, wish(vec![loan(1, 5), insert(5, 0)], vec![book(5)])).await.unwrap();
    assert_eq!(made, Ok(()));
    let rejected = store.write(one, wish(vec![delete(5, 1)], vec![no_loan(6), no_loan(5)])).await.unwrap();
    assert_eq!(rejected, Err(Rejected::Present { requirement: 1, existing: record(1) }));
    // Any of several tags, whichever it is; of none, nothing is there.
    let any = |keys: &[u64]| keys.iter().map(|key| tag(*key)).collect::<Vec<_>>();
    for (keys, found) in [(vec![5, 6], true), (vec![6, 5], true), (vec![6, 7], false), (vec![], false)] {
        let exists = Requirement::Exists { record_type: BOOK, field: KEY, tags: any(&keys) };
        let absent = Requirement::Absent { record_type: BOOK, field: KEY, tags: any(&keys) };
        let there = store.write(one, wish(vec![], vec![exists])).await.unwrap();
        let gone = store.write(one, wish(vec![], vec![absent])).await.unwrap();
        let missing = Err(Rejected::Missing { requirement: 0 });
        let present = Err(Rejected::Present { requirement: 0, existing: record(5) });
        assert_eq!((there, gone), if found { (Ok(()), present) } else { (missing, Ok(())) }, "{keys:?}");
    }
    let return_it = SealedChange::Delete { record_type: LOAN, record: record(1), version: 1 };
    let made = store.write(one, wish(vec![delete(5, 1), return_it], vec![no_loan(5)])).await.unwrap();
    assert_eq!(made, Ok(()));
    let only_asking = store.write(one, wish(vec![], vec![no_loan(5), book(5)])).await.unwrap();
    assert_eq!(only_asking, Err(Rejected::Missing { requirement: 1 }));
}

/// A batch of nothing is made; one that names what is not there is refused whole.
pub(super) async fn empty_and_unknown(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    assert_eq!(store.write(one, Batch::default()).await, Ok(Ok(())));
    let unknown = Err(StoreError::UnknownField);
    let of = |record_type, cell: Option<FieldId>, tagged: Option<FieldId>| SealedChange::Insert {
        record_type,
        record: record(1),
        cells: cell.into_iter().map(|field| (field, vec![1])).collect(),
        tags: tagged.into_iter().map(|field| (field, tag(1))).collect(),
    };
    let wrong = [
        of(TypeId(2), None, None),
        of(BOOK, Some(FieldId(4)), None),
        of(BOOK, Some(FieldId(200)), None),
        of(BOOK, None, Some(NOTE)),
        of(BOOK, None, Some(FieldId(200))),
    ];
    let twice = SealedChange::Update {
        record_type: BOOK,
        record: record(2),
        version: 1,
        cells: vec![(NOTE, None), (NOTE, Some(vec![1]))],
        tags: vec![],
    };
    let half = |cells, tags| SealedChange::Update { record_type: BOOK, record: record(2), version: 1, cells, tags };
    let halves = [
        // A cell without its tag, a tag without its cell, one null and the other not.
        half(vec![(SHELF, Some(cell(1)))], vec![]),
        half(vec![(SHELF, None)], vec![]),
        half(vec![], vec![(SHELF, Some(tag(1)))]),
        half(vec![(SHELF, Some(cell(1)))], vec![(SHELF, None)]),
        half(vec![(SHELF, None)], vec![(SHELF, Some(tag(1)))]),
        of(BOOK, Some(SHELF), None),
        of(BOOK, None, Some(SHELF)),
    ];
    for change in wrong.into_iter().chain([twice]).chain(halves) {
        assert_eq!(store.write(one, batch(vec![insert(2, 2), change])).await, unknown);
    }
    for field in [NOTE, FieldId(200)] {
        let requires = vec![Requirement::Absent { record_type: BOOK, field, tags: vec![tag(1)] }];
        assert_eq!(
            store.write(one, Batch { changes: vec![insert(2, 2)], requires, once: None, ..Batch::default() }).await,
            unknown
        );
    }
    assert_eq!(store.count(one, BOOK).await, Ok(0));
    write(store, one, vec![insert(2, 2)]).await.unwrap();
}
