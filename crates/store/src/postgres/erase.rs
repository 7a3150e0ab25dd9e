//! Removing for good, as far as a role may that owns nothing: rows are deleted. What PostgreSQL keeps of them until it
//! cleans up (dead rows until `VACUUM`, its write-ahead log and archives of it) is sealed cells and keyed tags.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId};
use countersign_postgres::{PgError, Row, Scope, ToSql};
use uuid::Uuid;

use super::epoch::{Hold, again};
use super::failure::{damaged, fault};
use super::present::{enter, leave};
use super::{PostgresStore, Shared};
use crate::erase::{Erases, Traces, names};
use crate::error::StoreError;

/// Rows that go in one transaction.
const TOGETHER: i64 = 5_000;

/// Records of which a statement removes all there is, and answers that are looked at together.
const RECORDS: usize = 1_000;
const ANSWERS: usize = 200;

/// The tables that have rows of tenants and that the store may delete from.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped \
     WHERE n.nspname = 'countersign' AND c.relkind = 'r' AND c.relname <> 'tenant' \
     AND has_table_privilege(c.oid, 'DELETE') ORDER BY 1";

impl Shared {
    async fn asked(&self, scope: Scope, text: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let text: Arc<str> = text.into();
        let asked = self.pool.patiently(async || self.pool.begin(scope).await?.read(&text, params).await);
        asked.await.map_err(fault)
    }

    /// Deletes; doing it twice is doing it once, so what may have been done is done again.
    async fn deleted(&self, scope: Scope, text: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let text: Arc<str> = text.into();
        let done = self.pool.patiently(async || {
            let done = async {
                let mut transaction = self.pool.begin(scope).await?;
                let count = transaction.execute(&text, params).await?;
                super::write::commit(transaction).await?;
                Ok(count)
            };
            again(done.await)
        });
        done.await.map_err(fault)
    }

    async fn tables(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.asked(Scope::Service, TABLES, &[]).await?;
        rows.iter().map(|row| row.try_get(0).map_err(damaged)).collect()
    }

    async fn has(&self, table: &str) -> Result<bool, StoreError> {
        Ok(self.tables().await?.iter().any(|known| known == table))
    }

    /// Everything of these records, in one transaction that no rewind and no replacement is beside.
    async fn purge(&self, tenant: TenantId, TypeId(place): TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        self.know(tenant).await?;
        let stored = self.tables().await?;
        let known = |table: String| stored.contains(&table).then_some(table);
        let tables = [known(format!("r{place}")), known(format!("h{place}"))];
        self.replacing.over(tenant).await?;
        let done = self.pool.patiently(async || again(self.purge_once(tenant, &tables, records).await));
        done.await.map_err(fault)
    }

    async fn purge_once(
        &self,
        tenant: TenantId,
        tables: &[Option<String>; 2],
        records: &[RecordId],
    ) -> Result<Traces, PgError> {
        let (own, [present, past]) = (tenant.uuid(), tables);
        let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
        // Beside others who write: none of them puts back what was deleted.
        enter(&mut transaction, tenant, Hold::Shared).await?;
        let mut traces = Traces::default();
        for (table, count) in [(present, &mut traces.records), (past, &mut traces.past)] {
            let Some(table) = table else { continue };
            let text: Arc<str> = format!("DELETE FROM {table} WHERE tenant = $1 AND id = ANY($2)").into();
            for some in records.chunks(RECORDS) {
                let gone = transaction.execute(&text, &[&own, &uuids(some)]).await?;
                *count = count.saturating_add(gone);
            }
        }
        let page: Arc<str> =
            format!("SELECT id, answer FROM once WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT {ANSWERS}").into();
        let remove: Arc<str> = "DELETE FROM once WHERE tenant = $1 AND id = ANY($2)".into();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let rows = transaction.query(&page, &[&own, &after]).await?;
            let found = naming(&rows, records).map_err(|_| PgError::Damaged)?;
            if !found.is_empty() {
                let gone = transaction.execute(&remove, &[&own, &found]).await?;
                traces.answers = traces.answers.saturating_add(gone);
            }
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
        }
        super::write::commit(transaction).await?;
        Ok(traces)
    }

    /// First the tenant's own row, so that nobody stores anything any more; then what is left, some at a time. Cut off, it is
    /// done again.
    async fn remove_tenant(&self, tenant: TenantId) -> Result<Traces, StoreError> {
        self.replacing.over(tenant).await?;
        let left = self.pool.patiently(async || {
            let left = async {
                let mut transaction = self.pool.begin(Scope::Tenant(tenant)).await?;
                leave(&mut transaction, tenant).await?;
                super::write::commit(transaction).await
            };
            again(left.await)
        });
        left.await.map_err(fault)?;
        self.tenants.write().remove(&tenant);
        let own = tenant.uuid();
        let mut traces = Traces::default();
        for table in self.tables().await? {
            let text = format!(
                "DELETE FROM {table} WHERE tenant = $1 AND ctid = ANY(ARRAY(\
                 SELECT ctid FROM {table} WHERE tenant = $1 LIMIT {TOGETHER}))"
            );
            let mut all = 0_u64;
            loop {
                let gone = self.deleted(Scope::Tenant(tenant), &text, &[&own]).await?;
                all = all.saturating_add(gone);
                if gone == 0 {
                    break;
                }
            }
            let counter = match table.as_bytes() {
                [b'r', b'0'..=b'9', ..] => &mut traces.records,
                [b'h', b'0'..=b'9', ..] => &mut traces.past,
                _ if table == "once" => &mut traces.answers,
                _ => continue,
            };
            *counter = counter.saturating_add(all);
        }
        Ok(traces)
    }

    async fn answers(&self, tenant: TenantId, records: &[RecordId]) -> Result<Vec<Vec<u8>>, StoreError> {
        let text = "SELECT id, answer FROM once WHERE tenant = $1";
        let rows = self.asked(Scope::Tenant(tenant), text, &[&tenant.uuid()]).await?;
        naming(&rows, records)
    }

    async fn counted(&self, tenant: TenantId, table: String, ids: &Vec<Uuid>) -> Result<u64, StoreError> {
        let text = format!("SELECT count(*) FROM {table} WHERE tenant = $1 AND id = ANY($2)");
        let rows = self.asked(Scope::Tenant(tenant), &text, &[&tenant.uuid(), ids]).await?;
        let count: i64 = rows.first().ok_or(StoreError::Damaged)?.try_get(0).map_err(damaged)?;
        u64::try_from(count).map_err(damaged)
    }
}

/// The ids of those answers that name any of these records.
fn naming(rows: &[Row], records: &[RecordId]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = Vec::new();
    for row in rows {
        if names(row.try_get(1).map_err(damaged)?, records) {
            found.push(row.try_get(0).map_err(damaged)?);
        }
    }
    Ok(found)
}

fn uuids(records: &[RecordId]) -> Vec<Uuid> {
    records.iter().map(|record| record.uuid()).collect()
}

#[async_trait]
impl Erases for PostgresStore {
    async fn gone(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        tags: &[Tag],
    ) -> Result<Vec<RecordId>, StoreError> {
        let (shared, TypeId(place), FieldId(field)) = (&self.shared, record_type, field);
        shared.know(tenant).await?;
        if !shared.has(&format!("h{place}")).await? {
            return Ok(Vec::new());
        }
        let tags: Vec<&[u8]> = tags.iter().map(|tag| tag.0.as_slice()).collect();
        let text = format!(
            "SELECT DISTINCT id FROM h{place} WHERE tenant = $1 AND x{field} = ANY($2) \
             AND NOT EXISTS (SELECT 1 FROM r{place} r WHERE r.tenant = $1 AND r.id = h{place}.id) ORDER BY id"
        );
        let rows = shared.asked(Scope::Tenant(tenant), &text, &[&tenant.uuid(), &tags]).await?;
        let id = |row: &Row| row.try_get::<_, Uuid>(0).map_err(damaged);
        rows.iter().map(|row| Ok(RecordId::from_bytes(*id(row)?.as_bytes()))).collect()
    }

    async fn purge(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let records = records.to_vec();
        self.run(move |shared| async move { shared.purge(tenant, record_type, &records).await }).await
    }

    async fn sweep(&self, _: TenantId) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn traces(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let (shared, TypeId(place), ids) = (&self.shared, record_type, uuids(records));
        shared.know(tenant).await?;
        let has_past = shared.has(&format!("h{place}")).await?;
        Ok(Traces {
            records: shared.counted(tenant, format!("r{place}"), &ids).await?,
            past: if has_past { shared.counted(tenant, format!("h{place}"), &ids).await? } else { 0 },
            answers: shared.answers(tenant, records).await?.len() as u64,
        })
    }

    async fn remove_tenant(&self, tenant: TenantId) -> Result<Traces, StoreError> {
        self.run(move |shared| async move { shared.remove_tenant(tenant).await }).await
    }

    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        let (shared, own) = (&self.shared, tenant.uuid());
        if !shared.asked(Scope::Service, "SELECT 1 FROM tenant WHERE tenant = $1", &[&own]).await?.is_empty() {
            return Ok(true);
        }
        for table in shared.tables().await? {
            let text = format!("SELECT 1 FROM {table} WHERE tenant = $1 LIMIT 1");
            if !shared.asked(Scope::Tenant(tenant), &text, &[&own]).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
