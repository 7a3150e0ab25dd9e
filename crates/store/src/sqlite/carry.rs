//! Carrying records from and to tenants' files.

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row};

use super::failure::fault;
use super::history::forget;
use super::write::time;
use super::{Shared, SqliteStore, once};
use crate::batch::Once;
use crate::carry::{CarriedRow, Carry, PastRow};
use crate::error::StoreError;
use crate::layout::TypeLayout;

impl Shared {
    /// The tenants that have a file, in no order.
    pub(super) fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let mut tenants = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<TenantId>().ok());
            tenants.extend(id.filter(|_| path.extension().is_some_and(|extension| extension == "db")));
        }
        Ok(tenants)
    }

    /// Reads as `work` does, through a connection to a file that is up to date.
    fn carry_out<T>(
        &self,
        id: TenantId,
        record_type: TypeId,
        work: impl FnOnce(&Connection, &TypeLayout) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        let reader = tenant.reader()?;
        let done = work(reader.connection()?, layout.record_type(record_type)?)?;
        reader.give_back();
        Ok(done)
    }

    fn carry_in(
        &self,
        id: TenantId,
        record_type: TypeId,
        gone: &[RecordId],
        rows: &[CarriedRow],
    ) -> Result<(), StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        let fields = layout.record_type(record_type)?;
        if !rows.iter().all(|row| row.fits(fields)) {
            return Err(StoreError::UnknownField);
        }
        tenant.with_writer(|connection| {
            let transaction = connection.transaction().map_err(fault)?;
            store(&transaction, record_type, fields, gone, rows)?;
            transaction.commit().map_err(fault)
        })
    }
}

/// A row of [`TypeLayout::columns`], or of [`TypeLayout::past_columns`], which have `until` before the first cell.
fn carried(row: &Row<'_>, fields: &TypeLayout, first: usize) -> Result<CarriedRow, StoreError> {
    let blob = |column: usize| match row.get_ref(column).map_err(fault)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        _ => Err(StoreError::Damaged),
    };
    let id = blob(0)?.and_then(|id| id.try_into().ok()).ok_or(StoreError::Damaged)?;
    let (version, at) = (number(row, 1)?, UnixMs(number(row, 2)?));
    let (mut cells, mut tags) = (Vec::with_capacity(fields.len()), Vec::new());
    for (column, field) in (first..).zip((0u8..=u8::MAX).map(FieldId)).take(fields.len()) {
        cells.extend(blob(column)?.map(|cell| (field, cell.to_vec())));
    }
    for (column, field) in (fields.len().saturating_add(first)..).zip(fields.indexed()) {
        if let Some(tag) = blob(column)? {
            tags.push((field, Tag(tag.try_into().map_err(|_| StoreError::Damaged)?)));
        }
    }
    Ok(CarriedRow { record: RecordId::from_bytes(id), version, at, cells, tags })
}

fn past(row: &Row<'_>, fields: &TypeLayout) -> Result<PastRow, StoreError> {
    Ok(PastRow { row: carried(row, fields, 4)?, until: UnixMs(number(row, 3)?) })
}

fn number(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.get(column).map_err(|_| StoreError::Damaged)?;
    u64::try_from(number).map_err(|_| StoreError::Damaged)
}

/// Records in the order of their ids.
pub(super) fn present_rows(
    connection: &Connection,
    TypeId(place): TypeId,
    fields: &TypeLayout,
    after: Option<RecordId>,
    limit: usize,
) -> Result<Vec<CarriedRow>, StoreError> {
    let sql =
        format!("SELECT {} FROM r{place} INDEXED BY i{place}id WHERE id > ?1 ORDER BY id LIMIT ?2", fields.columns());
    let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
    // The empty blob is before every id.
    let after: &[u8] = after.as_ref().map_or(&[], |after| after.as_bytes());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement.query((after, limit)).map_err(fault)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(fault)? {
        rows.push(carried(row, fields, 3)?);
    }
    Ok(rows)
}

/// What records were, in the order of their ids and versions.
pub(super) fn past_rows(
    connection: &Connection,
    TypeId(place): TypeId,
    fields: &TypeLayout,
    after: Option<(RecordId, u64)>,
    limit: usize,
) -> Result<Vec<PastRow>, StoreError> {
    let sql = format!(
        "SELECT {} FROM h{place} INDEXED BY j{place}id WHERE (id, version) > (?1, ?2) \
         ORDER BY id, version LIMIT ?3",
        fields.past_columns()
    );
    let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
    let id: &[u8] = after.as_ref().map_or(&[], |(record, _)| record.as_bytes());
    let version = after.map_or(0, |(_, version)| i64::try_from(version).unwrap_or(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement.query((id, version, limit)).map_err(fault)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(fault)? {
        rows.push(past(row, fields)?);
    }
    Ok(rows)
}

/// What `make` makes of each row that a query finds of each of these records, in the order of their ids.
fn these<T>(
    connection: &Connection,
    sql: &str,
    mut records: Vec<RecordId>,
    make: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    records.sort_unstable();
    records.dedup();
    let mut statement = connection.prepare_cached(sql).map_err(fault)?;
    let mut rows = Vec::new();
    for record in records {
        let mut found = statement.query([record.as_bytes().as_slice()]).map_err(fault)?;
        while let Some(row) = found.next().map_err(fault)? {
            rows.push(make(row)?);
        }
    }
    Ok(rows)
}

/// Binds cells and tags from the parameter `first` on.
fn bind(
    insert: &mut CachedStatement<'_>,
    fields: &TypeLayout,
    row: &CarriedRow,
    first: usize,
) -> Result<(), StoreError> {
    for (FieldId(field), cell) in &row.cells {
        insert.raw_bind_parameter(usize::from(*field).saturating_add(first), cell.as_slice()).map_err(fault)?;
    }
    for (parameter, field) in (fields.len().saturating_add(first)..).zip(fields.indexed()) {
        if let Some((_, tag)) = row.tags.iter().find(|(tagged, _)| *tagged == field) {
            insert.raw_bind_parameter(parameter, tag.0.as_slice()).map_err(fault)?;
        }
    }
    Ok(())
}

fn parameters(fields: &TypeLayout, first: usize) -> String {
    let count = fields.len().saturating_add(fields.indexed().count()).saturating_add(first);
    (1..count).map(|parameter| format!("?{parameter}")).collect::<Vec<_>>().join(", ")
}

fn store_past(
    connection: &Connection,
    TypeId(place): TypeId,
    fields: &TypeLayout,
    gone: &[(RecordId, u64)],
    rows: &[PastRow],
) -> Result<(), StoreError> {
    let version = |version: u64| i64::try_from(version).map_err(|_| StoreError::Damaged);
    let delete = format!("DELETE FROM h{place} WHERE id = ?1 AND version = ?2");
    let mut delete = connection.prepare_cached(&delete).map_err(fault)?;
    for (record, number) in gone {
        delete.execute((record.as_bytes().as_slice(), version(*number)?)).map_err(fault)?;
    }
    insert_past(connection, TypeId(place), fields, "REPLACE", rows)
}

/// Stores what records were, by `verb` where there is one of the same record and version.
pub(super) fn insert_past(
    connection: &Connection,
    TypeId(place): TypeId,
    fields: &TypeLayout,
    verb: &str,
    rows: &[PastRow],
) -> Result<(), StoreError> {
    let version = |version: u64| i64::try_from(version).map_err(|_| StoreError::Damaged);
    let sql = format!("{verb} INTO h{place} ({}) VALUES ({})", fields.past_columns(), parameters(fields, 5));
    let mut insert = connection.prepare_cached(&sql).map_err(fault)?;
    for PastRow { row, until } in rows {
        insert.clear_bindings();
        insert.raw_bind_parameter(1, row.record.as_bytes().as_slice()).map_err(fault)?;
        insert.raw_bind_parameter(2, version(row.version)?).map_err(fault)?;
        insert.raw_bind_parameter(3, time(row.at)).map_err(fault)?;
        insert.raw_bind_parameter(4, time(*until)).map_err(fault)?;
        bind(&mut insert, fields, row, 5)?;
        insert.raw_execute().map_err(fault)?;
    }
    Ok(())
}

fn store(
    connection: &Connection,
    TypeId(place): TypeId,
    fields: &TypeLayout,
    gone: &[RecordId],
    rows: &[CarriedRow],
) -> Result<(), StoreError> {
    let mut delete = connection.prepare_cached(&format!("DELETE FROM r{place} WHERE id = ?1")).map_err(fault)?;
    // All of them before any is stored, so that a tag may go from one to another.
    for record in gone.iter().chain(rows.iter().map(|row| &row.record)) {
        delete.execute([record.as_bytes().as_slice()]).map_err(fault)?;
    }
    insert_rows(connection, TypeId(place), fields, "INSERT OR IGNORE", rows)
}

/// Stores records, by `verb` where there is one of the same id or of the same unique tag.
pub(super) fn insert_rows(
    connection: &Connection,
    TypeId(place): TypeId,
    fields: &TypeLayout,
    verb: &str,
    rows: &[CarriedRow],
) -> Result<(), StoreError> {
    let sql = format!("{verb} INTO r{place} ({}) VALUES ({})", fields.columns(), parameters(fields, 4));
    let mut insert = connection.prepare_cached(&sql).map_err(fault)?;
    for row in rows {
        let version = i64::try_from(row.version).map_err(|_| StoreError::Damaged)?;
        insert.clear_bindings();
        insert.raw_bind_parameter(1, row.record.as_bytes().as_slice()).map_err(fault)?;
        insert.raw_bind_parameter(2, version).map_err(fault)?;
        insert.raw_bind_parameter(3, time(row.at)).map_err(fault)?;
        bind(&mut insert, fields, row, 4)?;
        insert.raw_execute().map_err(fault)?;
    }
    Ok(())
}

#[async_trait]
impl Carry for SqliteStore {
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let mut tenants = self.blocking(Shared::tenants).await?;
        tenants.sort_unstable();
        Ok(tenants)
    }

    async fn rows(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<CarriedRow>, StoreError> {
        self.blocking(move |shared| {
            shared.carry_out(tenant, record_type, |connection, fields| {
                present_rows(connection, record_type, fields, after, limit)
            })
        })
        .await
    }

    async fn these(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<CarriedRow>, StoreError> {
        let TypeId(place) = record_type;
        let records = records.to_vec();
        self.blocking(move |shared| {
            shared.carry_out(tenant, record_type, |connection, fields| {
                let sql = format!("SELECT {} FROM r{place} INDEXED BY i{place}id WHERE id = ?1", fields.columns());
                these(connection, &sql, records, |row| carried(row, fields, 3))
            })
        })
        .await
    }

    async fn put(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        gone: &[RecordId],
        rows: Vec<CarriedRow>,
    ) -> Result<(), StoreError> {
        let gone = gone.to_vec();
        self.blocking(move |shared| shared.carry_in(tenant, record_type, &gone, &rows)).await
    }

    async fn past(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        after: Option<(RecordId, u64)>,
        limit: usize,
    ) -> Result<Vec<PastRow>, StoreError> {
        self.blocking(move |shared| {
            shared.carry_out(tenant, record_type, |connection, fields| {
                past_rows(connection, record_type, fields, after, limit)
            })
        })
        .await
    }

    async fn past_since(&self, tenant: TenantId) -> Result<UnixMs, StoreError> {
        crate::Histories::since(self, tenant).await
    }

    async fn put_past_since(&self, tenant: TenantId, since: UnixMs) -> Result<(), StoreError> {
        self.blocking(move |shared| {
            shared.tenant(tenant)?.with_writer(|connection| {
                let transaction = connection.transaction().map_err(fault)?;
                forget(&transaction, time(since))?;
                transaction.commit().map_err(fault)
            })
        })
        .await
    }

    async fn past_of(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<PastRow>, StoreError> {
        let TypeId(place) = record_type;
        let records = records.to_vec();
        self.blocking(move |shared| {
            shared.carry_out(tenant, record_type, |connection, fields| {
                let sql = format!(
                    "SELECT {} FROM h{place} INDEXED BY j{place}id WHERE id = ?1 ORDER BY version",
                    fields.past_columns()
                );
                these(connection, &sql, records, |row| past(row, fields))
            })
        })
        .await
    }

    async fn put_past(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        gone: &[(RecordId, u64)],
        rows: Vec<PastRow>,
    ) -> Result<(), StoreError> {
        let gone = gone.to_vec();
        self.blocking(move |shared| {
            let tenant = shared.tenant(tenant)?;
            let layout = shared.prepare(&tenant)?;
            let fields = layout.record_type(record_type)?;
            if !rows.iter().all(|row| row.fits(fields)) {
                return Err(StoreError::UnknownField);
            }
            tenant.with_writer(|connection| {
                let transaction = connection.transaction().map_err(fault)?;
                store_past(&transaction, record_type, fields, &gone, &rows)?;
                transaction.commit().map_err(fault)
            })
        })
        .await
    }

    async fn known(
        &self,
        tenant: TenantId,
        since: UnixMs,
        after: Option<(UnixMs, [u8; 32])>,
        limit: usize,
    ) -> Result<Vec<Once>, StoreError> {
        self.blocking(move |shared| {
            let tenant = shared.tenant(tenant)?;
            let reader = tenant.reader()?;
            let known = once::known(reader.connection()?, since, after, limit)?;
            reader.give_back();
            Ok(known)
        })
        .await
    }

    async fn put_known(&self, tenant: TenantId, known: Vec<Once>) -> Result<(), StoreError> {
        self.blocking(move |shared| {
            shared.tenant(tenant)?.with_writer(|connection| {
                let transaction = connection.transaction().map_err(fault)?;
                for one in &known {
                    once::note(&transaction, one)?;
                }
                transaction.commit().map_err(fault)
            })
        })
        .await
    }
}
