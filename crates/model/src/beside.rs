//! Work in the background, beside requests: it goes second.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// For as long as requests were served beside work, so many times as long of rest.
const REST: u32 = 11;
/// Never longer: what took so long was waiting for somebody else, such as an object store far away.
const LONGEST: Duration = Duration::from_secs(5);

/// For how long requests have been served, in sum, since the program began: two at the same time count twice.
pub type Served = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A piece of work in the background: some thousandths of a second of it, after which there is a rest if requests want one.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::{Duration, Instant};
/// # use countersign_model::beside::{Beside, Served};
/// let nobody: Served = Arc::new(|| Duration::ZERO);
/// let now = Instant::now();
/// assert_eq!(Beside::begin(&nobody, now).rest(now + Duration::from_millis(9)), Duration::ZERO);
/// ```
pub struct Beside {
    served: Served,
    began: Instant,
    before: Duration,
}

impl Beside {
    /// Begins at `now`.
    #[must_use]
    pub fn begin(served: &Served, now: Instant) -> Self {
        Self { served: Arc::clone(served), began: now, before: served() }
    }

    /// How long to rest after what was done since it began. Not at all if nobody asked anything meanwhile; eleven times as long as
    /// it took if somebody was always being served, so that it works a twelfth of the time; and what lies between for what lies
    /// between. The busier the machine is, the longer the same work takes and the rest after it. At most 5 s.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Duration {
        let (worked, served) = (now.saturating_duration_since(self.began), (self.served)().saturating_sub(self.before));
        worked.min(served).saturating_mul(REST).min(LONGEST)
    }
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside").field("began", &self.began).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn it_rests_as_requests_want_and_no_longer() {
        let asked = Arc::new(AtomicU64::new(1_000));
        let counter = Arc::clone(&asked);
        let served: Served = Arc::new(move || Duration::from_millis(counter.load(Ordering::Relaxed)));
        let (now, ms) = (Instant::now(), Duration::from_millis);
        // While it works for 10 ms: requests, in thousandths of a second in sum, and the rest that follows.
        for (more, rest) in [(0, 0), (1, 11), (5, 55), (10, 110), (80, 110)] {
            let piece = Beside::begin(&served, now);
            asked.fetch_add(more, Ordering::Relaxed);
            assert_eq!(piece.rest(now + ms(10)), ms(rest), "{more}");
        }
        let long = Beside::begin(&served, now);
        asked.fetch_add(60_000, Ordering::Relaxed);
        assert_eq!(long.rest(now + ms(60_000)), LONGEST);
        let piece = Beside::begin(&served, now + ms(1));
        asked.store(0, Ordering::Relaxed);
        assert_eq!(piece.rest(now), Duration::ZERO, "a clock or a counter that goes back is no reason to fail");
    }
}
