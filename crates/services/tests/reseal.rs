//! Tenants that are sealed again under newer keys while they are used, on both backends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what does not fit fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use countersign_crypto::{FieldKeys, SecretKey, SystemEntropy, Tag, TenantKey, cell_aad, sealed_epoch};
use countersign_keys::{FileKms, KeyError, KmsError, TenantKeys, WrappedKeys};
use countersign_model::{FieldId, FieldSet, RecordId, RecordTypes, Service, TenantId, TypeId, Value};
use countersign_postgres::{CORE, Pool, migrate};
use countersign_services::reseal::{CellKeys, Outcome, Pace, ResealError, Resealer, row};
use countersign_store::carry::{CarriedRow, Carry as _, Reseals};
use countersign_store::postgres::RECORDS;
use countersign_store::{
    Access, Batch, PostgresStore, Rejected, Requirement, Scan, SealedChange, SqliteStore, Store, types_file,
};
use countersign_testkit::Postgres;

const BOOK: TypeId = TypeId(0);
const KEY: FieldId = FieldId(0);
const SHELF: FieldId = FieldId(1);
const PRICE: FieldId = FieldId(2);
const NOTE: FieldId = FieldId(3);

fn library() -> Arc<RecordTypes> {
    let types = types_file::parse(
        r#"
        [types.book.fields]
        id    = { kind = "integer", class = "public" }
        shelf = { kind = "integer", class = "public", index = "exact" }
        price = { kind = "decimal", class = "public", index = "exact" }
        note  = { kind = "text", class = "internal" }

        [types.shelf.fields]
        id   = { kind = "integer", class = "public" }
        "#,
    );
    Arc::new(types.unwrap())
}

fn tenant() -> TenantId {
    TenantId::from_u128((0x7_u128 << 76) | 1)
}

fn record(number: u64) -> RecordId {
    RecordId::from_u128((0x0190_0000_0000_7000_u128 << 64) | u128::from(number))
}

/// One key for all epochs, of which fields have these; older than `destroyed` there is none.
struct Keys {
    key: TenantKey,
    epoch: AtomicU32,
    /// The note's own.
    note: AtomicU32,
    destroyed: AtomicU32,
}

impl Keys {
    fn new() -> Arc<Self> {
        let key = TenantKey::new(SecretKey::generate(&SystemEntropy));
        Arc::new(Self { key, epoch: AtomicU32::new(1), note: AtomicU32::new(1), destroyed: AtomicU32::new(0) })
    }

    fn epoch(&self, field: FieldId) -> u32 {
        let of = if field == NOTE { &self.note } else { &self.epoch };
        of.load(Ordering::SeqCst)
    }

    fn rotate(&self) -> u32 {
        let epoch = self.epoch.load(Ordering::SeqCst).max(self.note.load(Ordering::SeqCst)) + 1;
        self.note.store(epoch, Ordering::SeqCst);
        self.epoch.store(epoch, Ordering::SeqCst);
        epoch
    }

    fn at(&self, field: FieldId, epoch: u32) -> FieldKeys {
        self.key.field_keys(tenant(), BOOK, field, epoch)
    }

    fn tag(&self, field: FieldId, value: &Value, epoch: u32) -> Tag {
        self.at(field, epoch).tag.tag(&value.to_tag_bytes())
    }

    fn tags(&self, field: FieldId, value: &Value) -> Vec<Tag> {
        (1..=self.epoch(field)).map(|epoch| self.tag(field, value, epoch)).collect()
    }

    fn cell(&self, number: u64, field: FieldId, value: &Value, epoch: u32) -> Vec<u8> {
        let aad = cell_aad(tenant(), BOOK, field, record(number));
        self.at(field, epoch).cell.seal(&SystemEntropy, &aad, &value.to_bytes())
    }

    fn open(&self, record: RecordId, field: FieldId, cell: &[u8]) -> Vec<u8> {
        let aad = cell_aad(tenant(), BOOK, field, record);
        self.at(field, sealed_epoch(cell).unwrap()).cell.open(&aad, cell).unwrap()
    }
}

impl CellKeys for Keys {
    fn newest(&self, _: TenantId) -> Result<u32, KeyError> {
        Ok(self.epoch(KEY).max(self.epoch(NOTE)))
    }

    fn field(&self, tenant: TenantId, of: TypeId, field: FieldId) -> Result<Arc<FieldKeys>, KeyError> {
        self.field_at(tenant, of, field, self.epoch(field))
    }

    fn field_at(&self, _: TenantId, _: TypeId, field: FieldId, epoch: u32) -> Result<Arc<FieldKeys>, KeyError> {
        if epoch <= self.destroyed.load(Ordering::SeqCst) {
            return Err(KmsError::Destroyed.into());
        }
        Ok(Arc::new(self.at(field, epoch)))
    }
}

fn values(number: u64, key: u64) -> [(FieldId, Value); 4] {
    let price = Value::Decimal(format!("{}.50", number % 10).parse().unwrap());
    [
        (KEY, Value::Integer(i64::try_from(key).unwrap())),
        (SHELF, Value::Integer(i64::try_from(number % 50).unwrap())),
        (PRICE, price),
        (NOTE, Value::Text(format!("note of {number}"))),
    ]
}

fn insert(keys: &Keys, number: u64, key: u64, epoch: u32) -> SealedChange {
    let values = values(number, key);
    let tagged = values.iter().filter(|(field, _)| *field != NOTE);
    SealedChange::Insert {
        record_type: BOOK,
        record: record(number),
        cells: values.iter().map(|(field, value)| (*field, keys.cell(number, *field, value, epoch))).collect(),
        tags: tagged.map(|(field, value)| (*field, keys.tag(*field, value, epoch))).collect(),
    }
}

trait Backend: Store + Reseals + 'static {}
impl<S: Store + Reseals + 'static> Backend for S {}

async fn filled(store: &dyn Backend, keys: &Keys, rows: u64) {
    store.apply_types(&library()).await.unwrap();
    store.create_tenant(tenant()).await.unwrap();
    let epoch = keys.epoch(KEY);
    let numbers: Vec<u64> = (1..=rows).collect();
    for numbers in numbers.chunks(500) {
        let changes = numbers.iter().map(|number| insert(keys, *number, *number, epoch)).collect();
        store.write(tenant(), Batch { changes, epoch, ..Batch::default() }).await.unwrap().unwrap();
    }
}

/// How many cells there are of each epoch, present and past; and that every one opens and has its tag.
async fn epochs(store: &dyn Backend, keys: &Keys) -> BTreeMap<u32, u64> {
    let mut rows = store.rows(tenant(), BOOK, None, usize::MAX).await.unwrap();
    rows.extend(store.past(tenant(), BOOK, None, usize::MAX).await.unwrap().into_iter().map(|past| past.row));
    let mut epochs = BTreeMap::new();
    for CarriedRow { record, cells, tags, .. } in &rows {
        for (field, cell) in cells {
            let epoch = sealed_epoch(cell).unwrap();
            *epochs.entry(epoch).or_insert(0) += 1;
            let plain = keys.open(*record, *field, cell);
            if *field != NOTE {
                let kind = library().types[0].fields[usize::from(field.0)].kind;
                let value = Value::from_bytes(kind, &plain).unwrap();
                let (_, tag) = tags.iter().find(|(tagged, _)| tagged == field).unwrap();
                assert!(*tag == keys.tag(*field, &value, epoch), "a tag of another epoch than its cell");
            }
        }
    }
    epochs
}

/// Others who read, change and insert beside it, each knowing the newest epoch that it saw; any failure of theirs is one.
struct Load {
    end: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    all: tokio::task::JoinSet<()>,
}

impl Load {
    fn begin(store: &Arc<dyn Backend>, keys: &Arc<Keys>, rows: u64) -> Self {
        let (end, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for one in 0..4_u64 {
            let (store, keys, end, done) = (Arc::clone(store), Arc::clone(keys), Arc::clone(&end), Arc::clone(&done));
            all.spawn(async move {
                let mut step = 0;
                while !end.load(Ordering::SeqCst) {
                    step += 1;
                    let number = (step * 7919 + one * 613) % rows + 1;
                    match one {
                        0 => find(&*store, &keys, number).await,
                        1 | 2 => change(&*store, &keys, number, step).await,
                        _ => again(&*store, &keys, number, rows + step).await,
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Self { end, done, all }
    }

    async fn end(mut self) -> u64 {
        self.end.store(true, Ordering::SeqCst);
        while let Some(one) = self.all.join_next().await {
            one.unwrap();
        }
        self.done.load(Ordering::SeqCst)
    }
}

/// Found by its key, whatever the epoch of its tag.
async fn find(store: &dyn Backend, keys: &Keys, number: u64) {
    let value = Value::Integer(i64::try_from(number).unwrap());
    let access = Access::Tags { field: KEY, tags: keys.tags(KEY, &value) };
    let scan = Scan { record_type: BOOK, access, cells: FieldSet::first(1), limit: 10, after: None };
    let rows = store.read(tenant(), &scan).await.unwrap();
    assert_eq!(rows.len(), 1, "found once, always");
    assert_eq!(rows[0].record, record(number));
}

/// A change of one field, by whoever may have learnt of the newest epoch late.
async fn change(store: &dyn Backend, keys: &Keys, number: u64, step: u64) {
    loop {
        // A rotation may come in between: no cell is of a later epoch than its batch.
        let sealed = keys.epoch(NOTE);
        let epoch = keys.epoch(KEY).max(sealed);
        let row = store.these(tenant(), BOOK, &[record(number)]).await.unwrap().remove(0);
        let value = Value::Text(format!("changed {step}"));
        let cells = vec![(NOTE, Some(keys.cell(number, NOTE, &value, sealed)))];
        let (record_type, record) = (BOOK, record(number));
        let change = SealedChange::Update { record_type, record, version: row.version, cells, tags: vec![] };
        let batch = Batch { changes: vec![change], epoch, ..Batch::default() };
        match store.write(tenant(), batch).await.unwrap() {
            Ok(()) => return,
            Err(Rejected::Epoch | Rejected::Stale { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A new record with a key that is taken.
async fn again(store: &dyn Backend, keys: &Keys, taken: u64, number: u64) {
    loop {
        let epoch = keys.epoch(KEY);
        let value = Value::Integer(i64::try_from(taken).unwrap());
        let tags: Vec<Tag> = (1..epoch).map(|older| keys.tag(KEY, &value, older)).collect();
        let older = Requirement::Absent { record_type: BOOK, field: KEY, tags };
        let requires = if epoch > 1 { vec![older] } else { vec![] };
        let changes = vec![insert(keys, number, taken, epoch)];
        match store.write(tenant(), Batch { changes, requires, epoch, ..Batch::default() }).await.unwrap() {
            Err(Rejected::Epoch) => {}
            Err(Rejected::Unique { .. } | Rejected::Present { .. }) => return,
            other => panic!("a key that is taken was taken again: {other:?}"),
        }
    }
}

/// Rotated, stopped again and again, rotated once more meanwhile, and finished.
async fn under_load(store: Arc<dyn Backend>, rows: u64) {
    let keys = Keys::new();
    filled(&*store, &keys, rows).await;
    for number in 1..=50 {
        change(&*store, &keys, number, 0).await;
    }
    let load = Load::begin(&store, &keys, rows);
    let (reseals, cell_keys) = (Arc::clone(&store) as Arc<dyn Reseals>, Arc::clone(&keys) as Arc<dyn CellKeys>);
    let pace = Pace { rows_per_second: 20_000, rows_together: 50 };
    let resealer = || Resealer::new(Arc::clone(&reseals), Arc::clone(&cell_keys), Arc::new(SystemEntropy), pace);
    keys.rotate();
    let mut places = BTreeSet::new();
    for stopped in 0..12_u64 {
        if stopped == 6 {
            keys.rotate();
        }
        let resealer = resealer();
        let patience = Duration::from_millis(40 + 10 * (stopped % 3));
        if tokio::time::timeout(patience, resealer.tenant(tenant(), &library())).await.is_ok() {
            break;
        }
        assert_eq!(resealer.status(tenant()), None);
        places.extend(reseals.progress(tenant()).await.unwrap());
    }
    assert!(places.len() > 2, "it was stopped on the way");
    let outcome = resealer().tenant(tenant(), &library()).await.unwrap();
    let epoch = keys.epoch(KEY);
    assert_eq!(outcome, Outcome::Clean { epoch });
    assert!(load.end().await > 40);
    let found = epochs(&*store, &keys).await;
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [epoch], "{found:?}");
    assert!(found[&epoch] > 4 * rows, "with what was before");
    assert_eq!(store.count(tenant(), BOOK).await, Ok(rows));
    assert_eq!(reseals.progress(tenant()).await, Ok(None));
    // Once more finds nothing to do.
    let before = store.rows(tenant(), BOOK, None, usize::MAX).await.unwrap();
    assert_eq!(resealer().tenant(tenant(), &library()).await.unwrap(), Outcome::Clean { epoch });
    assert!(store.rows(tenant(), BOOK, None, usize::MAX).await.unwrap() == before);
    // One field alone.
    keys.note.fetch_add(1, Ordering::SeqCst);
    assert_eq!(resealer().tenant(tenant(), &library()).await.unwrap(), Outcome::Clean { epoch: epoch + 1 });
    let found = epochs(&*store, &keys).await;
    assert_eq!(found.len(), 2);
    assert!(found[&epoch] >= 3 * rows && found[&(epoch + 1)] > rows);
    assert_eq!(store.epoch(tenant()).await, Ok(epoch + 1));
}

fn embedded(folder: &tempfile::TempDir) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder.path(), Default::default()).unwrap())
}

async fn postgres(server: &Postgres) -> Arc<PostgresStore> {
    let pool = |identity| Pool::new(server.settings().unwrap(), identity);
    let (own, owner) = (pool(server.identity(Service::Store).unwrap()), pool(server.owner().unwrap()));
    migrate(&owner, &[CORE, RECORDS]).await.unwrap();
    Arc::new(PostgresStore::new(own, Some(owner), Arc::new(SystemEntropy)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_in_use_is_sealed_again_in_files() {
    let folder = tempfile::tempdir().unwrap();
    under_load(embedded(&folder), 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_in_use_is_sealed_again_in_tables() {
    let server = Postgres::start().unwrap();
    under_load(postgres(&server).await, 5_000).await;
}

/// At the limit of its keys nothing is sealed further, and with another key it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_at_the_limit_of_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let (store, keys) = (embedded(&folder), Keys::new());
    store.limit_seals(400);
    filled(&*store, &keys, 200).await;
    keys.rotate();
    let charged = store.counts(tenant()).await.unwrap()[0].key;
    let key = countersign_store::CellKey { epoch: 2, ..charged };
    store.charge(tenant(), vec![(key, 300)]).await.unwrap().unwrap();
    let resealer =
        Resealer::new(Arc::clone(&store) as _, Arc::clone(&keys) as _, Arc::new(SystemEntropy), Pace::default());
    let stopped = resealer.tenant(tenant(), &library()).await;
    assert!(matches!(stopped, Err(ResealError::Superseded)), "{stopped:?}");
    let counts = store.counts(tenant()).await.unwrap();
    assert!(counts.iter().all(|count| count.sealed <= 400));
    keys.rotate();
    assert_eq!(resealer.tenant(tenant(), &library()).await.unwrap(), Outcome::Clean { epoch: 3 });
    assert_eq!(epochs(&*store, &keys).await.into_keys().collect::<Vec<_>>(), [3]);
}

/// What can't be opened is left, counted, and said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (store, keys) = (embedded(&folder), Keys::new());
    filled(&*store, &keys, 100).await;
    let mut rows = store.rows(tenant(), BOOK, None, 100).await.unwrap();
    let broken = &mut rows[7].cells[3].1;
    *broken.last_mut().unwrap() ^= 1;
    store.put(tenant(), BOOK, &[], vec![rows[7].clone()]).await.unwrap();
    keys.rotate();
    let resealer =
        Resealer::new(Arc::clone(&store) as _, Arc::clone(&keys) as _, Arc::new(SystemEntropy), Pace::unbounded());
    assert_eq!(resealer.tenant(tenant(), &library()).await.unwrap(), Outcome::Left { epoch: 2, rows: 1 });
    let left = store.rows(tenant(), BOOK, None, 100).await.unwrap();
    let old = left.iter().flat_map(|row| &row.cells).filter(|(_, cell)| sealed_epoch(cell) == Some(1)).count();
    assert_eq!(old, 1);
    // With the key destroyed, what is left says so.
    keys.rotate();
    keys.destroyed.store(2, Ordering::SeqCst);
    assert_eq!(resealer.tenant(tenant(), &library()).await.unwrap(), Outcome::Left { epoch: 3, rows: 100 });
}

/// Wrapped keys in memory.
#[derive(Default)]
struct Wrapped(parking_lot::RwLock<Option<Arc<[u8]>>>);

impl WrappedKeys for Wrapped {
    fn wrapped(&self, _: TenantId) -> Option<Arc<[u8]>> {
        self.0.read().clone()
    }
}

/// With the keys as a deployment has them: the tenant's key and a field's are rotated, all is sealed again, the older key is
/// destroyed, and everything opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_key_can_be_destroyed_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let store = embedded(&folder);
    store.apply_types(&library()).await.unwrap();
    store.create_tenant(tenant()).await.unwrap();
    let kms = Arc::new(FileKms::create(&folder.path().join("kms.key"), &SystemEntropy).unwrap());
    let wrapped = Arc::new(Wrapped::default());
    let keys = Arc::new(TenantKeys::new(kms, Arc::clone(&wrapped) as Arc<dyn WrappedKeys>, 100));
    let put = |set: Vec<u8>| *wrapped.0.write() = Some(set.into());
    put(keys.wrap_new(&SystemEntropy, tenant()).unwrap());
    let at = |field| keys.field(tenant(), BOOK, field).unwrap();
    let changes = (1..=300).map(|number| {
        let values = values(number, number);
        let sealed = |(field, value): &(FieldId, Value)| {
            let aad = cell_aad(tenant(), BOOK, *field, record(number));
            (*field, at(*field).cell.seal(&SystemEntropy, &aad, &value.to_bytes()))
        };
        let tagged = values[..3].iter().map(|(field, value)| (*field, at(*field).tag.tag(&value.to_tag_bytes())));
        let (cells, tags) = (values.iter().map(sealed).collect(), tagged.collect());
        SealedChange::Insert { record_type: BOOK, record: record(number), cells, tags }
    });
    let batch = Batch { changes: changes.collect(), epoch: 1, ..Batch::default() };
    store.write(tenant(), batch).await.unwrap().unwrap();
    let resealer =
        Resealer::new(Arc::clone(&store) as _, Arc::clone(&keys) as _, Arc::new(SystemEntropy), Pace::unbounded());
    // What is at hand of the older set is not taken for the newest.
    put(keys.rotate(&SystemEntropy, tenant()).unwrap());
    keys.forget(tenant());
    put(keys.rotate_field(tenant(), BOOK, NOTE).unwrap());
    assert_eq!(resealer.tenant(tenant(), &library()).await.unwrap(), Outcome::Clean { epoch: 3 });
    put(keys.set(tenant()).unwrap().resealed(3).encode());
    keys.forget(tenant());
    put(keys.destroy(tenant(), 1).unwrap());
    keys.forget(tenant());
    let rows = store.rows(tenant(), BOOK, None, 1000).await.unwrap();
    for (number, row) in (1..).zip(&rows) {
        for ((field, cell), (_, value)) in row.cells.iter().zip(values(number, number)) {
            let epoch = if *field == NOTE { 3 } else { 2 };
            assert_eq!(sealed_epoch(cell), Some(epoch));
            let aad = cell_aad(tenant(), BOOK, *field, row.record);
            assert_eq!(at(*field).cell.open(&aad, cell).unwrap(), value.to_bytes());
        }
    }
    assert_eq!(rows.len(), 300);
}

/// For restores: all of a row, from one set of keys to another.
#[test]
fn a_row_goes_from_keys_to_keys() {
    let (from, to, types) = (Keys::new(), Keys::new(), library());
    from.rotate();
    to.rotate();
    let SealedChange::Insert { cells, tags, .. } = insert(&from, 5, 5, 2) else { unreachable!() };
    let old = CarriedRow { record: record(5), version: 3, at: countersign_model::UnixMs(9), cells, tags };
    let book = (BOOK, &types.types[0]);
    let new = row((&*from, &*to), &SystemEntropy, tenant(), book, old.clone()).unwrap();
    assert_eq!((new.record, new.version, new.at), (old.record, old.version, old.at));
    for ((field, cell), (_, value)) in new.cells.iter().zip(values(5, 5)) {
        assert_eq!(sealed_epoch(cell), Some(2));
        assert_eq!(to.open(record(5), *field, cell), value.to_bytes());
    }
    let tags: Vec<_> = values(5, 5)[..3].iter().map(|(field, value)| (*field, to.tag(*field, value, 2))).collect();
    assert!(new.tags == tags);
    let wrong = row((&*to, &*from), &SystemEntropy, tenant(), book, old.clone());
    assert!(matches!(wrong, Err(ResealError::Damaged { record_type: 0, field: 0 })));
    from.destroyed.store(2, Ordering::SeqCst);
    let gone = row((&*from, &*to), &SystemEntropy, tenant(), book, old.clone()).unwrap_err();
    assert_eq!(gone.to_string(), "the key of epoch 2 of field 0 of type 0 is destroyed, or never was");
    let moved = CarriedRow { record: record(6), ..old };
    from.destroyed.store(0, Ordering::SeqCst);
    assert!(row((&*from, &*to), &SystemEntropy, tenant(), book, moved).is_err(), "of another record");
}
