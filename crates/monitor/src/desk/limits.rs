//! How many notifications may go out in a minute.

use std::collections::HashMap;

use countersign_model::UnixMs;

/// So many keys are remembered; those that are full again are forgotten first.
const KEYS_MAX: usize = 1_024;

const MINUTE_MS: u64 = 60_000;

/// A number a minute for each key, all at once if there were none for a minute.
#[derive(Debug)]
pub(crate) struct Limits {
    per_minute: u64,
    /// What is left, in units of 1 / `MINUTE_MS`, and since when.
    left: HashMap<String, (u64, UnixMs)>,
}

impl Limits {
    pub(crate) fn new(per_minute: u64) -> Self {
        Self { per_minute, left: HashMap::new() }
    }

    fn full(&self) -> u64 {
        self.per_minute.saturating_mul(MINUTE_MS)
    }

    fn left(&self, key: &str, now: UnixMs) -> u64 {
        let full = self.full();
        self.left.get(key).map_or(full, |(left, since)| {
            left.saturating_add(now.since(*since).saturating_mul(self.per_minute)).min(full)
        })
    }

    /// Whether one more may go.
    pub(crate) fn has(&self, key: &str, now: UnixMs) -> bool {
        self.left(key, now) >= MINUTE_MS
    }

    /// Takes one, whether it may go or not.
    pub(crate) fn take(&mut self, key: &str, now: UnixMs) {
        let left = self.left(key, now).saturating_sub(MINUTE_MS);
        if self.left.len() >= KEYS_MAX && !self.left.contains_key(key) {
            let (full, per_minute) = (self.full(), self.per_minute);
            self.left
                .retain(|_, (left, since)| left.saturating_add(now.since(*since).saturating_mul(per_minute)) < full);
        }
        if self.left.len() < KEYS_MAX || self.left.contains_key(key) {
            self.left.insert(key.to_owned(), (left, now));
        }
    }
}
