//! From what guards show to spans that wait to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_guard::{Observation, Observe};
use countersign_model::{Clock, Service};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many spans may wait. More are dropped, and counted.
const QUEUE_MAX: usize = 8192;

/// How many spans wait before somebody is woken to send them.
const ENOUGH: usize = 512;

/// By how many nanoseconds the machine's two clocks may come apart before spans are put right.
const APART_NS: u64 = 5_000_000;

/// One span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) seen: Observation,
    pub(super) id: u64,
    /// `None` where the request came in.
    pub(super) parent: Option<u64>,
    /// In nanoseconds since 1970.
    pub(super) ended_ns: u64,
}

/// What becomes of a span.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Exported,
    Dropped,
    Failed,
}

#[derive(Default)]
struct Counts([AtomicU64; 3]);

impl Counts {
    fn add(&self, outcome: Outcome) {
        if let Some(count) = self.0.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes spans of what guards show, for one process.
pub struct Tracer {
    one_in: u64,
    seed: u64,
    clock: Arc<dyn Clock>,
    began: Instant,
    began_ns: AtomicU64,
    serial: AtomicU64,
    queue: Mutex<Vec<Span>>,
    wake: Notify,
    counts: [Counts; Service::ALL.len()],
}

impl Tracer {
    /// Makes spans of one in `one_in` requests: of the same ones at every service that is told the same. `instance` is the
    /// process's name, where there are several of the same services.
    #[must_use]
    pub fn new(one_in: u64, instance: &str, clock: Arc<dyn Clock>) -> Arc<Self> {
        let seed = instance.bytes().fold(0, |seed, byte| mixed(seed ^ u64::from(byte)));
        let began_ns = AtomicU64::new(now_ns(&*clock));
        Arc::new(Self {
            one_in: one_in.max(1),
            seed,
            clock,
            began: Instant::now(),
            began_ns,
            serial: AtomicU64::new(0),
            queue: Mutex::default(),
            wake: Notify::new(),
            counts: Default::default(),
        })
    }

    /// How many spans of a service were exported, dropped and failed.
    #[must_use]
    pub fn counts(&self, service: Service) -> [u64; 3] {
        let read = |counts: &Counts| counts.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        self.counts.get(service as usize).map_or([0; 3], read)
    }

    pub(super) fn count(&self, service: Service, outcome: Outcome) {
        if let Some(counts) = self.counts.get(service as usize) {
            counts.add(outcome);
        }
    }

    /// All spans that wait.
    pub(super) fn take(&self) -> Vec<Span> {
        let ran = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let began_ns = now_ns(&*self.clock).saturating_sub(ran);
        if began_ns.abs_diff(self.began_ns.load(Ordering::Relaxed)) > APART_NS {
            self.began_ns.store(began_ns, Ordering::Relaxed);
        }
        std::mem::take(&mut *self.queue.lock())
    }

    /// Waits until many spans wait, for so long at most.
    pub(super) async fn enough(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.wake.notified()).await;
    }
}

impl Observe for Tracer {
    fn observe(&self, seen: &Observation) {
        let request = seen.request.as_u128();
        let root = root(request);
        if self.one_in > 1 && !mixed(root).is_multiple_of(self.one_in) {
            return;
        }
        let ran = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let ended_ns = self.began_ns.load(Ordering::Relaxed).saturating_add(ran);
        let (id, parent) = if seen.entry {
            (root, None)
        } else {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let own = mixed(self.seed ^ mixed(root ^ mixed(serial.wrapping_mul(8) ^ seen.service as u64)));
            (own.max(1), Some(root))
        };
        let mut queue = self.queue.lock();
        if queue.len() >= QUEUE_MAX {
            drop(queue);
            return self.count(seen.service, Outcome::Dropped);
        }
        queue.push(Span { seen: *seen, id, parent, ended_ns });
        let is_enough = queue.len() == ENOUGH;
        drop(queue);
        if is_enough {
            self.wake.notify_one();
        }
    }
}

/// The id of the span where a request came in: the half of its id that is random.
#[expect(clippy::cast_possible_truncation, reason = "the half that is wanted")]
pub(super) const fn root(request: u128) -> u64 {
    let low = request as u64;
    if low == 0 { 1 } else { low }
}

fn now_ns(clock: &dyn Clock) -> u64 {
    clock.now().0.saturating_mul(1_000_000)
}

/// Every bit of the number depends on every bit of it before (the finaliser of SplitMix64). No secret.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
