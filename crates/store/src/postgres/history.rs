//! What records were, in tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use countersign_model::{FieldId, FieldSet, RecordId, TenantId, TypeId, UnixMs};
use countersign_postgres::{PgError, Row, Scope, ToSql};
use uuid::Uuid;

use super::failure::{damaged, fault};
use super::write::{commit, time};
use super::{PostgresStore, Shared};
use crate::access::{Access, SealedRow};
use crate::error::StoreError;
use crate::history::{Histories, SealedState, StateScan, oldest_end};

impl Shared {
    /// Whether what was before a change is kept.
    pub(super) fn keeps(&self) -> bool {
        self.keep_ms.load(Ordering::Relaxed) > 0
    }

    async fn states(&self, tenant: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        self.know(tenant).await?;
        self.types().layout.check_states(scan)?;
        let TypeId(place) = scan.record_type;
        let cells: String = scan.cells.iter().map(|FieldId(field)| format!(", c{field}")).collect();
        let (found, keys): (String, Option<Box<dyn ToSql + Sync + Send>>) = match &scan.access {
            Access::All => ("true".into(), None),
            Access::Records(records) => {
                let ids: Vec<Uuid> = records.iter().map(|record| record.uuid()).collect();
                ("id = ANY($5)".into(), Some(Box::new(ids)))
            }
            Access::Tags { field: FieldId(field), tags } => {
                let tags: Vec<Vec<u8>> = tags.iter().map(|tag| tag.0.to_vec()).collect();
                (format!("x{field} = ANY($5)"), Some(Box::new(tags)))
            }
        };
        let found = format!("tenant = $1 AND (id, version) > ($2, $3) AND {found}");
        // Both kinds in one statement, so that none is missed between the two.
        let text: Arc<str> = format!(
            "SELECT id, version, at, until{cells} FROM h{place} WHERE {found} \
             UNION ALL SELECT id, version, at, NULL::bigint{cells} FROM r{place} WHERE {found} ORDER BY 1, 2 LIMIT $4"
        )
        .into();
        let (own, id) = (tenant.uuid(), scan.after.map_or(Uuid::nil(), |(record, _)| record.uuid()));
        let version = scan.after.map_or(0, |(_, version)| i64::try_from(version).unwrap_or(i64::MAX));
        let limit = i64::try_from(scan.limit).unwrap_or(i64::MAX);
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&own, &id, &version, &limit];
        if let Some(keys) = &keys {
            params.push(&**keys as &(dyn ToSql + Sync));
        }
        let asked =
            async || -> Result<_, PgError> { self.pool.begin(Scope::Tenant(tenant)).await?.read(&text, &params).await };
        let rows = self.pool.patiently(asked).await.map_err(fault)?;
        rows.iter().map(|row| state(row, scan.cells)).collect()
    }

    async fn prune(&self, tenant: TenantId, of: TypeId, now: UnixMs, most: usize) -> Result<usize, StoreError> {
        self.know(tenant).await?;
        self.types().layout.record_type(of)?;
        let place = of.0;
        let text: Arc<str> = format!(
            "DELETE FROM h{place} WHERE tenant = $1 AND ctid = ANY(ARRAY(\
             SELECT ctid FROM h{place} WHERE tenant = $1 AND until < $2 ORDER BY until LIMIT $3 FOR UPDATE SKIP LOCKED))"
        )
        .into();
        let end = time(oldest_end(now, self.keep_ms.load(Ordering::Relaxed)));
        let (own, most) = (tenant.uuid(), i64::try_from(most).unwrap_or(i64::MAX));
        let done = self.pool.patiently(async || {
            let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
            let gone = transaction.execute(&text, &[&own, &end, &most]).await?;
            commit(transaction).await?;
            Ok::<_, PgError>(gone)
        });
        usize::try_from(done.await.map_err(fault)?).map_err(damaged)
    }
}

fn state(row: &Row, fields: FieldSet) -> Result<SealedState, StoreError> {
    let number = |column: usize| {
        let number: Option<i64> = row.try_get(column).map_err(damaged)?;
        number.map(u64::try_from).transpose().map_err(damaged)
    };
    let record = RecordId::from_bytes(*row.try_get::<_, Uuid>(0).map_err(damaged)?.as_bytes());
    let mut cells = Vec::with_capacity(fields.len());
    for (column, field) in (4usize..).zip(fields.iter()) {
        cells.push((field, row.try_get::<_, Option<Vec<u8>>>(column).map_err(damaged)?));
    }
    let version = number(1)?.ok_or(StoreError::Damaged)?;
    Ok(SealedState {
        row: SealedRow { record, version, cells },
        at: UnixMs(number(2)?.ok_or(StoreError::Damaged)?),
        until: number(3)?.map(UnixMs),
    })
}

#[async_trait]
impl Histories for PostgresStore {
    fn keep(&self, ms: u64) {
        self.shared.keep_ms.store(ms, Ordering::Relaxed);
    }

    fn kept_ms(&self) -> u64 {
        self.shared.keep_ms.load(Ordering::Relaxed)
    }

    async fn states(&self, tenant: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        let scan = scan.clone();
        self.run(move |shared| async move { shared.states(tenant, &scan).await }).await
    }

    async fn prune(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        now: UnixMs,
        most: usize,
    ) -> Result<usize, StoreError> {
        self.run(move |shared| async move { shared.prune(tenant, record_type, now, most).await }).await
    }
}
