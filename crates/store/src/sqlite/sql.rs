//! The texts of the statements that read.

use std::fmt::Write as _;

use countersign_model::{FieldId, FieldSet, TypeId};

/// How a statement finds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Find {
    /// `?1` is an id.
    Id,
    /// `?1` is a row number.
    Row,
    /// `?1` is a tag of a unique field.
    UniqueTag(FieldId),
    /// `?1` is a tag, `?2` the id to begin after, `?3` the most rows.
    Tag(FieldId),
    /// As `Tag`, giving id and row number only, from the index alone.
    TagRows(FieldId),
    /// `?1` is the id to begin after, `?2` the most rows.
    All,
}

/// What a text that reads depends on.
pub(super) type Select = (TypeId, Find, FieldSet);

/// The text itself.
pub(super) fn select(&(TypeId(place), find, cells): &Select) -> String {
    if let Find::TagRows(FieldId(field)) = find {
        return format!(
            "SELECT id, seq FROM r{place} INDEXED BY i{place}x{field} \
             WHERE x{field} = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
        );
    }
    let mut sql = String::from("SELECT id, version");
    for FieldId(field) in cells.iter() {
        let _ = write!(sql, ", c{field}");
    }
    let _ = write!(sql, " FROM r{place}");
    let _ = match find {
        Find::Id => write!(sql, " INDEXED BY i{place}id WHERE id = ?1"),
        Find::Row => write!(sql, " WHERE seq = ?1"),
        Find::UniqueTag(FieldId(field)) => write!(sql, " INDEXED BY i{place}x{field} WHERE x{field} = ?1"),
        Find::Tag(FieldId(field)) | Find::TagRows(FieldId(field)) => {
            write!(sql, " INDEXED BY i{place}x{field} WHERE x{field} = ?1 AND id > ?2 ORDER BY id LIMIT ?3")
        }
        Find::All => write!(sql, " INDEXED BY i{place}id WHERE id > ?1 ORDER BY id LIMIT ?2"),
    };
    sql
}
