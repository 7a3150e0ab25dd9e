//! Being the only one: a lease on a name, in the database.
//!
//! Whoever holds it renews it well before it ends, and stops by its own clock before anybody else can have it. Each
//! holder has a term, which only grows; what is written under an older term is refused by whoever checks it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::PgError;
use crate::pool::Pool;
use crate::transaction::Scope;

/// A name that one process at a time may hold.
pub struct Lease {
    pool: Arc<Pool>,
    name: String,
    holder: u128,
    life: Duration,
}

/// A lease as it was had or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// Grows with every holder.
    pub term: u64,
    /// Until when its holder may act on it, by this process's own clock.
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
    /// [`PgError::InUse`] if another process holds it; what the database may meet.
    pub async fn hold(&self) -> Result<Leased, PgError> {
        // Before it is asked, so that the server's time ends no earlier than ours.
        let asked = Instant::now();
        let text: Arc<str> = "INSERT INTO lease AS held (name, holder, term, until) \
             VALUES ($1, $2::text::uuid, 1, clock_timestamp() + make_interval(secs => $3)) \
             ON CONFLICT (name) DO UPDATE SET \
                 term = CASE WHEN held.holder = excluded.holder THEN held.term ELSE held.term + 1 END, \
                 holder = excluded.holder, until = excluded.until \
             WHERE held.holder = excluded.holder OR held.until < clock_timestamp() \
             RETURNING term"
            .into();
        let holder = format!("{:032x}", self.holder);
        let seconds = self.life.as_secs_f64();
        let mut transaction = self.pool.begin(Scope::Service).await?;
        let rows = transaction.query(&text, &[&self.name, &holder, &seconds]).await?;
        let Some(row) = rows.first() else {
            transaction.roll_back().await?;
            return Err(PgError::InUse);
        };
        let term: i64 = row.try_get(0)?;
        transaction.commit().await?;
        let term = u64::try_from(term).map_err(|_| PgError::Damaged)?;
        Ok(Leased { term, until: asked.checked_add(self.life).unwrap_or(asked) })
    }

    /// Lets it go, so that another need not wait for its end.
    ///
    /// # Errors
    /// What the database may meet; it ends by itself then.
    pub async fn let_go(&self) -> Result<(), PgError> {
        let text: Arc<str> =
            "UPDATE lease SET until = clock_timestamp() WHERE name = $1 AND holder = $2::text::uuid".into();
        let holder = format!("{:032x}", self.holder);
        let mut transaction = self.pool.begin(Scope::Service).await?;
        transaction.execute(&text, &[&self.name, &holder]).await?;
        transaction.commit().await.map(drop)
    }
}
