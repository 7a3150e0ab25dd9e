//! What doesn't fit, and where.

use std::fmt;

use countersign_tlog::Hash;

use crate::ledger::Position;

/// Something that doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, by its name in the ledger's folder.
    pub file: String,
    /// Where in it, in bytes, if that is known.
    pub offset: Option<u64>,
    /// The first record that doesn't fit, if it is about records.
    pub record: Option<Position>,
    /// What.
    pub fault: Fault,
}

/// What doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Changed, moved, put in or cut: the check over a record and all before it is another.
    Changed,
    /// A segment's beginning is not what it was, or not the continuation of what is before.
    Header,
    /// Records were acknowledged, or are covered by a checkpoint, that are not there.
    Missing,
    /// The record is whole, but not the one that the log has the hash of, and the log's root is signed.
    Unlike,
    /// A hash in a level file is not that of the records below.
    Hash,
    /// A level file has fewer or more hashes than the records make.
    Length,
    /// The tree's root is not the one that was signed.
    Root {
        /// Of the records that there are.
        found: Hash,
    },
    /// The file is not what was written.
    Damaged,
    /// The file is not there.
    Absent,
    /// No such file belongs in the folder.
    Stranger,
    /// A write that was never finished: a process was killed, or lost power. Opening the ledger cuts it.
    Unfinished,
    /// A signature is not valid, or of a key that the log doesn't know.
    Signature,
    /// The log's key is not the one that is known of it.
    OtherKey {
        /// Who knows it.
        by: String,
    },
    /// Somebody has seen records that are not there any more.
    RolledBack {
        /// Who.
        by: String,
        /// How many.
        size: u64,
    },
    /// Somebody has seen another tree of so many records.
    Forked {
        /// Who.
        by: String,
        /// How many.
        size: u64,
    },
    /// The ledger has no log yet.
    NoLog,
    /// An index, which can be thrown away and is made again.
    Index,
}

impl Finding {
    pub(super) fn of_file(file: &str, fault: Fault) -> Self {
        Self { file: file.to_owned(), offset: None, record: None, fault }
    }

    pub(super) fn at(file: &str, offset: u64, record: u64, fault: Fault) -> Self {
        Self { file: file.to_owned(), offset: Some(offset), record: Some(Position(record)), fault }
    }

    /// Records first, in their order.
    pub(super) fn order(&self) -> (u64, String) {
        (self.record.map_or(u64::MAX, |record| record.0), self.file.clone())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(record) = self.record {
            write!(f, "record {record}: ")?;
        }
        f.write_str(&self.file)?;
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("this record was changed, moved, put in or cut"),
            Self::Header => f.write_str("this segment's beginning does not follow from what is before it"),
            Self::Missing => f.write_str("this record and all after it are missing"),
            Self::Unlike => f.write_str("this record is not the one that the log has the hash of"),
            Self::Hash => f.write_str("this hash is not that of the records below it"),
            Self::Length => f.write_str("there are not as many hashes as the records make"),
            Self::Root { found } => write!(f, "the records' root is {found}, and another one is signed"),
            Self::Damaged => f.write_str("not as it was written"),
            Self::Absent => f.write_str("not there"),
            Self::Stranger => f.write_str("does not belong to a ledger"),
            Self::Unfinished => f.write_str("a write that was never finished; opening the ledger cuts it"),
            Self::Signature => f.write_str("a signature is not valid, or of an unknown key"),
            Self::OtherKey { by } => write!(f, "signed with another key than the one that {by} knows"),
            Self::RolledBack { by, size } => write!(f, "{by} has seen {size} records of this log, and they are gone"),
            Self::Forked { by, size } => write!(f, "{by} has seen another log of {size} records"),
            Self::NoLog => f.write_str("the ledger has no log yet: its next opening makes one"),
            Self::Index => {
                f.write_str("a damaged index; no record is concerned, and it is made again if it is removed")
            }
        }
    }
}
