//! The words that a types file may use, and the names that it may not take.

use countersign_model::Kind;

/// The keys of the file.
pub(super) const TOP: [&str; 2] = ["principal", "types"];
/// The keys of a type.
pub(super) const TYPE: [&str; 2] = ["key", "fields"];
/// The keys of a field.
pub(super) const FIELD: [&str; 6] = ["kind", "required", "unique", "index", "references", "class"];

/// Every kind.
pub(super) const KINDS: [Kind; 9] = [
    Kind::Text,
    Kind::Integer,
    Kind::Decimal,
    Kind::Boolean,
    Kind::Date,
    Kind::Timestamp,
    Kind::Uuid,
    Kind::Json,
    Kind::Bytes,
];

/// Parameters of a query string: a field of that name could never be filtered by.
pub(super) const QUERY: [&str; 8] = ["select", "order", "limit", "offset", "and", "or", "not", "columns"];
/// Attributes that every principal has.
pub(super) const PRINCIPAL: [&str; 2] = ["tenant", "name"];

/// Words as they stand in a message.
pub(super) fn list<const N: usize>(words: [&'static str; N]) -> String {
    words.join(", ")
}
