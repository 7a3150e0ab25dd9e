//! Plaintext rows on their way out: only the engine makes them, only from permitted cells.

use crate::id::RecordId;
use crate::value::Value;

/// One cell of the answer: a value, or what an embed gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A field's value; null where the caller may not see it on this row.
    Value(Value),
    /// An embedded record, or none.
    One(Option<Box<Row>>),
    /// Embedded records.
    Many(Vec<Row>),
}

/// One row. Its cells stand in the order of the query's columns, which name them.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The record.
    pub record: RecordId,
    /// One cell a column.
    pub cells: Vec<Cell>,
}

impl Row {
    /// How many rows this is, with all that is embedded in it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let inside = self.cells.iter().map(|cell| match cell {
            Cell::Value(_) | Cell::One(None) => 0,
            Cell::One(Some(row)) => row.rows(),
            Cell::Many(rows) => rows.iter().map(Self::rows).sum(),
        });
        inside.fold(1, u64::saturating_add)
    }
}

/// The rows of an answer and how many there are in all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowSet {
    /// The rows of this page.
    pub rows: Vec<Row>,
    /// All rows that the caller may see and the filter matches, if the request asked for a count.
    pub total: Option<u64>,
    /// Where the next page begins, if there may be one. Plain: the door seals it before it leaves.
    pub next: Option<Position>,
}

/// A place between two rows of an ordered result.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// The order keys of the last row.
    pub keys: Vec<Value>,
    /// The last row itself, which breaks ties.
    pub record: RecordId,
}
