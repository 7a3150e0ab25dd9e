//! What records were, in tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use countersign_model::{FieldId, FieldSet, RecordId, TenantId, TypeId, UnixMs};
use countersign_postgres::{PgError, Row, Scope, ToSql};
use uuid::Uuid;

use super::failure::{damaged, fault};
use super::present::{enter, enter_beside};
use super::write::{Ended, commit, time};
use super::{PostgresStore, Shared, epoch};
use crate::access::{Access, SealedRow};
use crate::error::StoreError;
use crate::history::{Histories, NotRewound, Rewound, SealedState, StateScan, oldest_end};
use crate::layout::TypeLayout;

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
            "WITH gone AS (DELETE FROM h{place} WHERE tenant = $1 AND ctid = ANY(ARRAY(\
             SELECT ctid FROM h{place} WHERE tenant = $1 AND until < $2 ORDER BY until LIMIT $3 FOR UPDATE SKIP LOCKED)) \
             RETURNING until), known AS (INSERT INTO past SELECT $1::uuid, max(until) FROM gone HAVING count(*) > 0 \
             ON CONFLICT (tenant) DO UPDATE SET since = greatest(past.since, excluded.since)) SELECT count(*) FROM gone"
        )
        .into();
        let end = time(oldest_end(now, self.keep_ms.load(Ordering::Relaxed)));
        let (own, most) = (tenant.uuid(), i64::try_from(most).unwrap_or(i64::MAX));
        let done = self.pool.patiently(async || {
            let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
            enter_beside(&mut transaction, tenant).await?;
            let rows = transaction.query(&text, &[&own, &end, &most]).await?;
            commit(transaction).await?;
            Ok::<_, PgError>(rows.first().ok_or(PgError::Damaged)?.try_get::<_, i64>(0)?)
        });
        usize::try_from(done.await.map_err(fault)?).map_err(damaged)
    }

    async fn since(&self, tenant: TenantId) -> Result<UnixMs, StoreError> {
        self.know(tenant).await?;
        let (text, own): (Arc<str>, _) = (KNOWN_SINCE.into(), tenant.uuid());
        let asked =
            self.pool.patiently(async || self.pool.begin(Scope::Tenant(tenant)).await?.read(&text, &[&own]).await);
        since(&asked.await.map_err(fault)?)
    }

    /// Once. The tenant's lock is held alone, so nobody else writes meanwhile.
    async fn rewind(
        &self,
        tenant: TenantId,
        (to, now): (UnixMs, UnixMs),
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, Ended> {
        let (types, own) = (self.types(), tenant.uuid());
        let (to_ms, now_ms) = (time(to), time(now));
        let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
        // It takes as long as it takes.
        transaction.run("SET LOCAL statement_timeout = 0").await?;
        enter(&mut transaction, tenant, epoch::Hold::Alone).await?;
        let known = since(&transaction.query(&KNOWN_SINCE.into(), &[&own]).await?)?;
        let at = transaction.query(&epoch::asks(tenant).text, &[&own]).await?;
        let refused = if to < known {
            Some(NotRewound::NotKept { since: known })
        } else {
            (epoch::answer(&at)? > epoch).then_some(NotRewound::Epoch)
        };
        if let Some(refused) = refused {
            transaction.roll_back().await?;
            return Ok(Err(refused));
        }
        let mut rewound = Rewound::default();
        for (place, fields) in types.layout.types().iter().enumerate() {
            let [keep, remove, put] = rewinding(place, fields);
            transaction.execute(&keep.into(), &[&own, &to_ms, &now_ms]).await?;
            let changed = transaction.execute(&remove.into(), &[&own, &to_ms]).await?;
            let restored = match transaction.execute(&put.into(), &[&own, &to_ms, &now_ms]).await {
                Ok(restored) => restored,
                Err(error) => {
                    let reason = match &error {
                        PgError::Unique { .. } => NotRewound::Contradiction,
                        PgError::Refused { state } if state == NO_TAG => NotRewound::OtherTypes,
                        _ => return Err(error.into()),
                    };
                    transaction.roll_back().await?;
                    return Ok(Err(reason));
                }
            };
            rewound.changed = rewound.changed.saturating_add(changed);
            rewound.restored = rewound.restored.saturating_add(restored);
        }
        commit(transaction).await?;
        Ok(Ok(rewound))
    }

    async fn rewind_patiently(
        &self,
        tenant: TenantId,
        moments: (UnixMs, UnixMs),
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, StoreError> {
        self.know(tenant).await?;
        if moments.0 > moments.1 {
            return Ok(Err(NotRewound::Later));
        }
        let _replaces = self.replacing.begin(tenant);
        let mut pace = self.pool.pace();
        loop {
            match self.rewind(tenant, moments, epoch).await {
                Ok(done) => return Ok(done),
                Err(Ended::Store(error)) => return Err(error),
                Err(Ended::Behind) => return Err(StoreError::Damaged),
                Err(Ended::Database(error)) if error.is_retryable() && pace.wait().await => {}
                Err(Ended::Database(error)) => return Err(fault(error)),
            }
        }
    }
}

/// A cell without its tag: the check of the table's own.
const NO_TAG: &str = "23514";

/// Notes that what ended by then is not known any more: `$1` the tenant, `$2` the time.
pub(super) const FORGET: &str = "INSERT INTO past VALUES ($1, $2) \
     ON CONFLICT (tenant) DO UPDATE SET since = greatest(past.since, excluded.since) WHERE past.since < excluded.since";

const KNOWN_SINCE: &str =
    "SELECT greatest((SELECT past_since FROM layout), (SELECT since FROM past WHERE tenant = $1))";

fn since(rows: &[Row]) -> Result<UnixMs, StoreError> {
    let since: i64 = rows.first().ok_or(StoreError::Damaged)?.try_get(0).map_err(damaged)?;
    u64::try_from(since).map(UnixMs).map_err(damaged)
}

/// A type's records, moved into the history where they have changed since, and what they were put in their place: `$1` the
/// tenant, `$2` the moment, `$3` now.
fn rewinding(place: usize, fields: &TypeLayout) -> [String; 3] {
    let (columns, past, values) = (fields.columns(), fields.past_columns(), fields.values());
    let keep = format!(
        "INSERT INTO h{place} (tenant, {past}) SELECT tenant, id, version, at, greatest(at, $3){values} FROM r{place} \
         WHERE tenant = $1 AND at > $2"
    );
    let remove = format!("DELETE FROM r{place} WHERE tenant = $1 AND at > $2");
    let of = format!("FROM h{place} n WHERE n.tenant = $1 AND n.id = s.id");
    // Of states that claim to have held at once, the newest.
    let put = format!(
        "INSERT INTO r{place} (tenant, {columns}) SELECT tenant, id, (SELECT max(n.version) + 1 {of}), \
         greatest($3, (SELECT max(n.until) {of})){values} FROM h{place} s \
         WHERE tenant = $1 AND at <= $2 AND until > $2 \
         AND NOT EXISTS (SELECT 1 FROM r{place} r WHERE r.tenant = $1 AND r.id = s.id) \
         AND version = (SELECT max(n.version) {of} AND n.at <= $2 AND n.until > $2)"
    );
    [keep, remove, put]
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

    async fn since(&self, tenant: TenantId) -> Result<UnixMs, StoreError> {
        self.run(move |shared| async move { shared.since(tenant).await }).await
    }

    async fn rewind(
        &self,
        tenant: TenantId,
        to: UnixMs,
        now: UnixMs,
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, StoreError> {
        self.run(move |shared| async move { shared.rewind_patiently(tenant, (to, now), epoch).await }).await
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
