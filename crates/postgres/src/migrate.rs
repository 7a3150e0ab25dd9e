//! Tables and their versions.
//!
//! Each crate that keeps something in the database lists what makes and changes its tables. The role
//! `countersign_schema`, which owns them, runs what is missing, each step in a transaction of its own.

use std::sync::Arc;

use crate::error::PgError;
use crate::pool::Pool;
use crate::settings::SCHEMA;
use crate::transaction::Scope;

/// The steps of one crate's tables. Once released, a step never changes; another is added.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Whose tables: `core`, `control`, `ledger`, `budget`, `records`.
    pub part: &'static str,
    /// The steps, in order: the first makes version 1.
    pub steps: &'static [&'static str],
}

/// This crate's own tables: leases, and what the primary is asked to prove itself by.
pub const CORE: Migration = Migration {
    part: "core",
    steps: &["
        CREATE TABLE lease (
            name text PRIMARY KEY, holder uuid NOT NULL, term bigint NOT NULL, until timestamptz NOT NULL);
        CREATE TABLE proof (name text PRIMARY KEY, at timestamptz NOT NULL);
        GRANT SELECT, INSERT, UPDATE, DELETE ON lease TO countersign_authority;
        GRANT SELECT, INSERT, UPDATE, DELETE ON proof TO
            countersign_gateway, countersign_keys, countersign_store, countersign_authority, countersign_monitor;
    "],
};

/// Brings the tables up to date. `pool` is that of `countersign_schema`.
///
/// # Errors
/// [`PgError::Newer`] if a newer program made them; what the database may meet.
pub async fn migrate(pool: &Arc<Pool>, all: &[Migration]) -> Result<(), PgError> {
    let mut first = pool.begin(Scope::Service).await?;
    first
        .run(&format!(
            "CREATE TABLE IF NOT EXISTS {SCHEMA}.migration (part text PRIMARY KEY, version integer NOT NULL);
             GRANT SELECT ON {SCHEMA}.migration TO countersign_gateway, countersign_keys, countersign_store,
                 countersign_authority, countersign_monitor;"
        ))
        .await?;
    first.commit().await?;
    for migration in all {
        bring(pool, migration).await?;
    }
    Ok(())
}

async fn bring(pool: &Arc<Pool>, migration: &Migration) -> Result<(), PgError> {
    let known = i32::try_from(migration.steps.len()).unwrap_or(i32::MAX);
    let read: Arc<str> = "SELECT version FROM migration WHERE part = $1 FOR UPDATE".into();
    let begin: Arc<str> = "INSERT INTO migration VALUES ($1, 0) ON CONFLICT DO NOTHING".into();
    let write: Arc<str> = "UPDATE migration SET version = $2 WHERE part = $1".into();
    loop {
        let mut step = pool.begin(Scope::Service).await?;
        step.execute(&begin, &[&migration.part]).await?;
        let rows = step.query(&read, &[&migration.part]).await?;
        let found: i32 = rows.first().ok_or(PgError::Damaged)?.try_get(0)?;
        if found > known {
            return Err(PgError::Newer { part: migration.part, found, known });
        }
        let next = usize::try_from(found).ok().and_then(|found| migration.steps.get(found));
        let Some(sql) = next else { return step.commit().await.map(drop) };
        step.run(sql).await?;
        step.execute(&write, &[&migration.part, &found.saturating_add(1)]).await?;
        step.commit().await?;
    }
}
