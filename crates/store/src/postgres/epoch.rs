//! The key epoch that each tenant is at, and how much its keys have sealed.
//!
//! INVARIANT epoch-floor: whoever stores holds a lock of the tenant's, shared, from its first statement to its commit, and
//! looks at the epoch after it has the lock; whoever raises the epoch has that lock alone: mostly the first batch of the new
//! epoch, which raises it in its own transaction, or not at all. So a writer of the older epoch that was under way is over
//! before the newer one is stored, and one that comes later sees it. The lock is an advisory one, in the server's memory: a
//! lock of the row would be written to the table by every writer.
//!
//! INVARIANT seal-limit: blocks are set aside in transactions of their own, with the rows of their keys locked in one order,
//! so several stores on one database share a key's limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_model::{FieldId, TenantId, TypeId};
use countersign_postgres::{PgError, Pool, Row, Scope, Step, ToSql, Transaction};
use parking_lot::Mutex;

use super::failure::{damaged, fault};
use super::present::{enter, enter_beside};
use super::{Shared, write};
use crate::batch::Rejected;
use crate::error::{StoreError, Unavailable};
use crate::seals::{Blocks, CellKey, Needs, SealCount, SealLimit, Wanted, is_near};

/// What this store knows of epochs and counts, between its transactions.
#[derive(Default)]
pub(super) struct Seals {
    pub(super) limit: SealLimit,
    blocks: Mutex<HashMap<TenantId, Blocks>>,
    /// Held while blocks are set aside, so that many who need one set aside one; by the last byte of the tenant's id.
    setting_aside: [tokio::sync::Mutex<()>; 16],
}

impl Seals {
    fn take(&self, tenant: TenantId, needs: &Needs) -> Result<(), Vec<Wanted>> {
        self.blocks.lock().entry(tenant).or_default().take(needs, self.limit.max())
    }
}

/// The tenant's lock. Two tenants that happen to have the same wait for one another's new epochs, and for nothing else.
pub(super) fn lock(tenant: TenantId) -> i64 {
    let (high, low) = tenant.uuid().as_u64_pair();
    i64::from_be_bytes((high ^ low).to_be_bytes())
}

/// How the tenant's lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// By many: who finds the epoch that it is of.
    Shared,
    /// By nobody else: who raises it.
    Alone,
}

impl Hold {
    /// The function that waits for it.
    pub(super) const fn function(self) -> &'static str {
        match self {
            Self::Shared => "pg_advisory_xact_lock_shared",
            Self::Alone => "pg_advisory_xact_lock",
        }
    }

    /// The statement that says which epoch the tenant is at, for a batch of that epoch: who is alone raises it before.
    pub(super) fn at(self, tenant: TenantId, epoch: u32) -> Step<'static> {
        match self {
            Self::Shared => asks(tenant),
            Self::Alone => {
                let text = "INSERT INTO key_epoch AS k (tenant, epoch) \
                     SELECT t.tenant, $2::bigint FROM tenant t WHERE t.tenant = $1 ON CONFLICT (tenant) \
                     DO UPDATE SET epoch = greatest(k.epoch, excluded.epoch) RETURNING k.epoch";
                Step { text: text.into(), params: vec![Box::new(tenant.uuid()), Box::new(i64::from(epoch))] }
            }
        }
    }
}

/// The statement that asks which epoch the tenant is at, for whoever has the tenant's lock.
pub(super) fn asks(tenant: TenantId) -> Step<'static> {
    let text =
        "SELECT coalesce(k.epoch, 0) FROM tenant t LEFT JOIN key_epoch k ON k.tenant = t.tenant WHERE t.tenant = $1";
    Step { text: text.into(), params: vec![Box::new(tenant.uuid())] }
}

/// The answer. A tenant without one is at none yet; without an answer the tenant is gone.
pub(super) fn answer(rows: &[Row]) -> Result<u32, StoreError> {
    let row = rows.first().ok_or(StoreError::UnknownTenant)?;
    u32::try_from(row.try_get::<_, i64>(0).map_err(damaged)?).map_err(damaged)
}

impl Shared {
    /// Raises the epoch. `false` if the tenant is there already, or further.
    pub(super) async fn raise(&self, tenant: TenantId, epoch: u32) -> Result<bool, StoreError> {
        self.replacing.over(tenant).await?;
        raise(&self.pool, tenant, epoch).await.map_err(fault)
    }

    /// Puts it down. `false` if the tenant is there already, or not as far.
    pub(super) async fn lower(&self, tenant: TenantId, epoch: u32) -> Result<bool, StoreError> {
        self.replacing.over(tenant).await?;
        let text = "UPDATE key_epoch SET epoch = $2 WHERE tenant = $1 AND epoch > $2";
        change(&self.pool, tenant, epoch, text).await.map_err(fault)
    }

    /// Counts values, all of them or none.
    pub(super) async fn charge(&self, tenant: TenantId, needs: &Needs) -> Result<Result<(), Rejected>, StoreError> {
        if needs.is_past(self.seals.limit.max()) {
            return Ok(Err(Rejected::Limit));
        }
        if self.seals.take(tenant, needs).is_ok() {
            return Ok(Ok(()));
        }
        let [.., last] = tenant.as_bytes();
        let alone = self.seals.setting_aside.get(usize::from(last % 16));
        let _alone = alone.ok_or(StoreError::Unavailable(Unavailable::Interrupted))?.lock().await;
        // Others take of it as long as this one doesn't.
        for _ in 0..64 {
            let Err(wanted) = self.seals.take(tenant, needs) else { return Ok(Ok(())) };
            let Some(granted) = self.set_aside(tenant, &wanted).await? else { return Ok(Err(Rejected::Epoch)) };
            let mut blocks = self.seals.blocks.lock();
            let blocks = blocks.entry(tenant).or_default();
            for (key, granted) in granted {
                blocks.add(key, granted);
            }
            if blocks.take(needs, self.seals.limit.max()).is_ok() {
                return Ok(Ok(()));
            }
        }
        Err(StoreError::Unavailable(Unavailable::Busy))
    }

    /// Sets aside what is wanted; nothing, if it is not all there.
    async fn set_aside(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<Option<Vec<(CellKey, u64)>>, StoreError> {
        let limit = self.seals.limit.max();
        let keys = Keys::of(wanted.iter().map(|one| &one.key));
        let granted = self.pool.patiently(async || {
            // What may have been set aside is set aside again: too much is counted, never too little.
            again(set_aside(&self.pool, tenant, &keys, wanted, limit).await)
        });
        let granted = granted.await.map_err(fault)?;
        for (one, (granted, total)) in wanted.iter().zip(&granted) {
            if granted.is_none() || is_near(*total, limit) {
                self.seals.limit.nearing.note(tenant, one.key);
            }
        }
        Ok(wanted.iter().zip(granted).map(|(one, (granted, _))| Some((one.key, granted?))).collect())
    }

    pub(super) async fn counts(&self, tenant: TenantId) -> Result<Vec<SealCount>, StoreError> {
        let text = "SELECT type, field, epoch, sealed FROM seal_count WHERE tenant = $1 ORDER BY type, field, epoch";
        let (text, id): (Arc<str>, _) = (text.into(), tenant.uuid());
        let scope = Scope::Tenant(tenant);
        let asked = self.pool.patiently(async || self.pool.begin(scope).await?.read(&text, &[&id]).await);
        let limit = self.seals.limit.max();
        asked.await.map_err(fault)?.iter().map(|row| count(row, limit)).collect()
    }

    /// Takes over what another store says, where that is more.
    pub(super) async fn put_seal_counts(&self, tenant: TenantId, counts: &[SealCount]) -> Result<(), StoreError> {
        let text: Arc<str> = "INSERT INTO seal_count AS s (tenant, type, field, epoch, sealed) \
             SELECT $1::uuid, w.* FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::bigint[]) AS w \
             ON CONFLICT (tenant, type, field, epoch) DO UPDATE SET sealed = greatest(s.sealed, excluded.sealed)"
            .into();
        let id = tenant.uuid();
        let keys = Keys::of(counts.iter().map(|count| &count.key));
        let sealed: Vec<i64> = counts.iter().map(|count| i64::try_from(count.sealed).unwrap_or(i64::MAX)).collect();
        let put = self.pool.patiently(async || {
            let put = async {
                let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
                enter_beside(&mut transaction, tenant).await?;
                transaction.execute(&text, &[&id, &keys.types, &keys.fields, &keys.epochs, &sealed]).await?;
                write::commit(transaction).await
            };
            again(put.await)
        });
        put.await.map_err(fault)
    }
}

/// Keys as columns.
struct Keys {
    types: Vec<i32>,
    fields: Vec<i32>,
    epochs: Vec<i64>,
}

impl Keys {
    fn of<'a>(keys: impl Iterator<Item = &'a CellKey> + Clone) -> Self {
        Self {
            types: keys.clone().map(|key| i32::from(key.record_type.0)).collect(),
            fields: keys.clone().map(|key| i32::from(key.field.0)).collect(),
            epochs: keys.map(|key| i64::from(key.epoch)).collect(),
        }
    }
}

fn count(row: &Row, limit: u64) -> Result<SealCount, StoreError> {
    let number = |column: usize| row.try_get::<_, i32>(column).map_err(damaged);
    let key = CellKey {
        record_type: TypeId(number(0)?.try_into().map_err(damaged)?),
        field: FieldId(number(1)?.try_into().map_err(damaged)?),
        epoch: row.try_get::<_, i64>(2).map_err(damaged)?.try_into().map_err(damaged)?,
    };
    let sealed = u64::try_from(row.try_get::<_, i64>(3).map_err(damaged)?).map_err(damaged)?;
    Ok(SealCount { key, sealed, limit })
}

/// For each that was wanted what was set aside, and what that makes together. If one passes the limit it is `None` for that
/// one, and nothing was set aside.
async fn set_aside(
    pool: &Arc<Pool>,
    tenant: TenantId,
    keys: &Keys,
    wanted: &[Wanted],
    limit: u64,
) -> Result<Vec<(Option<u64>, u64)>, PgError> {
    let make: Arc<str> = "INSERT INTO seal_count (tenant, type, field, epoch, sealed) \
         SELECT $1::uuid, w.*, 0 FROM unnest($2::integer[], $3::integer[], $4::bigint[]) AS w ON CONFLICT DO NOTHING"
        .into();
    let look: Arc<str> =
        "SELECT type, field, epoch, sealed FROM seal_count WHERE tenant = $1 AND (type, field, epoch) \
         IN (SELECT * FROM unnest($2::integer[], $3::integer[], $4::bigint[])) \
         ORDER BY type, field, epoch FOR UPDATE"
            .into();
    let set: Arc<str> = "UPDATE seal_count SET sealed = w.sealed \
         FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::bigint[]) AS w (type, field, epoch, sealed) \
         WHERE seal_count.tenant = $1 AND seal_count.type = w.type AND seal_count.field = w.field \
         AND seal_count.epoch = w.epoch"
        .into();
    let id = tenant.uuid();
    let mut transaction = pool.begin(Scope::Tenant(tenant)).await?;
    enter_beside(&mut transaction, tenant).await?;
    let params: [&(dyn ToSql + Sync); 4] = [&id, &keys.types, &keys.fields, &keys.epochs];
    transaction.execute(&make, &params).await?;
    let rows = transaction.query(&look, &params).await?;
    let mut totals = Vec::with_capacity(wanted.len());
    // Both are in the order of the keys.
    for (row, one) in rows.iter().zip(wanted) {
        let found = count(row, limit).map_err(|_| PgError::Damaged)?;
        if found.key != one.key {
            return Err(PgError::Damaged);
        }
        let granted = one.grant(found.sealed, limit);
        totals.push((granted, found.sealed.saturating_add(granted.unwrap_or(0))));
    }
    if totals.len() != wanted.len() {
        return Err(PgError::Contention);
    }
    if totals.iter().any(|(granted, _)| granted.is_none()) {
        transaction.roll_back().await?;
        return Ok(totals);
    }
    let sealed: Vec<i64> = totals.iter().map(|(_, total)| i64::try_from(*total).unwrap_or(i64::MAX)).collect();
    transaction.execute(&set, &[&id, &keys.types, &keys.fields, &keys.epochs, &sealed]).await?;
    write::commit(transaction).await?;
    Ok(totals)
}

/// Raises the epoch, once all writers of older ones that are under way are over.
pub(super) async fn raise(pool: &Arc<Pool>, tenant: TenantId, epoch: u32) -> Result<bool, PgError> {
    let text = "INSERT INTO key_epoch AS k (tenant, epoch) VALUES ($1, $2) ON CONFLICT (tenant) \
         DO UPDATE SET epoch = excluded.epoch WHERE k.epoch < excluded.epoch";
    change(pool, tenant, epoch, text).await
}

/// A change of the epoch by whoever is alone. Whether it changed anything.
async fn change(pool: &Arc<Pool>, tenant: TenantId, epoch: u32, text: &str) -> Result<bool, PgError> {
    let (text, id, epoch): (Arc<str>, _, _) = (text.into(), tenant.uuid(), i64::from(epoch));
    let changed = AtomicBool::new(false);
    pool.patiently(async || {
        let done = async {
            let mut transaction: Transaction = pool.begin(Scope::Tenant(tenant)).await?;
            enter(&mut transaction, tenant, Hold::Alone).await?;
            // A commit whose answer was lost may have been the one.
            changed.fetch_or(transaction.execute(&text, &[&id, &epoch]).await? > 0, Ordering::Relaxed);
            write::commit(transaction).await
        };
        again(done.await)
    })
    .await?;
    Ok(changed.into_inner())
}

/// What may have been done, as something that was not: doing it twice is doing it once.
pub(super) fn again<T>(done: Result<T, PgError>) -> Result<T, PgError> {
    done.map_err(|error| if error == PgError::Unknown { PgError::Lost } else { error })
}
