//! One connection.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_crypto::tls::{TlsConnector, postgres_client_config};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket, Statement};

use crate::error::{NO_TABLE, PgError};
use crate::settings::{Identity, SCHEMA, Settings};
use crate::tls::{Encrypted, Tls};

/// After this a connection is replaced by a new one when nobody uses it. Its certificate is an hour old at most when it is
/// made.
const LIFE: Duration = Duration::from_secs(12 * 60);
/// After this nobody is given it any more.
const LIFE_MAX: Duration = Duration::from_secs(15 * 60);
/// After this it is closed, whatever it does.
const LIFE_END: Duration = Duration::from_secs(30 * 60);
/// How long to wait with the next attempt to replace it.
const AGAIN: Duration = Duration::from_secs(10);
/// Prepared statements of one connection. The server keeps a plan of each, about 20 KB.
const STATEMENTS_MAX: usize = 512;

/// The warning with which a server says that it committed without its standbys.
const WARNING: &str = "01000";

/// A commit that changes as little as a commit can. Rows are not shared, so that nobody waits for anybody.
const PROOF: &str = "INSERT INTO proof (name, at) VALUES (current_user || '/' || pg_backend_pid()::text, now()) \
     ON CONFLICT (name) DO UPDATE SET at = excluded.at";
/// Rows of connections that are no more.
const PURGE: &str = "DELETE FROM proof WHERE name IN (SELECT name FROM proof WHERE at < now() - interval '1 hour' \
     ORDER BY name LIMIT 100 FOR UPDATE SKIP LOCKED)";

/// An open connection.
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// Prepared statements by their text.
    statements: HashMap<Arc<str>, Statement>,
    /// When it is to be replaced.
    replace: Instant,
    until: Instant,
    /// Of which era of the pool it is.
    era: u64,
    /// When the last commit was asked for that its server's standbys confirmed.
    proven: Option<Instant>,
    /// It must not be used again.
    spoiled: bool,
    /// Whether the server has said that a commit was not confirmed by its standbys.
    warned: Arc<AtomicBool>,
    seat: Seat,
    _alive: oneshot::Sender<()>,
}

/// A connection's place in its pool while it is used. Its driver has it too: whoever hangs up in the middle of a query
/// leaves the place taken until the server is done, so that a server never has more connections than the pool places.
type Seat = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Connected {
    /// Connects to the first server that takes writes, beginning with the one at place `first` of the settings. Gives the
    /// place too.
    pub(crate) async fn open(
        settings: &Settings,
        identity: &Identity,
        era: watch::Receiver<u64>,
        first: usize,
    ) -> Result<(Self, usize), PgError> {
        let tls = postgres_client_config(&settings.server_ca_pem, &identity.slot).map_err(|_| PgError::Settings)?;
        let tls = Tls(TlsConnector::from(tls));
        let mut why = PgError::Unreachable;
        let places = settings.hosts.iter().enumerate();
        for (place, (host, port)) in places.clone().skip(first).chain(places.take(first)) {
            let mut config = config(settings, identity);
            config.host(host).port(*port);
            // Not only the first packet: a server that is stopped still has its machine accept connections.
            match timeout(settings.connect_timeout, config.connect(tls.clone())).await {
                Ok(Ok((client, connection))) => return Ok((Self::new(settings, client, connection, era), place)),
                Ok(Err(error)) => {
                    if PgError::from(error) == PgError::Forbidden {
                        why = PgError::Forbidden;
                    }
                }
                Err(_) => {}
            }
        }
        Err(why)
    }

    fn new(
        settings: &Settings,
        client: Client,
        connection: Connection<Socket, Encrypted>,
        era: watch::Receiver<u64>,
    ) -> Self {
        let warned = Arc::new(AtomicBool::new(false));
        let seat = Seat::default();
        let (alive, given_up) = oneshot::channel();
        let ending = Ending { given_up, patience: settings.statement_timeout, era: era.clone() };
        tokio::spawn(end(drive(connection, Arc::clone(&warned)), ending, Arc::clone(&seat)));
        let now = Instant::now();
        Self {
            client,
            statements: HashMap::new(),
            replace: after(now, LIFE),
            until: after(now, LIFE_MAX),
            era: *era.borrow(),
            proven: None,
            spoiled: false,
            warned,
            seat,
            _alive: alive,
        }
    }

    /// It is used, by whoever has this place.
    pub(crate) fn take(&self, place: OwnedSemaphorePermit) {
        *self.seat.lock() = Some(place);
    }

    /// It is used no more, and may be by another.
    pub(crate) fn release(&self) -> Option<OwnedSemaphorePermit> {
        self.seat.lock().take()
    }

    /// The prepared statement of this text.
    pub(crate) async fn statement(&mut self, text: &Arc<str>) -> Result<Statement, PgError> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let made = self.client.prepare(text).await?;
        if self.statements.len() >= STATEMENTS_MAX {
            // Whichever: it is prepared again when it is wanted.
            let other = self.statements.keys().next().cloned();
            other.and_then(|other| self.statements.remove(&other));
        }
        self.statements.insert(Arc::clone(text), made.clone());
        Ok(made)
    }

    pub(crate) fn is_usable(&self, era: u64) -> bool {
        self.era == era && !self.spoiled && !self.client.is_closed() && Instant::now() < self.until
    }

    /// Nobody uses it again.
    pub(crate) const fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Whether its server has proved within `age` that it is the primary.
    pub(crate) fn is_proven(&self, age: Duration) -> bool {
        self.proven.is_some_and(|proven| proven.elapsed() <= age)
    }

    /// A commit that changed something was confirmed, and asked for at `asked`.
    pub(crate) fn note_proof(&mut self, asked: Instant) {
        self.proven = self.proven.max(Some(asked));
    }

    /// Has the server prove that it is the primary: a commit that its standbys confirm. There is nothing to prove where
    /// there are no tables yet.
    pub(crate) async fn prove(&mut self) -> Result<(), PgError> {
        let asked = Instant::now();
        self.take_warning();
        let made = match self.statement(&PROOF.into()).await {
            Ok(statement) => self.client.execute(&statement, &[]).await.map(drop).map_err(PgError::from),
            Err(error) => Err(error),
        };
        match made {
            Err(PgError::Refused { state }) if state == NO_TABLE => {}
            Err(error) => return Err(error),
            Ok(()) if self.take_warning() => return Err(PgError::Unreachable),
            Ok(()) => {}
        }
        self.note_proof(asked);
        Ok(())
    }

    /// Whether it is time for another connection in its place.
    pub(crate) fn is_old(&self) -> bool {
        Instant::now() >= self.replace
    }

    /// It could not be replaced now.
    pub(crate) fn keep(&mut self) {
        self.replace = after(Instant::now(), AGAIN);
    }

    /// Removes the proofs of connections that are no more. That it fails is no harm.
    pub(crate) async fn purge(&self) {
        let _ = self.client.batch_execute(PURGE).await;
    }

    /// Whether the server committed without its standbys since this was last asked.
    pub(crate) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }
}

fn config(settings: &Settings, identity: &Identity) -> Config {
    let ms = |time: Duration| time.as_millis();
    let mut config = Config::new();
    config
        .user(&identity.role)
        .dbname(&settings.database)
        .application_name(&identity.role)
        .ssl_mode(SslMode::Require)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .connect_timeout(settings.connect_timeout)
        .tcp_user_timeout(settings.answer_timeout)
        .keepalives_idle(settings.answer_timeout)
        // What is said here goes before what a role, which may change that for itself, or a database is set to: a
        // commit is durable before it is answered, and no tenant's rows are seen unless a transaction says whose.
        .options(format!(
            "-c search_path={SCHEMA} -c statement_timeout={} -c lock_timeout={} \
             -c idle_in_transaction_session_timeout={} -c synchronous_commit=on -c countersign.tenant=",
            ms(settings.statement_timeout),
            ms(settings.lock_timeout),
            ms(settings.statement_timeout),
        ));
    config
}

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

/// Carries a connection's bytes until it ends.
async fn drive(mut connection: Connection<Socket, Encrypted>, warned: Arc<AtomicBool>) {
    while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.code().code() == WARNING => {
                warned.store(true, Ordering::Release);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// When a connection's end is not awaited any longer.
struct Ending {
    given_up: oneshot::Receiver<()>,
    patience: Duration,
    era: watch::Receiver<u64>,
}

/// Drives a connection to its end: a little beyond that of whoever used it, if the server still works on something, and not
/// beyond its era then.
async fn end(driving: impl Future<Output = ()>, mut ending: Ending, seat: Seat) {
    let made_in = *ending.era.borrow();
    let closing = after(Instant::now(), LIFE_END);
    let too_long = async {
        // Nothing is ever sent.
        let _ = ending.given_up.await;
        let _ = timeout(ending.patience, ending.era.wait_for(|era| *era != made_in)).await;
    };
    tokio::select! {
        () = driving => {}
        () = too_long => {}
        () = sleep_until(closing) => {}
    }
    drop(seat);
}
