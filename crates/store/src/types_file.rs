//! The types file: a declarative TOML text that says what records an application keeps.
//!
//! [`parse`] reads one file by itself. [`merge()`] lays a new file over the types in force, keeping every id, and
//! refuses what would lose or break stored records. The format is described in `docs/types.md`.

mod document;
mod error;
mod merge;
mod resolve;
mod words;

use countersign_model::RecordTypes;

pub use error::TypesError;
pub use merge::{Change, Loss, Reason, merge, merge_knowing};

/// The longest types file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// The most record types that a deployment can have.
pub const MAX_TYPES: usize = 1000;

/// Reads a types file. Types and fields get their ids in the order of the file.
///
/// # Errors
/// [`TypesError`] for the first thing that is not as it must be: its line and column, what was expected, and the
/// nearest known word where a word was not known.
pub fn parse(text: &str) -> Result<RecordTypes, TypesError> {
    let raw = document::read(text)?;
    resolve::resolve(text, raw)
}

#[cfg(test)]
mod tests;
