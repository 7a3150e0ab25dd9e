//! What every [`Store`] must do. An implementation's tests call [`run`].
//!
//! ```ignore
//! let folder = tempfile::tempdir()?;
//! conformance::run(|place| MyStore::open(&folder.path().join(place.to_string()))).await;
//! ```

mod batches;
mod crowds;
mod reading;
mod types;

use countersign_crypto::Tag;
use countersign_model::{FieldId, FieldSet, RecordId, RecordTypes, TenantId, TypeId};

use crate::{Access, Batch, Rejected, Scan, SealedChange, SealedRow, Store, StoreError, types_file};

/// Runs the whole suite; panics with what was expected at the first thing that is not so.
///
/// `make` opens a store at a place of that number, empty the first time, and with what was stored there when it is
/// called again after the first one was dropped. It must run on a Tokio runtime of several threads.
///
/// # Panics
/// If the store does not do what it must.
pub async fn run<S: Store + 'static>(make: impl Fn(u32) -> S) {
    reading::cells_and_nulls(&make(0)).await;
    reading::by_records(&make(1)).await;
    reading::by_tags(&make(2)).await;
    reading::pages(&make(3)).await;
    reading::what_is_not_there(&make(4)).await;
    reading::tenants_are_separate(&make(5)).await;
    batches::versions(&make(10)).await;
    batches::all_or_nothing(&make(11)).await;
    batches::uniqueness(&make(12)).await;
    batches::requirements(&make(13)).await;
    batches::empty_and_unknown(&make(14)).await;
    types::types_grow(&make(20)).await;
    types::indexes_come_and_go(&make(21)).await;
    types::any_records(&make(22)).await;
    crowds::one_winner(make(30)).await;
    crowds::references_hold(make(31)).await;
    crowds::no_half_batches(make(32)).await;
    crowds::given_up(make(33)).await;
    reopened(&make).await;
}

/// A store that was closed and opened again gives the same.
async fn reopened<S: Store>(make: &impl Fn(u32) -> S) {
    const PLACE: u32 = 40;
    let tenants = [tenant(1), tenant(2)];
    let mut before = Vec::new();
    {
        let store = make(PLACE);
        for one in tenants {
            store.create_tenant(one).await.unwrap();
        }
        store.apply_types(&library()).await.unwrap();
        for one in tenants {
            for number in 1..=300 {
                write(&store, one, vec![insert(number, number % 7)]).await.unwrap();
            }
            write(&store, one, vec![update(5, 1, b"changed"), delete(6, 1)]).await.unwrap();
            before.push(everything(&store, one).await);
        }
    }
    let store = make(PLACE);
    store.apply_types(&library()).await.unwrap();
    for (one, before) in tenants.into_iter().zip(before) {
        assert_eq!(before.len(), 299);
        assert_eq!(everything(&store, one).await, before, "a reopened store must give what was stored");
    }
}

/// The type of the suite's records. Key, a plain indexed field, an optional unique one and a free one.
const BOOK: TypeId = TypeId(0);
const KEY: FieldId = FieldId(0);
const SHELF: FieldId = FieldId(1);
const CODE: FieldId = FieldId(2);
const NOTE: FieldId = FieldId(3);
/// A type that refers to it.
const LOAN: TypeId = TypeId(1);
const LOAN_BOOK: FieldId = FieldId(1);

fn library() -> RecordTypes {
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

fn tenant(number: u128) -> TenantId {
    TenantId::from_u128((0x7 << 76) | number)
}

fn record(number: u64) -> RecordId {
    RecordId::from_u128((0x0190_0000_0000_7000 << 64) | u128::from(number))
}

/// Stands for the tag of `value` in some field. Its bytes are spread as a keyed hash's are.
fn tag(value: u64) -> Tag {
    let spread = u128::from(value).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Tag(spread.to_be_bytes())
}

/// Stands for a sealed cell of `value`.
fn cell(value: u64) -> Vec<u8> {
    let mut bytes = vec![1; 45];
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes
}

fn insert(number: u64, shelf: u64) -> SealedChange {
    SealedChange::Insert {
        record_type: BOOK,
        record: record(number),
        cells: vec![(KEY, cell(number)), (SHELF, cell(shelf)), (NOTE, cell(1000))],
        tags: vec![(KEY, tag(number)), (SHELF, tag(shelf))],
    }
}

fn update(number: u64, version: u64, note: &[u8]) -> SealedChange {
    let cells = vec![(NOTE, Some(note.to_vec()))];
    SealedChange::Update { record_type: BOOK, record: record(number), version, cells, tags: Vec::new() }
}

fn delete(number: u64, version: u64) -> SealedChange {
    SealedChange::Delete { record_type: BOOK, record: record(number), version }
}

fn loan(number: u64, book: u64) -> SealedChange {
    SealedChange::Insert {
        record_type: LOAN,
        record: record(number),
        cells: vec![(KEY, cell(number)), (LOAN_BOOK, cell(book))],
        tags: vec![(KEY, tag(number)), (LOAN_BOOK, tag(book))],
    }
}

const fn batch(changes: Vec<SealedChange>) -> Batch {
    Batch { changes, requires: Vec::new() }
}

async fn library_of(store: &impl Store, one: TenantId) {
    store.apply_types(&library()).await.unwrap();
    store.create_tenant(one).await.unwrap();
}

async fn write(store: &impl Store, one: TenantId, changes: Vec<SealedChange>) -> Result<(), Rejected> {
    store.write(one, batch(changes)).await.unwrap()
}

fn scan(access: Access) -> Scan {
    Scan { record_type: BOOK, access, cells: FieldSet::first(4), limit: usize::MAX, after: None }
}

async fn everything(store: &impl Store, one: TenantId) -> Vec<SealedRow> {
    store.read(one, &scan(Access::All)).await.unwrap()
}

/// The numbers of the records that a scan gives, in its order.
async fn numbers(store: &impl Store, one: TenantId, scan: &Scan) -> Vec<u64> {
    let rows = store.read(one, scan).await.unwrap();
    rows.iter().map(|row| u64::try_from(row.record.as_u128() & u128::from(u64::MAX)).unwrap() & 0xffff_ffff).collect()
}

fn on_shelves(shelves: &[u64]) -> Access {
    Access::Tags { field: SHELF, tags: shelves.iter().map(|shelf| tag(*shelf)).collect() }
}
