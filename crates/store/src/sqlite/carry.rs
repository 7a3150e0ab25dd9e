//! Carrying records from and to tenants' files.

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::failure::fault;
use super::{Shared, SqliteStore, once};
use crate::batch::Once;
use crate::carry::{CarriedRow, Carry};
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

fn carried(row: &Row<'_>, fields: &TypeLayout) -> Result<CarriedRow, StoreError> {
    let blob = |column: usize| match row.get_ref(column).map_err(fault)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        _ => Err(StoreError::Damaged),
    };
    let id = blob(0)?.and_then(|id| id.try_into().ok()).ok_or(StoreError::Damaged)?;
    let version = row.get::<_, i64>(1).ok().and_then(|version| u64::try_from(version).ok());
    let (mut cells, mut tags) = (Vec::with_capacity(fields.len()), Vec::new());
    for (column, field) in (2usize..).zip((0u8..=u8::MAX).map(FieldId)).take(fields.len()) {
        cells.extend(blob(column)?.map(|cell| (field, cell.to_vec())));
    }
    for (column, field) in (fields.len().saturating_add(2)..).zip(fields.indexed()) {
        if let Some(tag) = blob(column)? {
            tags.push((field, Tag(tag.try_into().map_err(|_| StoreError::Damaged)?)));
        }
    }
    Ok(CarriedRow {
        record: RecordId::from_bytes(id),
        version: version.ok_or(StoreError::Damaged)?,
        at: UnixMs(0),
        cells,
        tags,
    })
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
    let count = fields.len().saturating_add(fields.indexed().count()).saturating_add(2);
    let parameters = (1..=count).map(|parameter| format!("?{parameter}")).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT OR IGNORE INTO r{place} ({}) VALUES ({parameters})", fields.columns());
    let mut insert = connection.prepare_cached(&sql).map_err(fault)?;
    for row in rows {
        let version = i64::try_from(row.version).map_err(|_| StoreError::Damaged)?;
        insert.clear_bindings();
        insert.raw_bind_parameter(1, row.record.as_bytes().as_slice()).map_err(fault)?;
        insert.raw_bind_parameter(2, version).map_err(fault)?;
        for (FieldId(field), cell) in &row.cells {
            insert.raw_bind_parameter(usize::from(*field).saturating_add(3), cell.as_slice()).map_err(fault)?;
        }
        for (parameter, field) in (fields.len().saturating_add(3)..).zip(fields.indexed()) {
            if let Some((_, tag)) = row.tags.iter().find(|(tagged, _)| *tagged == field) {
                insert.raw_bind_parameter(parameter, tag.0.as_slice()).map_err(fault)?;
            }
        }
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
        let TypeId(place) = record_type;
        self.blocking(move |shared| {
            shared.carry_out(tenant, record_type, |connection, fields| {
                let sql = format!(
                    "SELECT {} FROM r{place} INDEXED BY i{place}id WHERE id > ?1 ORDER BY id LIMIT ?2",
                    fields.columns()
                );
                let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
                // The empty blob is before every id.
                let after: &[u8] = after.as_ref().map_or(&[], |after| after.as_bytes());
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let mut found = statement.query((after, limit)).map_err(fault)?;
                let mut rows = Vec::new();
                while let Some(row) = found.next().map_err(fault)? {
                    rows.push(carried(row, fields)?);
                }
                Ok(rows)
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
        let mut records = records.to_vec();
        records.sort_unstable();
        records.dedup();
        self.blocking(move |shared| {
            shared.carry_out(tenant, record_type, |connection, fields| {
                let sql = format!("SELECT {} FROM r{place} INDEXED BY i{place}id WHERE id = ?1", fields.columns());
                let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
                let mut rows = Vec::new();
                for record in records {
                    let mut found = statement.query([record.as_bytes().as_slice()]).map_err(fault)?;
                    if let Some(row) = found.next().map_err(fault)? {
                        rows.push(carried(row, fields)?);
                    }
                }
                Ok(rows)
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
