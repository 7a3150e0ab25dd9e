use super::*;

/// Cells come back as they were written, in the order of fields, and only those asked for.
pub(super) async fn cells_and_nulls(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    let full = SealedChange::Insert {
        record_type: BOOK,
        record: record(1),
        // In no order, and with cells that are empty or large.
        cells: vec![(NOTE, vec![7; 100_000]), (KEY, cell(1)), (CODE, Vec::new())],
        tags: vec![(CODE, tag(9)), (KEY, tag(1))],
    };
    write(store, one, vec![full]).await.unwrap();
    let rows = everything(store, one).await;
    let expected = SealedRow {
        record: record(1),
        version: 1,
        cells: vec![(KEY, Some(cell(1))), (SHELF, None), (CODE, Some(Vec::new())), (NOTE, Some(vec![7; 100_000]))],
    };
    assert_eq!(rows, [expected], "cells as written; a field without one is null, and an empty cell is not null");
    let some = FieldSet::EMPTY.with(NOTE).with(KEY);
    for access in [Access::All, Access::Records(vec![record(1)]), Access::Tags { field: CODE, tags: vec![tag(9)] }] {
        let rows = store.read(one, &Scan { cells: some, ..scan(access.clone()) }).await.unwrap();
        let cells: Vec<_> = rows.iter().flat_map(|row| &row.cells).cloned().collect();
        assert_eq!(cells, [(KEY, Some(cell(1))), (NOTE, Some(vec![7; 100_000]))], "only the cells asked for");
        let rows = store.read(one, &Scan { cells: FieldSet::EMPTY, ..scan(access) }).await.unwrap();
        assert!(rows.len() == 1 && rows[0].cells.is_empty(), "a row without cells is still a row");
    }
    // To null and back, cell and tag.
    let nulled = SealedChange::Update {
        record_type: BOOK,
        record: record(1),
        version: 1,
        cells: vec![(CODE, None), (SHELF, Some(cell(3)))],
        tags: vec![(CODE, None), (SHELF, Some(tag(3)))],
    };
    write(store, one, vec![nulled]).await.unwrap();
    let row = &everything(store, one).await[0];
    assert_eq!((&row.cells[1], &row.cells[2]), (&(SHELF, Some(cell(3))), &(CODE, None)));
    let by_code = scan(Access::Tags { field: CODE, tags: vec![tag(9)] });
    assert!(numbers(store, one, &by_code).await.is_empty(), "a tag that was taken away finds nothing");
    assert_eq!(numbers(store, one, &scan(on_shelves(&[3]))).await, [1]);
}

/// By id: those that exist, each once, ascending.
pub(super) async fn by_records(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    write(store, one, [30, 10, 20].map(|number| insert(number, 0)).to_vec()).await.unwrap();
    let ask = |ids: &[u64]| scan(Access::Records(ids.iter().map(|id| record(*id)).collect()));
    assert_eq!(numbers(store, one, &ask(&[20])).await, [20]);
    assert_eq!(numbers(store, one, &ask(&[30, 20, 99, 20, 10])).await, [10, 20, 30]);
    assert_eq!(numbers(store, one, &ask(&[99])).await, [0u64; 0]);
    assert_eq!(numbers(store, one, &ask(&[])).await, [0u64; 0]);
    assert_eq!(numbers(store, one, &Scan { after: Some(record(10)), limit: 1, ..ask(&[10, 20, 30]) }).await, [20]);
    assert_eq!(numbers(store, one, &Scan { after: Some(record(10)), ..ask(&[10]) }).await, [0u64; 0]);
    let many: Vec<u64> = (1000..3000).collect();
    let changes = many.iter().map(|number| insert(*number, 1)).collect();
    write(store, one, changes).await.unwrap();
    assert_eq!(numbers(store, one, &ask(&many)).await, many);
}

/// By tag: plain and unique fields, one tag and several, repeated ones too.
pub(super) async fn by_tags(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    let changes = (1..=600).map(|number| insert(number, number % 3)).collect();
    write(store, one, changes).await.unwrap();
    let on_shelf = |shelf: u64| (1..=600).filter(|number| number % 3 == shelf).collect::<Vec<u64>>();
    assert_eq!(numbers(store, one, &scan(on_shelves(&[1]))).await, on_shelf(1));
    assert_eq!(numbers(store, one, &scan(on_shelves(&[1, 1]))).await, on_shelf(1), "a tag named twice counts once");
    assert_eq!(numbers(store, one, &scan(on_shelves(&[2, 77, 1, 0]))).await, (1..=600).collect::<Vec<u64>>());
    assert_eq!(numbers(store, one, &scan(on_shelves(&[77]))).await, [0u64; 0]);
    assert_eq!(numbers(store, one, &scan(on_shelves(&[]))).await, [0u64; 0]);
    let many: Vec<u64> = (1..40).collect();
    let named: Vec<u64> = (1..=600).filter(|number| number % 3 != 0).collect();
    assert_eq!(numbers(store, one, &scan(on_shelves(&many))).await, named);
    let keys = |keys: &[u64]| Access::Tags { field: KEY, tags: keys.iter().map(|key| tag(*key)).collect() };
    assert_eq!(numbers(store, one, &scan(keys(&[400]))).await, [400]);
    assert_eq!(numbers(store, one, &scan(keys(&[400, 3, 3, 9999]))).await, [3, 400]);
    assert_eq!(numbers(store, one, &Scan { limit: 1, ..scan(keys(&[400, 3])) }).await, [3], "the lowest ids first");
    assert_eq!(numbers(store, one, &Scan { after: Some(record(3)), ..scan(keys(&[400, 3])) }).await, [400]);
    assert_eq!(numbers(store, one, &Scan { after: Some(record(400)), ..scan(keys(&[400])) }).await, [0u64; 0]);
    let all: Vec<u64> = (1..=600).collect();
    assert_eq!(
        numbers(store, one, &Scan { after: Some(record(20)), limit: 3, ..scan(keys(&all)) }).await,
        [21, 22, 23]
    );
}

/// Pages put together are the whole, for every access and page size.
pub(super) async fn pages(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    // Inserted in another order than that of their ids.
    let changes = (1..=500u64).map(|place| insert((place * 263) % 501, place % 2)).collect();
    write(store, one, changes).await.unwrap();
    let all: Vec<u64> = (1..=500).collect();
    let records = Access::Records(all.iter().map(|number| record(*number)).collect());
    for access in [Access::All, on_shelves(&[0, 1]), records] {
        for size in [1, 7, 128, 129, 499, 500, 501] {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let page = numbers(store, one, &Scan { limit: size, after, ..scan(access.clone()) }).await;
                assert!(page.len() <= size, "never more rows than the limit");
                let Some(last) = page.last() else { break };
                after = Some(record(*last));
                seen.extend(page);
            }
            assert_eq!(seen, all, "pages of {size}");
        }
        assert!(numbers(store, one, &Scan { limit: 0, ..scan(access) }).await.is_empty());
    }
    let mut odd: Vec<u64> = Vec::new();
    loop {
        let after = odd.last().map(|last| record(*last));
        let page = numbers(store, one, &Scan { limit: 9, after, ..scan(on_shelves(&[1])) }).await;
        if page.is_empty() {
            break;
        }
        odd.extend(page);
    }
    assert_eq!(odd, numbers(store, one, &scan(on_shelves(&[1]))).await);
    assert_eq!(odd.len(), 250);
}

/// Unknown tenants, types, fields, and tags of fields that are not indexed.
pub(super) async fn what_is_not_there(store: &impl Store) {
    let one = tenant(1);
    let stranger = tenant(2);
    assert_eq!(store.read(one, &scan(Access::All)).await, Err(StoreError::UnknownTenant));
    assert_eq!(store.write(one, batch(vec![insert(1, 1)])).await, Err(StoreError::UnknownTenant));
    assert_eq!(store.count(one, BOOK).await, Err(StoreError::UnknownTenant));
    store.create_tenant(one).await.unwrap();
    assert_eq!(store.read(one, &scan(Access::All)).await, Err(StoreError::UnknownField), "no types are in force");
    store.apply_types(&library()).await.unwrap();
    assert!(everything(store, one).await.is_empty());
    assert_eq!(store.count(one, BOOK).await, Ok(0));
    assert_eq!(store.read(stranger, &scan(Access::All)).await, Err(StoreError::UnknownTenant));
    let unknown = Err(StoreError::UnknownField);
    let of_type = |record_type| Scan { record_type, cells: FieldSet::EMPTY, ..scan(Access::All) };
    assert_eq!(store.read(one, &of_type(TypeId(2))).await, unknown);
    assert_eq!(store.count(one, TypeId(u16::MAX)).await, Err(StoreError::UnknownField));
    assert_eq!(store.read(one, &Scan { cells: FieldSet::first(5), ..scan(Access::All) }).await, unknown);
    for field in [NOTE, FieldId(4), FieldId(255)] {
        assert_eq!(store.read(one, &scan(Access::Tags { field, tags: vec![tag(1)] })).await, unknown);
    }
    // Making a tenant again leaves it as it is.
    write(store, one, vec![insert(1, 1)]).await.unwrap();
    store.create_tenant(one).await.unwrap();
    assert_eq!(everything(store, one).await.len(), 1);
}

/// The same ids, keys and tags in two tenants have nothing to do with each other.
pub(super) async fn tenants_are_separate(store: &impl Store) {
    let (one, other) = (tenant(1), tenant(2));
    library_of(store, one).await;
    library_of(store, other).await;
    write(store, one, vec![insert(1, 5), insert(2, 5)]).await.unwrap();
    assert!(everything(store, other).await.is_empty());
    write(store, other, vec![insert(1, 5)]).await.unwrap();
    write(store, other, vec![update(1, 1, b"other")]).await.unwrap();
    assert_eq!(numbers(store, one, &scan(on_shelves(&[5]))).await, [1, 2]);
    assert_eq!(numbers(store, other, &scan(on_shelves(&[5]))).await, [1]);
    assert_eq!(everything(store, one).await[0].version, 1);
    assert_eq!(write(store, other, vec![delete(2, 1)]).await, Err(Rejected::Stale { change: 0 }));
    write(store, other, vec![delete(1, 2)]).await.unwrap();
    assert_eq!((store.count(one, BOOK).await, store.count(other, BOOK).await), (Ok(2), Ok(0)));
}
