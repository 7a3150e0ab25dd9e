//! Removing for good, as far as a role may that owns nothing: rows are deleted. What PostgreSQL keeps of them until it
//! cleans up (dead rows until `VACUUM`, its write-ahead log and archives of it) is sealed cells and keyed tags.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId};
use countersign_postgres::{PgError, Scope, ToSql};
use uuid::Uuid;

use super::failure::{damaged, fault};
use super::{PostgresStore, Shared};
use crate::erase::{Erases, Traces, names};
use crate::error::StoreError;

/// Rows that go in one transaction.
const TOGETHER: i64 = 5_000;

/// The tables that have rows of tenants and that the store may delete from.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped \
     WHERE n.nspname = 'countersign' AND c.relkind = 'r' AND c.relname <> 'tenant' \
     AND has_table_privilege(c.oid, 'DELETE') ORDER BY 1";

impl Shared {
    async fn asked(
        &self,
        scope: Scope,
        text: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<countersign_postgres::Row>, StoreError> {
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
            done.await.map_err(|error| if error == PgError::Unknown { PgError::Lost } else { error })
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

    async fn answers(&self, tenant: TenantId, records: &[RecordId]) -> Result<Vec<Vec<u8>>, StoreError> {
        let text = "SELECT id, answer FROM once WHERE tenant = $1";
        let rows = self.asked(Scope::Tenant(tenant), text, &[&tenant.uuid()]).await?;
        let mut found = Vec::new();
        for row in &rows {
            if names(row.try_get(1).map_err(damaged)?, records) {
                found.push(row.try_get(0).map_err(damaged)?);
            }
        }
        Ok(found)
    }

    async fn counted(&self, tenant: TenantId, table: String, ids: &Vec<Uuid>) -> Result<u64, StoreError> {
        let text = format!("SELECT count(*) FROM {table} WHERE tenant = $1 AND id = ANY($2)");
        let rows = self.asked(Scope::Tenant(tenant), &text, &[&tenant.uuid(), ids]).await?;
        let count: i64 = rows.first().ok_or(StoreError::Damaged)?.try_get(0).map_err(damaged)?;
        u64::try_from(count).map_err(damaged)
    }
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
        let id = |row: &countersign_postgres::Row| row.try_get::<_, Uuid>(0).map_err(damaged);
        rows.iter().map(|row| Ok(RecordId::from_bytes(*id(row)?.as_bytes()))).collect()
    }

    async fn purge(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError> {
        let (shared, TypeId(place), own) = (&self.shared, record_type, tenant.uuid());
        shared.know(tenant).await?;
        let (mut traces, ids) = (Traces::default(), uuids(records));
        if shared.has(&format!("r{place}")).await? {
            // Put back, by a restore, since the record was deleted. Whatever puts it back later heeds the receipt.
            let text = format!("DELETE FROM r{place} WHERE tenant = $1 AND id = ANY($2)");
            traces.records = shared.deleted(Scope::Tenant(tenant), &text, &[&own, &ids]).await?;
        }
        if shared.has(&format!("h{place}")).await? {
            let text = format!("DELETE FROM h{place} WHERE tenant = $1 AND id = ANY($2)");
            traces.past = shared.deleted(Scope::Tenant(tenant), &text, &[&own, &ids]).await?;
        }
        let answers = shared.answers(tenant, records).await?;
        if !answers.is_empty() {
            let text = "DELETE FROM once WHERE tenant = $1 AND id = ANY($2)";
            traces.answers = shared.deleted(Scope::Tenant(tenant), text, &[&own, &answers]).await?;
        }
        Ok(traces)
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
        let (shared, own) = (&self.shared, tenant.uuid());
        let mut traces = Traces::default();
        for table in shared.tables().await? {
            let text = format!(
                "DELETE FROM {table} WHERE tenant = $1 AND ctid = ANY(ARRAY(\
                 SELECT ctid FROM {table} WHERE tenant = $1 LIMIT {TOGETHER}))"
            );
            let counter = match table.as_bytes() {
                [b'r', b'0'..=b'9', ..] => Some(&mut traces.records),
                [b'h', b'0'..=b'9', ..] => Some(&mut traces.past),
                _ if table == "once" => Some(&mut traces.answers),
                _ => None,
            };
            let mut all = 0_u64;
            loop {
                let gone = shared.deleted(Scope::Tenant(tenant), &text, &[&own]).await?;
                all = all.saturating_add(gone);
                if gone == 0 {
                    break;
                }
            }
            if let Some(counter) = counter {
                *counter = counter.saturating_add(all);
            }
        }
        shared.deleted(Scope::Service, "DELETE FROM tenant WHERE tenant = $1", &[&own]).await?;
        shared.tenants.write().remove(&tenant);
        Ok(traces)
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
