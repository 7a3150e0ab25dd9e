//! Carrying records from and to tables: a page of rows is one statement, its columns as arrays.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};
use countersign_postgres::{PgError, Row, Scope, ToSql};
use uuid::Uuid;

use super::failure::{damaged, fault};
use super::history::FORGET;
use super::present::enter_beside;
use super::write::time;
use super::{PostgresStore, Shared, once};
use crate::batch::Once;
use crate::carry::{CarriedRow, Carry, PastRow};
use crate::error::StoreError;
use crate::layout::TypeLayout;

/// A row of [`TypeLayout::columns`], or of [`TypeLayout::past_columns`], which have `until` before the first cell.
pub(super) fn carried(row: &Row, fields: &TypeLayout, first: usize) -> Result<CarriedRow, StoreError> {
    let record = RecordId::from_bytes(*row.try_get::<_, Uuid>(0).map_err(damaged)?.as_bytes());
    let (version, at) = (number(row, 1)?, UnixMs(number(row, 2)?));
    let bytes = |column: usize| row.try_get::<_, Option<&[u8]>>(column).map_err(damaged);
    let (mut cells, mut tags) = (Vec::with_capacity(fields.len()), Vec::new());
    for (column, field) in (first..).zip((0u8..=u8::MAX).map(FieldId)).take(fields.len()) {
        cells.extend(bytes(column)?.map(|cell| (field, cell.to_vec())));
    }
    for (column, field) in (fields.len().saturating_add(first)..).zip(fields.indexed()) {
        if let Some(tag) = bytes(column)? {
            tags.push((field, Tag(tag.try_into().map_err(damaged)?)));
        }
    }
    Ok(CarriedRow { record, version, at, cells, tags })
}

fn present(row: &Row, fields: &TypeLayout) -> Result<CarriedRow, StoreError> {
    carried(row, fields, 3)
}

pub(super) fn past(row: &Row, fields: &TypeLayout) -> Result<PastRow, StoreError> {
    Ok(PastRow { row: carried(row, fields, 4)?, until: UnixMs(number(row, 3)?) })
}

fn number(row: &Row, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<_, i64>(column).map_err(damaged)?).map_err(damaged)
}

/// Rows as columns: ids, versions, times, and one array for each cell and tag.
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<Uuid>,
    versions: Vec<i64>,
    times: Vec<i64>,
    /// Of states that were.
    pub(super) ends: Option<Vec<i64>>,
    bytes: Vec<Vec<Option<&'a [u8]>>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(fields: &TypeLayout, rows: &[&'a CarriedRow]) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        for field in (0u8..=u8::MAX).map(FieldId).take(fields.len()) {
            let cell =
                |row: &&'a CarriedRow| row.cells.iter().find(|(of, _)| *of == field).map(|(_, cell)| cell.as_slice());
            bytes.push(rows.iter().map(cell).collect());
        }
        for field in fields.indexed() {
            let tag =
                |row: &&'a CarriedRow| row.tags.iter().find(|(of, _)| *of == field).map(|(_, tag)| tag.0.as_slice());
            bytes.push(rows.iter().map(tag).collect());
        }
        let versions: Result<_, _> = rows.iter().map(|row| i64::try_from(row.version)).collect();
        let ids = rows.iter().map(|row| row.record.uuid()).collect();
        let times = rows.iter().map(|row| time(row.at)).collect();
        Ok(Self { ids, versions: versions.map_err(damaged)?, times, ends: None, bytes })
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &(dyn ToSql + Sync)> {
        let fixed: [&(dyn ToSql + Sync); 3] = [&self.ids, &self.versions, &self.times];
        let ends = self.ends.iter().map(|ends| ends as &(dyn ToSql + Sync));
        fixed.into_iter().chain(ends).chain(self.bytes.iter().map(|column| column as &(dyn ToSql + Sync)))
    }
}

/// Stores rows given as arrays: `$1` the tenant, then the columns, of which the first `numbers` after the id are numbers.
pub(super) fn insert(table: &str, columns: &str, fields: &TypeLayout, numbers: usize) -> String {
    let mut arrays = String::from("$2::uuid[]");
    for parameter in (3usize..).take(numbers) {
        let _ = write!(arrays, ", ${parameter}::bigint[]");
    }
    let count = fields.len().saturating_add(fields.indexed().count());
    for parameter in (numbers.saturating_add(3)..).take(count) {
        let _ = write!(arrays, ", ${parameter}::bytea[]");
    }
    format!(
        "INSERT INTO {table} (tenant, {columns}) SELECT $1::uuid, carried.* FROM unnest({arrays}) AS carried \
         ON CONFLICT DO NOTHING"
    )
}

/// Records in the order of their ids: `$1` the tenant, `$2` the id to begin after, `$3` the most.
pub(super) fn present_page(fields: &TypeLayout, TypeId(place): TypeId) -> String {
    let columns = fields.columns();
    format!("SELECT {columns} FROM r{place} WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3")
}

/// What records were: `$1` the tenant, `$2` and `$3` the id and version to begin after, `$4` the most.
pub(super) fn past_page(fields: &TypeLayout, TypeId(place): TypeId) -> String {
    let columns = fields.past_columns();
    format!(
        "SELECT {columns} FROM h{place} WHERE tenant = $1 AND (id, version) > ($2, $3) ORDER BY id, version LIMIT $4"
    )
}

impl Shared {
    /// What `make` makes of each row of a type that `select` finds. Asks again where nothing was done, as long as anybody
    /// would wait.
    async fn carry_out<T>(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        select: impl FnOnce(&TypeLayout) -> String,
        params: &[&(dyn ToSql + Sync)],
        make: fn(&Row, &TypeLayout) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.know(tenant).await?;
        let types = self.types();
        let fields = types.layout.record_type(record_type)?;
        let text: Arc<str> = select(fields).into();
        let read = async || self.pool.begin(Scope::Tenant(tenant)).await?.read(&text, params).await;
        let rows = self.pool.patiently(read).await.map_err(fault)?;
        rows.iter().map(|row| make(row, fields)).collect()
    }

    async fn carry_in(
        &self,
        tenant: TenantId,
        texts: (&Arc<str>, &Arc<str>),
        gone: &[&(dyn ToSql + Sync)],
        columns: &Columns<'_>,
    ) -> Result<(), PgError> {
        let tenant_id = tenant.uuid();
        let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant_id];
        params.extend(gone);
        enter_beside(&mut transaction, tenant).await?;
        transaction.execute(texts.0, &params).await?;
        if !columns.ids.is_empty() {
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant_id];
            params.extend(columns.params());
            transaction.execute(texts.1, &params).await?;
        }
        transaction.commit().await.map(drop)
    }
}

#[async_trait]
impl Carry for PostgresStore {
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let text: Arc<str> = "SELECT tenant FROM tenant ORDER BY tenant".into();
        let pool = &self.shared.pool;
        let rows = pool.patiently(async || pool.begin(Scope::Service).await?.read(&text, &[]).await).await;
        let id = |row: &Row| row.try_get::<_, Uuid>(0).map(|id| TenantId::from_bytes(*id.as_bytes()));
        rows.map_err(fault)?.iter().map(|row| id(row).map_err(damaged)).collect()
    }

    async fn rows(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<CarriedRow>, StoreError> {
        // No record has the id that is before all others.
        let after = after.map_or(Uuid::nil(), |after| after.uuid());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let page = |fields: &TypeLayout| present_page(fields, record_type);
        self.shared.carry_out(tenant, record_type, page, &[&tenant.uuid(), &after, &limit], present).await
    }

    async fn these(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<CarriedRow>, StoreError> {
        let TypeId(place) = record_type;
        let these = |fields: &TypeLayout| {
            format!("SELECT {} FROM r{place} WHERE tenant = $1 AND id = ANY($2) ORDER BY id", fields.columns())
        };
        let ids: Vec<Uuid> = records.iter().map(|record| record.uuid()).collect();
        self.shared.carry_out(tenant, record_type, these, &[&tenant.uuid(), &ids], present).await
    }

    async fn put(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        gone: &[RecordId],
        rows: Vec<CarriedRow>,
    ) -> Result<(), StoreError> {
        self.shared.know(tenant).await?;
        let types = self.shared.types();
        let fields = types.layout.record_type(record_type)?;
        if !rows.iter().all(|row| row.fits(fields)) {
            return Err(StoreError::UnknownField);
        }
        let columns = Columns::of(fields, &rows.iter().collect::<Vec<_>>())?;
        let gone: Vec<Uuid> = gone.iter().map(|record| record.uuid()).chain(columns.ids.iter().copied()).collect();
        let delete: Arc<str> = format!("DELETE FROM r{} WHERE tenant = $1 AND id = ANY($2)", record_type.0).into();
        let insert: Arc<str> = insert(&format!("r{}", record_type.0), &fields.columns(), fields, 2).into();
        let shared = &self.shared;
        // Doing it twice is doing it once, so what may have been done is done again.
        let done = shared
            .pool
            .patiently(async || again(shared.carry_in(tenant, (&delete, &insert), &[&gone], &columns).await));
        done.await.map_err(fault)
    }

    async fn past(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        after: Option<(RecordId, u64)>,
        limit: usize,
    ) -> Result<Vec<PastRow>, StoreError> {
        let id = after.map_or(Uuid::nil(), |(record, _)| record.uuid());
        let version = after.map_or(0, |(_, version)| i64::try_from(version).unwrap_or(i64::MAX));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let page = |fields: &TypeLayout| past_page(fields, record_type);
        self.shared.carry_out(tenant, record_type, page, &[&tenant.uuid(), &id, &version, &limit], past).await
    }

    async fn past_since(&self, tenant: TenantId) -> Result<UnixMs, StoreError> {
        crate::Histories::since(self, tenant).await
    }

    async fn put_past_since(&self, tenant: TenantId, since: UnixMs) -> Result<(), StoreError> {
        self.shared.know(tenant).await?;
        let (text, own, pool): (Arc<str>, _, _) = (FORGET.into(), tenant.uuid(), &self.shared.pool);
        let put = pool.patiently(async || {
            let put = async {
                let mut transaction = pool.begin(Scope::Tenant(tenant)).await?;
                enter_beside(&mut transaction, tenant).await?;
                transaction.execute(&text, &[&own, &time(since)]).await?;
                transaction.commit().await.map(drop)
            };
            again(put.await)
        });
        put.await.map_err(fault)
    }

    async fn past_of(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<PastRow>, StoreError> {
        let TypeId(place) = record_type;
        let these = |fields: &TypeLayout| {
            let columns = fields.past_columns();
            format!("SELECT {columns} FROM h{place} WHERE tenant = $1 AND id = ANY($2) ORDER BY id, version")
        };
        let ids: Vec<Uuid> = records.iter().map(|record| record.uuid()).collect();
        self.shared.carry_out(tenant, record_type, these, &[&tenant.uuid(), &ids], past).await
    }

    async fn put_past(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        gone: &[(RecordId, u64)],
        rows: Vec<PastRow>,
    ) -> Result<(), StoreError> {
        self.shared.know(tenant).await?;
        let types = self.shared.types();
        let fields = types.layout.record_type(record_type)?;
        if !rows.iter().all(|row| row.fits(fields)) {
            return Err(StoreError::UnknownField);
        }
        let mut columns = Columns::of(fields, &rows.iter().map(|past| &past.row).collect::<Vec<_>>())?;
        columns.ends = Some(rows.iter().map(|past| time(past.until)).collect());
        let mut ids: Vec<Uuid> = gone.iter().map(|(record, _)| record.uuid()).collect();
        ids.extend(&columns.ids);
        let versions: Result<Vec<i64>, _> = gone.iter().map(|(_, version)| i64::try_from(*version)).collect();
        let mut versions = versions.map_err(damaged)?;
        versions.extend(&columns.versions);
        let delete: Arc<str> = format!(
            "DELETE FROM h{} WHERE tenant = $1 AND (id, version) IN (SELECT * FROM unnest($2::uuid[], $3::bigint[]))",
            record_type.0
        )
        .into();
        let insert: Arc<str> = insert(&format!("h{}", record_type.0), &fields.past_columns(), fields, 3).into();
        let shared = &self.shared;
        let done = shared
            .pool
            .patiently(async || again(shared.carry_in(tenant, (&delete, &insert), &[&ids, &versions], &columns).await));
        done.await.map_err(fault)
    }

    async fn known(
        &self,
        tenant: TenantId,
        since: UnixMs,
        after: Option<(UnixMs, [u8; 32])>,
        limit: usize,
    ) -> Result<Vec<Once>, StoreError> {
        self.shared.know(tenant).await?;
        once::known(&self.shared.pool, tenant, since, after, limit).await
    }

    async fn put_known(&self, tenant: TenantId, known: Vec<Once>) -> Result<(), StoreError> {
        self.shared.know(tenant).await?;
        let pool = &self.shared.pool;
        // Doing it twice is doing it once, so what may have been done is done again.
        let put = pool.patiently(async || again(once::put_known(pool, tenant, &known).await));
        put.await.map_err(fault)
    }
}

/// What may have been done, as something that was not.
fn again<T>(done: Result<T, PgError>) -> Result<T, PgError> {
    done.map_err(|error| if error == PgError::Unknown { PgError::Lost } else { error })
}
