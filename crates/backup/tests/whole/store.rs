//! A tenant's rows, from one store into a backup and into another.

use std::path::Path;
use std::sync::Arc;

use countersign_backup::*;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TypeId, UnixMs};
use countersign_store::carry::{CarriedRow, Carry, Moments, PastRow};
use countersign_store::{Done, Once, Options, SqliteStore, Store, types_file};

use crate::setting::*;

const BOOK: TypeId = TypeId(0);

async fn store(folder: &Path) -> SqliteStore {
    let store = SqliteStore::open(folder, Options::default()).unwrap();
    let types = r#"
        [types.book.fields]
        id    = { kind = "integer", class = "public" }
        note  = { kind = "text", class = "internal" }
    "#;
    store.apply_types(&types_file::parse(types).unwrap()).await.unwrap();
    store.create_tenant(tenant(1)).await.unwrap();
    store
}

/// Ids are spread, as those of records that were made at different times are.
fn row(number: u64, version: u64) -> CarriedRow {
    let id = (0x7000u128 << 64) | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let cell = |of: u64| (0..60).map(|place| (number * 31 + version * 7 + of + place) as u8).collect::<Vec<_>>();
    CarriedRow {
        record: RecordId::from_u128(id),
        version,
        at: UnixMs(number),
        cells: vec![(FieldId(0), cell(0)), (FieldId(1), cell(1).repeat(8))],
        tags: vec![(FieldId(0), Tag(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c).to_be_bytes()))],
    }
}

async fn back_up(repository: &Repository, store: &SqliteStore) -> (Finished, tenant::Counts) {
    let mut moment = store.moment(tenant(1)).await.unwrap();
    let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    writer.section(Section::Tenant(tenant(1))).await.unwrap();
    let counts = tenant::write(&mut *moment, [BOOK], UnixMs(0), &mut writer).await.unwrap();
    (writer.finish(vec![]).await.unwrap(), counts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder.path().join("repository")).await;
    let here = store(&folder.path().join("here")).await;
    let mut rows: Vec<CarriedRow> = (1..=16_000).map(|number| row(number, 2)).collect();
    rows.sort_by_key(|row| row.record);
    for part in rows.chunks(4_000) {
        here.put(tenant(1), BOOK, &[], part.to_vec()).await.unwrap();
    }
    let past: Vec<PastRow> =
        (1..=700).map(|number| PastRow { row: row(number, 1), until: UnixMs(number + 1) }).collect();
    here.put_past(tenant(1), BOOK, &[], past.clone()).await.unwrap();
    let known = (1..=5u8).map(|number| {
        let done = Done { request: [number; 32], answer: vec![number; 9] };
        Once { id: [number; 32], at: UnixMs(5), done }
    });
    here.put_known(tenant(1), known.clone().collect()).await.unwrap();

    let (first, counts) = back_up(&repository, &here).await;
    assert_eq!(counts, tenant::Counts { rows: 16_000, past: 700, known: 5 });
    assert!(first.new_chunks > 4, "{}", first.new_chunks);
    let sizes = first.manifest.sections[0].chunks.iter().map(|chunk| chunk.bytes as usize);
    assert!(sizes.clone().all(|bytes| bytes <= CHUNK_MOST), "{:?}", sizes.collect::<Vec<_>>());

    // Put into another store, it is the same; what was there is not.
    let there = store(&folder.path().join("there")).await;
    there.put(tenant(1), BOOK, &[], vec![row(77_777, 1)]).await.unwrap();
    let reader = repository.reader(first.manifest.clone(), keys(), Arc::new(()));
    reader.verify_all().await.unwrap();
    let mut replacement = there.replacement(tenant(1)).await.unwrap();
    let mut section = reader.section(&Section::Tenant(tenant(1))).await.unwrap();
    assert_eq!(tenant::read(&mut section, &mut *replacement).await.unwrap(), counts);
    replacement.commit().await.unwrap();
    assert_eq!(there.rows(tenant(1), BOOK, None, usize::MAX).await.unwrap(), rows);
    let mut expected = past;
    expected.sort_by_key(|past| past.row.record);
    assert_eq!(there.past(tenant(1), BOOK, None, usize::MAX).await.unwrap(), expected);
    let known: Vec<Once> = known.collect();
    assert!(there.known(tenant(1), UnixMs(0), None, 100).await.unwrap() == known);

    // Nothing changed: only a manifest. From the other store, too.
    assert_eq!(back_up(&repository, &here).await.0.new_chunks, 0);
    assert_eq!(back_up(&repository, &there).await.0.new_chunks, 0);
    // One record is changed, one is new, one is gone: about as many chunks are new.
    here.put(tenant(1), BOOK, &[], vec![row(8_000, 3)]).await.unwrap();
    assert_eq!(back_up(&repository, &here).await.0.new_chunks, 1);
    here.put(tenant(1), BOOK, &[row(9_000, 1).record], vec![row(90_000, 1)]).await.unwrap();
    let (last, _) = back_up(&repository, &here).await;
    assert!((1..=3).contains(&last.new_chunks), "{}", last.new_chunks);
}
