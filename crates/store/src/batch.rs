//! Changes that are made together or not at all.

use countersign_crypto::{Tag, sealed_epoch};
use countersign_model::{FieldId, RecordId, TypeId, UnixMs};

/// Changes of one tenant's records, made all or none, in their order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<SealedChange>,
    /// What must hold after them for any of them to stay.
    pub requires: Vec<Requirement>,
    /// Makes it at most once.
    pub once: Option<Once>,
    /// When it is made, for the history of changes. Put in by the store service.
    pub at: UnixMs,
    /// The tenant's key epoch under which its cells were sealed and its tags made: the newest of all of its fields. 0 for
    /// a batch without cells and requirements; one that has either and says 0 is of before the first epoch.
    pub epoch: u32,
}

impl Batch {
    /// Whether something is not any more after it, unless a history is kept.
    pub(crate) fn forgets(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change, SealedChange::Insert { .. }))
    }

    /// Whether it brings cells.
    #[must_use]
    pub fn seals(&self) -> bool {
        self.changes.iter().any(|change| change.cells().next().is_some())
    }

    /// Whether each of its cells names an epoch that there is by the batch's: from 1 to that. Those of a batch of before the
    /// first epoch name none. Any other would be opened by nobody, and keep the keys of the tenant from ever being retired.
    #[must_use]
    pub fn names_epochs(&self) -> bool {
        self.changes.iter().flat_map(SealedChange::cells).all(|cell| match sealed_epoch(cell) {
            Some(epoch) => (1..=self.epoch).contains(&epoch),
            None => self.epoch == 0,
        })
    }
}

/// For how long it is known that a batch was made. Afterwards the same id is a new one.
pub const ONCE_MS: u64 = 24 * 60 * 60 * 1000;

/// What a batch is known by, so that it is made at most once, and what is to be known of it afterwards. Stored in the
/// batch's own transaction, also with a batch that changes nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Once {
    /// Whose it is and what they call it, as a digest. A batch under an id that there is already is [`Rejected::Done`].
    pub id: [u8; 32],
    /// When.
    pub at: UnixMs,
    /// Its outcome.
    pub done: Done,
}

/// What is known of a batch that was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Done {
    /// Digest of the request that it was made for.
    pub request: [u8; 32],
    /// What came of it, in whatever form the caller wants it back. No value of any record.
    pub answer: Vec<u8>,
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("done", &self.done).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Done with {} bytes of answer", self.answer.len())
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch of {} changes, {} requirements", self.changes.len(), self.requires.len())
    }
}

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum SealedChange {
    /// A new record, of version 1; of one that there was before and whose history is kept, of the version after its last. A
    /// field without a cell is null.
    Insert {
        /// The type.
        record_type: TypeId,
        /// The record's id. Fresh: one that exists already is [`Rejected::Stale`].
        record: RecordId,
        /// Cells.
        cells: Vec<(FieldId, Vec<u8>)>,
        /// Tags: one for each cell of an indexed field.
        tags: Vec<(FieldId, Tag)>,
    },
    /// New cells for a record; its version goes up by one. Fields that are not named keep cell and tag.
    Update {
        /// The type.
        record_type: TypeId,
        /// The record.
        record: RecordId,
        /// The version it must have before.
        version: u64,
        /// Cells; `None` makes the field null.
        cells: Vec<(FieldId, Option<Vec<u8>>)>,
        /// Tags: one for each cell of an indexed field, `None` with a cell that is `None`.
        tags: Vec<(FieldId, Option<Tag>)>,
    },
    /// Removes a record.
    Delete {
        /// The type.
        record_type: TypeId,
        /// The record.
        record: RecordId,
        /// The version it must have.
        version: u64,
    },
}

impl SealedChange {
    /// The cells that it brings.
    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let (mut inserted, mut updated) = ([].as_slice(), [].as_slice());
        match self {
            Self::Insert { cells, .. } => inserted = cells,
            Self::Update { cells, .. } => updated = cells,
            Self::Delete { .. } => {}
        }
        let inserted = inserted.iter().map(|(_, cell)| cell.as_slice());
        inserted.chain(updated.iter().filter_map(|(_, cell)| cell.as_deref()))
    }
}

impl std::fmt::Debug for SealedChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, record_type, record) = match self {
            Self::Insert { record_type, record, .. } => ("insert", record_type, record),
            Self::Update { record_type, record, .. } => ("update", record_type, record),
            Self::Delete { record_type, record, .. } => ("delete", record_type, record),
        };
        write!(f, "{word} {record} of type {}", record_type.0)
    }
}

/// What must hold once a batch's changes are made. Checked in the same transaction, so that a reference can't be
/// made while what it points at goes away.
#[derive(Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Some record of the type has one of these tags.
    Exists {
        /// The type.
        record_type: TypeId,
        /// An indexed field of it.
        field: FieldId,
        /// The tags of one value, of each key epoch that it may have been tagged in.
        tags: Vec<Tag>,
    },
    /// No record of the type has any of these tags.
    Absent {
        /// The type.
        record_type: TypeId,
        /// An indexed field of it.
        field: FieldId,
        /// The tags of one value, of each key epoch that it may have been tagged in.
        tags: Vec<Tag>,
    },
}

impl std::fmt::Debug for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, record_type, field) = match self {
            Self::Exists { record_type, field, .. } => ("exists", record_type, field),
            Self::Absent { record_type, field, .. } => ("absent", record_type, field),
        };
        write!(f, "{word} in field {} of type {}", field.0, record_type.0)
    }
}

/// Why a batch was not made. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// A unique field's tag is taken, perhaps by an earlier change of the same batch.
    Unique {
        /// The change, by its place in the batch.
        change: usize,
        /// The field; the first in the order of fields if several are taken.
        field: FieldId,
        /// The record that has the tag.
        existing: RecordId,
    },
    /// [`Requirement::Exists`] does not hold.
    Missing {
        /// The requirement, by its place in the batch.
        requirement: usize,
    },
    /// [`Requirement::Absent`] does not hold.
    Present {
        /// The requirement, by its place in the batch.
        requirement: usize,
        /// A record that has one of the tags.
        existing: RecordId,
    },
    /// The record to change has another version or is gone; or the record to insert exists.
    Stale {
        /// The change, by its place in the batch.
        change: usize,
    },
    /// A batch under the same [`Once::id`] was made before.
    Done,
    /// The tenant has got a newer key since the batch was sealed: [`Batch::epoch`] is below what the tenant is at;
    /// or one of its keys has sealed all that it may, and gets a successor.
    Epoch,
    /// It has more values of one field than any key may seal: newer keys would not help.
    Limit,
}
