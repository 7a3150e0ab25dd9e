//! What a type's records were at a moment: two ordered streams, what is and what was, merged into one.

use std::cmp::Ordering;

use countersign_model::{RecordId, UnixMs};

use crate::carry::{CarriedRow, PastRow};

/// One record, now and at the moment asked for. At least one of both is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Then {
    /// The record.
    pub record: RecordId,
    /// What it is.
    pub now: Option<CarriedRow>,
    /// The greatest version that it has had: what comes next must be greater.
    pub newest: u64,
    /// What it was.
    pub then: Option<CarriedRow>,
}

impl Then {
    /// Whether it was as it is: nothing of it has changed since.
    #[must_use]
    pub fn is_same(&self) -> bool {
        match (&self.now, &self.then) {
            (None, None) => true,
            (Some(now), Some(then)) => now.cells == then.cells && now.tags == then.tags,
            _ => false,
        }
    }
}

/// Records of one type at a moment. Both streams ascend by record id, the past ones also by version.
pub struct StateAt<N: Iterator, P: Iterator> {
    at: UnixMs,
    now: std::iter::Peekable<N>,
    past: std::iter::Peekable<P>,
}

/// What the records of two streams were at `at`: the row that is there if its last change was not after `at`, else the past
/// state that held then. INVARIANT one-state-at-a-time: of states that began and ended at the same moment none held; of
/// several that claim to hold, as after a clock was set back, the newest version counts.
pub fn state_at<N, P>(at: UnixMs, now: N, past: P) -> StateAt<N::IntoIter, P::IntoIter>
where
    N: IntoIterator<Item = CarriedRow>,
    P: IntoIterator<Item = PastRow>,
{
    StateAt { at, now: now.into_iter().peekable(), past: past.into_iter().peekable() }
}

impl<N: Iterator<Item = CarriedRow>, P: Iterator<Item = PastRow>> Iterator for StateAt<N, P> {
    type Item = Then;

    fn next(&mut self) -> Option<Then> {
        let order = match (self.now.peek(), self.past.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(now), Some(past)) => now.record.cmp(&past.row.record),
        };
        let now = if order.is_le() { self.now.next() } else { None };
        let record = now.as_ref().map(|row| row.record).or_else(|| self.past.peek().map(|past| past.row.record))?;
        let (mut newest, mut held) = (now.as_ref().map_or(0, |row| row.version), None);
        while let Some(past) = self.past.next_if(|past| past.row.record == record) {
            newest = newest.max(past.row.version);
            if past.row.at <= self.at && self.at < past.until {
                held = Some(past.row);
            }
        }
        let then = now.as_ref().filter(|row| row.at <= self.at).cloned().or(held);
        Some(Then { record, now, newest, then })
    }
}

#[cfg(test)]
mod tests;
