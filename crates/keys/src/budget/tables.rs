//! Budgets in PostgreSQL: the tables, and one transaction over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_model::{TokenId, UserId};
use countersign_postgres::{Migration, PgError, Pool, Row, Scope, Transaction};
use uuid::Uuid;

use super::counters::WINDOW_BUCKETS;
use super::slot::{Counted, Owner};

/// Tables for the key service's role alone. They have no tenant: who it is says nothing about whose data were opened, and
/// the key service must count for all.
pub const BUDGET: Migration = Migration {
    part: "budget",
    steps: &["
        CREATE TABLE budget_owner (
            kind smallint NOT NULL, owner uuid NOT NULL, newest integer NOT NULL, PRIMARY KEY (kind, owner));
        CREATE INDEX budget_owner_newest ON budget_owner (newest);
        CREATE TABLE budget (
            kind smallint NOT NULL, owner uuid NOT NULL, step integer NOT NULL, used bigint NOT NULL,
            PRIMARY KEY (kind, owner, step));
        CREATE INDEX budget_step ON budget (step);
        ALTER TABLE budget_owner ENABLE ROW LEVEL SECURITY;
        ALTER TABLE budget_owner FORCE ROW LEVEL SECURITY;
        CREATE POLICY keys ON budget_owner TO countersign_keys USING (true) WITH CHECK (true);
        ALTER TABLE budget ENABLE ROW LEVEL SECURITY;
        ALTER TABLE budget FORCE ROW LEVEL SECURITY;
        CREATE POLICY keys ON budget TO countersign_keys USING (true) WITH CHECK (true);
        GRANT SELECT, INSERT, UPDATE, DELETE ON budget_owner, budget TO countersign_keys;
    "],
};

const TOKEN: i16 = 1;
const PRINCIPAL: i16 = 2;

/// Waits for whoever is at the same owners, and says which step is the newest that anybody charged. Owners come in one
/// order everywhere, so that two never wait for each other.
const LOCK: &str = "INSERT INTO budget_owner AS had (kind, owner, newest) \
    SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::integer[]) \
    ON CONFLICT (kind, owner) DO UPDATE SET newest = greatest(had.newest, excluded.newest) \
    RETURNING kind, owner, newest";
const READ: &str = "SELECT b.kind, b.owner, b.step, b.used FROM budget b \
    JOIN unnest($1::smallint[], $2::uuid[]) AS wanted (kind, owner) ON b.kind = wanted.kind AND b.owner = wanted.owner \
    WHERE b.step >= $3";
const WRITE: &str = "INSERT INTO budget (kind, owner, step, used) \
    SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::integer[], $4::bigint[]) \
    ON CONFLICT (kind, owner, step) DO UPDATE SET used = excluded.used";
const PAGE: &str = "SELECT kind, owner, step, used FROM budget \
    WHERE step >= $1 AND (kind, owner, step) > ($2, $3, $4) ORDER BY kind, owner, step LIMIT 5000";
/// Without waiting for anybody.
const PURGE: [&str; 2] = [
    "DELETE FROM budget WHERE (kind, owner, step) IN \
        (SELECT kind, owner, step FROM budget WHERE step < $1 LIMIT 2000 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM budget_owner WHERE (kind, owner) IN \
        (SELECT kind, owner FROM budget_owner WHERE newest < $1 LIMIT 2000 FOR UPDATE SKIP LOCKED)",
];
/// As many rows as one purge takes from a table.
const PURGED_MAX: u64 = 2000;

/// What one owner has in the database, while its row is locked.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// The newest step that anybody charged: none before it is charged any more.
    pub(super) newest: u32,
    pub(super) used: BTreeMap<u32, u64>,
    /// Steps whose count was changed.
    changed: Vec<u32>,
}

impl Steps {
    /// Sets what a step came to.
    pub(super) fn set(&mut self, step: u32, used: u64) {
        self.used.insert(step, used);
        if !self.changed.contains(&step) {
            self.changed.push(step);
        }
    }

    /// What the last `steps` came to.
    pub(super) fn since(&self, steps: u32) -> u64 {
        let first = self.newest.saturating_sub(steps);
        self.used.range(first..).fold(0u64, |sum, (_, used)| sum.saturating_add(*used))
    }
}

/// The rows of some owners, locked until this ends.
pub(super) struct Locked {
    transaction: Transaction,
    pub(super) owners: BTreeMap<Owner, Steps>,
}

impl Locked {
    /// Locks and reads. Each owner comes with the step that is charged by the caller's own clock.
    pub(super) async fn begin(pool: &Arc<Pool>, wanted: &BTreeMap<Owner, u32>) -> Result<Self, PgError> {
        let (kinds, ids): (Vec<_>, Vec<_>) = wanted.keys().map(|owner| parts(*owner)).unzip();
        let steps: Vec<i32> = wanted.values().map(|step| to_sql(*step)).collect();
        let mut transaction = pool.begin(Scope::Service).await?;
        let mut owners = BTreeMap::new();
        for row in transaction.query(&LOCK.into(), &[&kinds, &ids, &steps]).await? {
            let steps = Steps { newest: step(&row, 2)?, ..Steps::default() };
            owners.insert(owner(&row)?, steps);
        }
        let oldest = owners.values().map(|steps| steps.newest).min().unwrap_or_default();
        let oldest = to_sql(oldest.saturating_sub(WINDOW_BUCKETS));
        for row in transaction.query(&READ.into(), &[&kinds, &ids, &oldest]).await? {
            let steps = owners.get_mut(&owner(&row)?).ok_or(PgError::Damaged)?;
            steps.used.insert(step(&row, 2)?, used(&row)?);
        }
        if owners.len() == wanted.len() { Ok(Self { transaction, owners }) } else { Err(PgError::Damaged) }
    }

    /// Makes durable what was changed.
    pub(super) async fn commit(mut self) -> Result<(), PgError> {
        let (mut owners, mut steps, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for (owner, one) in &self.owners {
            for step in &one.changed {
                owners.push(parts(*owner));
                steps.push(to_sql(*step));
                counts.push(one.used.get(step).copied().unwrap_or_default().cast_signed());
            }
        }
        if steps.is_empty() {
            return self.transaction.roll_back().await;
        }
        let (kinds, ids): (Vec<_>, Vec<_>) = owners.into_iter().unzip();
        self.transaction.execute(&WRITE.into(), &[&kinds, &ids, &steps, &counts]).await?;
        self.transaction.commit().await.map(drop)
    }
}

/// What these owners have, without waiting for anybody.
pub(super) async fn look(pool: &Arc<Pool>, wanted: &[Owner], current: u32) -> Result<BTreeMap<Owner, Steps>, PgError> {
    let (kinds, ids): (Vec<_>, Vec<_>) = wanted.iter().map(|owner| parts(*owner)).unzip();
    let oldest = to_sql(current.saturating_sub(WINDOW_BUCKETS));
    let transaction = pool.begin(Scope::Service).await?;
    let mut owners: BTreeMap<Owner, Steps> = BTreeMap::new();
    for row in transaction.read(&READ.into(), &[&kinds, &ids, &oldest]).await? {
        let steps = owners.entry(owner(&row)?).or_default();
        steps.newest = current;
        steps.used.insert(step(&row, 2)?, used(&row)?);
    }
    Ok(owners)
}

/// Everything that counts at the step `current`.
pub(super) async fn all(pool: &Arc<Pool>, current: u32) -> Result<Vec<Counted>, PgError> {
    let oldest = to_sql(current.saturating_sub(WINDOW_BUCKETS));
    let mut all: Vec<Counted> = Vec::new();
    let mut last = (0i16, Uuid::nil(), 0i32);
    loop {
        let transaction = pool.begin(Scope::Service).await?;
        let rows = transaction.read(&PAGE.into(), &[&oldest, &last.0, &last.1, &last.2]).await?;
        let Some(end) = rows.last() else { return Ok(all) };
        last = (end.try_get(0)?, end.try_get(1)?, end.try_get(2)?);
        for row in &rows {
            let (owner, one) = (owner(row)?, (step(row, 2)?, used(row)?));
            match all.last_mut().filter(|counted| counted.owner == owner) {
                Some(counted) => counted.steps.push(one),
                None => all.push(Counted { owner, steps: vec![one] }),
            }
        }
    }
}

/// Removes some of what no limit counts any more. Whether there may be more of it.
pub(super) async fn purge(pool: &Arc<Pool>, current: u32) -> Result<bool, PgError> {
    let before = to_sql(current.saturating_sub(WINDOW_BUCKETS));
    let mut transaction = pool.begin(Scope::Service).await?;
    let mut more = false;
    for text in PURGE {
        more |= transaction.execute(&text.into(), &[&before]).await? >= PURGED_MAX;
    }
    transaction.commit().await.map(|_| more)
}

/// Whether the tables are there.
pub(super) async fn check(pool: &Arc<Pool>) -> Result<(), PgError> {
    let text: Arc<str> = "SELECT version FROM migration WHERE part = $1".into();
    let rows = pool.begin(Scope::Service).await?.read(&text, &[&BUDGET.part]).await?;
    let found: i32 = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
    let known = i32::try_from(BUDGET.steps.len()).unwrap_or(i32::MAX);
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(PgError::Refused { state: UNDEFINED_TABLE.to_owned() }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(PgError::Newer { part: BUDGET.part, found, known }),
    }
}

const UNDEFINED_TABLE: &str = "42P01";

fn parts(owner: Owner) -> (i16, Uuid) {
    match owner {
        Owner::Token(id) => (TOKEN, id.uuid()),
        Owner::Principal(id) => (PRINCIPAL, id.uuid()),
    }
}

fn owner(row: &Row) -> Result<Owner, PgError> {
    let kind: i16 = row.try_get(0)?;
    let id: Uuid = row.try_get(1)?;
    match kind {
        TOKEN => Ok(Owner::Token(TokenId::from_bytes(id.into_bytes()))),
        PRINCIPAL => Ok(Owner::Principal(UserId::from_bytes(id.into_bytes()))),
        _ => Err(PgError::Damaged),
    }
}

fn step(row: &Row, column: usize) -> Result<u32, PgError> {
    let step: i32 = row.try_get(column)?;
    u32::try_from(step).map_err(|_| PgError::Damaged)
}

/// All 64 bits count: what is above the largest of SQL's numbers is a negative one there.
fn used(row: &Row) -> Result<u64, PgError> {
    let used: i64 = row.try_get(3)?;
    Ok(used.cast_unsigned())
}

fn to_sql(step: u32) -> i32 {
    i32::try_from(step).unwrap_or(i32::MAX)
}
