//! What is asked of a store, and what it gives.

use countersign_crypto::Tag;
use countersign_model::{FieldId, FieldSet, RecordId, TypeId};

/// One access to the records of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The type.
    pub record_type: TypeId,
    /// Which records.
    pub access: Access,
    /// Which cells to give of each.
    pub cells: FieldSet,
    /// At most this many rows.
    pub limit: usize,
    /// Only records whose id is greater: the last one of the page before.
    pub after: Option<RecordId>,
}

/// How records are found.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// By their ids; those that do not exist are left out, those named twice come once.
    Records(Vec<RecordId>),
    /// By the tag of an indexed field being one of these.
    Tags {
        /// The field.
        field: FieldId,
        /// Its tag; a record that matches comes once, however often its tag is named.
        tags: Vec<Tag>,
    },
    /// Every record.
    All,
}

/// Lengths only: which records are read together is nobody's business in a log.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Records(records) => write!(f, "{} records", records.len()),
            Self::Tags { field, tags } => write!(f, "{} tags of field {}", tags.len(), field.0),
            Self::All => f.write_str("all"),
        }
    }
}

/// One record as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// The record.
    pub record: RecordId,
    /// Counts the changes of this record, from 1.
    pub version: u64,
    /// The cells asked for, in the order of their fields; `None` is null.
    pub cells: Vec<(FieldId, Option<Vec<u8>>)>,
}

impl std::fmt::Debug for SealedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedRow")
            .field("record", &self.record)
            .field("version", &self.version)
            .field("cells", &self.cells.len())
            .finish()
    }
}
