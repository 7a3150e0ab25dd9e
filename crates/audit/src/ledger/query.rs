//! Reading records back.
//!
//! Headers in clear pick the tenant's own records; only those are opened, each with the tenant's own key. So
//! asking about one tenant never touches what another tenant's key protects.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_model::{FieldId, RecordId, RequestId, SessionId, TenantId, TokenId, TypeId, UnixMs, UserId};
use parking_lot::RwLock;

use super::frame::{FRAME_MAX_BYTES, Frame};
use super::index::{Found, Index};
use super::lookup::{Candidates, Condition};
use super::recover::file_name;
use super::storage::{LogFile, Storage};
use super::{Ledger, Position, terms};
use crate::codec::{self, Header, Leaf};
use crate::error::AuditError;
use crate::record::{Body, Record};

/// How much of a segment is read at a time where much of it is wanted.
const WINDOW_BYTES: u64 = 512 * 1024;
/// How much where single records are: most are shorter.
const SMALL_WINDOW_BYTES: u64 = 2 * 1024;
/// Single records are those of which there are fewer than one in so many.
const SPARSE: usize = 16;

/// Whose doings to look for: either is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct By {
    /// What this user did, or somebody on the user's behalf.
    pub user: Option<UserId>,
    /// What somebody did who had this name at that time.
    pub name: Option<String>,
}

/// Which records to give. Every condition must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerQuery {
    /// About this record.
    pub record: Option<(TypeId, RecordId)>,
    /// With `record`: where this field of it was released, changed or filtered on.
    pub field: Option<FieldId>,
    /// Of this request.
    pub request: Option<RequestId>,
    /// What somebody did.
    pub by: Option<By>,
    /// Done with this login.
    pub session: Option<SessionId>,
    /// Done with this token.
    pub token: Option<TokenId>,
    /// Not before this moment.
    pub since: Option<UnixMs>,
    /// Not at or after this moment.
    pub until: Option<UnixMs>,
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
        let (record, field, request, by, session, token) = <_>::default();
        let (since, until, after, oldest_first) = <_>::default();
        Self { record, field, request, by, session, token, since, until, after, oldest_first, limit: 100 }
    }
}

impl LedgerQuery {
    /// What can be looked up.
    fn conditions(&self) -> Vec<Condition> {
        let sealed = |terms| Condition { terms, in_clear: false };
        let by = self.by.as_ref().map(|by| {
            let (user, name) = (by.user.map(terms::user), by.name.as_deref().map(terms::name));
            user.into_iter().chain(name).collect()
        });
        let request = self.request.map(|request| Condition { terms: vec![terms::request(request)], in_clear: true });
        let rest = [
            self.record.map(|(record_type, record)| terms::record(record_type, record).to_vec()),
            by,
            self.session.map(|session| vec![terms::session(session)]),
            self.token.map(|token| vec![terms::token(token)]),
        ];
        request.into_iter().chain(rest.into_iter().flatten().map(sealed)).collect()
    }

    /// Whether a record may be meant, as far as it tells in clear.
    fn takes_header(&self, header: &Header) -> bool {
        self.since.is_none_or(|since| header.time >= since)
            && self.until.is_none_or(|until| header.time < until)
            && self.request.is_none_or(|request| header.request == request)
    }

    fn takes_body(&self, body: &Body) -> bool {
        let of = |by: &By| {
            let users = [body.user, body.on_behalf_of];
            by.user.is_some_and(|user| users.contains(&Some(user))) || by.name.is_some() && by.name == body.user_name
        };
        let reads = |field, (record_type, record)| {
            let of_record = body.accesses.iter().filter(|access| access.record_type == record_type);
            let mut of_record = of_record.filter(|access| access.records.contains(record));
            of_record.any(|access| access.fields.contains(field) || access.filter_fields.contains(field))
        };
        self.by.as_ref().is_none_or(of)
            && self.session.is_none_or(|session| body.session == Some(session))
            && self.token.is_none_or(|token| body.token == Some(token))
            && self.field.zip(self.record).is_none_or(|(field, record)| reads(field, record))
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
        let mut keys = KeysInUse { ledger: self, known: HashMap::new() };
        let forward = query.after.is_some() || query.oldest_first;
        let mut segments = self.index.read().segments(query.since, query.until);
        if !forward {
            segments.reverse();
        }
        let conditions = query.conditions();
        let (mut answer, mut plain, mut tally_plain) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            if answer.len() >= query.limit {
                break;
            }
            let (mut records, sparse) = self.to_look_at(segment, tenant, query.after, &conditions)?;
            if !forward {
                records.reverse();
            }
            if records.is_empty() {
                continue;
            }
            let mut reader = self.reader(segment, forward)?.sparse(sparse);
            for (position, offset) in records {
                if answer.len() >= query.limit {
                    break;
                }
                let damaged = || AuditError::Damaged(position);
                let leaf = reader.leaf(offset)?.ok_or_else(damaged)?;
                let Leaf { header, tally, body } = Leaf::parse(leaf).ok_or_else(damaged)?;
                if !query.takes_header(&header) {
                    continue;
                }
                if header.tenant != tenant {
                    return Err(damaged());
                }
                match keys.of(header.key_owner(), body.epoch()) {
                    Ok(key) if body.open_into(key, &mut plain) => {}
                    Ok(_) => return Err(damaged()),
                    // What it was about is gone with the key. That there is a record is told where nobody asks about what.
                    Err(AuditError::Destroyed) => {
                        let body = Body { detail: Some(DESTROYED.to_owned()), ..Body::default() };
                        if query.record.is_none() && query.takes_body(&body) {
                            answer.push((position, codec::without_body(header, body)));
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                if let Some((record_type, record)) = query.record
                    && !codec::is_about(&plain, record_type, record).ok_or_else(damaged)?
                {
                    continue;
                }
                let tally = match tally {
                    None => None,
                    Some(tally) => {
                        tally.open_tally(keys.of(None, tally.epoch())?, &mut tally_plain).ok_or_else(damaged)?.0
                    }
                };
                let record = codec::decode(header, tally, &plain).ok_or_else(damaged)?;
                if query.takes_body(&record.body) {
                    answer.push((position, record));
                }
            }
        }
        if !forward {
            answer.reverse();
        }
        Ok(answer)
    }

    /// The records of one owner in a segment that may be meant, ascending, and whether they are few of it.
    fn to_look_at(
        &self,
        segment: u32,
        owner: Option<TenantId>,
        after: Option<Position>,
        conditions: &[Condition],
    ) -> Result<(Vec<(Position, u32)>, bool), AuditError> {
        if !conditions.is_empty()
            && let Candidates::At(places) = self.candidates(segment, owner, conditions)?
        {
            let index = self.index.read();
            let sparse =
                places.len().saturating_mul(SPARSE) < usize::try_from(index.records(segment)).unwrap_or_default();
            return Ok((index.at_places(segment, Some(owner), after, places), sparse));
        }
        Ok((self.index.read().of_tenant(segment, owner, after).records, false))
    }

    /// The stored bytes of at most `limit` durable records from a position on, whoever they belong to: what a
    /// log hashes and serves. Fewer may come back where a segment ends; none only at the end of the ledger.
    ///
    /// # Errors
    /// [`AuditError::Removed`] before the first record that is kept; [`AuditError::Unreadable`], [`AuditError::Damaged`].
    pub fn leaves(&self, from: Position, limit: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        leaves_of(&*self.storage, &self.index, from, limit)
    }

    pub(super) fn reader(&self, segment: u32, forward: bool) -> Result<Reader, AuditError> {
        Ok(Reader { forward, ..Reader::open(&*self.storage, segment)? })
    }
}

/// What [`Ledger::leaves`] gives.
pub(super) fn leaves_of(
    storage: &dyn Storage,
    index: &RwLock<Index>,
    from: Position,
    limit: usize,
) -> Result<Vec<Vec<u8>>, AuditError> {
    let Some(Found { segment, records }) = index.read().starting_at(from, limit) else {
        return Ok(Vec::new());
    };
    if records.first().is_some_and(|(first, _)| *first > from) {
        return Err(AuditError::Removed(from));
    }
    let mut reader = Reader { forward: true, ..Reader::open(storage, segment)? };
    let leaf = |(position, offset)| Ok(reader.leaf(offset)?.ok_or(AuditError::Damaged(position))?.to_vec());
    records.into_iter().map(leaf).collect()
}

/// What stands for the content of a record whose key is destroyed.
const DESTROYED: &str = "the key of this record was destroyed";

/// The keys that a query has needed so far: a tenant without a key can still be asked about what is under the
/// service's own.
struct KeysInUse<'a> {
    ledger: &'a Ledger,
    known: HashMap<(Option<TenantId>, u32), Arc<SealKey>>,
}

impl KeysInUse<'_> {
    fn of(&mut self, owner: Option<TenantId>, epoch: u32) -> Result<&SealKey, AuditError> {
        match self.known.entry((owner, epoch)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(self.ledger.keys.audit_key_at(owner, epoch)?)),
        }
    }
}

/// Reads frames in one direction through a window, so that a scan makes few system calls.
pub(super) struct Reader {
    file: Arc<dyn LogFile>,
    size: u64,
    forward: bool,
    /// Single records are wanted, far from each other.
    sparse: bool,
    window: Vec<u8>,
    start: u64,
}

impl Reader {
    /// Reads a segment forward.
    pub(super) fn open(storage: &dyn Storage, segment: u32) -> Result<Self, AuditError> {
        let file = storage.open(&file_name(segment)).map_err(AuditError::Unreadable)?;
        let size = file.size().map_err(AuditError::Unreadable)?;
        Ok(Self { file, size, forward: true, sparse: false, window: Vec::new(), start: 0 })
    }

    /// The same, for single records far from each other, or for many beside each other.
    pub(super) fn sparse(self, sparse: bool) -> Self {
        Self { sparse, ..self }
    }

    /// The leaf of the frame at `offset`; `None` if there is no whole one.
    pub(super) fn leaf(&mut self, offset: u32) -> Result<Option<&[u8]>, AuditError> {
        let offset = u64::from(offset);
        if self.sparse && self.in_window(offset).is_none() {
            self.fill(offset, offset.saturating_add(SMALL_WINDOW_BYTES))?;
        }
        if self.in_window(offset).is_none() {
            let frame_end = offset.saturating_add(FRAME_MAX_BYTES as u64);
            let window = if self.sparse { FRAME_MAX_BYTES as u64 } else { WINDOW_BYTES };
            let start = if self.forward { offset } else { offset.min(frame_end.saturating_sub(window)) };
            self.fill(start, frame_end.max(start.saturating_add(window)))?;
        }
        Ok(self.in_window(offset).map(|frame| frame.leaf))
    }

    fn fill(&mut self, start: u64, end: u64) -> Result<(), AuditError> {
        self.start = start;
        let length = usize::try_from(end.min(self.size).saturating_sub(start)).unwrap_or_default();
        self.window.resize(length, 0);
        self.file.read_exact_at(&mut self.window, start).map_err(AuditError::Unreadable)
    }

    fn in_window(&self, offset: u64) -> Option<Frame<'_>> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        Frame::at(&self.window, at)
    }
}
