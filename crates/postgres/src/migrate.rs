//! Tables and their versions.
//!
//! Each crate that keeps something in the database lists what makes and changes its tables. The role
//! `countersign_schema`, which owns them, runs what is missing, each step in a transaction of its own.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{NO_TABLE, PgError};
use crate::pace::Pace;
use crate::pool::Pool;
use crate::settings::SCHEMA;
use crate::transaction::{Scope, Transaction};

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
        ALTER TABLE lease ENABLE ROW LEVEL SECURITY;
        ALTER TABLE lease FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON lease USING (current_user = 'countersign_authority');
        GRANT SELECT, INSERT, UPDATE, DELETE ON lease TO countersign_authority;

        CREATE TABLE proof (name text PRIMARY KEY, at timestamptz NOT NULL);
        ALTER TABLE proof ENABLE ROW LEVEL SECURITY;
        ALTER TABLE proof FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON proof USING (split_part(name, '/', 1) = current_user);
        GRANT SELECT, INSERT, UPDATE, DELETE ON proof TO
            countersign_gateway, countersign_keys, countersign_store, countersign_authority, countersign_monitor;
    "],
};

/// How long a step waits for a table that others use, in milliseconds. Whoever comes after it waits as long.
const LOCK_MS: u32 = 200;
/// How long to try.
const PATIENCE: Duration = Duration::from_secs(60);

/// Brings the tables up to date. `pool` is that of `countersign_schema`.
///
/// # Errors
/// [`PgError::Newer`] if a newer program made them; what the database may meet.
pub async fn migrate(pool: &Arc<Pool>, all: &[Migration]) -> Result<(), PgError> {
    let there: Arc<str> =
        "SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'migration'".into();
    let there = pool.patiently(async || pool.begin(Scope::Service).await?.read(&there, &[&SCHEMA]).await).await?;
    if there.is_empty() {
        let first = format!(
            "CREATE TABLE IF NOT EXISTS {SCHEMA}.migration (part text PRIMARY KEY, version integer NOT NULL);
             ALTER TABLE {SCHEMA}.migration ENABLE ROW LEVEL SECURITY;
             ALTER TABLE {SCHEMA}.migration FORCE ROW LEVEL SECURITY;
             DROP POLICY IF EXISTS own ON {SCHEMA}.migration;
             CREATE POLICY own ON {SCHEMA}.migration USING (true);
             GRANT SELECT ON {SCHEMA}.migration TO countersign_gateway, countersign_keys, countersign_store,
                 countersign_authority, countersign_monitor;"
        );
        TableChange::new(pool).run(&first).await?;
    }
    for migration in all {
        bring(pool, migration).await?;
    }
    Ok(())
}

/// Whether the tables are those that this program knows. Any service may ask.
///
/// # Errors
/// [`PgError::Behind`], [`PgError::Newer`]; what the database may meet.
pub async fn check_tables(pool: &Arc<Pool>, all: &[Migration]) -> Result<(), PgError> {
    let text: Arc<str> = "SELECT version FROM migration WHERE part = $1".into();
    for Migration { part, steps } in all {
        let known = i32::try_from(steps.len()).unwrap_or(i32::MAX);
        let rows = pool.patiently(async || pool.begin(Scope::Service).await?.read(&text, &[part]).await).await;
        let found = match rows {
            Ok(rows) => rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(0),
            Err(PgError::Refused { state }) if state == NO_TABLE => 0,
            Err(error) => return Err(error),
        };
        match found.cmp(&known) {
            std::cmp::Ordering::Less => return Err(PgError::Behind { part, found, known }),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => return Err(PgError::Newer { part, found, known }),
        }
    }
    Ok(())
}

/// Transactions that need tables to themselves, tried again and again until they get them. Each waits for them a fifth of a
/// second and then lets those pass that wait behind it, so that one long reader does not have everybody wait.
pub struct TableChange {
    pool: Arc<Pool>,
    pace: Pace,
}

impl TableChange {
    /// Tries for a minute from now. `pool` is that of the tables' owner.
    #[must_use]
    pub fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), pace: Pace::new(PATIENCE) }
    }

    /// One try.
    ///
    /// # Errors
    /// What the database may meet.
    pub async fn begin(&self) -> Result<Transaction, PgError> {
        let mut step = self.pool.begin(Scope::Service).await?;
        step.run(&format!("SET LOCAL lock_timeout = {LOCK_MS}")).await?;
        Ok(step)
    }

    /// Waits for the next try after one that ended so. `false` if there is to be none. Also after a commit whose answer was
    /// lost: what is tried must be such that doing it twice is doing it once.
    pub async fn again(&mut self, error: &PgError) -> bool {
        // Unique is also the name of something that another process makes at this moment.
        let passing = matches!(error, PgError::TimedOut | PgError::Unknown | PgError::Unique { .. });
        (passing || error.is_retryable()) && self.pace.wait().await
    }

    /// Runs statements without parameters in one transaction.
    ///
    /// # Errors
    /// What the last try gave.
    pub async fn run(mut self, sql: &str) -> Result<(), PgError> {
        loop {
            let tried = async {
                let mut step = self.begin().await?;
                step.run(sql).await?;
                step.commit().await.map(drop)
            };
            match tried.await {
                Err(error) if self.again(&error).await => {}
                done => return done,
            }
        }
    }
}

async fn bring(pool: &Arc<Pool>, migration: &Migration) -> Result<(), PgError> {
    let mut change = TableChange::new(pool);
    loop {
        match step(&change, migration).await {
            Ok(true) => return Ok(()),
            Ok(false) => change = TableChange::new(pool),
            Err(error) if change.again(&error).await => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes the next step. `true` if there was none.
async fn step(change: &TableChange, migration: &Migration) -> Result<bool, PgError> {
    let known = i32::try_from(migration.steps.len()).unwrap_or(i32::MAX);
    let read: Arc<str> = "SELECT version FROM migration WHERE part = $1 FOR UPDATE".into();
    let begin: Arc<str> = "INSERT INTO migration VALUES ($1, 0) ON CONFLICT DO NOTHING".into();
    let write: Arc<str> = "UPDATE migration SET version = $2 WHERE part = $1".into();
    let mut step = change.begin().await?;
    step.execute(&begin, &[&migration.part]).await?;
    let rows = step.query(&read, &[&migration.part]).await?;
    let found: i32 = rows.first().ok_or(PgError::Damaged)?.try_get(0)?;
    if found > known {
        return Err(PgError::Newer { part: migration.part, found, known });
    }
    let next = usize::try_from(found).ok().and_then(|found| migration.steps.get(found));
    if let Some(sql) = next {
        step.run(sql).await?;
        step.execute(&write, &[&migration.part, &found.saturating_add(1)]).await?;
    }
    step.commit().await?;
    Ok(next.is_none())
}
