//! The records that the suite works with: books on shelves, and loans that refer to them.

use countersign_crypto::{SealKey, Tag};
use countersign_model::{FieldId, FieldSet, RecordId, RecordTypes, TenantId, TypeId};

use crate::{Access, Batch, Rejected, Scan, SealedChange, SealedRow, Store, types_file};

/// The type of the suite's records. Key, a plain indexed field, an optional unique one and a free one.
pub(crate) const BOOK: TypeId = TypeId(0);
pub(crate) const KEY: FieldId = FieldId(0);
pub(crate) const SHELF: FieldId = FieldId(1);
pub(crate) const CODE: FieldId = FieldId(2);
pub(crate) const NOTE: FieldId = FieldId(3);
/// A type that refers to it.
pub(crate) const LOAN: TypeId = TypeId(1);
pub(crate) const LOAN_BOOK: FieldId = FieldId(1);

pub(crate) fn library() -> RecordTypes {
    types_file::parse(
        r#"
        [types.book.fields]
        id    = { kind = "integer", class = "public" }
        shelf = { kind = "integer", class = "public", index = "exact" }
        code  = { kind = "text", class = "public", unique = true }
        note  = { kind = "text", class = "internal" }

        [types.loan.fields]
        id      = { kind = "integer", class = "public" }
        book_id = { references = "book", class = "personal" }
        "#,
    )
    .unwrap()
}

pub(crate) fn tenant(number: u128) -> TenantId {
    TenantId::from_u128((0x7 << 76) | number)
}

pub(crate) fn record(number: u64) -> RecordId {
    RecordId::from_u128((0x0190_0000_0000_7000 << 64) | u128::from(number))
}

/// Stands for the tag of `value` in some field. Its bytes are spread as a keyed hash's are.
pub(crate) fn tag(value: u64) -> Tag {
    let spread = u128::from(value).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Tag(spread.to_be_bytes())
}

/// Stands for a cell of `value`, of before the first epoch.
pub(crate) fn cell(value: u64) -> Vec<u8> {
    let mut bytes = vec![2; 45];
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes
}

pub(crate) fn insert(number: u64, shelf: u64) -> SealedChange {
    SealedChange::Insert {
        record_type: BOOK,
        record: record(number),
        cells: vec![(KEY, cell(number)), (SHELF, cell(shelf)), (NOTE, cell(1000))],
        tags: vec![(KEY, tag(number)), (SHELF, tag(shelf))],
    }
}

/// A book that has only these indexed values.
pub(crate) fn tagged(number: u64, values: &[(FieldId, u64)]) -> SealedChange {
    SealedChange::Insert {
        record_type: BOOK,
        record: record(number),
        cells: values.iter().map(|(field, value)| (*field, cell(*value))).collect(),
        tags: values.iter().map(|(field, value)| (*field, tag(*value))).collect(),
    }
}

pub(crate) fn update(number: u64, version: u64, note: &[u8]) -> SealedChange {
    let cells = vec![(NOTE, Some(note.to_vec()))];
    SealedChange::Update { record_type: BOOK, record: record(number), version, cells, tags: Vec::new() }
}

pub(crate) fn delete(number: u64, version: u64) -> SealedChange {
    SealedChange::Delete { record_type: BOOK, record: record(number), version }
}

pub(crate) fn loan(number: u64, book: u64) -> SealedChange {
    SealedChange::Insert {
        record_type: LOAN,
        record: record(number),
        cells: vec![(KEY, cell(number)), (LOAN_BOOK, cell(book))],
        tags: vec![(KEY, tag(number)), (LOAN_BOOK, tag(book))],
    }
}

/// The same changes with cells that name this epoch.
pub(crate) fn under(epoch: u32, mut changes: Vec<SealedChange>) -> Vec<SealedChange> {
    let name = |cell: &mut Vec<u8>| {
        let mut named = vec![1];
        named.extend(epoch.to_be_bytes());
        named.resize(SealKey::OVERHEAD_BYTES, 7);
        named.append(cell);
        *cell = named;
    };
    for change in &mut changes {
        match change {
            SealedChange::Insert { cells, .. } => cells.iter_mut().for_each(|(_, cell)| name(cell)),
            SealedChange::Update { cells, .. } => cells.iter_mut().filter_map(|(_, cell)| cell.as_mut()).for_each(name),
            SealedChange::Delete { .. } => {}
        }
    }
    changes
}

pub(crate) fn batch(changes: Vec<SealedChange>) -> Batch {
    Batch { changes, requires: Vec::new(), once: None, ..Batch::default() }
}

pub(crate) async fn library_of(store: &impl Store, one: TenantId) {
    store.apply_types(&library()).await.unwrap();
    store.create_tenant(one).await.unwrap();
}

pub(crate) async fn write(store: &impl Store, one: TenantId, changes: Vec<SealedChange>) -> Result<(), Rejected> {
    store.write(one, batch(changes)).await.unwrap()
}

pub(crate) fn scan(access: Access) -> Scan {
    Scan { record_type: BOOK, access, cells: FieldSet::first(4), limit: usize::MAX, after: None }
}

pub(crate) async fn everything(store: &impl Store, one: TenantId) -> Vec<SealedRow> {
    store.read(one, &scan(Access::All)).await.unwrap()
}

/// The numbers of the records that a scan gives, in its order.
pub(crate) async fn numbers(store: &impl Store, one: TenantId, scan: &Scan) -> Vec<u64> {
    let rows = store.read(one, scan).await.unwrap();
    rows.iter().map(|row| u64::try_from(row.record.as_u128() & u128::from(u64::MAX)).unwrap() & 0xffff_ffff).collect()
}

pub(crate) fn on_shelves(shelves: &[u64]) -> Access {
    Access::Tags { field: SHELF, tags: shelves.iter().map(|shelf| tag(*shelf)).collect() }
}
