//! Following ledgers, those of this process and those of others, entry by entry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{Ledger, Position, TallyEntry};
use countersign_model::{Service, UnixMs};
use countersign_services::Report;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fellows::{Fellows, There};

/// How long is waited before a ledger that can't be read is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// How many entries of one ledger are taken at a time.
const CHUNK: usize = 4_096;

/// How often it is said of a ledger that it has given everything.
const SAID: Duration = Duration::from_millis(500);

/// How long new entries of a ledger are left to gather.
const GATHER: Duration = Duration::from_millis(200);

/// What one ledger has that is new.
pub(super) struct News {
    /// Its number among those followed.
    pub(super) ledger: u32,
    /// Its name, which stays.
    pub(super) name: Arc<str>,
    /// Whose ledger it is.
    pub(super) service: Service,
    pub(super) entries: Vec<(Position, TallyEntry)>,
    /// These and those before are everything that was recorded until a second ago.
    pub(super) is_all: bool,
}

/// Where to begin with a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With the first record that is not older.
    Since(UnixMs),
    /// With the first record after this one.
    After(Position),
}

type Places = Arc<Mutex<HashMap<Arc<str>, Position>>>;

/// The tasks that follow ledgers. They end with it.
pub(super) struct Following {
    sender: mpsc::Sender<News>,
    tasks: HashMap<String, JoinHandle<()>>,
    /// A ledger keeps its number when it goes and comes again.
    numbers: HashMap<String, u32>,
    /// How far each was followed.
    places: Places,
    start: Box<dyn Fn(&str) -> Start + Send + Sync>,
}

/// What a task that follows one ledger needs.
struct Task {
    number: u32,
    name: Arc<str>,
    service: Service,
    start: Start,
    sender: mpsc::Sender<News>,
    places: Places,
}

impl Task {
    /// Whether there is anybody left to tell.
    async fn tell(&self, entries: Vec<(Position, TallyEntry)>, is_all: bool) -> bool {
        let (ledger, name, service) = (self.number, Arc::clone(&self.name), self.service);
        if let Some((position, _)) = entries.last() {
            self.places.lock().insert(Arc::clone(&name), *position);
        }
        self.sender.send(News { ledger, name, service, entries, is_all }).await.is_ok()
    }
}

impl Following {
    /// Follows nothing yet. `start` says by a ledger's name where to begin with it.
    pub(super) fn new(start: impl Fn(&str) -> Start + Send + Sync + 'static) -> (Self, mpsc::Receiver<News>) {
        let (sender, news) = mpsc::channel(64);
        let (tasks, numbers, places) = Default::default();
        (Self { sender, tasks, numbers, places, start: Box::new(start) }, news)
    }

    fn task(&mut self, name: &str, service: Service) -> Task {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(name.to_owned()).or_insert(next);
        let start = self.places.lock().get(name).copied().map(Start::After);
        let start = start.unwrap_or_else(|| (self.start)(name));
        let (sender, places) = (self.sender.clone(), Arc::clone(&self.places));
        Task { number, name: name.into(), service, start, sender, places }
    }

    /// Follows a ledger of this process.
    pub(super) fn here(&mut self, name: &str, ledger: Arc<Ledger>) {
        let task = self.task(name, ledger.service());
        self.tasks.insert(format!("here {name}"), tokio::spawn(follow_here(ledger, task)));
    }

    /// Begins to follow services that came, and leaves those that went.
    pub(super) fn elsewhere(&mut self, fellows: &Fellows) {
        let present = fellows.elsewhere();
        self.tasks.retain(|name, task| {
            let stays = name.starts_with("here ") || present.iter().any(|there| there.name == *name);
            let stays = stays && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for there in present {
            if !self.tasks.contains_key(&there.name) {
                let task = self.task(&there.name, there.service);
                self.tasks.insert(there.name.clone(), tokio::spawn(follow_there(there, task)));
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn follow_here(ledger: Arc<Ledger>, task: Task) {
    let mut news = ledger.follow();
    let mut after = match task.start {
        Start::After(position) => Some(position),
        Start::Since(moment) => {
            let reading = Arc::clone(&ledger);
            let found = tokio::task::spawn_blocking(move || reading.before(moment)).await;
            found.ok().and_then(Result::ok).flatten()
        }
    };
    loop {
        let (reading, place) = (Arc::clone(&ledger), after);
        let read = tokio::task::spawn_blocking(move || reading.tallies_to_now(place, CHUNK)).await;
        let Ok(Ok((entries, is_all))) = read else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        match entries.last() {
            Some((position, _)) => {
                after = Some(*position);
                let is_behind = entries.len() >= CHUNK;
                if !task.tell(entries, is_all).await {
                    return;
                }
                // Many at a time cost little; a moment later is soon enough.
                if !is_behind {
                    tokio::time::sleep(GATHER).await;
                }
            }
            None if is_all && !task.tell(Vec::new(), true).await => return,
            None => {
                if tokio::time::timeout(SAID, news.changed()).await.is_ok_and(|changed| changed.is_err()) {
                    return;
                }
            }
        }
    }
}

async fn follow_there(there: There, task: Task) {
    let mut start = task.start;
    loop {
        start = within(start, &there).await;
        let stream = match start {
            Start::After(position) => there.trail.tallies(Some(position)).await,
            Start::Since(moment) => there.trail.tallies_since(moment).await,
        };
        if let Ok(mut stream) = stream {
            while let Ok(Some(entries)) = stream.next().await {
                if let Some((position, _)) = entries.last() {
                    start = Start::After(*position);
                }
                // None at all says that those before were all.
                let is_all = entries.is_empty();
                if !task.tell(entries, is_all).await {
                    return;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where to go on with a ledger that may have fewer records than were seen: one that was rolled back goes on from where
/// it ends now.
async fn within(start: Start, there: &There) -> Start {
    let Start::After(position) = start else { return start };
    match there.report.status().await {
        Ok(status) if status.ledger_records <= position.0 => match status.ledger_records.checked_sub(1) {
            Some(last) => Start::After(Position(last)),
            None => Start::Since(UnixMs(0)),
        },
        _ => start,
    }
}
