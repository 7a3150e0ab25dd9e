//! What records were, in tenants' files.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use countersign_model::{FieldId, FieldSet, RecordId, TenantId, TypeId, UnixMs};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql};

use super::failure::fault;
use super::write::time;
use super::{Shared, SqliteStore};
use crate::access::{Access, SealedRow};
use crate::error::StoreError;
use crate::history::{Histories, SealedState, StateScan, oldest_end};

impl Shared {
    /// Whether what was before a change is kept.
    pub(super) fn keeps(&self) -> bool {
        self.keep_ms.load(Ordering::Relaxed) > 0
    }

    fn states(&self, id: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.check_states(scan)?;
        let reader = tenant.reader()?;
        let states = states(reader.connection()?, scan)?;
        reader.give_back();
        Ok(states)
    }

    fn prune(&self, id: TenantId, of: TypeId, now: UnixMs, most: usize) -> Result<usize, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.record_type(of)?;
        let end = time(oldest_end(now, self.keep_ms.load(Ordering::Relaxed)));
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        // A file that nobody writes stays one that nobody writes.
        let reader = tenant.reader()?;
        let sql = format!("SELECT EXISTS (SELECT 1 FROM h{} WHERE until < ?1)", of.0);
        let any: bool = reader.connection()?.query_row(&sql, [end], |row| row.get(0)).map_err(fault)?;
        reader.give_back();
        if !any {
            return Ok(0);
        }
        tenant.with_writer(|connection| {
            let place = of.0;
            let sql = format!(
                "DELETE FROM h{place} WHERE seq IN (SELECT seq FROM h{place} WHERE until < ?1 ORDER BY until LIMIT ?2)"
            );
            let mut delete = connection.prepare_cached(&sql).map_err(fault)?;
            delete.execute((end, most)).map_err(fault)
        })
    }
}

fn states(connection: &Connection, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
    let (condition, mut keys): (String, Vec<[u8; 16]>) = match &scan.access {
        Access::All => return some(connection, scan, "true", None),
        Access::Records(records) => ("id = ?4".into(), records.iter().map(|record| *record.as_bytes()).collect()),
        Access::Tags { field: FieldId(field), tags } => {
            (format!("x{field} = ?4"), tags.iter().map(|tag| tag.0).collect())
        }
    };
    keys.sort_unstable();
    keys.dedup();
    let mut out = Vec::new();
    for key in keys {
        out.extend(some(connection, scan, &condition, Some(key))?);
    }
    out.sort_unstable_by_key(|state: &SealedState| (state.row.record, state.row.version));
    out.truncate(scan.limit);
    Ok(out)
}

/// Both kinds of states in one statement, so that none is missed between the two.
fn some(
    connection: &Connection,
    scan: &StateScan,
    condition: &str,
    key: Option<[u8; 16]>,
) -> Result<Vec<SealedState>, StoreError> {
    let TypeId(place) = scan.record_type;
    let cells: String = scan.cells.iter().map(|FieldId(field)| format!(", c{field}")).collect();
    let condition = format!("(id > ?1 OR (id = ?1 AND version > ?2)) AND {condition}");
    let sql = format!(
        "SELECT id, version, at, until{cells} FROM h{place} WHERE {condition} \
         UNION ALL SELECT id, version, at, NULL{cells} FROM r{place} WHERE {condition} ORDER BY 1, 2 LIMIT ?3"
    );
    // The empty blob is before every id.
    let id: &[u8] = scan.after.as_ref().map_or(&[], |(record, _)| record.as_bytes());
    let version = scan.after.map_or(0, |(_, version)| i64::try_from(version).unwrap_or(i64::MAX));
    let limit = i64::try_from(scan.limit).unwrap_or(i64::MAX);
    let mut params: Vec<&dyn ToSql> = vec![&id, &version, &limit];
    let key = key.as_ref().map(<[u8; 16]>::as_slice);
    if let Some(key) = &key {
        params.push(key);
    }
    let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
    let mut rows = statement.query(params.as_slice()).map_err(fault)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        out.push(state(row, scan.cells)?);
    }
    Ok(out)
}

fn state(row: &Row<'_>, fields: FieldSet) -> Result<SealedState, StoreError> {
    let id: [u8; 16] = row.get(0).map_err(fault)?;
    let number = |column: usize| match row.get::<_, Option<i64>>(column).map_err(fault)? {
        None => Ok(None),
        Some(number) => u64::try_from(number).map(Some).map_err(|_| StoreError::Damaged),
    };
    let mut cells = Vec::with_capacity(fields.len());
    for (column, field) in (4usize..).zip(fields.iter()) {
        let cell = match row.get_ref(column).map_err(fault)? {
            ValueRef::Null => None,
            ValueRef::Blob(bytes) => Some(bytes.to_vec()),
            _ => return Err(StoreError::Damaged),
        };
        cells.push((field, cell));
    }
    let version = number(1)?.ok_or(StoreError::Damaged)?;
    Ok(SealedState {
        row: SealedRow { record: RecordId::from_bytes(id), version, cells },
        at: UnixMs(number(2)?.ok_or(StoreError::Damaged)?),
        until: number(3)?.map(UnixMs),
    })
}

#[async_trait]
impl Histories for SqliteStore {
    fn keep(&self, ms: u64) {
        self.shared.keep_ms.store(ms, Ordering::Relaxed);
    }

    fn kept_ms(&self) -> u64 {
        self.shared.keep_ms.load(Ordering::Relaxed)
    }

    async fn states(&self, tenant: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        let scan = scan.clone();
        self.blocking(move |shared| shared.states(tenant, &scan)).await
    }

    async fn prune(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        now: UnixMs,
        most: usize,
    ) -> Result<usize, StoreError> {
        self.blocking(move |shared| shared.prune(tenant, record_type, now, most)).await
    }
}
