//! Records in PostgreSQL: one table for each record type, the tenant first in every key, row security on every table.
//!
//! - What a tenant's rows are is told to the database for one transaction at a time; without being told it shows none.
//! - A read is one statement in one round trip. A write is one round trip for all its statements and one for the commit.
//! - Tables are made and changed by whoever was given the pool of their owner: the authority's process. Other stores wait
//!   for that.
//! - The work of a request goes on in a task of its own when its caller goes away, so that no connection is left in the middle
//!   of something.
//!
//! What the tables look like is written in `docs/formats.md`.

mod carry;
mod epoch;
mod erase;
mod failure;
mod group;
mod history;
mod moment;
mod once;
mod present;
mod read;
mod replacing;
mod reseal;
mod sql;
mod stepwise;
mod tables;
mod types;
mod write;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use countersign_model::{Entropy, RecordTypes, TenantId, TypeId, UnixMs};
use countersign_postgres::{PgError, Pool, Row, Scope, check_tables};
use parking_lot::RwLock;
use uuid::Uuid;

pub use self::tables::RECORDS;

use self::epoch::Seals;
use self::failure::{damaged, fault};
use self::group::Groups;
use self::read::{Reading, is_short};
use self::replacing::Replacing;
use self::sql::Text;
use self::types::Types;
use self::write::Writing;
use crate::error::{StoreError, Unavailable};
use crate::history::KEEP_MS;
use crate::layout::Layout;
use crate::seals::Needs;
use crate::{Batch, Done, Rejected, Scan, SealedRow, Store};

/// Sealed records in PostgreSQL. Cheap to share behind an [`Arc`].
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<Pool>,
    /// The pool of the tables' owner.
    schema: Option<Arc<Pool>>,
    entropy: Arc<dyn Entropy>,
    types: RwLock<Arc<Types>>,
    /// Tenants that there was room for when it was asked.
    tenants: RwLock<HashSet<TenantId>>,
    groups: Groups,
    seals: Seals,
    replacing: Arc<Replacing>,
    /// For how long what records were before is kept, in milliseconds.
    keep_ms: AtomicU64,
    /// How many batches were made.
    batches: AtomicU64,
}

/// After so many batches, ids of batches that nobody asks for any more are removed.
const PURGE_EVERY: u64 = 64;

impl PostgresStore {
    /// Records in the database of `pool`, which has the tables of [`RECORDS`]. With `schema`, the pool of their owner, it
    /// brings the tables up to the record types that it is told of; otherwise it waits for whoever does.
    #[must_use]
    pub fn new(pool: Arc<Pool>, schema: Option<Arc<Pool>>, entropy: Arc<dyn Entropy>) -> Self {
        let (types, tenants, groups, seals, replacing, batches) = Default::default();
        let keep_ms = AtomicU64::new(KEEP_MS);
        let shared = Shared { pool, schema, entropy, types, tenants, groups, seals, replacing, keep_ms, batches };
        Self { shared: Arc::new(shared) }
    }

    /// Lets each key of a tenant seal so many values, at the most and unless it is set [`SEALS_MAX`](crate::SEALS_MAX). Stores
    /// on one database share what they count, and should have one limit.
    pub fn limit_seals(&self, max: u64) {
        self.shared.seals.limit.set(max);
    }

    /// Runs work to its end, even if nobody waits for it any more.
    async fn run<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let interrupted = StoreError::Unavailable(Unavailable::Interrupted);
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| interrupted)?;
        runtime.spawn(work(Arc::clone(&self.shared))).await.map_err(|_| interrupted)?
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("pool", &self.shared.pool).finish_non_exhaustive()
    }
}

impl Shared {
    fn types(&self) -> Arc<Types> {
        Arc::clone(&self.types.read())
    }

    /// Refuses a tenant that there is no room for.
    async fn know(&self, tenant: TenantId) -> Result<(), StoreError> {
        if self.tenants.read().contains(&tenant) {
            return Ok(());
        }
        let text: Arc<str> = "SELECT tenant FROM tenant WHERE tenant = $1".into();
        let id = tenant.uuid();
        let rows = self
            .pool
            .patiently(async || self.pool.begin(Scope::Service).await?.read(&text, &[&id]).await)
            .await
            .map_err(fault)?;
        if rows.is_empty() {
            return Err(StoreError::UnknownTenant);
        }
        self.tenants.write().insert(tenant);
        Ok(())
    }

    async fn create(&self, tenant: TenantId) -> Result<(), StoreError> {
        let text: Arc<str> = "INSERT INTO tenant VALUES ($1) ON CONFLICT DO NOTHING".into();
        let id = tenant.uuid();
        let mut pace = self.pool.pace();
        loop {
            let made = async {
                let mut transaction = self.pool.begin(Scope::Service).await?;
                transaction.execute(&text, &[&id]).await?;
                write::commit(transaction).await
            };
            match made.await {
                // Doing it twice is doing it once.
                Err(error) if (error.is_retryable() || error == PgError::Unknown) && pace.wait().await => {}
                made => return made.map_err(fault),
            }
        }
    }

    async fn apply(&self, layout: Layout) -> Result<(), StoreError> {
        if self.types.read().layout == layout {
            return Ok(());
        }
        let stored = match &self.schema {
            Some(schema) => tables::bring(schema, &layout).await.map(|()| None),
            None => match check_tables(&self.pool, &[RECORDS]).await {
                Ok(()) => tables::stored(&self.pool).await.map(|(_, stored)| Some(stored)),
                Err(error) => Err(error),
            },
        };
        let stored = stored.map_err(|error| match error {
            // There are no such tables, or records stand against a change of them.
            PgError::Refused { .. } | PgError::Unique { .. } => StoreError::TablesBehind,
            error => fault(error),
        });
        if stored?.is_some_and(|stored| stored.grown_to(&layout) != stored) {
            return Err(StoreError::TablesBehind);
        }
        *self.types.write() = Arc::new(Types::new(layout));
        Ok(())
    }

    async fn read(self: &Arc<Self>, tenant: TenantId, scan: &Scan) -> Result<Vec<SealedRow>, StoreError> {
        self.know(tenant).await?;
        let types = self.types();
        types.layout.check_scan(scan)?;
        let Some(reading) = Reading::of(&types, tenant, scan)? else { return Ok(Vec::new()) };
        if is_short(&types, scan) {
            return self.read_in_group(tenant, reading).await;
        }
        let rows = self.pool.patiently(async || reading.ask(&self.pool, tenant).await).await.map_err(fault)?;
        reading.rows(&rows)
    }

    async fn write(&self, tenant: TenantId, batch: &Batch) -> Result<Result<(), Rejected>, StoreError> {
        self.know(tenant).await?;
        let types = self.types();
        types.layout.check_batch(batch)?;
        self.replacing.over(tenant).await?;
        if let Err(rejected) = self.charge(tenant, &Needs::of_batch(batch)).await? {
            return Ok(Err(rejected));
        }
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let id = Uuid::from_bytes(id);
        let (pool, replacing, keeps) = (&self.pool, &*self.replacing, self.keeps());
        let writing = Writing { pool, types: &types, replacing, tenant, id, batch, keeps };
        let made = writing.make().await;
        if made == Err(StoreError::UnknownTenant) {
            // Another program has removed it.
            self.tenants.write().remove(&tenant);
        }
        let made = made?;
        if self.batches.fetch_add(1, Ordering::Relaxed).is_multiple_of(PURGE_EVERY) {
            writing.purge();
        }
        Ok(made)
    }

    /// The rows of a statement about one tenant's records of a type.
    async fn ask(&self, tenant: TenantId, types: &Types, of: TypeId, text: Text) -> Result<Vec<Row>, StoreError> {
        let (text, id) = (types.text(of, text)?, tenant.uuid());
        let scope = Scope::Tenant(tenant);
        let asked = self.pool.patiently(async || self.pool.begin(scope).await?.read(&text, &[&id]).await);
        asked.await.map_err(fault)
    }

    async fn count(&self, tenant: TenantId, record_type: TypeId) -> Result<u64, StoreError> {
        self.know(tenant).await?;
        let rows = self.ask(tenant, &self.types(), record_type, Text::Count(record_type)).await?;
        let count: i64 = rows.first().ok_or(StoreError::Damaged)?.try_get(0).map_err(damaged)?;
        u64::try_from(count).map_err(damaged)
    }

    /// Tenant by tenant: no role may see the rows of several at once.
    async fn any_records(&self, record_type: TypeId) -> Result<bool, StoreError> {
        let (_, stored) = tables::stored(&self.pool).await.map_err(fault)?;
        if stored.record_type(record_type).is_err() {
            return Ok(false);
        }
        let types = Types::new(stored);
        let text: Arc<str> = "SELECT tenant FROM tenant".into();
        let tenants = self.pool.patiently(async || self.pool.begin(Scope::Service).await?.read(&text, &[]).await);
        for row in tenants.await.map_err(fault)? {
            let tenant = TenantId::from_bytes(*row.try_get::<_, Uuid>(0).map_err(damaged)?.as_bytes());
            if !self.ask(tenant, &types, record_type, Text::Any(record_type)).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create_tenant(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.run(move |shared| async move { shared.create(tenant).await }).await
    }

    async fn apply_types(&self, types: &RecordTypes) -> Result<(), StoreError> {
        let layout = Layout::of(types);
        self.run(move |shared| async move { shared.apply(layout).await }).await
    }

    async fn read(&self, tenant: TenantId, scan: &Scan) -> Result<Vec<SealedRow>, StoreError> {
        if self.shared.tenants.read().contains(&tenant) && is_short(&self.shared.types(), scan) {
            // Whoever asks for the group goes on when this caller goes away.
            return self.shared.read(tenant, scan).await;
        }
        let scan = scan.clone();
        self.run(move |shared| async move { shared.read(tenant, &scan).await }).await
    }

    async fn write(&self, tenant: TenantId, batch: Batch) -> Result<Result<(), Rejected>, StoreError> {
        self.run(move |shared| async move { shared.write(tenant, &batch).await }).await
    }

    async fn done(&self, tenant: TenantId, id: [u8; 32], now: UnixMs) -> Result<Option<Done>, StoreError> {
        self.run(move |shared| async move {
            shared.know(tenant).await?;
            once::done(&shared.pool, tenant, &id, now).await
        })
        .await
    }

    async fn count(&self, tenant: TenantId, record_type: TypeId) -> Result<u64, StoreError> {
        self.run(move |shared| async move { shared.count(tenant, record_type).await }).await
    }

    async fn any_records(&self, record_type: TypeId) -> Result<bool, StoreError> {
        self.run(move |shared| async move { shared.any_records(record_type).await }).await
    }

    fn history(&self) -> Option<&dyn crate::Histories> {
        Some(self)
    }

    fn erasing(&self) -> Option<&dyn crate::Erases> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
