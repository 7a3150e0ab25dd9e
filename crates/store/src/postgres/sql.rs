//! The texts of the statements.
//!
//! Every one names the tenant, as row security does too.

use std::fmt::Write as _;

use countersign_model::{FieldId, FieldSet, TypeId};

use crate::layout::{Index, TypeLayout};

/// What a text depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Text {
    /// Reads these cells.
    Select(TypeId, Find, FieldSet),
    /// A new record, with all columns: `$1` the tenant, `$2` the id, then cells, then tags.
    Insert(TypeId),
    /// `$1` the tenant, `$2` the id, `$3` the version; then these cells, then the tags of these fields.
    Update(TypeId, Vec<FieldId>, Vec<FieldId>),
    /// `$1` the tenant, `$2` the id, `$3` the version.
    Delete(TypeId),
    /// `$1` the tenant, `$2` a tag. Gives the id of a record that has it.
    Holder(TypeId, FieldId),
    /// The same; nobody takes the record away or gives it another tag before the transaction is over.
    Held(TypeId, FieldId),
    /// `$1` the tenant, `$2` the id. Gives the version, which stays until the transaction is over.
    Version(TypeId),
    /// `$1` the tenant.
    Count(TypeId),
    /// `$1` the tenant.
    Any(TypeId),
}

/// How a statement finds rows. `$1` is the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Find {
    /// `$2` is an id.
    Id,
    /// `$2` is ids, `$3` the id to begin after, `$4` the most rows.
    Ids,
    /// `$2` is a tag of a unique field.
    UniqueTag(FieldId),
    /// `$2` is a tag, `$3` the id to begin after, `$4` the most rows.
    Tag(FieldId),
    /// `$2` is tags, `$3` the id to begin after, `$4` the most rows.
    Tags(FieldId),
    /// `$2` is the id to begin after, `$3` the most rows.
    All,
}

pub(super) fn text(of: &Text, layout: &TypeLayout) -> String {
    match of {
        Text::Select(TypeId(place), find, cells) => select(*place, *find, *cells),
        Text::Insert(TypeId(place)) => insert(*place, layout),
        Text::Update(TypeId(place), cells, tags) => {
            let mut sql = format!("UPDATE r{place} SET version = version + 1");
            let columns = cells.iter().map(|field| ('c', field)).chain(tags.iter().map(|field| ('x', field)));
            for (parameter, (letter, FieldId(field))) in (4usize..).zip(columns) {
                let _ = write!(sql, ", {letter}{field} = ${parameter}");
            }
            sql.push_str(" WHERE tenant = $1 AND id = $2 AND version = $3");
            sql
        }
        Text::Delete(TypeId(place)) => format!("DELETE FROM r{place} WHERE tenant = $1 AND id = $2 AND version = $3"),
        Text::Holder(TypeId(place), FieldId(field)) => {
            format!("SELECT id FROM r{place} WHERE tenant = $1 AND x{field} = $2 LIMIT 1")
        }
        Text::Held(TypeId(place), field) => {
            // The lock that references of PostgreSQL's own take holds off a change of a unique key and a deletion,
            // and nothing else.
            let lock = if layout.index(*field) == Some(Index::Unique) { "KEY SHARE" } else { "SHARE" };
            format!("SELECT id FROM r{place} WHERE tenant = $1 AND x{} = $2 LIMIT 1 FOR {lock}", field.0)
        }
        Text::Version(TypeId(place)) => {
            format!("SELECT version FROM r{place} WHERE tenant = $1 AND id = $2 FOR UPDATE")
        }
        Text::Count(TypeId(place)) => format!("SELECT count(*) FROM r{place} WHERE tenant = $1"),
        Text::Any(TypeId(place)) => format!("SELECT id FROM r{place} WHERE tenant = $1 LIMIT 1"),
    }
}

fn select(place: u16, find: Find, cells: FieldSet) -> String {
    let mut sql = String::from("SELECT id, version");
    for FieldId(field) in cells.iter() {
        let _ = write!(sql, ", c{field}");
    }
    let _ = write!(sql, " FROM r{place} WHERE tenant = $1 AND ");
    let page = "AND id > $3 ORDER BY id LIMIT $4";
    let _ = match find {
        Find::Id => write!(sql, "id = $2"),
        Find::Ids => write!(sql, "id = ANY($2) {page}"),
        Find::UniqueTag(FieldId(field)) => write!(sql, "x{field} = $2"),
        Find::Tag(FieldId(field)) => write!(sql, "x{field} = $2 {page}"),
        Find::Tags(FieldId(field)) => write!(sql, "x{field} = ANY($2) {page}"),
        Find::All => write!(sql, "id > $2 ORDER BY id LIMIT $3"),
    };
    sql
}

/// A record that is there already, or whose unique tag another has, touches no row.
fn insert(place: u16, layout: &TypeLayout) -> String {
    let (mut columns, mut values) = (String::new(), String::new());
    let cells = (0..layout.len()).map(|field| format!("c{field}"));
    let tags = layout.indexed().map(|FieldId(field)| format!("x{field}"));
    for (parameter, column) in (3usize..).zip(cells.chain(tags)) {
        let _ = write!(columns, ", {column}");
        let _ = write!(values, ", ${parameter}");
    }
    format!("INSERT INTO r{place} (tenant, id, version{columns}) VALUES ($1, $2, 1{values}) ON CONFLICT DO NOTHING")
}
