//! What one service says of one request, in numbers that its fellows' must equal.

use serde::{Deserialize, Serialize};

use crate::fieldset::FieldSet;
use crate::id::{TokenId, TypeId};

/// One service's count of what a request came to. The gateway's, the key service's and the store's are held
/// against each other: a release that one of them did not see, or saw differently, is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The token that the request carried.
    pub token: TokenId,
    /// The epoch of the facts that the request was decided under.
    pub epoch: u64,
    /// What was opened, ascending by type and fields, each pair once.
    pub opened: Vec<Opened>,
    /// How many changes of records were made.
    pub written: u64,
}

/// Rows whose sealed cells of exactly these fields left the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The record type.
    pub record_type: TypeId,
    /// The fields.
    pub fields: FieldSet,
    /// The rows.
    pub rows: u64,
}

impl Opened {
    /// How many cells that is.
    #[must_use]
    pub fn cells(&self) -> u64 {
        self.rows.saturating_mul(self.fields.len() as u64)
    }
}

impl Tally {
    /// Nothing opened, nothing written.
    #[must_use]
    pub const fn new(token: TokenId, epoch: u64) -> Self {
        Self { token, epoch, opened: Vec::new(), written: 0 }
    }

    /// Adds rows of which these fields were opened. No rows or no fields are nothing.
    pub fn open(&mut self, record_type: TypeId, fields: FieldSet, rows: u64) {
        if rows == 0 || fields.is_empty() {
            return;
        }
        let place = |one: &Opened| (one.record_type, one.fields.bits());
        match self.opened.binary_search_by_key(&(record_type, fields.bits()), place) {
            Ok(at) => {
                if let Some(one) = self.opened.get_mut(at) {
                    one.rows = one.rows.saturating_add(rows);
                }
            }
            Err(at) => self.opened.insert(at, Opened { record_type, fields, rows }),
        }
    }

    /// Adds what another call of the same request came to.
    pub fn add(&mut self, other: &Self) {
        for one in &other.opened {
            self.open(one.record_type, one.fields, one.rows);
        }
        self.written = self.written.saturating_add(other.written);
    }

    /// How many cells were opened.
    #[must_use]
    pub fn cells(&self) -> u64 {
        self.opened.iter().fold(0, |sum, one| sum.saturating_add(one.cells()))
    }

    /// Whether the request touched any record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.written == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_calls_makes_no_difference() {
        let (a, b) = (FieldSet::first(2), FieldSet::first(5));
        let token = TokenId::from_u128(1);
        let (mut one, mut other) = (Tally::new(token, 7), Tally::new(token, 7));
        for (record_type, fields, rows) in [(1, a, 3), (0, b, 2), (1, a, 4), (1, b, 1), (1, b, 0)] {
            one.open(TypeId(record_type), fields, rows);
        }
        for (record_type, fields, rows) in [(1, b, 1), (1, a, 7), (0, b, 2), (2, FieldSet::EMPTY, 9)] {
            other.open(TypeId(record_type), fields, rows);
        }
        assert_eq!(one, other);
        assert_eq!(one.cells(), 7 * 2 + 2 * 5 + 5);
        let mut both = Tally::new(token, 7);
        both.add(&one);
        assert_eq!(both, one);
    }
}
