//! SQLite's errors as ours. What SQLite says in words may name paths, so none of it is kept.

use rusqlite::ErrorCode;

use crate::error::{StoreError, Unavailable};

pub(super) fn fault(error: rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        // A column that is missing or of another type than was written.
        return StoreError::Damaged;
    };
    StoreError::Unavailable(match failure.code {
        ErrorCode::DiskFull | ErrorCode::TooBig => Unavailable::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            Unavailable::Forbidden
        }
        ErrorCode::CannotOpen => Unavailable::Files,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Unavailable::Busy,
        ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::NoLargeFileSupport => Unavailable::Io,
        ErrorCode::OperationAborted | ErrorCode::OperationInterrupted => Unavailable::Interrupted,
        // Not a database, a broken page, a missing table or index.
        _ => return StoreError::Damaged,
    })
}

/// Whether a statement failed because a unique index has the key already.
pub(super) fn is_taken(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _)
        if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
}
