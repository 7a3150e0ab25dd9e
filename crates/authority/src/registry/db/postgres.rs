//! The table in PostgreSQL, and being the only one who writes to it.
//!
//! Whoever holds the lease `authority` writes, and every transaction begins by locking the one row of `control_term` and
//! putting its holder's term there: from then on whatever has an older term is refused, even if it does not know yet that
//! another has taken its place. Facts are read in the transaction that first puts a term there, and count only if it
//! commits, so that they are the newest and come from a server that takes writes.

use std::sync::Arc;
use std::time::Duration;

use countersign_model::Entropy;
use countersign_postgres::{Blocking, Held, Lease, Migration, PgError, Pool, Scope, Transaction};
use tokio::time::Instant;

use super::{Changes, Row, wrapped_of};
use crate::error::RegistryError;

/// The tables of the control data. Nobody but the authority's role sees a row.
pub const CONTROL: Migration = Migration {
    part: "control",
    steps: &["
        CREATE TABLE control (kind smallint NOT NULL, id bytea NOT NULL, body bytea NOT NULL, PRIMARY KEY (kind, id));
        CREATE TABLE control_term (one smallint PRIMARY KEY CHECK (one = 1), term bigint NOT NULL, written bytea NOT NULL);
        INSERT INTO control_term VALUES (1, 0, '');
        GRANT SELECT, INSERT, UPDATE, DELETE ON control TO countersign_authority;
        GRANT SELECT, UPDATE ON control_term TO countersign_authority;
        ALTER TABLE control ENABLE ROW LEVEL SECURITY;
        ALTER TABLE control FORCE ROW LEVEL SECURITY;
        CREATE POLICY control_authority ON control USING (current_user = 'countersign_authority');
        ALTER TABLE control_term ENABLE ROW LEVEL SECURITY;
        ALTER TABLE control_term FORCE ROW LEVEL SECURITY;
        CREATE POLICY control_term_authority ON control_term USING (current_user = 'countersign_authority');
    "],
};

/// Whoever is the authority holds the lease of this name.
const LEASE: &str = "authority";
/// How long it lasts from each renewal.
const LIFE: Duration = Duration::from_secs(10);
/// How often it is renewed.
const EVERY: Duration = Duration::from_secs(2);

/// For how long a change is tried of which it is known that nothing was done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// After this long a lease that nobody renews can be had, by whoever has looked at it meanwhile.
const GONE: Duration = Duration::from_secs(12);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long letting go of the lease may take.
const LET_GO: Duration = Duration::from_secs(1);

/// Rows that are read or written at a time.
const TOGETHER: usize = 500;

const TAKE: &str = "UPDATE control_term SET term = $1 WHERE one = 1 AND term <= $1 RETURNING written";
const MARK: &str = "UPDATE control_term SET written = $1 WHERE one = 1";
const ANY: &str = "SELECT kind FROM control LIMIT 1";
const EMPTY: &str = "DELETE FROM control";
const READ: &str = "SELECT kind, id, body FROM control WHERE (kind, id) > ($1, $2) ORDER BY kind, id LIMIT 500";
const PUT: &str = "INSERT INTO control (kind, id, body) SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bytea[]) \
     ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body";
const REMOVE: &str = "DELETE FROM control WHERE (kind, id) IN (SELECT * FROM unnest($1::smallint[], $2::bytea[]))";

/// Sealed facts in a table.
pub(super) struct Table {
    database: Arc<Blocking>,
    held: Arc<Held>,
    /// What there was when it was opened, until somebody has read it.
    first: Option<Vec<Row>>,
    #[cfg(test)]
    is_stopped: bool,
}

/// What one transaction is to do.
enum Work {
    /// Nothing but read everything.
    Read,
    /// Put the first rows there.
    Begin { rows: Vec<Row>, replace: bool },
    /// Change rows.
    Change(Changes),
}

/// What came of it.
enum Done {
    Rows(Vec<Row>),
    Changed,
    /// There are rows already.
    NotEmpty,
    /// A newer term was there.
    Fenced,
}

/// One transaction that may have to be tried more than once.
struct Task {
    pool: Arc<Pool>,
    held: Arc<Held>,
    term: i64,
    /// Stands for this change in the database, so that it is known whether it was made.
    id: Vec<u8>,
    work: Work,
}

impl Table {
    /// The control data, once this process is the only one that has them.
    pub(super) fn open(database: &Arc<Blocking>, entropy: &dyn Entropy) -> Result<(Self, Vec<u8>), RegistryError> {
        let mut table = Self::hold(database, entropy)?;
        let rows = table.reread()?;
        if rows.is_empty() {
            return Err(RegistryError::Empty);
        }
        let wrapped = wrapped_of(&rows)?;
        table.first = Some(rows);
        Ok((table, wrapped))
    }

    /// The first control data.
    pub(super) fn create(
        database: &Arc<Blocking>,
        entropy: &dyn Entropy,
        rows: Vec<Row>,
    ) -> Result<Self, RegistryError> {
        let table = Self::hold(database, entropy)?;
        match table.run(entropy, Work::Begin { rows, replace: false })? {
            Done::NotEmpty => Err(RegistryError::NotEmpty),
            _ => Ok(table),
        }
    }

    /// These rows in place of all that are there.
    pub(super) fn replace(&self, entropy: &dyn Entropy, rows: Vec<Row>) -> Result<(), RegistryError> {
        self.run(entropy, Work::Begin { rows, replace: true }).map(drop)
    }

    /// Nothing but being the only one.
    pub(super) fn hold(database: &Arc<Blocking>, entropy: &dyn Entropy) -> Result<Self, RegistryError> {
        let mut holder = [0; 16];
        entropy.fill(&mut holder);
        let holder = u128::from_be_bytes(holder);
        let held = database.run(|pool| Lease::new(pool, LEASE.to_owned(), holder, LIFE).keep(EVERY))?;
        Ok(Self {
            database: Arc::clone(database),
            held: Arc::new(held),
            first: None,
            #[cfg(test)]
            is_stopped: false,
        })
    }

    /// The same, once one that was killed is known to be gone.
    pub(super) fn hold_soon(database: &Arc<Blocking>, entropy: &dyn Entropy) -> Result<Self, RegistryError> {
        let began = Instant::now();
        loop {
            match Self::hold(database, entropy) {
                Err(RegistryError::InUse) if began.elapsed() < GONE => std::thread::sleep(LOOK),
                held => return held,
            }
        }
    }

    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }

    #[cfg(test)]
    pub(super) const fn stop_writing(&mut self) {
        self.is_stopped = true;
    }

    /// What there was when it was opened; once, and then what there is.
    pub(super) fn rows(&mut self) -> Result<Vec<Row>, RegistryError> {
        match self.first.take() {
            Some(rows) => Ok(rows),
            None => self.reread(),
        }
    }

    /// What there is.
    pub(super) fn reread(&self) -> Result<Vec<Row>, RegistryError> {
        match self.run_as(Vec::new(), Work::Read)? {
            Done::Rows(rows) => Ok(rows),
            _ => Err(RegistryError::Storage("it gave no rows")),
        }
    }

    /// Makes all these changes or none.
    pub(super) fn apply(&self, entropy: &dyn Entropy, changes: Changes) -> Result<(), RegistryError> {
        #[cfg(test)]
        if self.is_stopped {
            return Err(RegistryError::Storage("it is not writable"));
        }
        self.run(entropy, Work::Change(changes)).map(drop)
    }

    fn run(&self, entropy: &dyn Entropy, work: Work) -> Result<Done, RegistryError> {
        let mut id = vec![0; 16];
        entropy.fill(&mut id);
        self.run_as(id, work)
    }

    fn run_as(&self, id: Vec<u8>, work: Work) -> Result<Done, RegistryError> {
        let (held, term) = (Arc::clone(&self.held), i64::try_from(self.held.term()).unwrap_or(i64::MAX));
        let done = self.database.run(|pool| Task { pool, held, term, id, work }.run())?;
        match done {
            Done::Fenced => Err(RegistryError::StoodDown),
            done => Ok(done),
        }
    }
}

impl Task {
    /// Tries until it is known what came of it, or another process has taken this one's place.
    async fn run(self) -> Result<Done, PgError> {
        let until = Instant::now().checked_add(PATIENCE);
        let mut in_doubt = false;
        loop {
            if *self.held.lost().borrow() {
                return Ok(Done::Fenced);
            }
            match self.attempt().await {
                Ok(Done::Fenced) => {
                    self.held.give_up();
                    return Ok(Done::Fenced);
                }
                Ok(done) => return Ok(done),
                Err(PgError::Unknown) => in_doubt = true,
                Err(error) => {
                    let may_pass = error.is_retryable() || matches!(error, PgError::TimedOut);
                    let is_late = until.is_none_or(|until| Instant::now() >= until);
                    if !in_doubt && (!may_pass || is_late) {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&self) -> Result<Done, PgError> {
        let mut transaction = self.pool.begin(Scope::Service).await?;
        let rows = transaction.query(&TAKE.into(), &[&self.term]).await?;
        let Some(row) = rows.first() else {
            transaction.roll_back().await?;
            return Ok(Done::Fenced);
        };
        let written: Vec<u8> = row.try_get(0)?;
        // An earlier try came through, and only its answer was lost.
        let is_done = !self.id.is_empty() && written == self.id;
        let done = if is_done { Done::Changed } else { self.work(&mut transaction).await? };
        if let Done::NotEmpty = done {
            transaction.roll_back().await?;
            return Ok(done);
        }
        // Even where nothing is left to do: what is there is durable, on the standbys too, when this one is.
        transaction.commit().await?;
        Ok(done)
    }

    async fn work(&self, transaction: &mut Transaction) -> Result<Done, PgError> {
        match &self.work {
            Work::Read => return read(transaction).await.map(Done::Rows),
            Work::Begin { rows, replace } => {
                if *replace {
                    transaction.execute(&EMPTY.into(), &[]).await?;
                } else if !transaction.query(&ANY.into(), &[]).await?.is_empty() {
                    return Ok(Done::NotEmpty);
                }
                put(transaction, rows.iter().map(|(kind, id, body)| (*kind, id, body))).await?;
            }
            Work::Change(changes) => {
                remove(transaction, changes).await?;
                let new = changes.iter().filter_map(|((kind, id), body)| Some((*kind, id, body.as_ref()?)));
                put(transaction, new).await?;
            }
        }
        transaction.execute(&MARK.into(), &[&self.id]).await?;
        Ok(Done::Changed)
    }
}

async fn read(transaction: &mut Transaction) -> Result<Vec<Row>, PgError> {
    let text: Arc<str> = READ.into();
    let mut all: Vec<Row> = Vec::new();
    let mut after: (i16, Vec<u8>) = (i16::MIN, Vec::new());
    loop {
        // Nobody else writes meanwhile: the term's row is locked.
        let rows = transaction.query(&text, &[&after.0, &after.1]).await?;
        let count = rows.len();
        for row in rows {
            all.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
        if count < TOGETHER {
            return Ok(all);
        }
        if let Some((kind, id, _)) = all.last() {
            after = (*kind, id.clone());
        }
    }
}

async fn put<'a>(
    transaction: &mut Transaction,
    rows: impl Iterator<Item = (i16, &'a Vec<u8>, &'a Vec<u8>)>,
) -> Result<(), PgError> {
    let text: Arc<str> = PUT.into();
    let rows: Vec<_> = rows.collect();
    for some in rows.chunks(TOGETHER) {
        let kinds: Vec<i16> = some.iter().map(|(kind, _, _)| *kind).collect();
        let ids: Vec<&[u8]> = some.iter().map(|(_, id, _)| id.as_slice()).collect();
        let bodies: Vec<&[u8]> = some.iter().map(|(_, _, body)| body.as_slice()).collect();
        transaction.execute(&text, &[&kinds, &ids, &bodies]).await?;
    }
    Ok(())
}

async fn remove(transaction: &mut Transaction, changes: &Changes) -> Result<(), PgError> {
    let text: Arc<str> = REMOVE.into();
    let gone: Vec<_> = changes.iter().filter(|(_, body)| body.is_none()).map(|(key, _)| key).collect();
    for some in gone.chunks(TOGETHER) {
        let kinds: Vec<i16> = some.iter().map(|(kind, _)| *kind).collect();
        let ids: Vec<&[u8]> = some.iter().map(|(_, id)| id.as_slice()).collect();
        transaction.execute(&text, &[&kinds, &ids]).await?;
    }
    Ok(())
}

impl Drop for Table {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Table {
    /// Lets go of the lease, so that whoever comes next need not wait for its end.
    pub(super) fn let_go(&self) {
        if *self.held.lost().borrow() {
            return;
        }
        let held = Arc::clone(&self.held);
        let _ = self.database.run(|_| async move {
            // It ends by itself where this takes too long.
            tokio::time::timeout(LET_GO, held.let_go()).await.map_err(|_| PgError::TimedOut)?
        });
    }
}
