//! The parts that a snapshot is made of, and the index that says which they are.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use countersign_crypto::sha256;
use countersign_model::Service;

use crate::error::ApplyError;

/// The longest part. Policies may have 4 MiB of text; everything that grows with a deployment is split.
pub const PART_BYTES_MAX: usize = 8 << 20;

/// SHA-256 of a part's or an index's bytes.
pub type Digest = [u8; 32];

/// What a part is about. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PartKind {
    /// The record types.
    Types = 1,
    /// The policies.
    Policies = 2,
    /// Some of the tenants.
    Tenants = 3,
    /// Some of the users.
    Users = 4,
    /// Some of the revocations.
    Revocations = 5,
    /// The public keys that tokens are verified by.
    TokenKeys = 6,
    /// Which services there are, and where.
    Services = 7,
    /// Services that were removed and whose certificates are refused.
    Removed = 8,
    /// Some of the tenants' wrapped keys. For key services alone.
    Wrapped = 9,
    /// Some of the tenants' e-mail addresses. For monitors alone.
    Contacts = 10,
}

impl PartKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Types,
        Self::Policies,
        Self::Tenants,
        Self::Users,
        Self::Revocations,
        Self::TokenKeys,
        Self::Services,
        Self::Removed,
        Self::Wrapped,
        Self::Contacts,
    ];

    /// The word for messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Types => "types",
            Self::Policies => "policies",
            Self::Tenants => "tenants",
            Self::Users => "users",
            Self::Revocations => "revocations",
            Self::TokenKeys => "token keys",
            Self::Services => "services",
            Self::Removed => "removed services",
            Self::Wrapped => "wrapped keys",
            Self::Contacts => "contacts",
        }
    }

    /// Whether it is split into buckets, of which the empty ones don't exist. The others always do.
    #[must_use]
    pub const fn is_split(self) -> bool {
        matches!(self, Self::Tenants | Self::Users | Self::Revocations | Self::Wrapped | Self::Contacts)
    }

    /// Whether guards decide by it: it changes only together with the epoch.
    #[must_use]
    pub const fn is_decisive(self) -> bool {
        matches!(self, Self::Types | Self::Policies | Self::Tenants | Self::Users | Self::Revocations)
    }

    /// Whether a service of this role is given it.
    #[must_use]
    pub const fn is_for(self, service: Service) -> bool {
        match self {
            Self::Wrapped => matches!(service, Service::Keys),
            Self::Contacts => matches!(service, Service::Monitor),
            _ => true,
        }
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One part's place: its kind and, where the kind is split, the bucket.
///
/// The bucket is the last byte of the id that an entry is kept under (a tenant's, user's, token's or session's). In
/// the ids that Countersign makes that byte is random, so buckets are of one size and a change concerns one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId {
    kind: PartKind,
    bucket: u8,
}

impl PartId {
    /// The one part of a kind that isn't split, or the first bucket of one that is.
    #[must_use]
    pub const fn whole(kind: PartKind) -> Self {
        Self { kind, bucket: 0 }
    }

    /// A bucket of a kind that is split.
    pub(crate) const fn bucket_of(kind: PartKind, bucket: u8) -> Self {
        Self { kind, bucket }
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(self) -> PartKind {
        self.kind
    }

    /// The bucket; 0 if the kind isn't split.
    #[must_use]
    pub const fn bucket(self) -> u8 {
        self.bucket
    }

    /// The number that stands for it: the kind's, then the bucket.
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be_bytes([self.kind as u8, self.bucket])
    }

    /// The part of that number; `None` for a kind that this version doesn't know.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        let [kind, bucket] = number.to_be_bytes();
        let kind = PartKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        (kind.is_split() || bucket == 0).then_some(Self { kind, bucket })
    }
}

/// One part as it is sent. Whether its bytes are the right ones, the index says.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Its place.
    pub id: PartId,
    /// Its encoded content.
    pub bytes: Bytes,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("id", &self.id).field("bytes", &self.bytes.len()).finish()
    }
}

const VERSION: u8 = 1;
const ENTRY_BYTES: usize = 34;

/// Which parts there are and the digest of each: all of a snapshot's, or those that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index(BTreeMap<PartId, Digest>);

impl Index {
    /// The most parts.
    pub const LEN_MAX: usize = 256 * PartKind::ALL.len();
    /// The longest encoded index.
    pub const BYTES_MAX: usize = 1 + ENTRY_BYTES * Self::LEN_MAX;

    /// The digest of a part, if it is there.
    #[must_use]
    pub fn digest(&self, part: PartId) -> Option<&Digest> {
        self.0.get(&part)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many parts are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PartId, &Digest)> {
        self.0.iter().map(|(id, digest)| (*id, digest))
    }

    pub(crate) fn put(&mut self, part: PartId, digest: Digest) {
        self.0.insert(part, digest);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(PartId) -> bool) {
        self.0.retain(|id, _| keep(*id));
    }

    /// The byte 1, then number (u16) and digest of each part, in the order of the numbers.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.0.len().saturating_mul(ENTRY_BYTES).saturating_add(1));
        out.push(VERSION);
        for (id, digest) in &self.0 {
            out.extend(id.number().to_be_bytes());
            out.extend(digest);
        }
        out.into()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`ApplyError::Index`] for anything else, and for parts that this version doesn't know: what they say could
    /// be a reason to refuse.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApplyError> {
        let Some((&VERSION, entries)) = bytes.split_first() else { return Err(ApplyError::Index) };
        let (entries, []) = entries.as_chunks::<ENTRY_BYTES>() else { return Err(ApplyError::Index) };
        let mut index = Self::default();
        let mut last = None;
        for entry in entries {
            let (number, digest) = entry.split_first_chunk::<2>().ok_or(ApplyError::Index)?;
            let id = PartId::from_number(u16::from_be_bytes(*number)).ok_or(ApplyError::Index)?;
            if last.is_some_and(|last| last >= id) {
                return Err(ApplyError::Index);
            }
            last = Some(id);
            index.put(id, digest.try_into().map_err(|_| ApplyError::Index)?);
        }
        Ok(index)
    }
}

/// An encoded part with its digest.
#[derive(Clone)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl Encoded {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { digest: sha256(&bytes), bytes: bytes.into() }
    }
}
