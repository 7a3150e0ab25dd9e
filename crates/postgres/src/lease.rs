//! Being the only one: a lease on a name, in the database.
//!
//! Whoever holds it renews it well before it ends, and stops by its own clock before anybody else can have it. Each
//! holder has a term, which only grows; what is written under an older term is refused by whoever checks it.
//!
//! No two clocks are compared. Whoever wants a lease that another holds watches its row, and may take it when that has
//! not changed for the lease's life by his own clock, or was let go. A holder renews long before, and uses only four fifths
//! of its life. So it takes a lease's life until one is taken that a process left behind which was killed; who has watched
//! it already, as a standby does, has waited already.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::PgError;
use crate::pool::Pool;
use crate::transaction::{Scope, Transaction};

/// Of a lease's life, how much its holder does not use.
const UNUSED_PART: u32 = 5;

/// A name that one process at a time may hold.
pub struct Lease {
    pool: Arc<Pool>,
    name: String,
    holder: u128,
    life: Duration,
}

/// A lease of another process, as its row was seen, and since when it is seen so.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    term: i64,
    until: String,
    since: Instant,
}

/// A lease as it was had or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// Grows with every holder.
    pub term: u64,
    /// Until when its holder may act on it, by this process's own clock: earlier than it ends in the database.
    pub until: Instant,
}

impl Lease {
    /// The lease `name`, for the process that `holder` (random) stands for. It lasts for `life` from each renewal.
    #[must_use]
    pub const fn new(pool: Arc<Pool>, name: String, holder: u128, life: Duration) -> Self {
        Self { pool, name, holder, life }
    }

    /// Takes or renews it.
    ///
    /// # Errors
    /// [`PgError::InUse`] if another process holds it, or held it and has not been watched for long enough to know that it
    /// does no more: to be asked again, of a lease on the same pool. What the database may meet.
    pub async fn hold(&self) -> Result<Leased, PgError> {
        // Before it is asked, so that whoever watches begins later.
        let asked = Instant::now();
        let text: Arc<str> = "INSERT INTO lease AS held (name, holder, term, until) \
             VALUES ($1, $2::text::uuid, 1, clock_timestamp() + make_interval(secs => $3)) \
             ON CONFLICT (name) DO UPDATE SET \
                 term = CASE WHEN held.holder = excluded.holder THEN held.term ELSE held.term + 1 END, \
                 holder = excluded.holder, until = excluded.until \
             WHERE held.holder = excluded.holder OR held.until = '-infinity' \
                 OR (held.term = $4 AND held.until::text = $5::text) \
             RETURNING term"
            .into();
        let holder = format!("{:032x}", self.holder);
        let seconds = self.life.as_secs_f64();
        let over = self.pool.leases.lock().get(&self.name).filter(|seen| seen.since.elapsed() >= self.life).cloned();
        // No lease has this term.
        let Seen { term, until, .. } = over.unwrap_or_else(|| Seen { term: -1, until: String::new(), since: asked });
        let mut transaction = self.pool.begin(Scope::Service).await?;
        let rows = transaction.query(&text, &[&self.name, &holder, &seconds, &term, &until]).await?;
        let Some(row) = rows.first() else {
            let seen = self.look(&mut transaction).await;
            transaction.roll_back().await?;
            return seen.and(Err(PgError::InUse));
        };
        let term: i64 = row.try_get(0)?;
        transaction.commit().await?;
        let term = u64::try_from(term).map_err(|_| PgError::Damaged)?;
        let used = self.life.saturating_sub(self.life.checked_div(UNUSED_PART).unwrap_or_default());
        Ok(Leased { term, until: asked.checked_add(used).unwrap_or(asked) })
    }

    /// Looks at what another process holds, and since when it is seen so.
    async fn look(&self, transaction: &mut Transaction) -> Result<(), PgError> {
        let text: Arc<str> = "SELECT term, until::text FROM lease WHERE name = $1".into();
        let rows = transaction.query(&text, &[&self.name]).await?;
        let row = rows.first().ok_or(PgError::Contention)?;
        let seen = Seen { term: row.try_get(0)?, until: row.try_get(1)?, since: Instant::now() };
        let mut leases = self.pool.leases.lock();
        let known = leases.entry(self.name.clone()).or_insert_with(|| seen.clone());
        if known.term != seen.term || known.until != seen.until {
            *known = seen;
        }
        Ok(())
    }

    /// Takes it and renews it every `every`, which is to be a fraction of its life, until what comes back is dropped.
    /// Runs on the runtime that it is called in.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub async fn keep(self, every: Duration) -> Result<Held, PgError> {
        let Leased { term, until } = self.hold().await?;
        let shared = Arc::new(Shared { lease: self, term, until: Mutex::new(until), lost: watch::Sender::new(false) });
        let renewing = tokio::spawn(Arc::clone(&shared).renew(every)).abort_handle();
        Ok(Held { shared, renewing })
    }

    /// Lets it go, so that another need not wait for its end.
    ///
    /// # Errors
    /// What the database may meet; it ends by itself then.
    pub async fn let_go(&self) -> Result<(), PgError> {
        let text: Arc<str> = "UPDATE lease SET until = '-infinity' WHERE name = $1 AND holder = $2::text::uuid".into();
        let holder = format!("{:032x}", self.holder);
        let mut transaction = self.pool.begin(Scope::Service).await?;
        transaction.execute(&text, &[&self.name, &holder]).await?;
        transaction.commit().await.map(drop)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A lease that is held, and renewed until this is dropped. Dropped, it ends by itself; [`Self::let_go`] ends it at once.
pub struct Held {
    shared: Arc<Shared>,
    renewing: AbortHandle,
}

struct Shared {
    lease: Lease,
    term: u64,
    until: Mutex<Instant>,
    lost: watch::Sender<bool>,
}

impl Shared {
    async fn renew(self: Arc<Self>, every: Duration) {
        // One try that hangs must not be the last before the end.
        let patience = self.lease.life.checked_div(4).unwrap_or(every);
        let mut pause = every;
        loop {
            tokio::time::sleep(pause).await;
            match tokio::time::timeout(patience, self.lease.hold()).await {
                // Nobody else held it meanwhile, however long ago it ended: the term would be another.
                Ok(Ok(leased)) if leased.term == self.term => {
                    *self.until.lock() = leased.until;
                    pause = every;
                }
                Ok(Ok(_)) => {
                    self.lost.send_replace(true);
                    // It is had under a term that nobody here acts under.
                    let _ = self.lease.let_go().await;
                    return;
                }
                Ok(Err(PgError::InUse)) => {
                    self.lost.send_replace(true);
                    return;
                }
                Ok(Err(_)) | Err(_) => pause = every.checked_div(4).unwrap_or(every),
            }
        }
    }
}

impl Held {
    /// The term under which it is held.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.shared.term
    }

    /// Whether its holder may act on it at this moment, by this process's own clock. Where it could not be renewed in
    /// time this is `false`, and `true` again when it could be after all and nobody else held it meanwhile.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !*self.shared.lost.borrow() && Instant::now() < *self.shared.until.lock()
    }

    /// Becomes `true` when another process has it, or had it: it does not come back.
    #[must_use]
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.shared.lost.subscribe()
    }

    /// Takes note that another process has it, of which the holder has learned by other means.
    pub fn give_up(&self) {
        self.shared.lost.send_replace(true);
    }

    /// Ends it, so that another need not wait.
    ///
    /// # Errors
    /// As [`Lease::let_go`].
    pub async fn let_go(&self) -> Result<(), PgError> {
        self.renewing.abort();
        self.shared.lost.send_replace(true);
        self.shared.lease.let_go().await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("lease", &self.shared.lease)
            .field("term", &self.shared.term)
            .finish_non_exhaustive()
    }
}
