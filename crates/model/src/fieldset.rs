//! A set of fields of one record type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::FieldId;

/// A set of [`FieldId`]s of one record type, as 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldSet(u128);

impl FieldSet {
    /// The most fields that a record type can have.
    pub const MAX: usize = 128;
    /// No field.
    pub const EMPTY: Self = Self(0);

    /// The set as a number: bit n is field n.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The set that [`Self::bits`] gave the number of.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The first `count` fields, all of a type that has `count`.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        if count >= Self::MAX { Self(u128::MAX) } else { Self((1u128 << count).wrapping_sub(1)) }
    }

    const fn bit(field: FieldId) -> u128 {
        match 1u128.checked_shl(field.0 as u32) {
            Some(bit) => bit,
            None => 0,
        }
    }

    /// Adds a field. A field at or over [`Self::MAX`] is left out.
    pub const fn insert(&mut self, field: FieldId) {
        self.0 |= Self::bit(field);
    }

    /// This set and `field`.
    #[must_use]
    pub const fn with(self, field: FieldId) -> Self {
        Self(self.0 | Self::bit(field))
    }

    /// Whether `field` is in the set.
    #[must_use]
    pub const fn contains(self, field: FieldId) -> bool {
        self.0 & Self::bit(field) != 0
    }

    /// Whether every field of `self` is in `other`.
    #[must_use]
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Fields in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Fields in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Fields of `self` that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has no field.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many fields the set has.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The fields in ascending order.
    pub fn iter(self) -> impl Iterator<Item = FieldId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let lowest = left.trailing_zeros() as u8;
            left &= left.wrapping_sub(1);
            Some(FieldId(lowest))
        })
    }
}

impl FromIterator<FieldId> for FieldSet {
    fn from_iter<I: IntoIterator<Item = FieldId>>(fields: I) -> Self {
        fields.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|field| field.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in_and_nothing_over_the_edge() {
        let set: FieldSet = [0, 5, 127, 128, 255].into_iter().map(FieldId).collect();
        assert_eq!(set.iter().map(|field| field.0).collect::<Vec<_>>(), [0, 5, 127]);
        assert!(!set.contains(FieldId(128)));
        assert_eq!(FieldSet::first(128).len(), 128);
        assert_eq!(FieldSet::first(3).iter().count(), 3);
        assert!(FieldSet::EMPTY.is_subset(set) && !set.is_subset(FieldSet::first(6)));
    }
}
