//! Records whose time is over.
//!
//! Whole segments go, oldest first, never the one that is written to. What goes is on record in the same ledger before
//! it does, and the log signs from which record on records are kept; their hashes stay, so that every proof of what is
//! kept stays valid and a verifier still derives the whole tree.
//!
//! INVARIANT removal-is-told: at any moment a segment is there, or the log has signed that it is not kept. A removal that
//! was cut off goes on at the next opening.

use countersign_model::{RequestId, UnixMs};

use super::Ledger;
use super::log::KEPT;
use super::recover::remove_segment;
use crate::error::AuditError;
use crate::record::{Body, Record, Verdict};
use crate::sink::AuditSink as _;

/// What a record of a removal names as its action.
pub const RETENTION: &str = "retention";
/// A segment that is written to is ended when its oldest record is this part of the time that records are kept.
const PARTS: u64 = 16;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Records that were removed: positions from `first` on, before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// The first that was removed.
    pub first: u64,
    /// The first that is kept.
    pub end: u64,
}

impl Ledger {
    /// The position of the first record that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.index.read().first_of_all()
    }

    /// Removes segments whose records are all older than so many days; 0 keeps all for ever. A ledger that is no log keeps
    /// all: nobody could tell a removal from a loss. What is not in the log yet stays. To be called every hour or so.
    ///
    /// # Errors
    /// [`AuditError`]. Nothing is removed if it can't be put on record; what was to be removed and could not goes next time.
    pub async fn retain(&self, now: UnixMs, keep_days: u64) -> Result<Option<Removed>, AuditError> {
        let (Some(log), 1..) = (self.log(), keep_days) else { return Ok(None) };
        let _one_at_a_time = self.retaining.lock().await;
        let keep_ms = keep_days.saturating_mul(DAY_MS);
        let over = UnixMs(now.0.saturating_sub(keep_ms));
        let first = self.first();
        // Before the index says so, for the case that the last time did not come to its end.
        let (numbers, end) = self.index.read().over(over, log.integrated());
        if numbers.is_empty() {
            let part = keep_ms.checked_div(PARTS).unwrap_or_default();
            if self.index.read().open_since().is_some_and(|oldest| now.0.saturating_sub(oldest.0) > part) {
                self.queue.end_segment();
            }
            return Ok(None);
        }
        let last = end.saturating_sub(1);
        let detail = format!("records {first} to {last} removed: all older than {keep_days} days");
        let body = Body { action: RETENTION.to_owned(), detail: Some(detail), ..Body::default() };
        let (request, service) = (RequestId::new(now, &*self.entropy), self.service);
        let (door, verdict, tenant, tally) = (None, Verdict::Changed, None, None);
        self.append(Record { time: now, request, service, door, verdict, tenant, tally, body }).await?;
        let unreadable = |_| AuditError::Unavailable;
        self.storage.replace(KEPT, log.sign_kept(end).as_bytes()).map_err(unreadable)?;
        self.index.write().forget_before(end);
        for number in numbers {
            remove_segment(&*self.storage, number).map_err(unreadable)?;
        }
        Ok(Some(Removed { first, end }))
    }
}
