//! Tables: who sees what in them, and how they change.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use countersign_model::FieldId;

use super::*;
use crate::Access;
use crate::conformance::fixture::*;

const TENANTS: [&str; 10] = ["r0", "r1", "h0", "h1", "past", "written", "once", "tenant", "key_epoch", "seal_count"];

/// As the service's own role, signed in by its certificate: no setting, no row; and nobody else's rows by asking for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_there_are_no_rows() {
    let server = Postgres::start().unwrap();
    let store = store(&server, "rows", 2).await;
    for one in [tenant(1), tenant(2)] {
        library_of(&store, one).await;
        write(&store, one, vec![insert(1, 1), loan(2, 1), update(1, 1, b"x")]).await.unwrap();
    }
    let pool = &store.shared.pool;
    let count = async |scope: Scope, table: &str, of: TenantId| -> i64 {
        let text: Arc<str> = format!("SELECT count(*) FROM {table} WHERE $1::uuid IS NULL OR tenant = $1").into();
        let (id, all) = (Some(of.uuid()), None::<Uuid>);
        let mine: i64 = pool.begin(scope).await.unwrap().read(&text, &[&id]).await.unwrap()[0].get(0);
        let every: i64 = pool.begin(scope).await.unwrap().read(&text, &[&all]).await.unwrap()[0].get(0);
        assert!(every >= mine);
        if of == tenant(1) && scope == Scope::Tenant(tenant(1)) {
            assert_eq!(every, mine, "others' rows in {table}")
        };
        mine
    };
    for table in ["r0", "r1", "h0", "written"] {
        assert_eq!(count(Scope::Tenant(tenant(1)), table, tenant(1)).await, 1);
        assert_eq!(count(Scope::Tenant(tenant(1)), table, tenant(2)).await, 0, "another tenant's in {table}");
        assert_eq!(count(Scope::Service, table, tenant(1)).await, 0, "without the setting in {table}");
    }
    // What is not this tenant's is neither stored nor changed.
    let mut intruder = pool.begin(Scope::Tenant(tenant(1))).await.unwrap();
    let other = tenant(2).uuid();
    let text: Arc<str> = "INSERT INTO r0 (tenant, id, version) VALUES ($1, $1, 1)".into();
    let refused = intruder.execute(&text, &[&other]).await;
    assert_eq!(refused, Err(PgError::Refused { state: "42501".into() }));
    intruder.roll_back().await.unwrap();
    for text in [
        "UPDATE r0 SET version = 9 WHERE tenant = $1",
        "DELETE FROM r0 WHERE tenant = $1",
        "UPDATE h0 SET version = 9 WHERE tenant = $1",
        "DELETE FROM h0 WHERE tenant = $1",
    ] {
        let mut intruder = pool.begin(Scope::Tenant(tenant(1))).await.unwrap();
        assert_eq!(intruder.execute(&text.into(), &[&other]).await, Ok(0));
        intruder.roll_back().await.unwrap();
    }
    let mut intruder = pool.begin(Scope::Tenant(tenant(1))).await.unwrap();
    let moved = intruder.execute(&"UPDATE r0 SET tenant = $1".into(), &[&other]).await;
    assert_eq!(moved, Err(PgError::Refused { state: "42501".into() }));
    drop(intruder);
    // The role owns nothing and changes no table.
    let mut owner = pool.begin(Scope::Service).await.unwrap();
    assert!(owner.run("ALTER TABLE r0 DISABLE ROW LEVEL SECURITY").await.is_err());
    drop(owner);
    let forced = "SELECT count(*) FROM pg_class WHERE relnamespace = 'countersign'::regnamespace AND relkind = 'r' \
                  AND NOT (relrowsecurity AND relforcerowsecurity)";
    assert_eq!(server.sql("rows", forced).unwrap(), "0", "a table without forced row security");
    let owned = "SELECT count(*) FROM pg_class WHERE relowner = 'countersign_store'::regrole";
    assert_eq!(server.sql("rows", owned).unwrap(), "0");
    for table in TENANTS {
        let first =
            format!("SELECT bool_and(indkey[0] = 1) FROM pg_index WHERE indrelid = 'countersign.{table}'::regclass");
        assert_eq!(server.sql("rows", &first).unwrap(), "t", "the tenant is first in every key of {table}");
    }
}

fn grown(fields: usize) -> RecordTypes {
    let mut types = library();
    let like_shelf = types.types[0].fields[1].clone();
    for field in 0..fields {
        let mut added = like_shelf.clone();
        added.name = format!("added_{field}").parse().unwrap();
        types.types[0].fields.push(added);
    }
    types
}

/// Columns and indexes are added while others read and write, and while one reads for very long.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_grow_while_they_are_used() {
    let server = Postgres::start().unwrap();
    let store = Arc::new(store(&server, "grows", 8).await);
    library_of(&*store, tenant(1)).await;
    for hundred in 0..10u64 {
        let changes = (hundred * 100..hundred * 100 + 100).map(|number| insert(number, number % 7)).collect();
        write(&*store, tenant(1), changes).await.unwrap();
    }
    let file = "SELECT pg_relation_filenode('countersign.r0')";
    let before = server.sql("grows", file).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3u64)
        .map(|task| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut longest, mut done) = (Duration::ZERO, 0u64);
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    assert_eq!(numbers(&*store, tenant(1), &scan(Access::Records(vec![record(5)]))).await, [5]);
                    let own = 1_000_000 * (task + 1) + done;
                    let only_key = tagged(own, &[(KEY, own)]);
                    write(&*store, tenant(1), vec![only_key]).await.unwrap();
                    longest = longest.max(began.elapsed());
                    done += 1;
                }
                (longest, done)
            })
        })
        .collect();
    // Somebody who looks at the table for long.
    let long = {
        let pool = Arc::clone(&store.shared.pool);
        tokio::spawn(async move {
            let mut long = pool.begin(Scope::Tenant(tenant(1))).await.unwrap();
            long.query(&"SELECT count(*), pg_sleep(2)::text FROM r0".into(), &[]).await.unwrap();
            long.commit().await.unwrap();
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    for fields in 1..=3 {
        store.apply_types(&grown(fields)).await.unwrap();
    }
    long.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for one in load {
        let (longest, done) = one.await.unwrap();
        assert!(done > 0);
        println!("{done} reads and writes while tables changed, the longest {longest:?}");
    }
    assert_eq!(server.sql("grows", file).unwrap(), before, "the table was rewritten");
    let section = FieldId(5);
    let new = tagged(5_000_000, &[(KEY, 5_000_000), (section, 8)]);
    write(&*store, tenant(1), vec![new]).await.unwrap();
    let by = scan(Access::Tags { field: section, tags: vec![tag(8)] });
    assert_eq!(store.read(tenant(1), &by).await.unwrap().len(), 1);
    let wrong = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(server.sql("grows", wrong).unwrap(), "0");
    let wrong = "SELECT count(*) FROM pg_constraint WHERE NOT convalidated";
    assert_eq!(server.sql("grows", wrong).unwrap(), "0");
}

/// A store that may not change tables waits for whoever may; one that knows older types writes nothing unfindable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_know_other_types() {
    let server = Postgres::start().unwrap();
    let authority = store(&server, "others", 4).await;
    let plain = PostgresStore::new(Arc::clone(&authority.shared.pool), None, Arc::new(SystemEntropy));
    assert_eq!(plain.apply_types(&library()).await, Err(StoreError::TablesBehind));
    library_of(&authority, tenant(1)).await;
    plain.apply_types(&library()).await.unwrap();
    write(&plain, tenant(1), vec![insert(1, 1)]).await.unwrap();
    write(&plain, tenant(1), vec![delete(1, 1)]).await.unwrap();
    // `note` is indexed from now on; the other store has not heard of it.
    let mut indexed = library();
    indexed.types[0].fields[3].indexed = true;
    authority.apply_types(&indexed).await.unwrap();
    assert_eq!(plain.write(tenant(1), batch(vec![insert(2, 1)])).await, Err(StoreError::UnknownField));
    // And the index is gone again: what it was found by is not there for whoever still asks.
    plain.apply_types(&indexed).await.unwrap();
    authority.apply_types(&library()).await.unwrap();
    let by_note = scan(Access::Tags { field: NOTE, tags: vec![tag(1)] });
    assert_eq!(plain.read(tenant(1), &by_note).await, Err(StoreError::UnknownField));
    // A newer program made the tables.
    server.sql("others", "UPDATE countersign.migration SET version = 99 WHERE part = 'records'").unwrap();
    let schema = authority.shared.schema.as_ref().unwrap();
    plain.apply_types(&library()).await.unwrap_err();
    let plain = PostgresStore::new(Arc::clone(&authority.shared.pool), None, Arc::new(SystemEntropy));
    let known = u32::try_from(RECORDS.steps.len()).unwrap();
    assert_eq!(plain.apply_types(&library()).await, Err(StoreError::NewerFormat { found: 99, known }));
    let newer = migrate(schema, &[CORE, RECORDS]).await;
    assert!(matches!(newer, Err(PgError::Newer { part: "records", found: 99, .. })), "{newer:?}");
}

/// A step that was cut off is done again from its start; one that finds rows where there must be none fails and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_were_cut_off() {
    let server = Postgres::start().unwrap();
    let store = store(&server, "steps", 4).await;
    library_of(&store, tenant(1)).await;
    write(&store, tenant(1), vec![insert(1, 1)]).await.unwrap();
    store.apply_types(&grown(2)).await.unwrap();
    // As if what was done had not been noted, and an index had been left half built.
    server.sql("steps", "UPDATE countersign.layout SET types = 'uiu-/ui'").unwrap();
    server
        .sql("steps", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'countersign.i0x5'::regclass")
        .unwrap();
    let again =
        PostgresStore::new(Arc::clone(&store.shared.pool), store.shared.schema.clone(), Arc::new(SystemEntropy));
    again.apply_types(&grown(2)).await.unwrap();
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(server.sql("steps", invalid).unwrap(), "0");
    assert_eq!(everything(&again, tenant(1)).await.len(), 1);
    // There is a cell without a tag.
    let mut indexed = grown(2);
    indexed.types[0].fields[3].indexed = true;
    assert_eq!(again.apply_types(&indexed).await, Err(StoreError::TablesBehind));
    assert_eq!(server.sql("steps", "SELECT types FROM countersign.layout").unwrap(), "uiu-ii/ui");
    assert_eq!(again.shared.types().layout, Layout::of(&grown(2)), "the old types stay in force");
    write(&again, tenant(1), vec![insert(2, 1)]).await.unwrap();
    write(&again, tenant(1), vec![delete(1, 1), delete(2, 1)]).await.unwrap();
    again.apply_types(&indexed).await.unwrap();
}

/// Ids of batches are removed a day later, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_ids_of_batches_go() {
    let server = Postgres::start().unwrap();
    let store = store(&server, "ids", 2).await;
    library_of(&store, tenant(1)).await;
    write(&store, tenant(1), vec![insert(1, 1)]).await.unwrap();
    write(&store, tenant(1), vec![insert(2, 1)]).await.unwrap();
    let old = "UPDATE countersign.written SET at = now() - interval '25 hours' WHERE id IN (SELECT id FROM countersign.written LIMIT 1)";
    server.sql("ids", old).unwrap();
    for number in 3..3 + PURGE_EVERY {
        write(&store, tenant(1), vec![insert(number, 1)]).await.unwrap();
    }
    let left = "SELECT count(*) FROM countersign.written";
    let expected = (PURGE_EVERY + 1).to_string();
    for _ in 0..100 {
        if server.sql("ids", left).unwrap() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} are left", server.sql("ids", left).unwrap());
}

/// Tables as they were before there was a past get one, with what is in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_without_a_past_get_one() {
    let server = Postgres::start().unwrap();
    let store = store(&server, "past", 4).await;
    library_of(&store, tenant(1)).await;
    write(&store, tenant(1), vec![insert(1, 1), insert(2, 1)]).await.unwrap();
    // As if the step that makes it had not been taken.
    let before = "SET search_path = countersign; DROP TABLE h0, h1, past; ALTER TABLE layout DROP COLUMN past_since; \
                  ALTER TABLE r0 DROP COLUMN at; ALTER TABLE r1 DROP COLUMN at; \
                  UPDATE migration SET version = 2 WHERE part = 'records'";
    server.sql("past", before).unwrap();
    migrate(store.shared.schema.as_ref().unwrap(), &[CORE, RECORDS]).await.unwrap();
    let again =
        PostgresStore::new(Arc::clone(&store.shared.pool), store.shared.schema.clone(), Arc::new(SystemEntropy));
    again.apply_types(&grown(1)).await.unwrap();
    let history = again.history().unwrap();
    let since = history.since(tenant(1)).await.unwrap();
    assert!(since.0 > 1_000_000_000_000, "nobody knows what was before: {since:?}");
    let change = Batch { at: UnixMs(since.0 + 10), ..batch(vec![update(1, 1, b"x"), delete(2, 1)]) };
    again.write(tenant(1), change).await.unwrap().unwrap();
    let refused = history.rewind(tenant(1), UnixMs(since.0 - 1), UnixMs(since.0 + 20), 0).await.unwrap();
    assert_eq!(refused, Err(crate::history::NotRewound::NotKept { since }));
    history.rewind(tenant(1), since, UnixMs(since.0 + 20), 0).await.unwrap().unwrap();
    let rows = everything(&again, tenant(1)).await;
    assert_eq!(
        rows.iter().map(|row| (row.version, row.cells[3].1.clone())).collect::<Vec<_>>(),
        [(3, Some(cell(1000))), (2, Some(cell(1000)))]
    );
    for table in ["h0", "h1", "past"] {
        let first =
            format!("SELECT bool_and(indkey[0] = 1) FROM pg_index WHERE indrelid = 'countersign.{table}'::regclass");
        assert_eq!(server.sql("past", &first).unwrap(), "t", "the tenant is first in every key of {table}");
    }
    let open = "SELECT count(*) FROM pg_class WHERE relnamespace = 'countersign'::regnamespace AND relkind = 'r' \
                AND NOT (relrowsecurity AND relforcerowsecurity)";
    assert_eq!(server.sql("past", open).unwrap(), "0");
    let keyed = "SELECT count(*) FROM pg_indexes WHERE indexname IN ('j0x0', 'j0x2', 'j1x0', 'j0until', 'j1until')";
    assert_eq!(server.sql("past", keyed).unwrap(), "5");
}
