//! The counters themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_audit::{Reason, Verdict};
use countersign_guard::{Observation, Observe};
use countersign_model::Service;
use countersign_model::beside::Served;

use super::samples::{Hist, Samples};
use super::words;
use crate::otlp::Tracer;

/// Upper bounds of durations, in millionths of a second.
pub(super) const DURATION_BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Upper bounds of tokens' ages, in millionths of a second: no token is older than twelve hours.
pub(super) const AGE_BOUNDS: [u64; 9] = [
    10_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    7_200_000_000,
    14_400_000_000,
    28_800_000_000,
    43_200_000_000,
];

const BUCKETS: usize = DURATION_BOUNDS.len() + 1;

#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS],
    sum_millionths: AtomicU64,
}

impl Buckets {
    fn add(&self, bounds: &[u64], millionths: u64) {
        let at = bounds.iter().position(|bound| millionths <= *bound).unwrap_or(bounds.len());
        if let Some(count) = self.counts.get(at) {
            add(count, 1);
        }
        add(&self.sum_millionths, millionths);
    }

    fn read(&self, bounds: &[u64]) -> Hist {
        let buckets = self.counts.iter().take(bounds.len().saturating_add(1)).map(read).collect();
        Hist { buckets, sum_millionths: read(&self.sum_millionths) }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What one service counts. All of it has its place from the start, some 60 kB.
pub struct Measures {
    requests: Vec<AtomicU64>,
    refusals: Vec<AtomicU64>,
    durations: Vec<Buckets>,
    token_age: Buckets,
    rows: AtomicU64,
    cells: AtomicU64,
    append: Buckets,
    append_failed: AtomicU64,
}

/// The place of a door and an action among all pairs.
fn pair(door: usize, action: usize) -> usize {
    door.saturating_mul(words::actions().len()).saturating_add(action)
}

/// The doors and actions by their place among all pairs.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    words::DOORS.into_iter().flat_map(|door| words::actions().iter().map(move |action| (door, *action)))
}

fn reasons() -> usize {
    Reason::ALL.len().saturating_add(1)
}

impl Default for Measures {
    fn default() -> Self {
        fn zeros<T: Default>(count: usize) -> Vec<T> {
            std::iter::repeat_with(T::default).take(count).collect()
        }
        let pairs = pairs().count();
        Self {
            requests: zeros(pairs.saturating_mul(Verdict::ALL.len())),
            refusals: zeros(pairs.saturating_mul(reasons())),
            durations: zeros(pairs),
            token_age: Buckets::default(),
            rows: AtomicU64::new(0),
            cells: AtomicU64::new(0),
            append: Buckets::default(),
            append_failed: AtomicU64::new(0),
        }
    }
}

impl Measures {
    /// Takes note of how long it took until a record was durable.
    pub fn appended(&self, elapsed: Duration) {
        self.append.add(&DURATION_BOUNDS, millionths(elapsed));
    }

    /// Takes note of a record that could not be written.
    pub fn append_failed(&self) {
        add(&self.append_failed, 1);
    }

    /// For how long requests were served, in sum.
    fn served(&self) -> Duration {
        let sums = self.durations.iter().map(|one| read(&one.sum_millionths));
        Duration::from_micros(sums.fold(0, u64::saturating_add))
    }

    /// What was counted until now.
    #[must_use]
    pub fn samples(&self) -> Samples {
        let by_three = |counters: &[AtomicU64], last: Vec<&'static str>| {
            let chunks = counters.chunks(last.len().max(1));
            let all = pairs().zip(chunks).flat_map(|((door, action), counts)| {
                let counts = last.iter().zip(counts).map(|(word, count)| (*word, read(count)));
                counts
                    .filter(|(_, count)| *count > 0)
                    .map(move |(word, count)| (door.to_owned(), action.to_owned(), word.to_owned(), count))
            });
            all.collect()
        };
        let durations = pairs()
            .zip(&self.durations)
            .map(|((door, action), one)| (door.to_owned(), action.to_owned(), one.read(&DURATION_BOUNDS)));
        Samples {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            requests: by_three(&self.requests, Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect()),
            refusals: by_three(&self.refusals, words::reasons().collect()),
            durations: durations.filter(|(_, _, hist)| hist.count() > 0).collect(),
            token_age: self.token_age.read(&AGE_BOUNDS),
            rows: read(&self.rows),
            cells: read(&self.cells),
            append: self.append.read(&DURATION_BOUNDS),
            append_failed: read(&self.append_failed),
            spans: [0; 3],
        }
    }
}

fn millionths(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

impl Observe for Measures {
    fn observe(&self, seen: &Observation) {
        let pair = pair(words::door(seen.door), words::action(seen.action));
        let place = |many: usize, which: usize| pair.saturating_mul(many).saturating_add(which);
        if let Some(count) = self.requests.get(place(Verdict::ALL.len(), words::verdict(seen.verdict))) {
            add(count, 1);
        }
        if matches!(seen.verdict, Verdict::Refused | Verdict::Failed | Verdict::Unknown)
            && let Some(count) = self.refusals.get(place(reasons(), words::reason(seen.reason)))
        {
            add(count, 1);
        }
        if let Some(buckets) = self.durations.get(pair) {
            buckets.add(&DURATION_BOUNDS, millionths(seen.elapsed));
        }
        if let Some(age_ms) = seen.token_age_ms {
            self.token_age.add(&AGE_BOUNDS, age_ms.saturating_mul(1000));
        }
        if seen.cells > 0 {
            add(&self.rows, seen.rows);
            add(&self.cells, seen.cells);
        }
    }
}

/// The measures of the services of one process, and where their spans go.
#[derive(Clone, Default)]
pub struct Watching {
    measures: [Arc<Measures>; Service::ALL.len()],
    tracer: Option<Arc<Tracer>>,
}

impl Watching {
    /// Measures that stand at 0. With a tracer, each observation is a span as well.
    #[must_use]
    pub fn new(tracer: Option<Arc<Tracer>>) -> Self {
        Self { measures: Default::default(), tracer }
    }

    /// A service's measures.
    #[must_use]
    pub fn measures(&self, service: Service) -> &Arc<Measures> {
        let [gateway, keys, store, authority, monitor] = &self.measures;
        match service {
            Service::Gateway => gateway,
            Service::Keys => keys,
            Service::Store => store,
            Service::Authority => authority,
            Service::Monitor => monitor,
        }
    }

    /// For how long those services of this process that clients speak to have served requests, in sum.
    #[must_use]
    pub fn served(&self) -> Served {
        let asked = [Service::Gateway, Service::Authority].map(|service| Arc::clone(self.measures(service)));
        Arc::new(move || asked.iter().map(|one| one.served()).sum())
    }

    /// What watches a service's guard.
    #[must_use]
    pub fn observer(&self, service: Service) -> Arc<dyn Observe> {
        let measures = Arc::clone(self.measures(service));
        match &self.tracer {
            None => measures,
            Some(tracer) => Arc::new(Both { measures, tracer: Arc::clone(tracer) }),
        }
    }

    /// Where spans go, if anywhere.
    #[must_use]
    pub const fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.as_ref()
    }

    /// What [`ServiceStatus::measures`](countersign_services::ServiceStatus::measures) is for a service.
    #[must_use]
    pub fn to_bytes(&self, service: Service) -> Vec<u8> {
        let spans = self.tracer.as_ref().map_or([0; 3], |tracer| tracer.counts(service));
        Samples { spans, ..self.measures(service).samples() }.to_bytes()
    }
}

struct Both {
    measures: Arc<Measures>,
    tracer: Arc<Tracer>,
}

impl Observe for Both {
    fn observe(&self, seen: &Observation) {
        self.measures.observe(seen);
        self.tracer.observe(seen);
    }
}
