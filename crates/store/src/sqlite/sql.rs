//! The texts of the statements that read. They are kept, because putting one together takes longer than running it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use countersign_model::{FieldId, FieldSet, TypeId};
use parking_lot::RwLock;

/// Every caller sees other fields, so there are many texts; beyond this many, all are made anew.
const KEPT_MAX: usize = 4096;

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

/// Statement texts by what they do.
#[derive(Default)]
pub(super) struct Texts {
    known: RwLock<HashMap<(TypeId, Find, FieldSet), Arc<str>>>,
}

impl Texts {
    pub(super) fn select(&self, record_type: TypeId, find: Find, cells: FieldSet) -> Arc<str> {
        let key = (record_type, find, cells);
        if let Some(text) = self.known.read().get(&key) {
            return Arc::clone(text);
        }
        let text: Arc<str> = select(record_type, find, cells).into();
        let mut known = self.known.write();
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(key, Arc::clone(&text));
        text
    }
}

fn select(TypeId(place): TypeId, find: Find, cells: FieldSet) -> String {
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
