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
    /// A new record, with all columns: `$1` the tenant, `$2` the id, `$3` the time, then cells, then tags.
    Insert(TypeId),
    /// `$1` the tenant, `$2` the id, `$3` the version, `$4` the time; then these cells, then the tags of these fields. The
    /// last is whether what was before is kept.
    Update(TypeId, Vec<FieldId>, Vec<FieldId>, bool),
    /// `$1` the tenant, `$2` the id, `$3` the version; if what was before is kept, `$4` the time.
    Delete(TypeId, bool),
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
    /// `$2` is the id to begin after, `$3` the most rows, and so many from `$4` on are tags. A list of a length that is known
    /// is planned once; an array is planned at each execution, which takes longer than finding what has a tag.
    FewTags(FieldId, u8),
    /// `$2` is the id to begin after, `$3` the most rows.
    All,
}

pub(super) fn text(of: &Text, layout: &TypeLayout) -> String {
    match of {
        Text::Select(TypeId(place), find, cells) => select(*place, *find, *cells),
        Text::Insert(TypeId(place)) => insert(*place, layout),
        Text::Update(TypeId(place), cells, tags, keeps) => {
            let mut sql = if *keeps { kept(*place, layout) } else { String::new() };
            let _ = write!(sql, "UPDATE r{place} SET version = version + 1, at = greatest(at, $4)");
            let columns = cells.iter().map(|field| ('c', field)).chain(tags.iter().map(|field| ('x', field)));
            for (parameter, (letter, FieldId(field))) in (5usize..).zip(columns) {
                let _ = write!(sql, ", {letter}{field} = ${parameter}");
            }
            sql.push_str(" WHERE tenant = $1 AND id = $2 AND version = $3");
            sql
        }
        Text::Delete(TypeId(place), keeps) => {
            let delete = format!("DELETE FROM r{place} WHERE tenant = $1 AND id = $2 AND version = $3");
            if !*keeps {
                return delete;
            }
            let (columns, values) = (layout.past_columns(), layout.values());
            format!(
                "WITH gone AS ({delete} RETURNING *) INSERT INTO h{place} (tenant, {columns}) \
                 SELECT tenant, id, version, at, greatest(at, $4::bigint){values} FROM gone"
            )
        }
        Text::Holder(TypeId(place), FieldId(field)) => {
            format!("SELECT id FROM r{place} WHERE tenant = $1 AND x{field} = ANY($2) LIMIT 1")
        }
        Text::Held(TypeId(place), field) => {
            // The lock that references of PostgreSQL's own take holds off a change of a unique key and a deletion,
            // and nothing else.
            let lock = if layout.index(*field) == Some(Index::Unique) { "KEY SHARE" } else { "SHARE" };
            format!("SELECT id FROM r{place} WHERE tenant = $1 AND x{} = ANY($2) LIMIT 1 FOR {lock}", field.0)
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
        Find::FewTags(FieldId(field), count) => {
            let tags: Vec<String> = (4..).take(usize::from(count)).map(|number: usize| format!("${number}")).collect();
            write!(sql, "x{field} IN ({}) AND id > $2 ORDER BY id LIMIT $3", tags.join(", "))
        }
        Find::All => write!(sql, "id > $2 ORDER BY id LIMIT $3"),
    };
    sql
}

/// What an update keeps. The row is locked by the update before this is run. If that one finds no such row, the batch is
/// taken back, and with it whatever this has kept; if another kept the same version, this fails.
fn kept(place: u16, layout: &TypeLayout) -> String {
    let (columns, values) = (layout.past_columns(), layout.values());
    format!(
        "WITH kept AS (INSERT INTO h{place} (tenant, {columns}) \
         SELECT tenant, id, version, at, greatest(at, $4){values} FROM r{place} \
         WHERE tenant = $1 AND id = $2 AND version = $3) "
    )
}

/// A record that is there already, or whose unique tag another has, touches no row. Versions and times of a record that
/// there was before go on from there.
fn insert(place: u16, layout: &TypeLayout) -> String {
    let mut values = String::new();
    let count = layout.len().saturating_add(layout.indexed().count());
    for parameter in (4usize..).take(count) {
        let _ = write!(values, ", ${parameter}::bytea");
    }
    format!(
        "INSERT INTO r{place} (tenant, {}) SELECT $1::uuid, $2::uuid, coalesce(max(version), 0) + 1, \
         greatest($3::bigint, max(until)){values} FROM h{place} WHERE tenant = $1 AND id = $2 ON CONFLICT DO NOTHING",
        layout.columns()
    )
}
