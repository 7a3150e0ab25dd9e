//! The alert desk: takes what rules raise and sees to it that somebody learns of it, once, and can prove it.
//!
//! What was raised is kept in one sealed file before anybody is told, so that it is told even after a restart. The
//! same thing raised again is counted and told again only when it gets worse or has gone on for a while. What comes in
//! floods is counted. Each alert, each delivery and everything that somebody does about them is on record in the
//! monitor's own ledger.
//!
//! INVARIANT tenants-are-told: what tells a tenant (somebody broke the glass) is kept from it by no silence, no
//! acknowledgement and no limit for operators.
//!
//! What this is not: it finds nothing. Rules do.

mod alertmanager;
mod board;
mod email;
mod keep;
mod limits;
mod outbox;
mod records;
mod sink;
mod view;
mod watch;
mod webhook;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_audit::AuditSink;
use countersign_crypto::SealKey;
use countersign_model::{Clock, Entropy, Name, UnixMs};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use self::board::{Board, TENANTS, Target};
use self::keep::Keep;
use self::sink::Notification;
use crate::alert::{Alert, Level, Raise};

pub use self::alertmanager::Alertmanager;
pub use self::email::{OperatorMail, TenantMail};
pub use self::sink::{Cause, Contacts, Sink, SinkFailure};
pub use self::watch::{Metrics, WatchService, WatchServiceParts};
pub use self::webhook::Webhook;

/// How long one delivery may take, whatever the sink.
const DELIVERY_TIME: Duration = Duration::from_secs(45);
/// How long the desk rests between two looks: so often at most it writes, records and delivers.
const REST: Duration = Duration::from_millis(50);
/// How long it waits for news before it looks at the time.
const WAIT: Duration = Duration::from_millis(250);

/// How the desk tells what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// After how many milliseconds an alert that goes on is told again.
    pub repeat_ms: u64,
    /// After how many milliseconds without an event an alert is over.
    pub quiet_ms: u64,
    /// How many notifications a minute one rule may cause.
    pub rule_per_minute: u64,
    /// How many all rules may cause; critical alerts are not held back by it.
    pub all_per_minute: u64,
    /// What links begin with: the deployment's URL.
    pub link: String,
}

/// A sink with its name.
pub struct NamedSink {
    /// Its name in the configuration.
    pub name: Name,
    /// The least level that it is told of.
    pub level: Level,
    /// The sink.
    pub sink: Arc<dyn Sink>,
}

/// What a [`Desk`] is made of.
pub struct DeskParts {
    /// How it tells what.
    pub settings: Settings,
    /// Whom it tells.
    pub sinks: Vec<NamedSink>,
    /// By what tenants are told; without it that they can't be is on record.
    pub tenants: Option<Arc<dyn Sink>>,
    /// Takes records of the service `monitor`.
    pub audit: Arc<dyn AuditSink>,
    /// The service's own key.
    pub key: Arc<SealKey>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The desk can't begin.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The operator's: the folder can't be used.
    #[error("the folder of alerts can't be used: {}", kind(.0))]
    Folder(std::io::ErrorKind),
    /// The operator's: the file is damaged, or of another deployment.
    #[error("the file of alerts can't be opened: it is damaged, or of another deployment")]
    Damaged,
}

fn kind(kind: &std::io::ErrorKind) -> String {
    kind.to_string()
}

impl DeskError {
    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    fn folder(error: std::io::Error) -> Self {
        Self::Folder(error.kind())
    }
}

/// Takes alerts and tells of them.
pub struct Desk {
    board: Mutex<Board>,
    sinks: HashMap<String, Arc<dyn Sink>>,
    keep: Arc<Keep>,
    /// How many changes of the board are on disk.
    written: AtomicU64,
    news: Notify,
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Desk {
    /// A desk that keeps what it knows in `folder`, with what it knew before. It tells nobody until it [runs](Self::run).
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn open(folder: &Path, parts: DeskParts) -> Result<Arc<Self>, DeskError> {
        let DeskParts { settings, sinks, tenants, audit, key, clock, entropy } = parts;
        let keep = Keep::open(folder, key, Arc::clone(&entropy))?;
        let kept = keep.read()?;
        let target = |named: &NamedSink| Target {
            name: named.name.to_string(),
            level: named.level,
            wants_resolved: named.sink.wants_resolved(),
        };
        let targets = sinks.iter().map(target).collect();
        let board =
            Board::new(kept.as_deref(), settings, targets, tenants.is_some(), Arc::clone(&entropy), clock.now());
        let board = board.map_err(|_| DeskError::Damaged)?;
        let mut by_name: HashMap<_, _> = sinks.into_iter().map(|named| (named.name.to_string(), named.sink)).collect();
        by_name.extend(tenants.map(|sink| (TENANTS.to_owned(), sink)));
        Ok(Arc::new(Self {
            board: Mutex::new(board),
            sinks: by_name,
            keep: Arc::new(keep),
            written: AtomicU64::new(0),
            news: Notify::new(),
            audit,
            clock,
            entropy,
        }))
    }

    /// Keeps, records and delivers, for as long as it is polled. Once at a time.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.board.lock().tick(self.clock.now());
            if self.save().await {
                self.record().await;
                self.deliver();
            }
            sleep(REST).await;
            drop(timeout(WAIT, self.news.notified()).await);
        }
    }

    /// Writes down what is new. Whether everything is written down that was there when this was called.
    pub async fn save(&self) -> bool {
        let (changes, bytes) = {
            let board = self.board.lock();
            if board.changes() == self.written.load(Ordering::Acquire) {
                return true;
            }
            (board.changes(), board.to_bytes())
        };
        let keep = Arc::clone(&self.keep);
        match tokio::task::spawn_blocking(move || keep.write(&bytes)).await {
            Ok(Ok(())) => {
                self.written.store(changes, Ordering::Release);
                true
            }
            Ok(Err(error)) => {
                tracing::error!(kind = %error.kind(), "the file of alerts can't be written");
                false
            }
            Err(_) => false,
        }
    }

    /// Starts a delivery for each sink that has something and is due.
    fn deliver(self: &Arc<Self>) {
        let due = self.board.lock().take_due(self.clock.now());
        for (name, notification) in due {
            let desk = Arc::clone(self);
            tokio::spawn(async move {
                let outcome = desk.attempt(&name, &notification).await;
                desk.board.lock().settle(&name, &notification, outcome, desk.clock.now());
                desk.news.notify_one();
            });
        }
    }

    async fn attempt(&self, sink: &str, notification: &Notification) -> Result<(), SinkFailure> {
        let Some(sink) = self.sinks.get(sink) else { return Err(SinkFailure::Nobody) };
        let delivery = timeout(DELIVERY_TIME, sink.deliver(notification, self.clock.now()));
        delivery.await.unwrap_or(Err(SinkFailure::Busy(408)))
    }

    fn now(&self) -> UnixMs {
        self.clock.now()
    }
}

impl Raise for Desk {
    fn raise(&self, alert: Alert) {
        self.board.lock().raise(alert, self.clock.now());
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests;
