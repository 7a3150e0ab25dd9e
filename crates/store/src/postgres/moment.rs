//! A tenant's rows at one moment, and ones that are replaced as a whole.
//!
//! A moment is a transaction that reads, with one snapshot for all of its statements. A replacement is one transaction, too, and
//! has the tenant's lock ([`super::epoch`]) alone: whoever wants to write meanwhile waits ([`super::replacing`]), and fails after a
//! while.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::{RecordId, TenantId, TypeId, UnixMs};
use countersign_postgres::{PgError, Scope, ToSql, Transaction};
use uuid::Uuid;

use super::carry::{Columns, carried, insert, past, past_page, present_page};
use super::epoch::Hold;
use super::failure::fault;
use super::present::enter;
use super::replacing::Replaces;
use super::types::Types;
use super::write::{commit, time};
use super::{PostgresStore, Shared, once};
use crate::batch::{Once, Rejected};
use crate::carry::{CarriedRow, Moment, Moments, PastRow, Replacement};
use crate::error::{StoreError, Unavailable};
use crate::layout::TypeLayout;
use crate::seals::{CellKey, Needs};

/// About so many bytes of rows are one statement.
const STATEMENT_BYTES: usize = 512 << 10;
/// So many rows are removed at a time, each in a statement that is well within its time.
const REMOVED_AT_ONCE: i64 = 5_000;

const INTERRUPTED: StoreError = StoreError::Unavailable(Unavailable::Interrupted);

struct PostgresMoment {
    transaction: Option<Transaction>,
    types: Arc<Types>,
    tenant: TenantId,
}

impl PostgresMoment {
    fn transaction(&mut self) -> Result<&mut Transaction, StoreError> {
        self.transaction.as_mut().ok_or(INTERRUPTED)
    }
}

impl Drop for PostgresMoment {
    /// Ends the transaction, so that its connection can be used again.
    fn drop(&mut self) {
        if let (Some(transaction), Ok(runtime)) = (self.transaction.take(), tokio::runtime::Handle::try_current()) {
            drop(runtime.spawn(transaction.roll_back()));
        }
    }
}

#[async_trait]
impl Moment for PostgresMoment {
    async fn rows(&mut self, of: TypeId, after: Option<RecordId>, limit: usize) -> Result<Vec<CarriedRow>, StoreError> {
        let types = Arc::clone(&self.types);
        let fields = types.layout.record_type(of)?;
        let own = self.tenant.uuid();
        let after = after.map_or(Uuid::nil(), |after| after.uuid());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let text = present_page(fields, of).into();
        let rows = self.transaction()?.query(&text, &[&own, &after, &limit]).await.map_err(fault)?;
        rows.iter().map(|row| carried(row, fields, 3)).collect()
    }

    async fn past(
        &mut self,
        of: TypeId,
        after: Option<(RecordId, u64)>,
        limit: usize,
    ) -> Result<Vec<PastRow>, StoreError> {
        let types = Arc::clone(&self.types);
        let fields = types.layout.record_type(of)?;
        let own = self.tenant.uuid();
        let id = after.map_or(Uuid::nil(), |(record, _)| record.uuid());
        let version = after.map_or(0, |(_, version)| i64::try_from(version).unwrap_or(i64::MAX));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let text = past_page(fields, of).into();
        let rows = self.transaction()?.query(&text, &[&own, &id, &version, &limit]).await.map_err(fault)?;
        rows.iter().map(|row| past(row, fields)).collect()
    }

    async fn known(
        &mut self,
        since: UnixMs,
        after: Option<(UnixMs, [u8; 32])>,
        limit: usize,
    ) -> Result<Vec<Once>, StoreError> {
        let tenant = self.tenant;
        once::known_in(self.transaction()?, tenant, since, after, limit).await
    }
}

struct PostgresReplacement {
    shared: Arc<Shared>,
    transaction: Transaction,
    types: Arc<Types>,
    tenant: TenantId,
    /// Types of which nothing is left of what there was.
    emptied: HashSet<TypeId>,
    /// Ends after the transaction.
    replaces: Replaces,
}

impl PostgresReplacement {
    /// Removes all rows of a table, some at a time.
    async fn empty(&mut self, table: &str) -> Result<(), StoreError> {
        let text: Arc<str> = format!(
            "DELETE FROM {table} WHERE tenant = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE tenant = $1 LIMIT $2))"
        )
        .into();
        let own = self.tenant.uuid();
        while self.transaction.execute(&text, &[&own, &REMOVED_AT_ONCE]).await.map_err(fault)? > 0 {}
        Ok(())
    }

    async fn emptied(&mut self, of: TypeId) -> Result<Arc<Types>, StoreError> {
        let types = Arc::clone(&self.types);
        types.layout.record_type(of)?;
        if self.emptied.insert(of) {
            self.empty(&format!("r{}", of.0)).await?;
            self.empty(&format!("h{}", of.0)).await?;
        }
        Ok(types)
    }

    /// Stores rows by one statement. One that can't be stored is an error: nothing is left out.
    async fn store(&mut self, text: &Arc<str>, columns: &Columns<'_>) -> Result<(), StoreError> {
        let own = self.tenant.uuid();
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&own];
        params.extend(columns.params());
        let stored = self.transaction.execute(text, &params).await.map_err(fault)?;
        if stored == columns.ids.len() as u64 { Ok(()) } else { Err(StoreError::Damaged) }
    }
}

/// Parts of rows of about as many bytes as one statement should have.
fn parts<T>(rows: &[T], row: impl Fn(&T) -> &CarriedRow) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0usize;
        let fits = rest.iter().take_while(|one| {
            let cells: usize = row(one).cells.iter().map(|(_, cell)| cell.len()).fold(64, usize::saturating_add);
            let first = bytes == 0;
            bytes = bytes.saturating_add(cells);
            first || bytes <= STATEMENT_BYTES
        });
        let (part, others) = rest.split_at_checked(fits.count())?;
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

fn check(fits: bool) -> Result<(), StoreError> {
    if fits { Ok(()) } else { Err(StoreError::UnknownField) }
}

#[async_trait]
impl Replacement for PostgresReplacement {
    async fn rows(&mut self, of: TypeId, rows: Vec<CarriedRow>) -> Result<(), StoreError> {
        let types = self.emptied(of).await?;
        let fields: &TypeLayout = types.layout.record_type(of)?;
        check(rows.iter().all(|row| row.fits(fields)))?;
        let text: Arc<str> = insert(&format!("r{}", of.0), &fields.columns(), fields, 2).into();
        for part in parts(&rows, |row| row) {
            let columns = Columns::of(fields, &part.iter().collect::<Vec<_>>())?;
            self.store(&text, &columns).await?;
        }
        Ok(())
    }

    async fn past(&mut self, of: TypeId, rows: Vec<PastRow>) -> Result<(), StoreError> {
        let types = self.emptied(of).await?;
        let fields: &TypeLayout = types.layout.record_type(of)?;
        check(rows.iter().all(|row| row.fits(fields)))?;
        let text: Arc<str> = insert(&format!("h{}", of.0), &fields.past_columns(), fields, 3).into();
        for part in parts(&rows, |past| &past.row) {
            let mut columns = Columns::of(fields, &part.iter().map(|past| &past.row).collect::<Vec<_>>())?;
            columns.ends = Some(part.iter().map(|past| time(past.until)).collect());
            self.store(&text, &columns).await?;
        }
        Ok(())
    }

    async fn known(&mut self, known: Vec<Once>) -> Result<(), StoreError> {
        for part in known.chunks(500) {
            once::put_in(&mut self.transaction, self.tenant, part).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Set aside in a transaction of its own, as every block is: too much may be counted, never too little.
    async fn charge(&mut self, counts: Vec<(CellKey, u64)>) -> Result<Result<(), Rejected>, StoreError> {
        self.shared.charge(self.tenant, &Needs(counts.into_iter().collect())).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let count = self.types.layout.types().len();
        for place in (0..=u16::MAX).take(count) {
            self.emptied(TypeId(place)).await?;
        }
        let Self { transaction, replaces, .. } = *self;
        let committed = commit(transaction).await.map_err(fault);
        drop(replaces);
        committed
    }
}

impl Shared {
    async fn moment(&self, tenant: TenantId) -> Result<PostgresMoment, StoreError> {
        self.know(tenant).await?;
        let types = self.types();
        // The moment is that of the first statement.
        let text: Arc<str> = "SELECT 1".into();
        let begun = self.pool.patiently(async || {
            let mut transaction = self.pool.begin_snapshot(Scope::Tenant(tenant)).await?;
            transaction.query(&text, &[]).await?;
            Ok::<_, PgError>(transaction)
        });
        let transaction = Some(begun.await.map_err(fault)?);
        Ok(PostgresMoment { transaction, types, tenant })
    }

    async fn replacement(self: &Arc<Self>, tenant: TenantId) -> Result<PostgresReplacement, StoreError> {
        self.know(tenant).await?;
        let types = self.types();
        let replaces = self.replacing.begin(tenant);
        let begun = self.pool.patiently(async || {
            let mut transaction = self.pool.begin_lasting(Scope::Tenant(tenant)).await?;
            enter(&mut transaction, tenant, Hold::Alone).await?;
            Ok::<_, PgError>(transaction)
        });
        let transaction = begun.await.map_err(fault)?;
        let (shared, emptied) = (Arc::clone(self), HashSet::new());
        let mut replacement = PostgresReplacement { shared, transaction, types, tenant, emptied, replaces };
        replacement.empty("once").await?;
        Ok(replacement)
    }
}

#[async_trait]
impl Moments for PostgresStore {
    async fn moment(&self, tenant: TenantId) -> Result<Box<dyn Moment>, StoreError> {
        Ok(Box::new(self.run(move |shared| async move { shared.moment(tenant).await }).await?))
    }

    async fn replacement(&self, tenant: TenantId) -> Result<Box<dyn Replacement>, StoreError> {
        Ok(Box::new(self.run(move |shared| async move { shared.replacement(tenant).await }).await?))
    }
}
