//! How leaves lie in a segment file.
//!
//! A segment begins with a header: magic and version (8 bytes), service (1), zeros (7), the position of its
//! first record (8, big-endian), a check of all that and of what follows (16), and the check of the record
//! before its first (16; zeros if there is none). Then frames: length (4 bytes, big-endian; the highest bit
//! marks the first frame of a write), the leaf, and a check (16).
//!
//! A check is SHA-256, cut to 16 bytes, of the check before it, the length and the leaf. So it holds a leaf to
//! its position: frames that were swapped, repeated or left out don't check. It is no signature; the log that
//! hashes the leaves proves the rest.

use countersign_crypto::sha256;

use crate::codec::LEAF_MAX_BYTES;
use crate::record::Service;

/// What a frame or a header ends with.
pub(super) type Check = [u8; 16];

const MAGIC: &[u8; 8] = b"CSaudit\x01";
const LENGTH_BYTES: usize = 4;
const CHECK_BYTES: usize = 16;
const FIRST_OF_WRITE: u32 = 1 << 31;
/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 56;
/// Bytes of the longest frame.
pub(super) const FRAME_MAX_BYTES: usize = LENGTH_BYTES + LEAF_MAX_BYTES + CHECK_BYTES;

pub(super) fn check_of(bytes: &[u8]) -> Check {
    sha256(bytes).first_chunk().copied().unwrap_or_default()
}

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) service: u8,
    /// The position of the first record.
    pub(super) first: u64,
    /// The check of the record before it, which the first frame continues from.
    pub(super) previous: Check,
}

impl SegmentHeader {
    pub(super) const fn new(service: Service, first: u64, previous: Check) -> Self {
        Self { service: service_code(service), first, previous }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut fixed = MAGIC.to_vec();
        fixed.extend([self.service, 0, 0, 0, 0, 0, 0, 0]);
        fixed.extend(self.first.to_be_bytes());
        let check = check_of(&[&*fixed, &self.previous].concat());
        [&*fixed, &check, &self.previous].concat()
    }

    /// The header at the start of `segment`; `None` if it is not whole.
    pub(super) fn parse(segment: &[u8]) -> Option<Self> {
        let (head, _) = segment.split_first_chunk::<HEADER_BYTES>()?;
        let (rest, service) = (head.get(MAGIC.len()..)?, *head.get(MAGIC.len())?);
        let first = u64::from_be_bytes(*rest.get(8..)?.first_chunk()?);
        let header = Self { service, first, previous: *head.last_chunk()? };
        (header.to_bytes() == head).then_some(header)
    }
}

/// The byte that names a service in a segment's header; the same as in a leaf.
pub(super) const fn service_code(service: Service) -> u8 {
    crate::codec::service_code(service)
}

/// Frames put together for one write.
pub(super) struct Batch {
    /// The check before the first frame, then the frames: checks are taken over neighbouring bytes.
    buffer: Vec<u8>,
    /// Where each frame begins, from the start of the write.
    starts: Vec<u32>,
}

impl Batch {
    pub(super) fn new(before: Check) -> Self {
        Self { buffer: before.to_vec(), starts: Vec::new() }
    }

    /// Adds a leaf, which must not be longer than a leaf may be.
    pub(super) fn push(&mut self, leaf: &[u8]) {
        let before = self.buffer.len().saturating_sub(CHECK_BYTES);
        let mut length = u32::try_from(leaf.len()).unwrap_or(u32::MAX) & !FIRST_OF_WRITE;
        if self.starts.is_empty() {
            length |= FIRST_OF_WRITE;
        }
        self.starts.push(u32::try_from(before).unwrap_or(u32::MAX));
        self.buffer.extend(length.to_be_bytes());
        self.buffer.extend(leaf);
        let check = check_of(self.buffer.get(before..).unwrap_or_default());
        self.buffer.extend(check);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(CHECK_BYTES..).unwrap_or_default()
    }

    pub(super) fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The check that the next write continues from.
    pub(super) fn check(&self) -> Check {
        self.buffer.last_chunk().copied().unwrap_or_default()
    }
}

/// One frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) leaf: &'a [u8],
    pub(super) check: Check,
    first_of_write: bool,
    /// Where the next one begins.
    pub(super) end: usize,
}

impl<'a> Frame<'a> {
    /// How long a frame is that begins with these bytes.
    pub(super) fn bytes(length: [u8; LENGTH_BYTES]) -> usize {
        let leaf = u32::from_be_bytes(length) & !FIRST_OF_WRITE;
        let leaf = usize::try_from(leaf).unwrap_or_default().min(LEAF_MAX_BYTES);
        leaf.saturating_add(LENGTH_BYTES).saturating_add(CHECK_BYTES)
    }

    /// The frame at `start`, without looking at its check; `None` if it is not all there.
    pub(super) fn at(bytes: &'a [u8], start: usize) -> Option<Self> {
        let (length, rest) = bytes.get(start..)?.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_be_bytes(*length);
        let leaf_bytes = usize::try_from(length & !FIRST_OF_WRITE).ok()?;
        if leaf_bytes == 0 || leaf_bytes > LEAF_MAX_BYTES {
            return None;
        }
        let (leaf, rest) = rest.split_at_checked(leaf_bytes)?;
        let check = *rest.first_chunk::<CHECK_BYTES>()?;
        let end = start.checked_add(LENGTH_BYTES)?.checked_add(leaf_bytes)?.checked_add(CHECK_BYTES)?;
        Some(Self { leaf, check, first_of_write: length & FIRST_OF_WRITE != 0, end })
    }

    /// The frame at `start` of a segment; `None` if it is not whole or doesn't continue what lies before it.
    pub(super) fn checked_at(segment: &'a [u8], start: usize) -> Option<Self> {
        let frame = Self::at(segment, start)?;
        let checked = segment.get(start.checked_sub(CHECK_BYTES)?..frame.end.checked_sub(CHECK_BYTES)?)?;
        (check_of(checked) == frame.check).then_some(frame)
    }
}

/// Whether a later write left a frame anywhere after `start`.
///
/// A write begins only when all before it is durable. So if there is one after a bad frame, the bad frame was
/// durable, and may have been acknowledged: it is damage, not a torn end. Gives up, and says yes, where looking
/// would take longer than honest bytes ever need.
pub(super) fn later_write_after(segment: &[u8], start: usize) -> bool {
    // Where the check alone is bad, the next frame still continues from what it should have been.
    if next_continues_whole_leaf(segment, start).is_some() {
        return true;
    }
    let mut work_left_bytes: usize = 1 << 30;
    for at in start.saturating_add(1)..segment.len() {
        match Frame::at(segment, at) {
            Some(frame) if frame.first_of_write => {
                if Frame::checked_at(segment, at).is_some() {
                    return true;
                }
                match work_left_bytes.checked_sub(frame.leaf.len()) {
                    Some(left) => work_left_bytes = left,
                    None => return true,
                }
            }
            _ => {}
        }
    }
    false
}

fn next_continues_whole_leaf(segment: &[u8], start: usize) -> Option<()> {
    let checked = |from: usize, frame: Frame<'_>| segment.get(from..frame.end.checked_sub(CHECK_BYTES)?);
    let bad = Frame::at(segment, start)?;
    let next = Frame::at(segment, bad.end)?;
    let should_be = check_of(checked(start.checked_sub(CHECK_BYTES)?, bad)?);
    let check = check_of(&[&should_be, checked(bad.end, next)?].concat());
    (next.first_of_write && check == next.check).then_some(())
}
