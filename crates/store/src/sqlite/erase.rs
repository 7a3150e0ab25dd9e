//! Removing for good: rows of the past and answers go in one transaction. Then the log is copied into the file and cut to
//! nothing, so that what SQLite has overwritten (`secure_delete`) is overwritten in the file and in no log any more: as soon as
//! nobody reads an older state, which may be hours, as of a backup.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId};
use rusqlite::Connection;

use super::connection::PATIENCE;
use super::failure::fault;
use super::{Shared, SqliteStore};
use crate::erase::{Erases, Traces, names};
use crate::error::StoreError;

/// So often it is tried to empty the log while somebody waits for it: requests that read are over by then.
const TRIES: usize = 20;
/// The time between. Writers go on in it.
const PAUSE: Duration = Duration::from_millis(20);

fn has(connection: &Connection, table: &str) -> Result<bool, StoreError> {
    let text = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    connection.prepare_cached(text).and_then(|mut one| one.exists([table])).map_err(fault)
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

fn count(connection: &Connection, sql: &str, records: &[RecordId]) -> Result<u64, StoreError> {
    let mut statement = connection.prepare(sql).map_err(fault)?;
    let mut all = 0_u64;
    for record in records {
        let some: i64 = statement.query_row([record.as_bytes().as_slice()], |row| row.get(0)).map_err(fault)?;
        all = all.saturating_add(number(some));
    }
    Ok(all)
}

/// The answers that name any of these records, by their ids.
fn answers(connection: &Connection, records: &[RecordId]) -> Result<Vec<Vec<u8>>, StoreError> {
    if !has(connection, "once")? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare("SELECT id, answer FROM once").map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let answer: Vec<u8> = row.get(1).map_err(fault)?;
        if names(&answer, records) {
            found.push(row.get(0).map_err(fault)?);
        }
    }
    Ok(found)
}

/// How many rows of these records are gone from a table, which need not be there.
fn delete_from(connection: &Connection, table: &str, records: &[RecordId]) -> Result<u64, StoreError> {
    let mut gone: u64 = 0;
    if has(connection, table)? {
        let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE id = ?1")).map_err(fault)?;
        for record in records {
            gone = gone.saturating_add(delete.execute([record.as_bytes().as_slice()]).map_err(fault)? as u64);
        }
    }
    Ok(gone)
}

fn purge(connection: &mut Connection, TypeId(place): TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
    let mut traces = Traces {
        // Put back, by a restore, since the record was deleted.
        records: delete_from(&transaction, &format!("r{place}"), records)?,
        past: delete_from(&transaction, &format!("h{place}"), records)?,
        answers: 0,
    };
    for id in answers(&transaction, records)? {
        let gone = transaction.execute("DELETE FROM once WHERE id = ?1", [id]).map_err(fault)?;
        traces.answers = traces.answers.saturating_add(gone as u64);
    }
    transaction.commit().map_err(fault)?;
    Ok(traces)
}

/// Empties the write-ahead log into the file, if nobody reads an older state. Waits for nobody: it keeps writers out.
fn empty_log(connection: &Connection) -> Result<bool, StoreError> {
    connection.busy_timeout(Duration::ZERO).map_err(fault)?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(fault)?;
    connection.busy_timeout(PATIENCE).map_err(fault)?;
    Ok(busy == 0)
}

fn beside(path: &Path) -> Vec<PathBuf> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    vec![path.to_owned(), with("-wal"), with("-shm"), with("-journal"), path.with_extension("new")]
}

impl Shared {
    fn gone(&self, id: TenantId, place: TypeId, field: FieldId, tags: &[Tag]) -> Result<Vec<RecordId>, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.record_type(place)?;
        let (TypeId(place), FieldId(field)) = (place, field);
        let reader = tenant.reader()?;
        let connection = reader.connection()?;
        let mut found = Vec::new();
        if has(connection, &format!("h{place}"))? {
            let sql = format!(
                "SELECT DISTINCT id FROM h{place} WHERE x{field} = ?1 AND id NOT IN (SELECT id FROM r{place}) ORDER BY id"
            );
            let mut statement = connection.prepare(&sql).map_err(fault)?;
            for tag in tags {
                let ids = statement.query_map([tag.0.as_slice()], |row| row.get::<_, [u8; 16]>(0)).map_err(fault)?;
                for id in ids {
                    found.push(RecordId::from_bytes(id.map_err(fault)?));
                }
            }
        }
        reader.give_back();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn purge(&self, id: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.record_type(record_type)?;
        tenant.with_writer(|connection| purge(connection, record_type, records))
    }

    fn sweep(&self, id: TenantId) -> Result<bool, StoreError> {
        let tenant = self.tenant(id)?;
        for _ in 0..TRIES {
            if tenant.with_writer(|connection| empty_log(connection))? {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(false)
    }

    fn traces(&self, id: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.record_type(record_type)?;
        let reader = tenant.reader()?;
        let (connection, TypeId(place)) = (reader.connection()?, record_type);
        let counted = |table: String| match has(connection, &table)? {
            true => count(connection, &format!("SELECT count(*) FROM {table} WHERE id = ?1"), records),
            false => Ok(0),
        };
        let traces = Traces {
            records: counted(format!("r{place}"))?,
            past: counted(format!("h{place}"))?,
            answers: answers(connection, records)?.len() as u64,
        };
        reader.give_back();
        Ok(traces)
    }

    fn remove_tenant(&self, id: TenantId) -> Result<Traces, StoreError> {
        let path = self.path(id);
        let mut traces = Traces::default();
        if path.try_exists()?
            && let Ok(tenant) = self.tenant(id)
            && let Ok(reader) = tenant.reader()
        {
            let connection = reader.connection()?;
            let (_, layout) = self.types();
            for place in 0..layout.types().len() {
                let counted = |table: String| match has(connection, &table)? {
                    true => connection
                        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
                        .map(number)
                        .map_err(fault),
                    false => Ok(0),
                };
                traces.records = traces.records.saturating_add(counted(format!("r{place}"))?);
                traces.past = traces.past.saturating_add(counted(format!("h{place}"))?);
            }
        }
        // Nobody opens it again before it is gone; whoever is at work in it works in a file without a name.
        let _removing = self.opening(id);
        let open = self.open.write().remove(&id);
        for file in beside(&path) {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        std::fs::File::open(&self.folder)?.sync_all()?;
        drop(open);
        Ok(traces)
    }
}

#[async_trait]
impl Erases for SqliteStore {
    async fn gone(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        tags: &[Tag],
    ) -> Result<Vec<RecordId>, StoreError> {
        let tags = tags.to_vec();
        self.blocking(move |shared| shared.gone(tenant, record_type, field, &tags)).await
    }

    async fn purge(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let records = records.to_vec();
        self.blocking(move |shared| shared.purge(tenant, record_type, &records)).await
    }

    async fn sweep(&self, tenant: TenantId) -> Result<bool, StoreError> {
        self.blocking(move |shared| shared.sweep(tenant)).await
    }

    async fn traces(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let records = records.to_vec();
        self.blocking(move |shared| shared.traces(tenant, record_type, &records)).await
    }

    async fn remove_tenant(&self, tenant: TenantId) -> Result<Traces, StoreError> {
        self.blocking(move |shared| shared.remove_tenant(tenant)).await
    }

    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        self.blocking(move |shared| {
            for file in beside(&shared.path(tenant)) {
                if file.try_exists()? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }
}
