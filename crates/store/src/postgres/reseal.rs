//! Sealing again in tables. Records that others change at the moment are passed over, so that nobody waits for anybody.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::{FieldId, TenantId, TypeId};
use countersign_postgres::{PgError, Scope, Step, ToSql};

use super::epoch::{Hold, again, answer, lock, raise};
use super::failure::{damaged, fault};
use super::present::enter_beside;
use super::write::{Ended, commit, number};
use super::{PostgresStore, Shared};
use crate::batch::Rejected;
use crate::carry::{Resealed, Reseals};
use crate::error::StoreError;
use crate::seals::{CellKey, Nearing, Needs, SealCount};

/// The statement that replaces what was sealed again of one record.
fn replaces<'a>(tenant: TenantId, TypeId(place): TypeId, row: &'a Resealed) -> Step<'a> {
    let table = if row.past { 'h' } else { 'r' };
    let mut sql = format!("UPDATE {table}{place} SET ");
    let cells = row.cells.iter().map(|(FieldId(field), _)| ('c', field));
    let columns = cells.chain(row.tags.iter().map(|(FieldId(field), _)| ('x', field)));
    for (parameter, (letter, field)) in (4usize..).zip(columns) {
        let comma = if parameter > 4 { ", " } else { "" };
        let _ = write!(sql, "{comma}{letter}{field} = ${parameter}");
    }
    let _ = write!(
        sql,
        " WHERE tenant = $1 AND version = $3 AND id = (SELECT id FROM {table}{place} \
         WHERE tenant = $1 AND id = $2 AND version = $3 FOR UPDATE SKIP LOCKED)"
    );
    let mut params: Vec<Box<dyn ToSql + Sync + Send + 'a>> =
        vec![Box::new(tenant.uuid()), Box::new(row.record.uuid()), Box::new(number(row.version))];
    for (_, cell) in &row.cells {
        params.push(Box::new(cell.as_slice()));
    }
    for (_, tag) in &row.tags {
        params.push(Box::new(tag.0.as_slice()));
    }
    Step { text: sql.into(), params }
}

/// The statement that notes how far it has come.
fn notes(tenant: TenantId, progress: Option<&[u8]>) -> Step<'_> {
    let text = "INSERT INTO key_epoch AS k (tenant, epoch, progress) VALUES ($1, 0, $2) \
         ON CONFLICT (tenant) DO UPDATE SET progress = excluded.progress";
    Step { text: text.into(), params: vec![Box::new(tenant.uuid()), Box::new(progress)] }
}

impl Shared {
    /// One transaction.
    async fn replace(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        epoch: u32,
        rows: &[&Resealed],
        progress: Option<&[u8]>,
    ) -> Result<Result<usize, Rejected>, Ended> {
        let hold = Hold::Shared;
        let locks = format!("SELECT {}($1)", hold.function());
        let locks = Step { text: locks.into(), params: vec![Box::new(lock(tenant))] };
        let mut steps = vec![locks, hold.at(tenant, epoch)];
        steps.extend(rows.iter().map(|row| replaces(tenant, record_type, row)));
        if progress.is_some() {
            steps.push(notes(tenant, progress));
        }
        let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
        let mut done = transaction.together(&steps).await?.into_iter();
        done.next().unwrap_or(Err(PgError::Lost))?;
        let found = answer(&done.next().unwrap_or(Err(PgError::Lost))?.rows)?;
        if found != epoch {
            transaction.roll_back().await?;
            return if found < epoch { Err(Ended::Behind) } else { Ok(Err(Rejected::Epoch)) };
        }
        let mut replaced: u64 = 0;
        for (place, one) in done.enumerate() {
            let touched = one?.touched;
            if place < rows.len() {
                replaced = replaced.saturating_add(touched);
            }
        }
        commit(transaction).await?;
        Ok(Ok(usize::try_from(replaced).unwrap_or(usize::MAX)))
    }

    /// The same until it is known that it was done.
    async fn replace_patiently(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        epoch: u32,
        rows: &[&Resealed],
        progress: Option<&[u8]>,
    ) -> Result<Result<usize, Rejected>, Ended> {
        let mut pace = self.pool.pace();
        loop {
            self.replacing.over(tenant).await?;
            match self.replace(tenant, record_type, epoch, rows, progress).await {
                Err(Ended::Behind) => drop(raise(&self.pool, tenant, epoch).await?),
                Err(Ended::Database(error)) => {
                    // Doing it twice is doing it once.
                    let passing = error.is_retryable() || error == PgError::Unknown;
                    if !(passing && pace.wait().await) {
                        return Err(again::<()>(Err(error)).err().unwrap_or(PgError::Lost).into());
                    }
                }
                done => return done,
            }
        }
    }

    async fn reseal(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        epoch: u32,
        rows: &[Resealed],
        progress: Option<&[u8]>,
    ) -> Result<Result<usize, Rejected>, StoreError> {
        self.know(tenant).await?;
        let types = self.types();
        let fields = types.layout.record_type(record_type)?;
        if !rows.iter().all(|row| row.fits(fields)) {
            return Err(StoreError::UnknownField);
        }
        if let Err(rejected) = self.charge(tenant, &Needs::of_resealed(record_type, rows)).await? {
            return Ok(Err(rejected));
        }
        let rows: Vec<&Resealed> = rows.iter().filter(|row| !row.cells.is_empty()).collect();
        let ended = |ended| match ended {
            Ended::Database(error) => fault(error),
            Ended::Store(error) => error,
            Ended::Behind => StoreError::Damaged,
        };
        match self.replace_patiently(tenant, record_type, epoch, &rows, progress).await {
            Err(Ended::Database(PgError::Unique { .. })) => {}
            done => return done.map_err(ended),
        }
        // Some other record has a tag of one of them, so each goes by itself.
        let mut replaced: usize = 0;
        for row in &rows {
            match self.replace_patiently(tenant, record_type, epoch, &[row], None).await {
                Err(Ended::Database(PgError::Unique { .. })) => {}
                Ok(Ok(one)) => replaced = replaced.saturating_add(one),
                done => return done.map_err(ended),
            }
        }
        let noted = self.replace_patiently(tenant, record_type, epoch, &[], progress).await.map_err(ended)?;
        Ok(noted.map(|_| replaced))
    }
}

#[async_trait]
impl Reseals for PostgresStore {
    async fn epoch(&self, tenant: TenantId) -> Result<u32, StoreError> {
        let shared = &self.shared;
        shared.know(tenant).await?;
        let (text, id): (Arc<str>, _) = (super::epoch::asks(tenant).text, tenant.uuid());
        let scope = Scope::Tenant(tenant);
        let asked = shared.pool.patiently(async || shared.pool.begin(scope).await?.read(&text, &[&id]).await);
        answer(&asked.await.map_err(fault)?)
    }

    async fn raise(&self, tenant: TenantId, epoch: u32) -> Result<(), StoreError> {
        self.run(move |shared| async move {
            shared.know(tenant).await?;
            shared.raise(tenant, epoch).await.map(drop)
        })
        .await
    }

    async fn lower(&self, tenant: TenantId, epoch: u32) -> Result<bool, StoreError> {
        self.run(move |shared| async move {
            shared.know(tenant).await?;
            shared.lower(tenant, epoch).await
        })
        .await
    }

    async fn reseal(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        epoch: u32,
        rows: Vec<Resealed>,
        progress: Option<Vec<u8>>,
    ) -> Result<Result<usize, Rejected>, StoreError> {
        self.run(
            move |shared| async move { shared.reseal(tenant, record_type, epoch, &rows, progress.as_deref()).await },
        )
        .await
    }

    async fn progress(&self, tenant: TenantId) -> Result<Option<Vec<u8>>, StoreError> {
        let shared = &self.shared;
        shared.know(tenant).await?;
        let (text, id): (Arc<str>, _) = ("SELECT progress FROM key_epoch WHERE tenant = $1".into(), tenant.uuid());
        let scope = Scope::Tenant(tenant);
        let asked = shared.pool.patiently(async || shared.pool.begin(scope).await?.read(&text, &[&id]).await);
        let rows = asked.await.map_err(fault)?;
        rows.first().map_or(Ok(None), |row| row.try_get(0).map_err(damaged))
    }

    async fn note_progress(&self, tenant: TenantId, progress: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.run(move |shared| async move {
            shared.know(tenant).await?;
            let note = notes(tenant, progress.as_deref());
            let noted = shared.pool.patiently(async || {
                let noted = async {
                    let mut transaction = shared.pool.begin(Scope::Tenant(tenant)).await?;
                    enter_beside(&mut transaction, tenant).await?;
                    let mut done = transaction.together(std::slice::from_ref(&note)).await?;
                    done.pop().unwrap_or(Err(PgError::Lost))?;
                    commit(transaction).await
                };
                again(noted.await)
            });
            noted.await.map_err(fault)
        })
        .await
    }

    async fn counts(&self, tenant: TenantId) -> Result<Vec<SealCount>, StoreError> {
        self.shared.know(tenant).await?;
        self.shared.counts(tenant).await
    }

    async fn charge(&self, tenant: TenantId, counts: Vec<(CellKey, u64)>) -> Result<Result<(), Rejected>, StoreError> {
        let needs = Needs(counts.into_iter().collect());
        self.run(move |shared| async move {
            shared.know(tenant).await?;
            shared.charge(tenant, &needs).await
        })
        .await
    }

    async fn put_counts(&self, tenant: TenantId, epoch: u32, counts: Vec<SealCount>) -> Result<(), StoreError> {
        self.run(move |shared| async move {
            shared.know(tenant).await?;
            if epoch > 0 {
                shared.raise(tenant, epoch).await?;
            }
            shared.put_seal_counts(tenant, &counts).await
        })
        .await
    }

    fn nearing(&self) -> Arc<Nearing> {
        Arc::clone(&self.shared.seals.limit.nearing)
    }

    fn set_seal_limit(&self, max: u64) {
        self.limit_seals(max);
    }
}
