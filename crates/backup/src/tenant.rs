//! All that is stored of a tenant, as chunks of a backup and back.
//!
//! A chunk is a run of records, whole and readable by itself. Where one ends is decided by the ids in it: so a record that was
//! changed, added or removed changes the chunk that it is in, and the others are the ones that are there already.

mod form;
mod write;

use countersign_store::carry::Replacement;

pub use self::form::{Page, parse_page_for_tests};
pub use self::write::{Counts, write};

use crate::error::{BackupError, Damage};
use crate::reader::SectionReader;

/// The records of a tenant's section, a chunk at a time; `None` after the last.
///
/// # Errors
/// [`Damage`] by name.
pub async fn next(section: &mut SectionReader) -> Result<Option<Page>, BackupError> {
    let Some(chunk) = section.next().await? else { return Ok(None) };
    match Page::decode(&chunk) {
        Some(page) => Ok(Some(page)),
        None => Err(Damage::Content { section: section.section().clone() }.into()),
    }
}

/// Puts all of a tenant's section into a replacement, as it is. The replacement is for the caller to commit, or to drop if this
/// fails.
///
/// # Errors
/// [`Damage`] by name; [`BackupError::Store`].
pub async fn read(section: &mut SectionReader, replacement: &mut dyn Replacement) -> Result<Counts, BackupError> {
    let mut counts = Counts::default();
    while let Some(page) = next(section).await? {
        counts.add(&page);
        match page {
            Page::Rows(record_type, rows) => replacement.rows(record_type, rows).await?,
            Page::Past(record_type, rows) => replacement.past(record_type, rows).await?,
            Page::Known(known) => replacement.known(known).await?,
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests;
