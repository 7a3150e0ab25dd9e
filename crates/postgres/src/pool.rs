//! Connections that are kept.
//!
//! INVARIANT proven-primary: nobody is given a connection whose server has not had a commit confirmed by its synchronous
//! standbys within the last [`Settings::proof_max`], *on that very connection*. A server that was cut off, or stopped and
//! goes on, can't do that, wherever its address leads to; so it answers nothing from the past.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::connect::Connected;
use crate::error::PgError;
use crate::lease::Seen;
use crate::pace::Pace;
use crate::settings::{Identity, Settings};
use crate::transaction::{Kind, Scope, Transaction};

/// Connections of one role to one database. Cheap to share behind an [`Arc`].
pub struct Pool {
    pub(crate) settings: Settings,
    identity: Identity,
    idle: Mutex<Vec<Connected>>,
    places: Arc<Semaphore>,
    /// Moves on when the servers may have changed their roles; connections of an earlier era are not used again.
    era: watch::Sender<u64>,
    /// The server that took writes last, by its place in the settings.
    server: AtomicUsize,
    /// Leases that other processes hold.
    pub(crate) leases: Mutex<HashMap<String, Seen>>,
}

impl Pool {
    /// A pool without connections: they are made when they are needed.
    #[must_use]
    pub fn new(settings: Settings, identity: Identity) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(settings.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let (era, server) = (watch::Sender::new(0), AtomicUsize::new(0));
        Arc::new(Self { settings, identity, idle: Mutex::default(), places, era, server, leases: Mutex::default() })
    }

    /// A transaction that sees what `scope` may. Nothing is sent before its first statement.
    ///
    /// # Errors
    /// [`PgError::Unreachable`], [`PgError::Forbidden`]; [`PgError::TimedOut`] if all connections are in use for longer than
    /// [`Settings::wait_max`].
    pub async fn begin(self: &Arc<Self>, scope: Scope) -> Result<Transaction, PgError> {
        let lent = self.lend().await?;
        Ok(Transaction::new(lent, scope, Kind::Usual))
    }

    /// A transaction that only reads, and sees everything as it was at its first statement, for as long as it takes. What it
    /// reads was true when it began, of a server that had just proved to be the primary.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_snapshot(self: &Arc<Self>, scope: Scope) -> Result<Transaction, PgError> {
        Ok(Transaction::new(self.lend().await?, scope, Kind::Snapshot))
    }

    /// As [`Self::begin`], for one that is filled bit by bit and may be idle in between.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_lasting(self: &Arc<Self>, scope: Scope) -> Result<Transaction, PgError> {
        Ok(Transaction::new(self.lend().await?, scope, Kind::Lasting))
    }

    /// A connection that nobody else uses, to a server that has proved to be the primary.
    pub(crate) async fn lend(self: &Arc<Self>) -> Result<Lent, PgError> {
        let place = timeout(self.settings.wait_max, Arc::clone(&self.places).acquire_owned());
        let mut place = Some(place.await.map_err(|_| PgError::TimedOut)?.map_err(|_| PgError::Unreachable)?);
        loop {
            let found = self.found();
            let fresh = found.is_none();
            let connection = match found {
                Some(connection) => connection,
                None => self.open().await?,
            };
            place.take().into_iter().for_each(|place| connection.take(place));
            let mut lent = Lent { connection, pool: Arc::clone(self) };
            if lent.connection.is_proven(self.settings.proof_max) {
                return Ok(lent);
            }
            match lent.prove().await {
                // It had broken while nobody used it.
                Err(PgError::Lost) if !fresh => place = lent.connection.release(),
                Err(PgError::Lost) => return Err(PgError::Unreachable),
                proven => return proven.map(|()| lent),
            }
            if place.is_none() {
                return Err(PgError::Unreachable);
            }
        }
    }

    fn era(&self) -> u64 {
        *self.era.borrow()
    }

    /// The connection that was used last. Those that can't be used any more are closed.
    fn found(&self) -> Option<Connected> {
        let era = self.era();
        let mut idle = self.idle.lock();
        std::iter::from_fn(|| idle.pop()).find(|connection| connection.is_usable(era))
    }

    async fn open(&self) -> Result<Connected, PgError> {
        let first = self.server.load(Ordering::Relaxed);
        let (connection, place) = Connected::open(&self.settings, &self.identity, self.era.subscribe(), first).await?;
        self.server.store(place, Ordering::Relaxed);
        Ok(connection)
    }

    /// Runs statements outside a transaction, each by itself, on a connection of its own, without a limit of time at the
    /// server: what builds an index while others write.
    ///
    /// # Errors
    /// What the database may meet. Those before the one that failed are done, and that one may be.
    pub async fn alone(&self, statements: &[String]) -> Result<(), PgError> {
        let connection = self.open().await?;
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
        let mut pace = self.pace();
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
        self.era.send_modify(|era| *era = era.wrapping_add(1));
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
        if !self.connection.is_usable(self.pool.era()) {
            return;
        }
        // Done now, so that nobody has to wait for it who comes later.
        let proven = self.connection.is_proven(self.pool.settings.proof_max.div_f64(2.0));
        match Handle::try_current() {
            Ok(runtime) if self.connection.is_old() || !proven => drop(runtime.spawn(self.refresh())),
            _ => self.keep(),
        }
    }

    fn keep(self) {
        let Self { connection, pool } = self;
        if connection.is_usable(pool.era()) {
            // Before it can be found by whoever has the place next.
            let mut idle = pool.idle.lock();
            connection.release();
            idle.push(connection);
        }
    }

    /// Makes a new connection before the old one goes, or has the server prove itself again.
    async fn refresh(mut self) {
        if self.connection.is_old() {
            // It goes in any case.
            let _ = timeout(self.pool.settings.proof_max, self.connection.purge()).await;
            match self.pool.open().await {
                Ok(new) => {
                    self.connection.release().into_iter().for_each(|place| new.take(place));
                    self.connection = new;
                }
                Err(_) => self.connection.keep(),
            }
        }
        if self.prove().await.is_ok() {
            self.keep();
        }
    }

    /// Has the server prove that it is the primary. One that doesn't is not believed on any connection.
    async fn prove(&mut self) -> Result<(), PgError> {
        let limit = self.pool.settings.proof_max;
        let proven = timeout(limit, self.connection.prove()).await.unwrap_or(Err(PgError::Unreachable));
        match proven {
            Ok(()) | Err(PgError::Lost | PgError::Refused { .. } | PgError::Forbidden) => proven,
            Err(_) => {
                self.pool.renew();
                Err(PgError::Unreachable)
            }
        }
    }
}
