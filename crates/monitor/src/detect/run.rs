//! The detector as a task: what it follows comes to it by one channel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{Ledger, Position, TallyEntry};
use countersign_model::{Clock, Service, UnixMs};
use countersign_services::Statuses;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{Detector, Keep};
use crate::enrich::health::{Gap, Heard};

/// How often what has gathered is told, and services are asked how they are.
const TICK: Duration = Duration::from_secs(1);
/// How many ticks lie between two times that the state is written down.
const STORE_TICKS: u32 = 5;
/// How many entries of one ledger are taken at a time.
const CHUNK: usize = 4_096;
/// How long new entries of a ledger are left to gather.
const GATHER_FOR: Duration = Duration::from_millis(100);
/// How long to wait before a ledger that can't be read is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a service may take to say how it is.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A ledger that was never followed is followed from this long ago.
const FIRST_MS: u64 = 60_000;

/// What the detector is told.
#[derive(Debug)]
pub enum News {
    /// The next entries of a ledger.
    Entries {
        /// The ledger's name, which stays.
        ledger: String,
        /// Whose ledger it is.
        service: Service,
        /// In order.
        entries: Vec<(Position, TallyEntry)>,
    },
    /// What a service said of itself.
    Status(Heard),
    /// A ledger that can't be read, or isn't whole.
    Gap {
        /// The ledger's name.
        ledger: String,
        /// Whose it is.
        service: Service,
        /// What is wrong.
        gap: Gap,
    },
    /// A service that is no longer part of the deployment.
    Gone {
        /// Its name.
        name: String,
    },
}

/// How many news may wait.
pub const NEWS_MAX: usize = 64;

/// Detects for as long as somebody may send news. The state is written down every few seconds, always as it was a few
/// seconds ago: by then the desk has written down the alerts of before.
pub async fn run(
    mut detector: Detector,
    keep: Option<Arc<Keep>>,
    mut news: mpsc::Receiver<News>,
    clock: Arc<dyn Clock>,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Vec<u8>> = None;
    let mut since_stored = 0u32;
    loop {
        tokio::select! {
            one = news.recv() => match one {
                Some(one) => take(&mut detector, one, clock.now()),
                None => break,
            },
            _ = ticks.tick() => {
                detector.tick(clock.now());
                since_stored = since_stored.saturating_add(1);
                if let Some(keep) = keep.as_ref().filter(|_| since_stored >= STORE_TICKS) {
                    since_stored = 0;
                    if let Some(old) = before.replace(detector.stored()) {
                        write(Arc::clone(keep), old).await;
                    }
                }
            }
        }
    }
    if let Some(keep) = keep {
        write(keep, detector.stored()).await;
    }
}

async fn write(keep: Arc<Keep>, state: Vec<u8>) {
    match tokio::task::spawn_blocking(move || keep.write(&state)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "what the monitor knows could not be written down"),
        Err(_) => tracing::warn!("what the monitor knows could not be written down"),
    }
}

fn take(detector: &mut Detector, news: News, now: UnixMs) {
    match news {
        News::Entries { ledger, service, entries } => detector.take(&ledger, service, entries, now),
        News::Status(heard) => detector.heard(&heard, now),
        News::Gap { ledger, service, gap } => detector.gap(&ledger, service, gap, now),
        News::Gone { name } => detector.gone(&name),
    }
}

/// Follows a ledger of this process, from `after` on or, if that is nothing, from a minute ago. Ends when nobody listens,
/// or with the ledger.
pub async fn follow(
    ledger: Arc<Ledger>,
    name: String,
    after: Option<Position>,
    news: mpsc::Sender<News>,
    clock: Arc<dyn Clock>,
) {
    let service = ledger.service();
    let mut grown = ledger.follow();
    let mut after = after.or_else(|| ledger.before(clock.now().minus_ms(FIRST_MS)).ok().flatten());
    loop {
        let (reading, place) = (Arc::clone(&ledger), after);
        let read = tokio::task::spawn_blocking(move || reading.tallies(place, CHUNK)).await;
        let told = match read {
            Ok(Ok(entries)) if entries.is_empty() => {
                if grown.changed().await.is_err() {
                    return;
                }
                Ok(())
            }
            Ok(Ok(entries)) => {
                after = entries.last().map(|(position, _)| *position).or(after);
                let is_behind = entries.len() >= CHUNK;
                let told = news.send(News::Entries { ledger: name.clone(), service, entries }).await;
                if !is_behind {
                    tokio::time::sleep(GATHER_FOR).await;
                }
                told
            }
            _ => {
                tokio::time::sleep(AGAIN).await;
                news.send(News::Gap { ledger: name.clone(), service, gap: Gap::Unreadable }).await
            }
        };
        if told.is_err() {
            return;
        }
    }
}

/// Asks all services once a second how they are. Ends when nobody listens.
pub async fn ask(statuses: Arc<dyn Statuses>, news: mpsc::Sender<News>, clock: Arc<dyn Clock>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: HashMap<String, Service> = HashMap::new();
    loop {
        ticks.tick().await;
        let all = statuses.all();
        let is_here = |name: &String| all.iter().any(|(one, _)| one == name);
        let gone: Vec<String> = known.keys().filter(|name| !is_here(name)).cloned().collect();
        for name in gone {
            known.remove(&name);
            if news.send(News::Gone { name }).await.is_err() {
                return;
            }
        }
        let answers = all.into_iter().map(|(name, report)| {
            let clock = Arc::clone(&clock);
            async move {
                let asked = clock.now();
                let status = tokio::time::timeout(ANSWER_MAX, report.status()).await;
                (name, asked, clock.now(), status.ok().and_then(Result::ok))
            }
        });
        for (name, asked, answered, status) in futures_util::future::join_all(answers).await {
            // The name says what a service is that has never answered.
            let of_name = || name.split('/').next().and_then(|word| word.parse().ok());
            let service = status.as_ref().map(|status| status.service).or_else(|| known.get(&name).copied());
            let Some(service) = service.or_else(of_name) else { continue };
            known.insert(name.clone(), service);
            let heard = Heard { name, service, asked, answered, status: status.map(Box::new) };
            if news.send(News::Status(heard)).await.is_err() {
                return;
            }
        }
    }
}
