//! The stored form of one record: a leaf, which is opaque to the ledger and to the log that hashes it.
//!
//! A leaf is a header in clear, the sealed tally and signal, and the sealed body. The whole header is the tally's
//! associated data, and both together are the body's: neither can be given to another tenant, service, request, time or
//! verdict, or to each other. Written down in `docs/formats.md`.

use std::sync::Arc;

use countersign_crypto::{Aad, SealKey, sealed_epoch};
use countersign_model::request::Door;
use countersign_model::{
    Entropy, FieldSet, RecordId, RequestId, SessionId, Tally, TenantId, TokenId, TypeId, UnixMs, UserId,
};
use serde::Deserialize;

use crate::error::AuditError;
use crate::ledger::terms::{self, Term};
use crate::record::{Access, Body, Reason, Record, Service, Verdict};
use crate::recordset::RecordSetRef;
use crate::sink::AuditKeys;
use crate::tally::Signal;

/// The longest leaf. Bundles of log entries (C2SP tlog-tiles) give each a length of 16 bits.
pub(crate) const LEAF_MAX_BYTES: usize = 65_535;
/// Bytes of record lists in one leaf, which leaves room for everything else.
const LISTS_MAX_BYTES: usize = 48 * 1024;
/// What an access takes besides its list.
const ACCESS_BYTES: usize = 64;

/// What this program writes. It still reads version 1, which has no tally and is always under the owner's key, and
/// version 2, which has a tally alone where there is one, and no credential in its body.
const VERSION: u8 = 3;
const SECOND_VERSION: u8 = 2;
const FIRST_VERSION: u8 = 1;
const BODY_LABEL: &str = "audit.3";
const BODY_LABEL_2: &str = "audit.2";
const BODY_LABEL_1: &str = "audit.1";
const TALLY_LABEL: &str = "audit-tally.3";
const TALLY_LABEL_2: &str = "audit-tally.2";
const FIXED_BYTES: usize = 28;
const TENANT_BYTES: usize = 16;

const HAS_TENANT: u8 = 1;
const HAS_TALLY: u8 = 2;
const UNDER_OWN_KEY: u8 = 4;

/// What a leaf says in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) service: Service,
    pub(crate) verdict: Verdict,
    pub(crate) time: UnixMs,
    pub(crate) request: RequestId,
    pub(crate) tenant: Option<TenantId>,
    /// The tenant's key could not be had, so the body is under the service's own.
    pub(crate) under_own_key: bool,
    version: u8,
}

impl Header {
    const fn of(record: &Record, under_own_key: bool) -> Self {
        let Record { time, request, service, door: _, verdict, tenant, tally: _, body: _ } = record;
        let (service, verdict, time, request, tenant) = (*service, *verdict, *time, *request, *tenant);
        Self { service, verdict, time, request, tenant, under_own_key, version: VERSION }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut flags = HAS_TALLY;
        for (holds, flag) in [(self.tenant.is_some(), HAS_TENANT), (self.under_own_key, UNDER_OWN_KEY)] {
            flags |= if holds { flag } else { 0 };
        }
        let mut out = Vec::with_capacity(FIXED_BYTES.saturating_add(TENANT_BYTES));
        out.extend([VERSION, service_code(self.service), verdict_code(self.verdict), flags]);
        out.extend(self.time.0.to_be_bytes());
        out.extend(self.request.as_bytes());
        if let Some(tenant) = self.tenant {
            out.extend(tenant.as_bytes());
        }
        out
    }

    /// Whose key the body is under.
    pub(crate) fn key_owner(&self) -> Option<TenantId> {
        self.tenant.filter(|_| !self.under_own_key)
    }
}

/// One record as it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Leaf<'a> {
    pub(crate) header: Header,
    pub(crate) tally: Option<Sealed<'a>>,
    pub(crate) body: Sealed<'a>,
}

impl<'a> Leaf<'a> {
    /// The parts of a leaf; `None` if the bytes are none of a known version.
    pub(crate) fn parse(leaf: &'a [u8]) -> Option<Self> {
        let ([version, service, verdict, flags], rest) = leaf.split_first_chunk::<4>()?;
        let known = match *version {
            FIRST_VERSION => HAS_TENANT,
            SECOND_VERSION | VERSION => HAS_TENANT | HAS_TALLY | UNDER_OWN_KEY,
            _ => return None,
        };
        let has = |flag: u8| flags & flag != 0;
        if flags & !known != 0 || (has(UNDER_OWN_KEY) && !has(HAS_TENANT)) {
            return None;
        }
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (request, mut rest) = rest.split_first_chunk::<16>()?;
        let mut tenant = None;
        if has(HAS_TENANT) {
            let (bytes, after) = rest.split_first_chunk::<TENANT_BYTES>()?;
            (tenant, rest) = (Some(TenantId::from_bytes(*bytes)), after);
        }
        let before = |rest: &[u8]| leaf.get(..leaf.len().checked_sub(rest.len())?);
        let mut tally = None;
        if has(HAS_TALLY) {
            let clear = before(rest)?;
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (sealed, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let label = if *version == SECOND_VERSION { TALLY_LABEL_2 } else { TALLY_LABEL };
            (tally, rest) = (Some(Sealed { label, clear, sealed }), after);
        }
        let label = match *version {
            FIRST_VERSION => BODY_LABEL_1,
            SECOND_VERSION => BODY_LABEL_2,
            _ => BODY_LABEL,
        };
        let body = Sealed { label, clear: before(rest)?, sealed: rest };
        let header = Header {
            service: Service::ALL.into_iter().find(|one| service_code(*one) == *service)?,
            verdict: Verdict::ALL.into_iter().find(|one| verdict_code(*one) == *verdict)?,
            time: UnixMs(u64::from_be_bytes(*time)),
            request: RequestId::from_bytes(*request),
            tenant,
            under_own_key: has(UNDER_OWN_KEY),
            version: *version,
        };
        Some(Self { header, tally, body })
    }
}

pub(crate) const fn service_code(service: Service) -> u8 {
    match service {
        Service::Gateway => 1,
        Service::Keys => 2,
        Service::Store => 3,
        Service::Authority => 4,
        Service::Monitor => 5,
    }
}

const fn verdict_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Intent => 1,
        Verdict::Released => 2,
        Verdict::Changed => 3,
        Verdict::Refused => 4,
        Verdict::Failed => 5,
        Verdict::Unknown => 6,
    }
}

/// A sealed part of a leaf and what it is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Sealed<'a> {
    label: &'static str,
    clear: &'a [u8],
    sealed: &'a [u8],
}

impl Sealed<'_> {
    /// The epoch of the key that it is under; 0, which no key has, if it isn't sealed.
    pub(crate) fn epoch(self) -> u32 {
        sealed_epoch(self.sealed).unwrap_or_default()
    }

    /// Opens the part into `plain`; false if it is not authentic.
    pub(crate) fn open_into(self, key: &SealKey, plain: &mut Vec<u8>) -> bool {
        key.open_into(&Aad::new(self.label).part(self.clear), self.sealed, plain).is_ok()
    }

    /// The tally and the signal in it; `None` if it is not authentic.
    pub(crate) fn open_tally(self, key: &SealKey, plain: &mut Vec<u8>) -> Option<(Option<Tally>, Option<Signal>)> {
        if !self.open_into(key, plain) {
            return None;
        }
        let (told, rest) = if self.label == TALLY_LABEL_2 {
            let (tally, rest) = postcard::take_from_bytes(plain).ok()?;
            ((Some(tally), None), rest)
        } else {
            let ((tally, signal), rest) = postcard::take_from_bytes(plain).ok()?;
            ((tally, Some(signal)), rest)
        };
        rest.is_empty().then_some(told)
    }
}

/// What a body was before version 3.
#[derive(Deserialize)]
struct Body2 {
    accesses: Vec<Access>,
    user: Option<UserId>,
    user_name: Option<String>,
    on_behalf_of: Option<UserId>,
    session: Option<SessionId>,
    token: Option<TokenId>,
    action: String,
    reason: Option<Reason>,
    purpose: Option<String>,
    epoch: u64,
    affected: Option<u64>,
    detail: Option<String>,
}

impl From<Body2> for Body {
    fn from(body: Body2) -> Self {
        let Body2 { accesses, user, user_name, on_behalf_of, session, token, action, reason, .. } = body;
        let (purpose, epoch, affected, detail) = (body.purpose, body.epoch, body.affected, body.detail);
        let what = Self { accesses, action, reason, purpose, epoch, affected, detail, ..Self::default() };
        Self { user, user_name, on_behalf_of, session, token, ..what }
    }
}

/// A record of whose parts only the header can be read.
pub(crate) fn without_body(header: Header, body: Body) -> Record {
    let Header { service, verdict, time, request, tenant, .. } = header;
    Record { time, request, service, door: None, verdict, tenant, tally: None, body }
}

/// The record that an opened body and tally complete; `None` if the bytes are none.
pub(crate) fn decode(header: Header, tally: Option<Tally>, plain: &[u8]) -> Option<Record> {
    let Header { service, verdict, time, request, tenant, under_own_key: _, version } = header;
    let ((body, door), rest) = match version {
        VERSION => postcard::take_from_bytes::<(Body, Option<Door>)>(plain).ok()?,
        _ => {
            let ((body, door), rest) = postcard::take_from_bytes::<(Body2, Option<Door>)>(plain).ok()?;
            ((body.into(), door), rest)
        }
    };
    rest.is_empty().then_some(Record { time, request, service, door, verdict, tenant, tally, body })
}

/// Whether an opened body is about one record. Reads its first part only, in place.
pub(crate) fn is_about(plain: &[u8], record_type: TypeId, record: RecordId) -> Option<bool> {
    #[derive(Deserialize)]
    struct AccessRef<'a> {
        record_type: TypeId,
        _fields: FieldSet,
        _filter_fields: FieldSet,
        #[serde(borrow)]
        records: RecordSetRef<'a>,
        _rows: u64,
    }

    let (accesses, _) = postcard::take_from_bytes::<Vec<AccessRef<'_>>>(plain).ok()?;
    Some(accesses.iter().any(|access| access.record_type == record_type && access.records.contains(record)))
}

/// A leaf on its way to the ledger.
pub(crate) struct SealedLeaf {
    /// What is stored.
    pub(crate) bytes: Vec<u8>,
    /// What it is found by.
    pub(crate) terms: Vec<Term>,
}

/// Seals a record into leaves: one, unless its lists are too long for one.
pub(crate) fn seal(
    keys: &dyn AuditKeys,
    entropy: &dyn Entropy,
    mut record: Record,
) -> Result<Vec<SealedLeaf>, AuditError> {
    let seals = Seals::of(keys, &mut record)?;
    let seal = |part: &Record| Ok(SealedLeaf { bytes: seals.seal(entropy, part)?, terms: terms::of(part) });
    split(record).iter().map(seal).collect()
}

/// The keys that one record is sealed under.
struct Seals {
    body: Arc<SealKey>,
    under_own_key: bool,
    own: Arc<SealKey>,
}

impl Seals {
    /// Of a tenant whose key was destroyed a record says in identifiers alone what came of a request: it opens for longer than
    /// anything of that tenant may.
    fn of(keys: &dyn AuditKeys, record: &mut Record) -> Result<Self, AuditError> {
        let own = keys.audit_key(None)?;
        match keys.audit_key(record.tenant) {
            Ok(body) => return Ok(Self { body, under_own_key: false, own }),
            Err(AuditError::NoKey) if record.tenant.is_some() => {}
            Err(AuditError::Destroyed) if record.tenant.is_some() => {
                let Body { user_name, purpose, detail, .. } = &mut record.body;
                (*user_name, *purpose, *detail) = (None, None, None);
            }
            Err(error) => return Err(error),
        }
        Ok(Self { body: Arc::clone(&own), under_own_key: true, own })
    }

    fn seal(&self, entropy: &dyn Entropy, record: &Record) -> Result<Vec<u8>, AuditError> {
        let too_large = |_| AuditError::TooLarge;
        let mut leaf = Header::of(record, self.under_own_key).to_bytes();
        let plain = postcard::to_stdvec(&(&record.tally, Signal::of(record))).map_err(too_large)?;
        let sealed = self.own.seal(entropy, &Aad::new(TALLY_LABEL).part(&leaf), &plain);
        let length = u16::try_from(sealed.len()).map_err(|_| AuditError::TooLarge)?;
        leaf.extend(length.to_be_bytes());
        leaf.extend(sealed);
        let plain = postcard::to_stdvec(&(&record.body, &record.door)).map_err(too_large)?;
        let sealed = self.body.seal(entropy, &Aad::new(BODY_LABEL).part(&leaf), &plain);
        leaf.extend(sealed);
        if leaf.len() > LEAF_MAX_BYTES { Err(AuditError::TooLarge) } else { Ok(leaf) }
    }
}

/// Cuts a record's lists so that each part fits a leaf. Everything else is said again in each part, except
/// what is counted: that is in the first, and so is the tally.
fn split(mut record: Record) -> Vec<Record> {
    let size = |access: &Access| access.records.as_bytes().len().saturating_add(ACCESS_BYTES);
    if record.body.accesses.iter().map(size).fold(0, usize::saturating_add) <= LISTS_MAX_BYTES {
        return vec![record];
    }
    let accesses = std::mem::take(&mut record.body.accesses);
    let rest = Record { tally: None, body: Body { affected: None, ..record.body.clone() }, ..record };
    let (mut parts, mut part, mut used) = (Vec::new(), record, 0);
    for Access { record_type, fields, filter_fields, records, mut rows } in accesses {
        for records in records.split(LISTS_MAX_BYTES.saturating_sub(ACCESS_BYTES)) {
            let piece = Access { record_type, fields, filter_fields, records, rows };
            if used > 0 && size(&piece).saturating_add(used) > LISTS_MAX_BYTES {
                parts.push(std::mem::replace(&mut part, rest.clone()));
                used = 0;
            }
            used = used.saturating_add(size(&piece));
            part.body.accesses.push(piece);
            rows = 0;
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests;
