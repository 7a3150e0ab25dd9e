//! When to try again.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// Tries that come at growing distances until a deadline.
#[derive(Debug, Clone)]
pub struct Pace {
    until: Instant,
    next: Duration,
}

impl Pace {
    /// For as long as `patience`, from now on.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        let now = Instant::now();
        Self { until: now.checked_add(patience).unwrap_or(now), next: FIRST }
    }

    /// Waits for the next try. `false` if there is to be none.
    pub async fn wait(&mut self) -> bool {
        let next = Instant::now().checked_add(self.next);
        let Some(next) = next.filter(|next| *next < self.until) else { return false };
        tokio::time::sleep_until(next).await;
        self.next = self.next.saturating_mul(2).min(LONGEST);
        true
    }
}
