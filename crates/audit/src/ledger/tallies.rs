//! Reading what the services' ledgers are held against each other by.

use countersign_model::UnixMs;

use super::index::Found;
use super::{Ledger, Position};
use crate::codec::Leaf;
use crate::error::AuditError;
use crate::tally::TallyEntry;

impl Ledger {
    /// As [`tallies`](Self::tallies), and whether they are the last of everything that was recorded until a second ago.
    /// They are not while records wait to be durable, as when a database fails over.
    ///
    /// # Errors
    /// As [`tallies`](Self::tallies).
    pub fn tallies_to_now(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<(Position, TallyEntry)>, bool), AuditError> {
        let (is_late, size) = (self.queue.is_late(), self.size());
        let entries = self.tallies(after, limit)?;
        let is_end = entries.last().is_none_or(|(position, _)| position.0.saturating_add(1) >= size);
        Ok((entries, is_end && !is_late))
    }

    /// What the durable records after a position, or from the first on, say of their requests: at most `limit`, in
    /// order, without a gap. Fewer may come back where a segment ends; none only at the end of the ledger. To go
    /// on, wait on [`follow`](Self::follow) and ask again after the last position.
    ///
    /// Needs the service's own key and no tenant's. Reads the disk from the asked position on, nothing before it.
    ///
    /// # Errors
    /// [`AuditError::NoKey`], [`AuditError::Unreadable`], [`AuditError::Damaged`].
    pub fn tallies(&self, after: Option<Position>, limit: usize) -> Result<Vec<(Position, TallyEntry)>, AuditError> {
        let from = Position(after.map_or(0, |after| after.0.saturating_add(1)));
        let Some(Found { segment, records }) = self.index.read().starting_at(from, limit) else {
            return Ok(Vec::new());
        };
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.keys.audit_key(None)?;
        let mut reader = self.reader(segment, true)?;
        let mut plain = Vec::new();
        let mut entries = Vec::with_capacity(records.len());
        for (position, offset) in records {
            let damaged = || AuditError::Damaged(position);
            let leaf = reader.leaf(offset)?.ok_or_else(damaged)?;
            let Leaf { header, tally, body: _ } = Leaf::parse(leaf).ok_or_else(damaged)?;
            let (tally, signal) = match tally {
                None => (None, None),
                Some(sealed) => sealed.open_tally(&key, &mut plain).ok_or_else(damaged)?,
            };
            let (request, service, verdict) = (header.request, header.service, header.verdict);
            let (tenant, time) = (header.tenant, header.time);
            entries.push((position, TallyEntry { request, service, verdict, tenant, time, tally, signal }));
        }
        Ok(entries)
    }

    /// The last position with a record older than `time`: where to begin [`tallies`](Self::tallies) for everything
    /// since. `None` is the beginning. Records of one moment may be queued in another order, so ask for a second
    /// more than is needed.
    ///
    /// # Errors
    /// [`AuditError::Unreadable`], [`AuditError::Damaged`].
    pub fn before(&self, time: UnixMs) -> Result<Option<Position>, AuditError> {
        // How many records are known to be older, and the first that is known not to be.
        let (mut older, mut end) = (self.first(), self.size());
        while older < end {
            let middle = Position(older.midpoint(end));
            let leaf = self.leaves(middle, 1)?.into_iter().next();
            let header = leaf.as_deref().and_then(Leaf::parse).ok_or(AuditError::Damaged(middle))?.header;
            if header.time < time {
                older = middle.0.saturating_add(1);
            } else {
                end = middle.0;
            }
        }
        // Of what is before the first record that is kept, everything is older.
        Ok(older.checked_sub(1).map(Position))
    }
}
