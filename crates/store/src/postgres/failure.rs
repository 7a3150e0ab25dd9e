//! The database's errors as ours.

use countersign_postgres::PgError;

use super::present::GONE;
use crate::error::{StoreError, Unavailable};

/// SQLSTATE of a table, a column that is not there, and of a cell without its tag: whoever asked knows other record types
/// than those in force.
const OTHER_TYPES: [&str; 3] = ["42P01", "42703", "23514"];
const NOT_ALLOWED: &str = "42501";

pub(super) fn fault(error: PgError) -> StoreError {
    StoreError::Unavailable(match error {
        PgError::Unknown => return StoreError::Unknown,
        PgError::Damaged => return StoreError::Damaged,
        PgError::InUse => return StoreError::InUse,
        PgError::Behind { .. } => return StoreError::TablesBehind,
        PgError::Newer { found, known, .. } => {
            let number = |number: i32| u32::try_from(number).unwrap_or(0);
            return StoreError::NewerFormat { found: number(found), known: number(known) };
        }
        PgError::Refused { state } if state == GONE => return StoreError::UnknownTenant,
        PgError::Refused { state } if OTHER_TYPES.contains(&state.as_str()) => return StoreError::UnknownField,
        PgError::Refused { state } if state != NOT_ALLOWED => Unavailable::Io,
        PgError::Refused { .. } | PgError::Forbidden | PgError::Settings => Unavailable::Forbidden,
        PgError::Full => Unavailable::Full,
        PgError::Contention | PgError::TimedOut | PgError::Unique { .. } => Unavailable::Busy,
        _ => Unavailable::Unreachable,
    })
}

/// What came is not of the type that the column has, or not there.
pub(super) fn damaged<E>(_: E) -> StoreError {
    StoreError::Damaged
}
