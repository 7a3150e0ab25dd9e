//! Reading records back.
//!
//! Headers in clear pick the tenant's own records; only those are opened, each with the tenant's own key. So
//! asking about one tenant never touches what another tenant's key protects.

use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_model::{RecordId, RequestId, TenantId, TypeId, UnixMs};

use super::frame::{FRAME_MAX_BYTES, Frame};
use super::index::Found;
use super::recover::file_name;
use super::storage::LogFile;
use super::{Ledger, Position};
use crate::codec::{self, Leaf};
use crate::error::AuditError;
use crate::record::Record;

/// How much of a segment is read at a time.
const WINDOW_BYTES: u64 = 512 * 1024;

/// Which records to give. Every condition must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerQuery {
    /// About this record.
    pub record: Option<(TypeId, RecordId)>,
    /// Of this request.
    pub request: Option<RequestId>,
    /// Not before this moment.
    pub since: Option<UnixMs>,
    /// Only after this position. Then the limit takes the oldest of those, so that one can go on from the last
    /// of them; otherwise it takes the newest of all.
    pub after: Option<Position>,
    /// Take the oldest even without `after`: for whoever reads the ledger from its beginning in pages.
    pub oldest_first: bool,
    /// At most so many. 100 by default.
    pub limit: usize,
}

impl Default for LedgerQuery {
    fn default() -> Self {
        Self { record: None, request: None, since: None, after: None, oldest_first: false, limit: 100 }
    }
}

impl Ledger {
    /// Durable records of one tenant, or of the deployment for `None`, newest last. Reads the disk: in async
    /// code call it where blocking is allowed.
    ///
    /// A tenant's records that were written without its key, because it could not be had, are among them.
    ///
    /// # Errors
    /// [`AuditError::NoKey`], [`AuditError::Unreadable`], and [`AuditError::Damaged`] for a record that doesn't
    /// open: an answer that leaves one out would be a false answer.
    pub fn query(&self, tenant: Option<TenantId>, query: &LedgerQuery) -> Result<Vec<(Position, Record)>, AuditError> {
        let mut keys = KeysInUse { ledger: self, own: None, tenants: None };
        let forward = query.after.is_some() || query.oldest_first;
        let mut segments = self.index.read().segments_since(query.since);
        if !forward {
            segments.reverse();
        }
        let (mut answer, mut plain, mut tally_plain) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            let mut found = self.index.read().of_tenant(segment, tenant, query.after);
            if !forward {
                found.records.reverse();
            }
            if found.records.is_empty() {
                continue;
            }
            let mut reader = self.reader(segment, forward)?;
            for (position, offset) in found.records {
                if answer.len() >= query.limit {
                    break;
                }
                let damaged = || AuditError::Damaged(position);
                let leaf = reader.leaf(offset)?.ok_or_else(damaged)?;
                let Leaf { header, tally, body } = Leaf::parse(leaf).ok_or_else(damaged)?;
                if query.since.is_some_and(|since| header.time < since)
                    || query.request.is_some_and(|request| header.request != request)
                {
                    continue;
                }
                if header.tenant != tenant || !body.open_into(keys.of(header.key_owner())?, &mut plain) {
                    return Err(damaged());
                }
                if let Some((record_type, record)) = query.record
                    && !codec::is_about(&plain, record_type, record).ok_or_else(damaged)?
                {
                    continue;
                }
                let tally = match tally {
                    None => None,
                    Some(tally) => tally.open_tally(keys.of(None)?, &mut tally_plain).ok_or_else(damaged)?.0,
                };
                answer.push((position, codec::decode(header, tally, &plain).ok_or_else(damaged)?));
            }
        }
        if !forward {
            answer.reverse();
        }
        Ok(answer)
    }

    /// The stored bytes of at most `limit` durable records from a position on, whoever they belong to: what a
    /// log hashes and serves. Fewer may come back where a segment ends; none only at the end of the ledger.
    ///
    /// # Errors
    /// [`AuditError::Unreadable`], [`AuditError::Damaged`].
    pub fn leaves(&self, from: Position, limit: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        let Some(Found { segment, records }) = self.index.read().starting_at(from, limit) else {
            return Ok(Vec::new());
        };
        let mut reader = self.reader(segment, true)?;
        let leaf = |(position, offset)| Ok(reader.leaf(offset)?.ok_or(AuditError::Damaged(position))?.to_vec());
        records.into_iter().map(leaf).collect()
    }

    pub(super) fn reader(&self, segment: u32, forward: bool) -> Result<Reader, AuditError> {
        let file = self.storage.open(&file_name(segment)).map_err(AuditError::Unreadable)?;
        let size = file.size().map_err(AuditError::Unreadable)?;
        Ok(Reader { file, size, forward, window: Vec::new(), start: 0 })
    }
}

/// The keys that a query has needed so far: a tenant without a key can still be asked about what is under the
/// service's own.
struct KeysInUse<'a> {
    ledger: &'a Ledger,
    own: Option<Arc<SealKey>>,
    tenants: Option<Arc<SealKey>>,
}

impl KeysInUse<'_> {
    fn of(&mut self, owner: Option<TenantId>) -> Result<&SealKey, AuditError> {
        let slot = if owner.is_none() { &mut self.own } else { &mut self.tenants };
        match slot {
            Some(key) => Ok(key),
            empty => Ok(empty.insert(self.ledger.keys.audit_key(owner)?)),
        }
    }
}

/// Reads frames in one direction through a window, so that a scan makes few system calls.
pub(super) struct Reader {
    file: Arc<dyn LogFile>,
    size: u64,
    forward: bool,
    window: Vec<u8>,
    start: u64,
}

impl Reader {
    /// The leaf of the frame at `offset`; `None` if there is no whole one.
    pub(super) fn leaf(&mut self, offset: u32) -> Result<Option<&[u8]>, AuditError> {
        let offset = u64::from(offset);
        if self.in_window(offset).is_none() {
            let frame_end = offset.saturating_add(FRAME_MAX_BYTES as u64);
            self.start = if self.forward { offset } else { offset.min(frame_end.saturating_sub(WINDOW_BYTES)) };
            let end = frame_end.max(self.start.saturating_add(WINDOW_BYTES)).min(self.size);
            let length = usize::try_from(end.saturating_sub(self.start)).unwrap_or_default();
            self.window.resize(length, 0);
            self.file.read_exact_at(&mut self.window, self.start).map_err(AuditError::Unreadable)?;
        }
        Ok(self.in_window(offset).map(|frame| frame.leaf))
    }

    fn in_window(&self, offset: u64) -> Option<Frame<'_>> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        Frame::at(&self.window, at)
    }
}
