//! What several tests need.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use countersign_model::{Service, TenantId};
use countersign_postgres::{CORE, Pool, Scope, Settings, migrate};
use countersign_testkit::{DATABASE, Postgres};

pub const ONE: TenantId = TenantId::from_u128(1);
pub const TWO: TenantId = TenantId::from_u128(2);

/// A server with this crate's tables and one of notes, which belong to tenants.
pub async fn server() -> Result<Postgres> {
    let server = Postgres::start()?;
    let owner = Pool::new(server.settings()?, server.owner()?);
    migrate(&owner, &[CORE]).await?;
    server.sql(
        DATABASE,
        "SET ROLE countersign_schema; SET search_path = countersign;
         CREATE TABLE note (tenant uuid NOT NULL, number bigint NOT NULL, PRIMARY KEY (tenant, number));
         ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         ALTER TABLE note FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON note USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
         GRANT SELECT, INSERT, UPDATE, DELETE ON note TO countersign_store;",
    )?;
    Ok(server)
}

/// Settings with little patience, at this port.
pub fn quick(server: &Postgres, port: u16, connections: usize) -> Result<Settings> {
    let mut settings = server.settings()?;
    settings.hosts = vec![("127.0.0.1".to_owned(), port)];
    settings.connections = connections;
    settings.answer_timeout = Duration::from_secs(2);
    settings.patience = Duration::from_secs(20);
    Ok(settings)
}

pub fn pool(server: &Postgres, settings: Settings) -> Result<Arc<Pool>> {
    Ok(Pool::new(settings, server.identity(Service::Store)?))
}

/// Notes a number; not committed yet.
pub async fn note(pool: &Arc<Pool>, tenant: TenantId, number: i64) -> Result<countersign_postgres::Transaction> {
    let text: Arc<str> = "INSERT INTO note VALUES ($1, $2)".into();
    let mut transaction = pool.begin(Scope::Tenant(tenant)).await?;
    transaction.execute(&text, &[&tenant.uuid(), &number]).await?;
    Ok(transaction)
}

/// How many notes of this number there are, as the administrator sees.
pub fn noted(server: &Postgres, number: i64) -> Result<usize> {
    Ok(server.sql(DATABASE, &format!("SELECT count(*) FROM countersign.note WHERE number = {number}"))?.parse()?)
}

/// One value that is read.
pub async fn value(pool: &Arc<Pool>, scope: Scope, text: &str) -> Result<String> {
    let rows = pool.begin(scope).await?.read(&text.into(), &[]).await?;
    Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
}
