//! What one request has cost so far, so that no request costs without end.

use std::sync::atomic::{AtomicU64, Ordering};

use countersign_guard::{Invalid, Refusal};

use crate::EngineLimits;
use crate::answer::Failure;

/// How many times the bound on one scan a whole request may read, with all its embeds and conditions on references.
const SCANS_IN_ONE_REQUEST: u64 = 4;

/// Counts over all parts of one request.
pub(crate) struct Spent {
    read: AtomicU64,
    read_max: u64,
    answered: AtomicU64,
    answered_max: u64,
}

impl Spent {
    pub(crate) fn new(limits: &EngineLimits) -> Self {
        let once = limits.scan_rows_max.saturating_add(limits.change_rows_max);
        Self {
            read: AtomicU64::new(0),
            read_max: once.saturating_mul(SCANS_IN_ONE_REQUEST),
            answered: AtomicU64::new(0),
            answered_max: limits.scan_rows_max,
        }
    }

    /// Counts rows that were read; false if that is too many.
    pub(crate) fn read(&self, rows: usize) -> bool {
        add(&self.read, rows as u64) <= self.read_max
    }

    /// Counts embedded rows before they are built. A record that many others refer to is in the answer many times,
    /// and so is what is embedded in it: without a bound, four levels make millions out of a hundred records.
    pub(crate) fn answer(&self, rows: u64) -> Result<(), Failure> {
        if add(&self.answered, rows) <= self.answered_max {
            return Ok(());
        }
        let max = usize::try_from(self.answered_max).unwrap_or(usize::MAX);
        let too_many = Invalid::TooMany { what: "embedded rows in one answer", max };
        Err(Failure::Refused(Refusal::Invalid(too_many)))
    }
}

fn add(counter: &AtomicU64, more: u64) -> u64 {
    counter.fetch_add(more, Ordering::Relaxed).saturating_add(more)
}
