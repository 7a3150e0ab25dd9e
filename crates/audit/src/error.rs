//! What goes wrong, grouped by who can do something about it.

use std::io;

use crate::ledger::Position;

/// Why a record could not be written, or records could not be read back.
///
/// Says nothing of what was to be recorded. A caller that was about to release data refuses instead: no
/// record, no release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Operator: the ledger's disk is full, read-only, failing, gone or too slow for what is noted, or the ledger is
    /// shut. Nothing was recorded. Later attempts try again.
    #[error("the audit ledger can't be written")]
    Unavailable,
    /// Operator: the key that sealed this tenant's records can't be had; in writing, the service's own can't be
    /// either.
    #[error("the audit key can't be had")]
    NoKey,
    /// Nobody: the key that sealed this tenant's records of then was destroyed, and what they were about with it.
    #[error("the audit key was destroyed")]
    Destroyed,
    /// Us: the record names another service than the ledger's own.
    #[error("the audit record is another service's")]
    OtherService,
    /// Us: the record doesn't fit the format, whose limit is 64 KiB besides lists of records.
    #[error("the audit record is too large")]
    TooLarge,
    /// Operator: stored records can't be read from the disk.
    #[error("the audit ledger can't be read ({})", .0.kind())]
    Unreadable(#[source] io::Error),
    /// Caller: the record was removed because its time was over.
    #[error("audit record {0} is not kept any more")]
    Removed(Position),
    /// Operator: a stored record was changed, moved, or sealed under another key.
    #[error("audit record {0} is damaged")]
    Damaged(Position),
}

/// Why a ledger doesn't open. It is never repaired by leaving out a record that was acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Operator: the folder or a file in it can't be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done to what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Operator: another process has it open.
    #[error("the audit ledger is open in another process")]
    InUse,
    /// Operator: it was written by another service.
    #[error("segment {segment:08}.log belongs to another service's ledger")]
    OtherService {
        /// The segment.
        segment: u32,
    },
    /// Operator: a segment in the middle is not there.
    #[error("segment {segment:08}.log is missing from the audit ledger")]
    MissingSegment {
        /// The segment.
        segment: u32,
    },
    /// Operator: stored bytes were changed.
    #[error("segment {segment:08}.log is damaged at byte {offset}, where record {position} should begin")]
    Damaged {
        /// The segment.
        segment: u32,
        /// Where in it, in bytes.
        offset: u64,
        /// The first record that can't be trusted.
        position: Position,
    },
    /// Operator: a stored record is not the one that the log has the hash of.
    #[error("record {position} is not the one that the log has the hash of")]
    Unlike {
        /// The first such record.
        position: Position,
    },
    /// Operator: a file beside the segments was changed, or is missing.
    #[error("the file {file} of the audit ledger is damaged")]
    File {
        /// Its name in the ledger's folder.
        file: String,
    },
    /// Operator: the ledger's log was signed with another key, or under another name, than this service has.
    #[error("the audit ledger's log is another service's, or its key was changed")]
    OtherLog,
    /// Operator: records that were acknowledged are not there any more. The file `durable` beside the segments
    /// says how many there were.
    #[error("the audit ledger ends at record {found}, and {acknowledged} were acknowledged")]
    Truncated {
        /// How many records there are.
        found: u64,
        /// How many there have been.
        acknowledged: u64,
    },
}
