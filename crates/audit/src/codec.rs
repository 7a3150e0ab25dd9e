//! The stored form of one record: a leaf, which is opaque to the ledger and to the log that hashes it.
//!
//! A leaf is a header in clear and a sealed body. The whole header is the body's associated data, so a body
//! can't be given to another tenant, service, request, time or verdict. Written down in `docs/formats.md`.

use countersign_crypto::{Aad, SealKey};
use countersign_model::request::Door;
use countersign_model::{Entropy, FieldSet, RecordId, RequestId, TenantId, TypeId, UnixMs};
use serde::Deserialize;

use crate::error::AuditError;
use crate::record::{Access, Body, Record, Service, Verdict};
use crate::recordset::RecordSetRef;

/// The longest leaf. Bundles of log entries (C2SP tlog-tiles) give each a length of 16 bits.
pub(crate) const LEAF_MAX_BYTES: usize = 65_535;
/// Bytes of record lists in one leaf, which leaves room for everything else.
const LISTS_MAX_BYTES: usize = 48 * 1024;
/// What an access takes besides its list.
const ACCESS_BYTES: usize = 64;

const VERSION: u8 = 1;
const AAD_LABEL: &str = "audit.1";
const FIXED_BYTES: usize = 28;
const TENANT_BYTES: usize = 16;

/// What a leaf says in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) service: Service,
    pub(crate) verdict: Verdict,
    pub(crate) time: UnixMs,
    pub(crate) request: RequestId,
    pub(crate) tenant: Option<TenantId>,
}

impl Header {
    const fn of(record: &Record) -> Self {
        let Record { time, request, service, door: _, verdict, tenant, body: _ } = record;
        Self { service: *service, verdict: *verdict, time: *time, request: *request, tenant: *tenant }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES.saturating_add(TENANT_BYTES));
        out.extend([VERSION, service_code(self.service), verdict_code(self.verdict), u8::from(self.tenant.is_some())]);
        out.extend(self.time.0.to_be_bytes());
        out.extend(self.request.as_bytes());
        if let Some(tenant) = self.tenant {
            out.extend(tenant.as_bytes());
        }
        out
    }

    /// The header and what is sealed behind it; `None` if the bytes are not a leaf of a known version.
    pub(crate) fn parse(leaf: &[u8]) -> Option<(Self, Sealed<'_>)> {
        let ([VERSION, service, verdict, has_tenant], rest) = leaf.split_first_chunk::<4>()? else { return None };
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (request, rest) = rest.split_first_chunk::<16>()?;
        let (tenant, body) = match has_tenant {
            0 => (None, rest),
            1 => {
                let (tenant, rest) = rest.split_first_chunk::<TENANT_BYTES>()?;
                (Some(TenantId::from_bytes(*tenant)), rest)
            }
            _ => return None,
        };
        let clear = leaf.get(..leaf.len().checked_sub(body.len())?)?;
        let header = Self {
            service: Service::ALL.into_iter().find(|one| service_code(*one) == *service)?,
            verdict: Verdict::ALL.into_iter().find(|one| verdict_code(*one) == *verdict)?,
            time: UnixMs(u64::from_be_bytes(*time)),
            request: RequestId::from_bytes(*request),
            tenant,
        };
        Some((header, Sealed { clear, body }))
    }
}

pub(crate) const fn service_code(service: Service) -> u8 {
    match service {
        Service::Gateway => 1,
        Service::Keys => 2,
        Service::Store => 3,
        Service::Authority => 4,
    }
}

const fn verdict_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Intent => 1,
        Verdict::Released => 2,
        Verdict::Changed => 3,
        Verdict::Refused => 4,
        Verdict::Failed => 5,
    }
}

fn aad(clear: &[u8]) -> Aad {
    Aad::new(AAD_LABEL).part(clear)
}

/// A sealed body and the header it is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Sealed<'a> {
    clear: &'a [u8],
    body: &'a [u8],
}

impl Sealed<'_> {
    /// Opens the body into `plain`; false if it is not authentic.
    pub(crate) fn open_into(self, key: &SealKey, plain: &mut Vec<u8>) -> bool {
        key.open_into(&aad(self.clear), self.body, plain).is_ok()
    }
}

/// The record that an opened body completes; `None` if the bytes are none.
pub(crate) fn decode(header: Header, plain: &[u8]) -> Option<Record> {
    let Header { service, verdict, time, request, tenant } = header;
    let ((body, door), rest) = postcard::take_from_bytes::<(Body, Option<Door>)>(plain).ok()?;
    rest.is_empty().then_some(Record { time, request, service, door, verdict, tenant, body })
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

/// Seals a record into leaves: one, unless its lists are too long for one.
pub(crate) fn seal(key: &SealKey, entropy: &dyn Entropy, record: Record) -> Result<Vec<Vec<u8>>, AuditError> {
    split(record).iter().map(|part| seal_one(key, entropy, part)).collect()
}

fn seal_one(key: &SealKey, entropy: &dyn Entropy, record: &Record) -> Result<Vec<u8>, AuditError> {
    let mut leaf = Header::of(record).to_bytes();
    let plain = postcard::to_stdvec(&(&record.body, &record.door)).map_err(|_| AuditError::TooLarge)?;
    let sealed = key.seal(entropy, &aad(&leaf), &plain);
    leaf.extend_from_slice(&sealed);
    if leaf.len() > LEAF_MAX_BYTES { Err(AuditError::TooLarge) } else { Ok(leaf) }
}

/// Cuts a record's lists so that each part fits a leaf. Everything else is said again in each part, except
/// what is counted: that is in the first.
fn split(mut record: Record) -> Vec<Record> {
    let size = |access: &Access| access.records.as_bytes().len().saturating_add(ACCESS_BYTES);
    if record.body.accesses.iter().map(size).fold(0, usize::saturating_add) <= LISTS_MAX_BYTES {
        return vec![record];
    }
    let accesses = std::mem::take(&mut record.body.accesses);
    let rest = Record { body: Body { affected: None, ..record.body.clone() }, ..record };
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
