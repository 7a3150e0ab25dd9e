//! One entry of the journal: 64 bytes, so that none is cut by the end of a disk block.
//!
//! ```text
//! 1  what: 1 token, 2 principal                 8  ceiling
//! 4  the slot at which its write began          4  the step before, zero if none
//! 16 id                                         8  what that one came to
//! 4  step (five minutes since 1970)             3  zeros
//!                                               16 check: SHA-256 of place (u64) and the 48 bytes before, cut
//! ```

use countersign_crypto::sha256;
use countersign_model::{TokenId, UserId};

pub(super) const SLOT_BYTES: usize = 64;
const BODY_BYTES: usize = 48;
const TOKEN: u8 = 1;
const PRINCIPAL: u8 = 2;
const HEADER: u8 = 0xC5;
const MAGIC: &[u8; 16] = b"CSbudget journal";
const VERSION: u32 = 1;

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    Token(TokenId),
    Principal(UserId),
}

/// What somebody had, by step, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) owner: Owner,
    pub(super) steps: Vec<(u32, u64)>,
}

/// A counter's ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) owner: Owner,
    /// For a token the step of its first use, for a principal the step that the ceiling is for.
    pub(super) bucket: u32,
    pub(super) ceiling: u64,
    /// A principal's step before this one, and what exactly it came to.
    pub(super) closed: Option<(u32, u64)>,
}

impl Slot {
    pub(super) fn encode(&self, place: u64, began: u32) -> [u8; SLOT_BYTES] {
        let (what, id) = match self.owner {
            Owner::Token(id) => (TOKEN, *id.as_bytes()),
            Owner::Principal(id) => (PRINCIPAL, *id.as_bytes()),
        };
        let (before, came_to) = self.closed.unwrap_or_default();
        encode(place, what, [&began.to_be_bytes(), &id], self.bucket, self.ceiling, before, came_to)
    }

    /// The slot, and where its write began; `None` if it is not one.
    pub(super) fn decode(bytes: &[u8; SLOT_BYTES], place: u64) -> Option<(Self, u32)> {
        let body = checked(bytes, place)?;
        let (what, rest) = body.split_first()?;
        let (began, rest) = rest.split_first_chunk::<4>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (bucket, rest) = rest.split_first_chunk::<4>()?;
        let (ceiling, rest) = rest.split_first_chunk::<8>()?;
        let (before, rest) = rest.split_first_chunk::<4>()?;
        let (came_to, _) = rest.split_first_chunk::<8>()?;
        let owner = match *what {
            TOKEN => Owner::Token(TokenId::from_bytes(*id)),
            PRINCIPAL => Owner::Principal(UserId::from_bytes(*id)),
            _ => return None,
        };
        let before = u32::from_be_bytes(*before);
        let slot = Self {
            owner,
            bucket: u32::from_be_bytes(*bucket),
            ceiling: u64::from_be_bytes(*ceiling),
            closed: (before != 0).then(|| (before, u64::from_be_bytes(*came_to))),
        };
        Some((slot, u32::from_be_bytes(*began)))
    }
}

/// What every journal begins with.
pub(super) fn header() -> [u8; SLOT_BYTES] {
    encode(0, HEADER, [&VERSION.to_be_bytes(), MAGIC], 0, 0, 0, 0)
}

fn encode(
    place: u64,
    what: u8,
    [first, id]: [&[u8]; 2],
    bucket: u32,
    ceiling: u64,
    before: u32,
    came_to: u64,
) -> [u8; SLOT_BYTES] {
    let parts: [&[u8]; 8] = [
        &[what],
        first,
        id,
        &bucket.to_be_bytes(),
        &ceiling.to_be_bytes(),
        &before.to_be_bytes(),
        &came_to.to_be_bytes(),
        &[0; 3],
    ];
    let mut out = [0; SLOT_BYTES];
    let check = check(&parts.concat(), place);
    for (to, from) in out.iter_mut().zip(parts.into_iter().flatten().chain(&check)) {
        *to = *from;
    }
    out
}

fn check(body: &[u8], place: u64) -> [u8; SLOT_BYTES - BODY_BYTES] {
    let digest = sha256(&[&place.to_be_bytes(), body].concat());
    digest.first_chunk().copied().unwrap_or_default()
}

fn checked(bytes: &[u8; SLOT_BYTES], place: u64) -> Option<&[u8]> {
    let (body, stored) = bytes.split_at_checked(BODY_BYTES)?;
    (check(body, place) == stored).then_some(body)
}
