//! A set of records, small enough to be in every audit record.
//!
//! The bytes are: the lowest id as 16 big-endian bytes, then tokens, each an unsigned LEB128 number of the
//! fewest bytes. A token `n ≥ 2` is the next id, `n` above the last one. A token `0` is a run: the number after
//! it says how many more ids follow the last one, each one above the one before. The empty set is no bytes.
//! Each set has exactly one form, so comparing bytes compares sets.

use std::fmt;

use countersign_model::RecordId;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};

/// The longest LEB128 form of a `u128`.
const LEB_MAX_BYTES: usize = 19;
const RUN: u128 = 0;

/// A set of [`RecordId`]s. A hundred ids made one after another take 18 bytes; strangers about 12 each.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct RecordSet {
    bytes: Vec<u8>,
    len: u64,
}

/// The bytes are not a record set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are not a set of records")]
pub struct NotARecordSet;

impl RecordSet {
    /// No record.
    pub const EMPTY: Self = Self { bytes: Vec::new(), len: 0 };
    /// The most records of a set read back from bytes.
    pub const MAX_LEN: u64 = 1 << 32;

    /// How many records.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the stored form. Takes no memory beyond a copy of the bytes, whatever they claim.
    ///
    /// # Errors
    /// [`NotARecordSet`] if they are anything but the one form of a set of at most [`Self::MAX_LEN`] records.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotARecordSet> {
        let len = RecordSetRef::new(bytes)?.len;
        Ok(Self { bytes: bytes.to_vec(), len })
    }

    /// The records in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = RecordId> {
        let numbers = Runs::new(&self.bytes).flat_map(|run| run.first..=run.last);
        numbers.map(RecordId::from_u128)
    }

    /// Whether `record` is in the set. Reads the bytes as they are; a run counts as one step.
    #[must_use]
    pub fn contains(&self, record: RecordId) -> bool {
        contains(&self.bytes, record)
    }

    /// The set in parts that take at most `bytes_max` each (but at least one run each), in order.
    pub(crate) fn split(&self, bytes_max: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut part = Builder::default();
        for run in Runs::new(&self.bytes) {
            if part.set.bytes.len().saturating_add(LEB_MAX_BYTES.saturating_mul(2)) > bytes_max {
                parts.push(std::mem::take(&mut part).set);
            }
            part.push(run);
        }
        parts.push(part.set);
        parts
    }
}

impl FromIterator<RecordId> for RecordSet {
    /// From ids in any order, with any repeated.
    fn from_iter<I: IntoIterator<Item = RecordId>>(ids: I) -> Self {
        let mut numbers: Vec<u128> = ids.into_iter().map(|id| id.as_u128()).collect();
        if !numbers.is_sorted() {
            numbers.sort_unstable();
        }
        numbers.dedup();
        let mut builder = Builder::default();
        let mut run: Option<Run> = None;
        for number in numbers {
            match &mut run {
                Some(run) if run.last.checked_add(1) == Some(number) => run.last = number,
                _ => builder.extend(run.replace(Run { first: number, last: number })),
            }
        }
        builder.extend(run);
        builder.set
    }
}

/// Shows how many, not which.
impl fmt::Debug for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records", self.len)
    }
}

impl Serialize for RecordSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for RecordSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let borrowed = RecordSetRef::deserialize(deserializer)?;
        Ok(Self { bytes: borrowed.bytes.to_vec(), len: borrowed.len })
    }
}

/// A [`RecordSet`] in somebody else's buffer, checked.
#[derive(Clone, Copy)]
pub(crate) struct RecordSetRef<'a> {
    bytes: &'a [u8],
    len: u64,
}

impl<'a> RecordSetRef<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, NotARecordSet> {
        let mut runs = Runs::new(bytes);
        let mut len = 0u64;
        while let Some(run) = runs.step()? {
            let count = run.last.checked_sub(run.first).and_then(|count| count.checked_add(1)).ok_or(NotARecordSet)?;
            len = u64::try_from(count).ok().and_then(|count| len.checked_add(count)).ok_or(NotARecordSet)?;
            if len > RecordSet::MAX_LEN {
                return Err(NotARecordSet);
            }
        }
        Ok(Self { bytes, len })
    }

    pub(crate) fn contains(self, record: RecordId) -> bool {
        contains(self.bytes, record)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RecordSetRef<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = &'de [u8];
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a set of records")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
        }
        Self::new(deserializer.deserialize_bytes(Bytes)?).map_err(D::Error::custom)
    }
}

fn contains(bytes: &[u8], record: RecordId) -> bool {
    let number = record.as_u128();
    Runs::new(bytes).take_while(|run| run.first <= number).any(|run| number <= run.last)
}

/// Ids without a gap between them, both ends included.
#[derive(Clone, Copy)]
struct Run {
    first: u128,
    last: u128,
}

/// Walks the bytes run by run. As an iterator it ends at the first byte that makes no sense; checked bytes
/// have none.
struct Runs<'a> {
    left: &'a [u8],
    last: Option<u128>,
}

impl<'a> Runs<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes, last: None }
    }

    fn step(&mut self) -> Result<Option<Run>, NotARecordSet> {
        let first = match self.last {
            None => {
                if self.left.is_empty() {
                    return Ok(None);
                }
                let (id, rest) = self.left.split_first_chunk::<16>().ok_or(NotARecordSet)?;
                self.left = rest;
                u128::from_be_bytes(*id)
            }
            Some(_) if self.left.is_empty() => return Ok(None),
            Some(last) => {
                let gap = self.number()?;
                if gap < 2 {
                    return Err(NotARecordSet);
                }
                last.checked_add(gap).ok_or(NotARecordSet)?
            }
        };
        let mut last = first;
        if let Some((0, rest)) = self.left.split_first() {
            self.left = rest;
            let more = self.number()?;
            if more == 0 {
                return Err(NotARecordSet);
            }
            last = first.checked_add(more).ok_or(NotARecordSet)?;
        }
        self.last = Some(last);
        Ok(Some(Run { first, last }))
    }

    fn number(&mut self) -> Result<u128, NotARecordSet> {
        let mut number = 0u128;
        for (index, byte) in self.left.iter().copied().enumerate().take(LEB_MAX_BYTES) {
            let shift = (index as u32).saturating_mul(7);
            let bits = u128::from(byte & 0x7f);
            let placed = bits << shift;
            if placed >> shift != bits || (byte == 0 && index > 0) {
                return Err(NotARecordSet);
            }
            number |= placed;
            if byte & 0x80 == 0 {
                self.left = self.left.get(index.saturating_add(1)..).ok_or(NotARecordSet)?;
                return Ok(number);
            }
        }
        Err(NotARecordSet)
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.step().ok().flatten()
    }
}

/// Puts runs together; they must ascend, with a gap between each and the next.
#[derive(Default)]
struct Builder {
    set: RecordSet,
    last: u128,
}

impl Builder {
    fn push(&mut self, run: Run) {
        if self.set.bytes.is_empty() {
            self.set.bytes.extend_from_slice(&run.first.to_be_bytes());
        } else {
            self.number(run.first.saturating_sub(self.last));
        }
        let more = run.last.saturating_sub(run.first);
        if more > 0 {
            self.number(RUN);
            self.number(more);
        }
        let count = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(1);
        self.set.len = self.set.len.saturating_add(count);
        self.last = run.last;
    }

    fn number(&mut self, mut number: u128) {
        loop {
            let bits = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                self.set.bytes.push(bits);
                return;
            }
            self.set.bytes.push(bits | 0x80);
        }
    }
}

impl Extend<Run> for Builder {
    fn extend<I: IntoIterator<Item = Run>>(&mut self, runs: I) {
        runs.into_iter().for_each(|run| self.push(run));
    }
}

#[cfg(test)]
mod tests;
