//! A service's numbers at one moment, as they travel.

use serde::{Deserialize, Serialize};

/// How many were at most so much.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hist {
    /// How many were above the bound before and at most this one; the last are above every bound.
    pub buckets: Vec<u64>,
    /// The sum of them all, in millionths.
    pub sum_millionths: u64,
}

impl Hist {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, one| sum.saturating_add(*one))
    }

    /// Adds another of the same bounds.
    pub(super) fn add(&mut self, other: &Self) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own = own.saturating_add(*more);
        }
        self.sum_millionths = self.sum_millionths.saturating_add(other.sum_millionths);
    }
}

/// One number by three words: door, action, and verdict or reason.
pub type Counted = (String, String, String, u64);

/// A service's numbers. Only what is not 0 is in the lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// The service's release.
    pub version: String,
    /// Requests by door, action and verdict.
    pub requests: Vec<Counted>,
    /// Refusals and failures by door, action and reason.
    pub refusals: Vec<Counted>,
    /// Durations in seconds, by door and action.
    pub durations: Vec<(String, String, Hist)>,
    /// Ages of tokens in seconds.
    pub token_age: Hist,
    /// Rows opened.
    pub rows: u64,
    /// Cells opened.
    pub cells: u64,
    /// Durations of writing a record, in seconds.
    pub append: Hist,
    /// Records that could not be written.
    pub append_failed: u64,
    /// Spans exported, dropped, failed; the same for all services of one process, so only the first says it.
    pub spans: [u64; 3],
}

impl Samples {
    /// As bytes, for [`ServiceStatus::measures`](countersign_services::ServiceStatus::measures).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From bytes. What can't be read, such as what another release wrote, is nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).unwrap_or_default()
    }
}
