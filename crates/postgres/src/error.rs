//! What can go wrong with a database. No error carries a statement, a parameter or what the server said in words:
//! servers quote values in their messages.

use tokio_postgres::error::{DbError, SqlState};

/// SQLSTATE of a table that is not there.
pub(crate) const NO_TABLE: &str = "42P01";

/// Why something could not be done in the database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// The operator's: no server that takes writes answers, or none could prove that it is the primary. Nothing was
    /// done.
    #[error("no database server that takes writes can be reached")]
    Unreachable,
    /// The operator's: the server does not let this role in.
    #[error("the database does not let this service in")]
    Forbidden,
    /// The operator's: the connection broke, or the server is going down, before a commit was asked for. Nothing was
    /// done; it can be done again.
    #[error("the connection to the database was lost")]
    Lost,
    /// The operator's: a commit was asked for and its answer was lost, or the server committed without its standbys.
    /// Whether it was made is not known.
    #[error("it is not known whether the database made the change")]
    Unknown,
    /// Others were at the same rows. Nothing was done; it can be done again.
    #[error("others changed the same at the same time")]
    Contention,
    /// A statement, or waiting for a lock, took too long. Nothing was done.
    #[error("the database took too long")]
    TimedOut,
    /// A unique index already has this. Nothing was done. Which index, as it was named when it was made.
    #[error("a unique index already has this")]
    Unique {
        /// The index.
        index: String,
    },
    /// The operator's: no space is left. Nothing was done; it can be done again.
    #[error("the database has no space left")]
    Full,
    /// Ours: the database does not have the tables, or does not let this role use them.
    #[error("the database refused a statement (SQLSTATE {state})")]
    Refused {
        /// The error's five letters, as in PostgreSQL's appendix A.
        state: String,
    },
    /// The operator's: what is stored is damaged or was changed by others.
    #[error("stored data is damaged")]
    Damaged,
    /// The operator's: a newer program made the tables.
    #[error("the database's {part} tables have format {found}; this program knows formats up to {known}")]
    Newer {
        /// Which tables.
        part: &'static str,
        /// Their format.
        found: i32,
        /// The newest that this program knows.
        known: i32,
    },
    /// The operator's: the tables have not been brought up to this program yet, which the authority's process does.
    #[error(
        "the database's {part} tables have format {found}; this program needs format {known}: start the authority first"
    )]
    Behind {
        /// Which tables.
        part: &'static str,
        /// Their format; 0 if there are none.
        found: i32,
        /// The one that is needed.
        known: i32,
    },
    /// Another process holds it.
    #[error("another process holds this")]
    InUse,
    /// Ours: the certificate or the settings can't be used.
    #[error("the settings for the database can't be used")]
    Settings,
}

impl PgError {
    /// Whether nothing was done and the same may be tried again. A server without space is replaced by another, if there
    /// are others.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Lost | Self::Contention | Self::Unreachable | Self::Full)
    }

    fn of_state(state: &SqlState, constraint: Option<&str>) -> Self {
        match *state {
            SqlState::UNIQUE_VIOLATION => Self::Unique { index: constraint.unwrap_or_default().to_owned() },
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Self::Contention,
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Self::TimedOut,
            SqlState::DISK_FULL => Self::Full,
            SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Self::Damaged,
            // A primary that was made a standby while the connection was open.
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::Lost,
            // The server ended the connection because nothing came; a prepared statement whose tables have changed, or that
            // the server does not know any more. Another connection does not have that.
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            | SqlState::FEATURE_NOT_SUPPORTED
            | SqlState::INVALID_SQL_STATEMENT_NAME => Self::Lost,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            | SqlState::INVALID_PASSWORD
            | SqlState::INVALID_CATALOG_NAME => Self::Forbidden,
            SqlState::TOO_MANY_CONNECTIONS => Self::Unreachable,
            _ => match state.code().get(..2) {
                // The server is going down or coming up; connection exceptions.
                Some("57" | "08") => Self::Lost,
                Some("53") => Self::Full,
                _ => Self::Refused { state: state.code().to_owned() },
            },
        }
    }

    fn of_server(error: &DbError) -> Self {
        Self::of_state(error.code(), error.constraint())
    }
}

impl From<tokio_postgres::Error> for PgError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::of_server(said),
            // What came was not of the type that the column has.
            None if std::error::Error::source(&error)
                .is_some_and(|source| source.is::<tokio_postgres::types::WrongType>()) =>
            {
                Self::Damaged
            }
            None => Self::Lost,
        }
    }
}
