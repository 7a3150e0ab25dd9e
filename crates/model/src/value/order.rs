//! Comparing values of one kind, as PostgreSQL with the "C" collation does.

use std::cmp::Ordering;

use super::Value;

impl Value {
    /// Compares two values of the same kind; `None` if either is null, the kinds differ, or the kind has no order.
    ///
    /// Text compares by its bytes, which for UTF-8 is by code point.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => return None,
        })
    }

    /// Whether two values are equal; `None` if either is null or the kinds differ.
    #[must_use]
    pub fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => Some(a == b),
            _ => self.compare(other).map(Ordering::is_eq),
        }
    }
}
