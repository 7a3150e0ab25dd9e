use super::*;

/// New types and fields come into force for tenants with records, used or not, and for new ones.
pub(super) async fn types_grow(store: &impl Store) {
    let (one, idle, later) = (tenant(1), tenant(2), tenant(3));
    library_of(store, one).await;
    store.create_tenant(idle).await.unwrap();
    write(store, one, vec![insert(1, 4)]).await.unwrap();
    let mut grown = library();
    let like_shelf = grown.types[0].fields[1].clone();
    let mut added = like_shelf.clone();
    added.name = "section".parse().unwrap();
    grown.types[0].fields.push(added);
    let mut third = grown.types[0].clone();
    third.name = "map".parse().unwrap();
    grown.types.push(third);
    store.apply_types(&grown).await.unwrap();
    let section = FieldId(4);
    for each in [one, idle, later] {
        store.create_tenant(each).await.unwrap();
        let new = SealedChange::Insert {
            record_type: BOOK,
            record: record(2),
            cells: vec![(KEY, cell(2)), (section, cell(8))],
            tags: vec![(KEY, tag(2)), (section, tag(8))],
        };
        let map = SealedChange::Insert {
            record_type: TypeId(2),
            record: record(3),
            cells: vec![(KEY, cell(3)), (section, cell(8))],
            tags: vec![(KEY, tag(3)), (section, tag(8))],
        };
        write(store, each, vec![new, map]).await.unwrap();
        let by_section = Access::Tags { field: section, tags: vec![tag(8)] };
        assert_eq!(numbers(store, each, &scan(by_section.clone())).await, [2]);
        let maps = Scan { record_type: TypeId(2), cells: FieldSet::EMPTY, ..scan(by_section) };
        assert_eq!(numbers(store, each, &maps).await, [3]);
    }
    let rows = store.read(one, &Scan { cells: FieldSet::first(5), ..scan(Access::All) }).await.unwrap();
    assert_eq!(rows[0].cells[4], (section, None), "records from before have null there");
    assert_eq!(rows[0].cells[0], (KEY, Some(cell(1))));
    // Applying the same again changes nothing.
    store.apply_types(&grown).await.unwrap();
    assert_eq!(store.read(one, &Scan { cells: FieldSet::first(5), ..scan(Access::All) }).await.unwrap(), rows);
}

/// A field may stop being unique or indexed, and become so again once its type has no records.
pub(super) async fn indexes_come_and_go(store: &impl Store) {
    let one = tenant(1);
    library_of(store, one).await;
    write(store, one, vec![insert(1, 4), insert(2, 4)]).await.unwrap();
    let twin = |number: u64| tagged(number, &[(KEY, number), (CODE, 0)]);
    let mut types = library();
    types.types[0].fields[1].indexed = false;
    types.types[0].fields[2].unique = false;
    store.apply_types(&types).await.unwrap();
    assert_eq!(store.read(one, &scan(on_shelves(&[4]))).await, Err(StoreError::UnknownField));
    let told_before = store.write(one, batch(vec![insert(3, 4)])).await;
    assert_eq!(told_before, Err(StoreError::UnknownField), "a writer who knows the old types is refused");
    write(store, one, vec![twin(3), twin(4)]).await.unwrap();
    assert_eq!(numbers(store, one, &scan(Access::Tags { field: CODE, tags: vec![tag(0)] })).await, [3, 4]);
    assert_eq!(everything(store, one).await[0].cells[1], (SHELF, Some(cell(4))), "the values stay");
    write(store, one, (1..=4).map(|number| delete(number, 1)).collect()).await.unwrap();
    store.apply_types(&library()).await.unwrap();
    write(store, one, vec![insert(5, 4), twin(6)]).await.unwrap();
    assert_eq!(numbers(store, one, &scan(on_shelves(&[4]))).await, [5]);
    let taken = Rejected::Unique { change: 0, field: CODE, existing: record(6) };
    assert_eq!(write(store, one, vec![twin(7)]).await, Err(taken));
}

/// Whether any tenant has records of a type.
pub(super) async fn any_records(store: &impl Store) {
    let (one, other) = (tenant(1), tenant(2));
    library_of(store, one).await;
    library_of(store, other).await;
    assert_eq!((store.any_records(BOOK).await, store.any_records(LOAN).await), (Ok(false), Ok(false)));
    write(store, other, vec![loan(1, 1)]).await.unwrap();
    assert_eq!((store.any_records(BOOK).await, store.any_records(LOAN).await), (Ok(false), Ok(true)));
    assert_eq!(store.any_records(TypeId(99)).await, Ok(false), "nobody has records of a type that is not there");
}
