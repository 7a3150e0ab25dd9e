//! What can go wrong with storage. No error names a path, a tenant or a value.

/// Why a store could not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Ours: nothing was ever stored for this tenant.
    #[error("the store has no such tenant")]
    UnknownTenant,
    /// Ours: the record types in force do not have the type or the field, or the field has no index; or a change
    /// names a field twice, or a cell of an indexed field without its tag, or has a cell that names no key epoch up to the
    /// batch's. Also what a request meets that was judged
    /// by record types that have just been replaced.
    #[error("the record types in force do not have this type, this field, or this index")]
    UnknownField,
    /// The operator's: storage does not work at the moment.
    #[error("storage is not available: {0}")]
    Unavailable(Unavailable),
    /// The operator's: a batch was about to be made durable when the connection to the storage was lost. It is made or
    /// it isn't; nobody knows, and it must not simply be sent again.
    #[error("it is not known whether the change was made")]
    Unknown,
    /// The operator's: stored bytes are not what was written.
    #[error("stored data is damaged")]
    Damaged,
    /// The operator's: a newer program wrote this.
    #[error("stored data has format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// The format of the stored data.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The operator's: the tables are not at the record types in force. The authority brings them there; this program may
    /// not.
    #[error("the database's tables are not at the record types in force")]
    TablesBehind,
    /// The operator's: two programs want to be the one that keeps this data.
    #[error("another program has this store open")]
    InUse,
}

/// What keeps storage from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// No space is left.
    #[error("no space is left")]
    Full,
    /// The storage can't be written, or its files are not ours to open.
    #[error("it can't be written or opened with this program's rights")]
    Forbidden,
    /// Too many files are open.
    #[error("no file can be opened")]
    Files,
    /// No database server that takes writes answers.
    #[error("the database can't be reached")]
    Unreachable,
    /// Somebody else holds it.
    #[error("it is held by somebody else")]
    Busy,
    /// Reading or writing failed.
    #[error("reading or writing failed")]
    Io,
    /// The program is ending, or the work was given up before it began.
    #[error("the work was interrupted")]
    Interrupted,
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        Self::Unavailable(match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Unavailable::Full,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Unavailable::Forbidden,
            _ => Unavailable::Io,
        })
    }
}
