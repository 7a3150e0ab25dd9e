//! Carrying records from and to tables: a page of rows is one statement, its columns as arrays.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};
use countersign_postgres::{PgError, Row, Scope, ToSql};
use uuid::Uuid;

use super::failure::{damaged, fault};
use super::{PostgresStore, Shared, once};
use crate::batch::Once;
use crate::carry::{CarriedRow, Carry};
use crate::error::StoreError;
use crate::layout::TypeLayout;

fn carried(row: &Row, fields: &TypeLayout) -> Result<CarriedRow, StoreError> {
    let record = RecordId::from_bytes(*row.try_get::<_, Uuid>(0).map_err(damaged)?.as_bytes());
    let version = u64::try_from(row.try_get::<_, i64>(1).map_err(damaged)?).map_err(damaged)?;
    let bytes = |column: usize| row.try_get::<_, Option<&[u8]>>(column).map_err(damaged);
    let (mut cells, mut tags) = (Vec::with_capacity(fields.len()), Vec::new());
    for (column, field) in (2usize..).zip((0u8..=u8::MAX).map(FieldId)).take(fields.len()) {
        cells.extend(bytes(column)?.map(|cell| (field, cell.to_vec())));
    }
    for (column, field) in (fields.len().saturating_add(2)..).zip(fields.indexed()) {
        if let Some(tag) = bytes(column)? {
            tags.push((field, Tag(tag.try_into().map_err(damaged)?)));
        }
    }
    Ok(CarriedRow { record, version, at: UnixMs(0), cells, tags })
}

/// Rows as columns: ids, versions, and one array for each cell and tag.
struct Columns<'a> {
    ids: Vec<Uuid>,
    versions: Vec<i64>,
    bytes: Vec<Vec<Option<&'a [u8]>>>,
}

impl<'a> Columns<'a> {
    fn of(fields: &TypeLayout, rows: &'a [CarriedRow]) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        for field in (0u8..=u8::MAX).map(FieldId).take(fields.len()) {
            let cell =
                |row: &'a CarriedRow| row.cells.iter().find(|(of, _)| *of == field).map(|(_, cell)| cell.as_slice());
            bytes.push(rows.iter().map(cell).collect());
        }
        for field in fields.indexed() {
            let tag =
                |row: &'a CarriedRow| row.tags.iter().find(|(of, _)| *of == field).map(|(_, tag)| tag.0.as_slice());
            bytes.push(rows.iter().map(tag).collect());
        }
        let versions: Result<_, _> = rows.iter().map(|row| i64::try_from(row.version)).collect();
        let ids = rows.iter().map(|row| row.record.uuid()).collect();
        Ok(Self { ids, versions: versions.map_err(damaged)?, bytes })
    }
}

fn insert(TypeId(place): TypeId, fields: &TypeLayout) -> String {
    let mut arrays = String::from("$2::uuid[], $3::bigint[]");
    let count = fields.len().saturating_add(fields.indexed().count());
    for parameter in (4usize..).take(count) {
        let _ = write!(arrays, ", ${parameter}::bytea[]");
    }
    format!(
        "INSERT INTO r{place} (tenant, {}) SELECT $1::uuid, carried.* FROM unnest({arrays}) AS carried \
         ON CONFLICT DO NOTHING",
        fields.columns()
    )
}

impl Shared {
    /// Asks again where nothing was done, as long as anybody would wait.
    async fn carry_out(
        &self,
        tenant: TenantId,
        text: &Arc<str>,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.pool
            .patiently(async || self.pool.begin(Scope::Tenant(tenant)).await?.read(text, params).await)
            .await
            .map_err(fault)
    }

    async fn carry_in(
        &self,
        tenant: TenantId,
        texts: (&Arc<str>, &Arc<str>),
        gone: &Vec<Uuid>,
        columns: &Columns<'_>,
    ) -> Result<(), PgError> {
        let tenant_id = tenant.uuid();
        let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
        transaction.execute(texts.0, &[&tenant_id, gone]).await?;
        if !columns.ids.is_empty() {
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant_id, &columns.ids, &columns.versions];
            params.extend(columns.bytes.iter().map(|column| column as &(dyn ToSql + Sync)));
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
        self.shared.know(tenant).await?;
        let types = self.shared.types();
        let fields = types.layout.record_type(record_type)?;
        let sql = format!(
            "SELECT {} FROM r{} WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3",
            fields.columns(),
            record_type.0
        );
        // No record has the id that is before all others.
        let after = after.map_or(Uuid::nil(), |after| after.uuid());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.shared.carry_out(tenant, &sql.into(), &[&tenant.uuid(), &after, &limit]).await?;
        rows.iter().map(|row| carried(row, fields)).collect()
    }

    async fn these(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<CarriedRow>, StoreError> {
        self.shared.know(tenant).await?;
        let types = self.shared.types();
        let fields = types.layout.record_type(record_type)?;
        let sql = format!(
            "SELECT {} FROM r{} WHERE tenant = $1 AND id = ANY($2) ORDER BY id",
            fields.columns(),
            record_type.0
        );
        let ids: Vec<Uuid> = records.iter().map(|record| record.uuid()).collect();
        let rows = self.shared.carry_out(tenant, &sql.into(), &[&tenant.uuid(), &ids]).await?;
        rows.iter().map(|row| carried(row, fields)).collect()
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
        let columns = Columns::of(fields, &rows)?;
        let gone: Vec<Uuid> = gone.iter().map(|record| record.uuid()).chain(columns.ids.iter().copied()).collect();
        let delete: Arc<str> = format!("DELETE FROM r{} WHERE tenant = $1 AND id = ANY($2)", record_type.0).into();
        let insert: Arc<str> = insert(record_type, fields).into();
        let shared = &self.shared;
        // Doing it twice is doing it once, so what may have been done is done again.
        let done = shared.pool.patiently(async || {
            shared.carry_in(tenant, (&delete, &insert), &gone, &columns).await.map_err(|error| match error {
                PgError::Unknown => PgError::Lost,
                other => other,
            })
        });
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
