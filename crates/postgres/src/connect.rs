//! One connection.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_crypto::tls::{TlsConnector, postgres_client_config};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket, Statement};

use crate::error::PgError;
use crate::settings::{Identity, SCHEMA, Settings};
use crate::tls::{Encrypted, Tls};

/// A connection is not used for longer than this: its certificate is an hour old at most when it is made, so that no
/// connection is ever older than an hour and a quarter, and most end by half life.
const LIFE_MAX: Duration = Duration::from_secs(15 * 60);

/// The warning with which a server says that it committed without its standbys.
const WARNING: &str = "01000";

/// An open connection.
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// Prepared statements by their text.
    statements: HashMap<Arc<str>, Statement>,
    pub(crate) until: Instant,
    /// Of which era of the pool it is.
    pub(crate) era: u64,
    /// Whether the server has said that a commit was not confirmed by its standbys.
    warned: Arc<AtomicBool>,
    seat: Seat,
    _alive: oneshot::Sender<()>,
}

/// A connection's place in its pool while it is used. Its driver has it too: whoever hangs up in the middle of a query
/// leaves the place taken until the server is done, so that a server never has more connections than the pool places.
type Seat = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Connected {
    /// Connects to the server that takes writes.
    pub(crate) async fn open(settings: &Settings, identity: &Identity, era: u64) -> Result<Self, PgError> {
        let tls = postgres_client_config(&settings.server_ca_pem, &identity.slot).map_err(|_| PgError::Settings)?;
        let ms = |time: Duration| time.as_millis();
        let mut config = Config::new();
        for (host, port) in &settings.hosts {
            config.host(host).port(*port);
        }
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
        let connecting = config.connect(Tls(TlsConnector::from(tls)));
        // One server after the other, each with its own patience; and one more for signing in.
        let patience = settings.connect_timeout.saturating_mul(u32::try_from(settings.hosts.len()).unwrap_or(1));
        let patience = patience.saturating_add(settings.connect_timeout);
        let connected = tokio::time::timeout(patience, connecting).await.map_err(|_| PgError::Unreachable)?;
        let (client, connection) = connected.map_err(|error| match PgError::from(error) {
            PgError::Forbidden => PgError::Forbidden,
            _ => PgError::Unreachable,
        })?;
        let warned = Arc::new(AtomicBool::new(false));
        let seat = Seat::default();
        let (alive, given_up) = oneshot::channel();
        let patience = settings.statement_timeout;
        let driving = drive(connection, Arc::clone(&warned));
        tokio::spawn(end(driving, given_up, patience, Arc::clone(&seat)));
        let until = Instant::now().checked_add(LIFE_MAX).unwrap_or_else(Instant::now);
        Ok(Self { client, statements: HashMap::new(), until, era, warned, seat, _alive: alive })
    }

    /// It is used, by whoever has this place.
    pub(crate) fn take(&self, place: OwnedSemaphorePermit) {
        *self.seat.lock() = Some(place);
    }

    /// It is used no more, and may be by another.
    pub(crate) fn release(&self) {
        self.seat.lock().take();
    }

    /// The prepared statement of this text.
    pub(crate) async fn statement(&mut self, text: &Arc<str>) -> Result<Statement, PgError> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let made = self.client.prepare(text).await?;
        self.statements.insert(Arc::clone(text), made.clone());
        Ok(made)
    }

    pub(crate) fn is_usable(&self, era: u64) -> bool {
        self.era == era && !self.client.is_closed() && Instant::now() < self.until
    }

    /// Whether the server committed without its standbys since this was last asked.
    pub(crate) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }
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

/// Drives a connection to its end: a little beyond that of whoever used it, if the server still works on something.
async fn end(driving: impl Future<Output = ()>, given_up: oneshot::Receiver<()>, patience: Duration, seat: Seat) {
    let too_long = async {
        // Nothing is ever sent.
        let _ = given_up.await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        () = driving => {}
        () = too_long => {}
    }
    drop(seat);
}
