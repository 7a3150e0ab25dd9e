//! Sealing again in tenants' files.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::{FieldId, TenantId, TypeId};
use rusqlite::Connection;

use super::connection::Counted;
use super::epoch::{self, Known, PROGRESS};
use super::failure::fault;
use super::tenant::Tenant;
use super::{Shared, SqliteStore};
use crate::batch::Rejected;
use crate::carry::{Resealed, Reseals};
use crate::error::StoreError;
use crate::seals::{CellKey, Nearing, Needs, SealCount};

impl Shared {
    /// One transaction with what the writer knows of epoch and counts; rolled back if it is rejected.
    fn sealing<T>(
        &self,
        id: TenantId,
        work: impl FnOnce(&Connection, &Tenant, &mut Known) -> Result<Result<T, Rejected>, StoreError>,
    ) -> Result<Result<T, Rejected>, StoreError> {
        let tenant = self.tenant(id)?;
        self.prepare(&tenant)?;
        tenant.with_writer(|connection: &mut Counted| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
            let mut known = tenant.seals.begin(&transaction)?;
            let done = work(&transaction, &tenant, &mut known)?;
            if done.is_ok() { transaction.commit() } else { transaction.rollback() }.map_err(fault)?;
            tenant.seals.end(known, done.is_ok());
            Ok(done)
        })
    }

    fn looked_up<T>(
        &self,
        id: TenantId,
        work: impl FnOnce(&Connection, &Tenant) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tenant = self.tenant(id)?;
        let reader = tenant.reader()?;
        let found = work(reader.connection()?, &tenant)?;
        reader.give_back();
        Ok(found)
    }
}

fn note(connection: &Connection, progress: Option<&[u8]>) -> Result<(), StoreError> {
    let Some(progress) = progress else { return epoch::remove(connection, PROGRESS) };
    let mut digits = String::with_capacity(progress.len().saturating_mul(2));
    for byte in progress {
        // Writing to a string can't fail.
        let _ = write!(digits, "{byte:02x}");
    }
    epoch::put(connection, PROGRESS, &digits)
}

fn noted(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Whether it was replaced. One whose new tag another record has is left as it is.
fn replace(connection: &Connection, TypeId(place): TypeId, row: &Resealed) -> Result<bool, StoreError> {
    let mut sql = format!("UPDATE OR IGNORE {}{place} SET ", if row.past { 'h' } else { 'r' });
    let cells = row.cells.iter().map(|(FieldId(field), _)| ('c', field));
    let columns = cells.chain(row.tags.iter().map(|(FieldId(field), _)| ('x', field)));
    for (parameter, (letter, field)) in (3usize..).zip(columns) {
        let comma = if parameter > 3 { ", " } else { "" };
        let _ = write!(sql, "{comma}{letter}{field} = ?{parameter}");
    }
    sql.push_str(" WHERE id = ?1 AND version = ?2");
    let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
    let version = i64::try_from(row.version).unwrap_or(-1);
    statement.raw_bind_parameter(1, row.record.as_bytes().as_slice()).map_err(fault)?;
    statement.raw_bind_parameter(2, version).map_err(fault)?;
    let cells = row.cells.iter().map(|(_, cell)| cell.as_slice());
    for (parameter, bytes) in (3usize..).zip(cells.chain(row.tags.iter().map(|(_, tag)| tag.0.as_slice()))) {
        statement.raw_bind_parameter(parameter, bytes).map_err(fault)?;
    }
    Ok(statement.raw_execute().map_err(fault)? == 1)
}

#[async_trait]
impl Reseals for SqliteStore {
    async fn epoch(&self, tenant: TenantId) -> Result<u32, StoreError> {
        self.blocking(move |shared| shared.looked_up(tenant, |connection, _| epoch::epoch(connection))).await
    }

    async fn raise(&self, tenant: TenantId, epoch: u32) -> Result<(), StoreError> {
        self.put_counts(tenant, epoch, Vec::new()).await
    }

    async fn lower(&self, tenant: TenantId, epoch: u32) -> Result<bool, StoreError> {
        let lowered = self.blocking(move |shared| {
            shared.sealing(tenant, |connection, tenant, known| tenant.seals.lower(connection, known, epoch).map(Ok))
        });
        lowered.await?.map_err(|_| StoreError::Damaged)
    }

    async fn reseal(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        epoch: u32,
        rows: Vec<Resealed>,
        progress: Option<Vec<u8>>,
    ) -> Result<Result<usize, Rejected>, StoreError> {
        self.blocking(move |shared| {
            let (_, layout) = shared.types();
            let fields = layout.record_type(record_type)?;
            if !rows.iter().all(|row| row.fits(fields)) {
                return Err(StoreError::UnknownField);
            }
            shared.sealing(tenant, |connection, tenant, known| {
                if epoch < known.epoch {
                    return Ok(Err(Rejected::Epoch));
                }
                tenant.seals.raise(connection, known, epoch)?;
                let needs = Needs::of_resealed(record_type, &rows);
                if let Err(rejected) = tenant.seals.charge(connection, known, &needs)? {
                    return Ok(Err(rejected));
                }
                let mut done: usize = 0;
                for row in rows.iter().filter(|row| !row.cells.is_empty()) {
                    done = done.saturating_add(usize::from(replace(connection, record_type, row)?));
                }
                if progress.is_some() {
                    note(connection, progress.as_deref())?;
                }
                Ok(Ok(done))
            })
        })
        .await
    }

    async fn progress(&self, tenant: TenantId) -> Result<Option<Vec<u8>>, StoreError> {
        let found =
            self.blocking(move |shared| shared.looked_up(tenant, |connection, _| epoch::found(connection, PROGRESS)));
        found.await?.map(|digits| noted(&digits).ok_or(StoreError::Damaged)).transpose()
    }

    async fn note_progress(&self, tenant: TenantId, progress: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.blocking(move |shared| {
            let noted = shared.sealing(tenant, |connection, _, _| note(connection, progress.as_deref()).map(Ok));
            noted.map(drop)
        })
        .await
    }

    async fn counts(&self, tenant: TenantId) -> Result<Vec<SealCount>, StoreError> {
        self.blocking(move |shared| shared.looked_up(tenant, |connection, tenant| tenant.seals.counts(connection)))
            .await
    }

    async fn charge(&self, tenant: TenantId, counts: Vec<(CellKey, u64)>) -> Result<Result<(), Rejected>, StoreError> {
        let needs = Needs(counts.into_iter().collect());
        self.blocking(move |shared| {
            shared.sealing(tenant, |connection, tenant, known| tenant.seals.charge(connection, known, &needs))
        })
        .await
    }

    async fn put_counts(&self, tenant: TenantId, epoch: u32, counts: Vec<SealCount>) -> Result<(), StoreError> {
        self.blocking(move |shared| {
            let put = shared.sealing(tenant, |connection, tenant, known| {
                tenant.seals.put(connection, known, epoch, &counts).map(Ok)
            });
            put.map(drop)
        })
        .await
    }

    fn nearing(&self) -> Arc<Nearing> {
        Arc::clone(&self.shared.seals.nearing)
    }

    fn set_seal_limit(&self, max: u64) {
        self.limit_seals(max);
    }
}
