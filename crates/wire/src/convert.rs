//! Between the types of the model and the messages on the wire. What can't be read is [`Malformed`]; nothing is
//! guessed or left out.

pub(crate) mod authority;
pub(crate) mod failure;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod trail;

use countersign_model::{FieldId, FieldSet, TypeId};

use crate::pb;

/// A message says something that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message can't be read")]
pub struct Malformed;

/// Exactly 16 bytes: an id or a tag.
pub(crate) fn sixteen(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed)
}

/// Sixteen bytes each, one after the other.
pub(crate) fn sixteens(bytes: &[u8]) -> Result<impl Iterator<Item = [u8; 16]> + '_, Malformed> {
    let (parts, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() { Ok(parts.iter().copied()) } else { Err(Malformed) }
}

pub(crate) fn type_id(number: u32) -> Result<TypeId, Malformed> {
    u16::try_from(number).map(TypeId).map_err(|_| Malformed)
}

pub(crate) fn field_id(number: u32) -> Result<FieldId, Malformed> {
    let field = u8::try_from(number).map_err(|_| Malformed)?;
    if usize::from(field) < FieldSet::MAX { Ok(FieldId(field)) } else { Err(Malformed) }
}

pub(crate) fn size(number: u64) -> Result<usize, Malformed> {
    usize::try_from(number).map_err(|_| Malformed)
}

pub(crate) fn number(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

pub(crate) fn fields_out(fields: FieldSet) -> pb::FieldSet {
    let (mut low, mut high) = (0u64, 0u64);
    for field in fields.iter() {
        match field.0 {
            place @ 0..64 => low |= 1 << place,
            place => high |= 1 << (place & 63),
        }
    }
    pb::FieldSet { low, high }
}

pub(crate) fn fields_in(fields: Option<pb::FieldSet>) -> FieldSet {
    let pb::FieldSet { low, high } = fields.unwrap_or_default();
    let bits = u128::from(low) | (u128::from(high) << 64);
    (0..128u8).filter(|place| bits >> place & 1 == 1).map(FieldId).collect()
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests")]
mod tests;
