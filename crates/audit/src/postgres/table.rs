//! The tables, and what is done with them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_postgres::{Blocking, Done, Migration, PgError, Pool, Row, Scope, Step};
use parking_lot::Mutex;

/// The tables of ledgers. A ledger's name is its service and its instance, and its rows are seen and written by the
/// service's role alone, whoever else has the same tables.
pub const LEDGER: Migration = Migration {
    part: "ledger",
    steps: &["
        CREATE TABLE ledger (name text PRIMARY KEY, epoch bigint NOT NULL, turn bigint NOT NULL);
        CREATE TABLE ledger_part (
            ledger text NOT NULL, file text NOT NULL, start bigint NOT NULL, bytes bytea NOT NULL,
            PRIMARY KEY (ledger, file, start));
        ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
        ALTER TABLE ledger FORCE ROW LEVEL SECURITY;
        ALTER TABLE ledger_part ENABLE ROW LEVEL SECURITY;
        ALTER TABLE ledger_part FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON ledger USING ('countersign_' || split_part(name, '/', 1) = current_user)
            WITH CHECK ('countersign_' || split_part(name, '/', 1) = current_user);
        CREATE POLICY own ON ledger_part USING ('countersign_' || split_part(ledger, '/', 1) = current_user)
            WITH CHECK ('countersign_' || split_part(ledger, '/', 1) = current_user);
        GRANT SELECT, INSERT, UPDATE ON ledger TO
            countersign_gateway, countersign_keys, countersign_store, countersign_authority, countersign_monitor;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ledger_part TO
            countersign_gateway, countersign_keys, countersign_store, countersign_authority, countersign_monitor;
    "],
};

const LEDGERS: &str = "SELECT name FROM ledger ORDER BY name";
const TAKE_OVER: &str = "INSERT INTO ledger AS held (name, epoch, turn) VALUES ($1, 1, 0) \
     ON CONFLICT (name) DO UPDATE SET epoch = held.epoch + 1, turn = 0 RETURNING epoch, turn";
const RENEW: &str = "UPDATE ledger SET turn = turn + 1 WHERE name = $1 AND epoch = $2 RETURNING epoch, turn";
/// Each file's last row, by which it is known how long the file is.
const FILES: &str = "SELECT DISTINCT ON (file) file, start, octet_length(bytes)::bigint FROM ledger_part \
     WHERE ledger = $1 ORDER BY file DESC, start DESC";
const SIZE: &str = "SELECT start, octet_length(bytes)::bigint FROM ledger_part WHERE ledger = $1 AND file = $2 \
     ORDER BY start DESC LIMIT 1";
const ROWS: &str = "SELECT start, bytes FROM ledger_part \
     WHERE ledger = $1 AND file = $2 AND start >= $3 AND start < $4 ORDER BY start";
/// Fails where the ledger was taken over, or the turn before this one is not the last that was taken.
const TURN: &str = "UPDATE ledger SET turn = \
     CASE WHEN epoch = $2::bigint AND turn = $3::bigint - 1 THEN $3::bigint END WHERE name = $1";
const WHOSE: &str = "SELECT epoch, turn FROM ledger WHERE name = $1 FOR UPDATE";
const CUT: &str = "DELETE FROM ledger_part USING unnest($2::text[], $3::bigint[], $4::bigint[]) AS cut (file, first, after) \
     WHERE ledger_part.ledger = $1 AND ledger_part.file = cut.file \
     AND ledger_part.start >= cut.first AND ledger_part.start < cut.after";
const PUT: &str = "INSERT INTO ledger_part (ledger, file, start, bytes) \
     SELECT $1, put.file, put.start, put.bytes FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS put (file, start, bytes) \
     ON CONFLICT (ledger, file, start) DO UPDATE SET bytes = excluded.bytes";
/// `not_null_violation`, which is what [`TURN`] fails with.
const NOT_NULL: &str = "23502";

const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(250);
const NAME_MAX: usize = 255;

/// Rows that are to go and rows that are to be.
#[derive(Debug, Default)]
pub(super) struct Batch {
    cut: (Vec<String>, Vec<i64>, Vec<i64>),
    put: (Vec<String>, Vec<i64>, Vec<Vec<u8>>),
}

impl Batch {
    pub(super) fn cut(&mut self, file: &str, first: u64, after: u64) {
        self.cut.0.push(file.to_owned());
        self.cut.1.push(place(first));
        self.cut.2.push(place(after));
    }

    pub(super) fn put(&mut self, file: &str, start: u64, bytes: &[u8]) {
        self.put.0.push(file.to_owned());
        self.put.1.push(place(start));
        self.put.2.push(bytes.to_vec());
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.cut.0.is_empty() && self.put.0.is_empty()
    }
}

fn place(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

fn number(row: &Row, column: usize) -> Result<u64, PgError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| PgError::Damaged)
}

/// Whose turn it is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which opening of the ledger.
    pub(super) epoch: u64,
    /// Which transaction of it.
    pub(super) turn: u64,
}

/// A file's name, and how long it is.
pub(super) type FileSize = (String, u64);

/// Why a turn was not taken.
pub(super) enum NotTaken {
    /// The ledger was taken over.
    Fenced,
    /// The database.
    Failed(PgError),
}

impl From<PgError> for NotTaken {
    fn from(error: PgError) -> Self {
        Self::Failed(error)
    }
}

/// One ledger in the database.
pub(super) struct Table {
    database: Arc<Blocking>,
    ledger: Arc<str>,
    /// How long a database that fails over is waited for, from its first failure on. After that whoever asks is refused at
    /// once, until it is back.
    patience: Duration,
    /// Since when nothing could be read, and nothing written.
    reads: Outage,
    writes: Outage,
}

/// Since when the database has not done what it was asked for.
#[derive(Default)]
struct Outage(Mutex<Option<Instant>>);

impl Outage {
    fn begin(&self, ledger: &str, error: &PgError) -> Instant {
        let mut began = self.0.lock();
        *began.get_or_insert_with(|| {
            tracing::warn!(ledger, %error, "waiting for the database that has the audit ledger");
            Instant::now()
        })
    }
}

impl Table {
    /// The ledger `SERVICE/INSTANCE`.
    pub(super) fn new(database: Arc<Blocking>, ledger: &str, patience: Duration) -> Result<Self, PgError> {
        let is_name = ledger.len() <= NAME_MAX && ledger.bytes().all(|byte| byte.is_ascii_graphic());
        let parts = ledger.split_once('/');
        if !is_name || parts.is_none_or(|(service, instance)| service.is_empty() || instance.is_empty()) {
            return Err(PgError::Settings);
        }
        let (reads, writes) = (Outage::default(), Outage::default());
        Ok(Self { database, ledger: ledger.into(), patience, reads, writes })
    }

    pub(super) fn ledger(&self) -> &str {
        &self.ledger
    }

    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes the ledger over, and gives its files.
    pub(super) fn take_over(&self) -> Result<(Turn, Vec<FileSize>), PgError> {
        self.begin(|ledger| step(TAKE_OVER, [boxed(ledger)]))?.ok_or(PgError::Damaged)
    }

    /// Takes a turn that nothing has which was sent before and may still be on its way, and gives the files. `None` if the
    /// ledger was taken over.
    pub(super) fn renew(&self, epoch: u64) -> Result<Option<(Turn, Vec<FileSize>)>, PgError> {
        self.begin(move |ledger| step(RENEW, [boxed(ledger), boxed(place(epoch))]))
    }

    fn begin(
        &self,
        first: impl Fn(String) -> Step<'static> + Send + Sync + 'static,
    ) -> Result<Option<(Turn, Vec<FileSize>)>, PgError> {
        let first = Arc::new(first);
        let done = self.patiently(&self.writes, || {
            let (first, ledger) = (Arc::clone(&first), self.ledger.to_string());
            move |pool: Arc<Pool>| async move {
                let steps = [first(ledger.clone()), step(FILES, [boxed(ledger)])];
                pool.begin(Scope::Service).await?.at_once(&steps).await
            }
        })?;
        let [held, files] = done.as_slice() else { return Err(PgError::Damaged) };
        let Some(row) = held.rows.first() else { return Ok(None) };
        let turn = Turn { epoch: number(row, 0)?, turn: number(row, 1)? };
        let files = files.rows.iter().map(|row| {
            let size = number(row, 1)?.checked_add(number(row, 2)?).ok_or(PgError::Damaged)?;
            Ok((row.try_get(0)?, size))
        });
        Ok(Some((turn, files.collect::<Result<_, PgError>>()?)))
    }

    /// The names and lengths of all files.
    pub(super) fn files(&self) -> Result<Vec<FileSize>, PgError> {
        let rows = self.read(FILES, Vec::new)?;
        let file = |row: &Row| {
            let size = number(row, 1)?.checked_add(number(row, 2)?).ok_or(PgError::Damaged)?;
            Ok((row.try_get(0)?, size))
        };
        rows.iter().map(file).collect()
    }

    /// How long a file is; `None` if there is none of that name.
    pub(super) fn size(&self, file: &str) -> Result<Option<u64>, PgError> {
        let rows = self.read(SIZE, || vec![boxed(file.to_owned())])?;
        let size = |row: &Row| number(row, 0)?.checked_add(number(row, 1)?).ok_or(PgError::Damaged);
        rows.first().map(size).transpose()
    }

    /// A file's rows that begin from `first` on and before `after`.
    pub(super) fn rows(&self, file: &str, first: u64, after: u64) -> Result<Vec<(u64, Vec<u8>)>, PgError> {
        let params = || vec![boxed(file.to_owned()), boxed(place(first)), boxed(place(after))];
        let rows = self.read(ROWS, params)?;
        rows.iter().map(|row| Ok((number(row, 0)?, row.try_get(1)?))).collect()
    }

    fn read(&self, text: &str, params: impl Fn() -> Vec<Param>) -> Result<Vec<Row>, PgError> {
        self.patiently(&self.reads, || {
            let (text, ledger, more): (Arc<str>, _, _) = (text.into(), self.ledger.to_string(), params());
            move |pool: Arc<Pool>| async move {
                let mut params: Vec<&(dyn countersign_postgres::ToSql + Sync)> = vec![&ledger];
                params.extend(more.iter().map(|one| &**one as &(dyn countersign_postgres::ToSql + Sync)));
                pool.begin(Scope::Service).await?.read(&text, &params).await
            }
        })
    }

    /// Makes the batch durable, as this turn. Whether it was made is known, whatever happens to the connection: no other
    /// batch is ever sent as this turn.
    pub(super) fn take(&self, turn: Turn, batch: &Arc<Batch>) -> Result<(), NotTaken> {
        let mut sent = false;
        let done = self.patiently(&self.writes, || {
            let (ledger, batch) = (self.ledger.to_string(), Arc::clone(batch));
            let was_sent = std::mem::replace(&mut sent, true);
            move |pool: Arc<Pool>| async move {
                match attempt(&pool, &ledger, turn, &batch).await {
                    Err(PgError::Refused { state }) if state == NOT_NULL => {
                        Ok(Err(whose(&pool, &ledger).await?.map(|held| (held, was_sent))))
                    }
                    Err(error) => Err(error),
                    Ok(done) => Ok(Ok(done)),
                }
            }
        })?;
        match done {
            Ok(done) if done.first().is_some_and(|done| done.touched == 1) => Ok(()),
            // It was made the first time, and that is durable now: what came after it is.
            Err(Some((held, true))) if held == turn => Ok(()),
            Err(Some((held, _))) if held.epoch == turn.epoch => Err(PgError::Damaged.into()),
            Ok(_) | Err(_) => Err(NotTaken::Fenced),
        }
    }

    /// Does something until it is done, or the database has been away for too long.
    fn patiently<T, W, F>(&self, outage: &Outage, mut work: impl FnMut() -> W) -> Result<T, PgError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Pool>) -> F,
        F: Future<Output = Result<T, PgError>> + Send + 'static,
    {
        let mut pause = PAUSE;
        loop {
            let error = match self.database.run(work()) {
                Ok(done) => {
                    if let Some(began) = outage.0.lock().take() {
                        let waited_ms = began.elapsed().as_millis();
                        tracing::info!(ledger = self.ledger(), waited_ms, "the database has the audit ledger again");
                    }
                    return Ok(done);
                }
                Err(error) => error,
            };
            let passes = error.is_retryable() || matches!(error, PgError::Unknown | PgError::TimedOut);
            if !passes || outage.begin(&self.ledger, &error).elapsed() >= self.patience {
                return Err(error);
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }
}

type Param = Box<dyn countersign_postgres::ToSql + Sync + Send>;

fn boxed(value: impl countersign_postgres::ToSql + Sync + Send + 'static) -> Param {
    Box::new(value)
}

fn step<const N: usize>(text: &str, params: [Param; N]) -> Step<'static> {
    Step { text: text.into(), params: params.into() }
}

async fn attempt(pool: &Arc<Pool>, ledger: &str, turn: Turn, batch: &Batch) -> Result<Vec<Done>, PgError> {
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(3);
    let params: Vec<Box<dyn countersign_postgres::ToSql + Sync + Send + '_>> =
        vec![Box::new(ledger), Box::new(place(turn.epoch)), Box::new(place(turn.turn))];
    steps.push(Step { text: TURN.into(), params });
    let (files, first, after) = &batch.cut;
    if !files.is_empty() {
        let params: Vec<Box<dyn countersign_postgres::ToSql + Sync + Send + '_>> =
            vec![Box::new(ledger), Box::new(files), Box::new(first), Box::new(after)];
        steps.push(Step { text: CUT.into(), params });
    }
    let (files, starts, bytes) = &batch.put;
    if !files.is_empty() {
        let params: Vec<Box<dyn countersign_postgres::ToSql + Sync + Send + '_>> =
            vec![Box::new(ledger), Box::new(files), Box::new(starts), Box::new(bytes)];
        steps.push(Step { text: PUT.into(), params });
    }
    pool.begin(Scope::Service).await?.at_once(&steps).await
}

/// Who has the ledger. The row is locked and that is committed, so the standbys have what is seen.
async fn whose(pool: &Arc<Pool>, ledger: &str) -> Result<Option<Turn>, PgError> {
    let done = pool.begin(Scope::Service).await?.at_once(&[step(WHOSE, [boxed(ledger.to_owned())])]).await?;
    let Some(row) = done.first().and_then(|done| done.rows.first()) else { return Ok(None) };
    Ok(Some(Turn { epoch: number(row, 0)?, turn: number(row, 1)? }))
}

/// The names of all ledgers that this role sees.
pub(super) fn ledgers(database: &Blocking) -> Result<Vec<String>, PgError> {
    let rows =
        database.run(|pool| async move { pool.begin(Scope::Service).await?.read(&LEDGERS.into(), &[]).await })?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// What a storage says that can't do what the database can't.
pub(super) fn io_error(error: PgError) -> io::Error {
    let kind = match error {
        PgError::Unreachable | PgError::Lost | PgError::Unknown => io::ErrorKind::NotConnected,
        PgError::TimedOut | PgError::Contention => io::ErrorKind::TimedOut,
        PgError::Full => io::ErrorKind::StorageFull,
        PgError::Forbidden => io::ErrorKind::PermissionDenied,
        PgError::Damaged => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
