//! Connections that are kept.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::connect::Connected;
use crate::error::PgError;
use crate::pace::Pace;
use crate::settings::{Identity, Settings};
use crate::transaction::{Scope, Transaction};

/// Connections of one role to one database. Cheap to share behind an [`Arc`].
pub struct Pool {
    pub(crate) settings: Settings,
    identity: Identity,
    idle: Mutex<Vec<Connected>>,
    places: Arc<Semaphore>,
    /// Moves on when the servers may have changed their roles; connections of an earlier era are not used again.
    era: AtomicU64,
}

impl Pool {
    /// A pool without connections: they are made when they are needed.
    #[must_use]
    pub fn new(settings: Settings, identity: Identity) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(settings.connections.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { settings, identity, idle: Mutex::default(), places, era: AtomicU64::new(0) })
    }

    /// A transaction that sees what `scope` may. Nothing is sent before its first statement.
    ///
    /// # Errors
    /// [`PgError::Unreachable`], [`PgError::Forbidden`].
    pub async fn begin(self: &Arc<Self>, scope: Scope) -> Result<Transaction, PgError> {
        let lent = self.lend().await?;
        Ok(Transaction::new(lent, scope))
    }

    /// A connection that nobody else uses.
    pub(crate) async fn lend(self: &Arc<Self>) -> Result<Lent, PgError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| PgError::Unreachable)?;
        let era = self.era.load(Ordering::Acquire);
        let found = {
            let mut idle = self.idle.lock();
            std::iter::from_fn(|| idle.pop()).find(|connection| connection.is_usable(era))
        };
        let connection = match found {
            Some(connection) => connection,
            None => Connected::open(&self.settings, &self.identity, era).await?,
        };
        connection.take(place);
        Ok(Lent { connection, pool: Arc::clone(self) })
    }

    /// Runs statements outside a transaction, each by itself, on a connection of its own, without a limit of time at the
    /// server: what builds an index while others write.
    ///
    /// # Errors
    /// What the database may meet. Those before the one that failed are done.
    pub async fn alone(&self, statements: &[String]) -> Result<(), PgError> {
        let era = self.era.load(Ordering::Acquire);
        let connection = Connected::open(&self.settings, &self.identity, era).await?;
        connection.client.batch_execute("SET statement_timeout = 0").await?;
        for statement in statements {
            connection.client.batch_execute(statement).await?;
        }
        Ok(())
    }

    /// Does `work` again while nothing was done because of a server that is away or others that were at the same, until
    /// [`Settings::patience`] is over.
    ///
    /// # Errors
    /// What the last try gave.
    pub async fn patiently<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, PgError>
    where
        F: Future<Output = Result<T, PgError>>,
    {
        let mut pace = Pace::new(self.settings.patience);
        loop {
            match work().await {
                Err(error) if error.is_retryable() && pace.wait().await => {}
                done => return done,
            }
        }
    }

    /// How long to try again what can be tried again.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace::new(self.settings.patience)
    }

    /// Trusts no connection any more that was made until now.
    pub fn renew(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        self.idle.lock().clear();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A connection in use. Dropped, it is closed; [`Self::give_back`] keeps it.
pub(crate) struct Lent {
    pub(crate) connection: Connected,
    pub(crate) pool: Arc<Pool>,
}

impl Lent {
    /// Only after the server has said that no transaction is open.
    pub(crate) fn give_back(self) {
        let Self { connection, pool } = self;
        if connection.is_usable(pool.era.load(Ordering::Acquire)) {
            // Before it can be found by whoever has the place next.
            let mut idle = pool.idle.lock();
            connection.release();
            idle.push(connection);
        }
    }
}
