//! How far sealing a tenant again has come, as the store keeps it.

use countersign_model::{RecordId, TypeId};

/// The first byte of the stored form.
const VERSION: u8 = 1;

/// What comes next in a pass over all records of a tenant: types in their order, of each first what records are and then what
/// they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The newest epoch of the tenant when the pass began.
    pub(super) epoch: u32,
    /// Something of an older epoch was found in this pass.
    pub(super) found: bool,
    /// How many rows of this pass have cells that can't be opened.
    pub(super) left: u64,
    pub(super) record_type: TypeId,
    pub(super) past: bool,
    /// After this record, in this version. No record has the id that is before all others.
    pub(super) after: (RecordId, u64),
}

const START: (RecordId, u64) = (RecordId::from_u128(0), 0);

impl Place {
    /// Where a pass begins.
    pub(super) const fn start(epoch: u32) -> Self {
        Self { epoch, found: false, left: 0, record_type: TypeId(0), past: false, after: START }
    }

    /// After this record.
    pub(super) const fn moved(self, record: RecordId, version: u64) -> Self {
        Self { after: (record, version), ..self }
    }

    /// After all records of the type, or all that they were.
    pub(super) const fn next(self) -> Self {
        let TypeId(number) = self.record_type;
        let record_type = if self.past { TypeId(number.saturating_add(1)) } else { self.record_type };
        Self { record_type, past: !self.past, after: START, ..self }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (record, version) = self.after;
        let mut bytes = vec![VERSION];
        bytes.extend(self.epoch.to_be_bytes());
        bytes.push(u8::from(self.found));
        bytes.extend(self.left.to_be_bytes());
        bytes.extend(self.record_type.0.to_be_bytes());
        bytes.push(u8::from(self.past));
        bytes.extend(record.as_bytes());
        bytes.extend(version.to_be_bytes());
        bytes
    }

    /// `None` for what another program wrote: the pass begins anew then.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let flag = |byte: u8| (byte < 2).then_some(byte == 1);
        let (version, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (found, rest) = rest.split_first()?;
        let (left, rest) = rest.split_first_chunk()?;
        let (record_type, rest) = rest.split_first_chunk()?;
        let (past, rest) = rest.split_first()?;
        let (record, number) = rest.split_first_chunk()?;
        let place = Self {
            epoch: u32::from_be_bytes(*epoch),
            found: flag(*found)?,
            left: u64::from_be_bytes(*left),
            record_type: TypeId(u16::from_be_bytes(*record_type)),
            past: flag(*past)?,
            after: (RecordId::from_bytes(*record), u64::from_be_bytes(number.try_into().ok()?)),
        };
        (*version == VERSION).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_found() {
        let mut place = Place::start(7);
        assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
        place = Place { found: true, left: 4, ..place.moved(RecordId::from_u128(5), 9).next() };
        assert_eq!((place.record_type, place.past, place.after), (TypeId(0), true, START));
        place = place.next().moved(RecordId::from_u128(77), 3);
        assert_eq!((place.record_type, place.past), (TypeId(1), false));
        let bytes = place.to_bytes();
        assert_eq!(Place::from_bytes(&bytes), Some(place));
        for end in 0..bytes.len() {
            assert_eq!(Place::from_bytes(&bytes[..end]), None);
        }
        for (byte, value) in [(0, 2), (5, 2), (16, 9)] {
            let mut other = bytes.clone();
            other[byte] = value;
            assert_eq!(Place::from_bytes(&other), None);
        }
    }
}
