//! How record types lie in a tenant's file, and bringing a file up to date with them.
//!
//! Type 7 is the table `r7`; its field 3 is the column `c3` (the sealed cell) and, if the field is indexed, `x3`
//! (the tag) with the index `i7x3`. No name of a type, a field or a tenant is in the file. What a file has is
//! written in its table `meta` as one letter a field: `-` not indexed, `i` indexed, `u` unique; types are
//! parted by `/`.

use std::fmt::Write as _;

use countersign_model::{FieldId, FieldSet, RecordTypes, TypeId};
use rusqlite::{Connection, OptionalExtension as _};

use super::failure::fault;
use crate::error::StoreError;

/// The format of tenant files that this program writes.
pub(super) const FORMAT: u32 = 1;
/// Marks a file as ours, in SQLite's header field for that: "CsgT".
pub(super) const APPLICATION: u32 = 0x4373_6754;

/// How a field can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    None,
    Plain,
    Unique,
}

impl Index {
    const fn letter(self) -> char {
        match self {
            Self::None => '-',
            Self::Plain => 'i',
            Self::Unique => 'u',
        }
    }

    fn from_letter(letter: char) -> Result<Self, StoreError> {
        [Self::None, Self::Plain, Self::Unique]
            .into_iter()
            .find(|index| index.letter() == letter)
            .ok_or(StoreError::Damaged)
    }
}

/// One type's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TypeLayout {
    fields: Vec<Index>,
}

impl TypeLayout {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn has(&self, fields: FieldSet) -> bool {
        fields.is_subset(FieldSet::first(self.fields.len()))
    }

    /// How a field can be found; `None` if there is no such field.
    pub(super) fn index(&self, field: FieldId) -> Option<Index> {
        self.fields.get(usize::from(field.0)).copied()
    }

    pub(super) fn is_indexed(&self, field: FieldId) -> bool {
        matches!(self.index(field), Some(Index::Plain | Index::Unique))
    }

    /// Whether a change may have these cells and tags: of fields that there are, each named once, and INVARIANT
    /// tag-with-cell: a cell of an indexed field and its tag come together, and are null together. A writer that
    /// does not know yet of an index that was just added is refused, not stored unfindably.
    pub(super) fn takes(
        &self,
        mut cells: impl Iterator<Item = (FieldId, bool)>,
        mut tags: impl Iterator<Item = (FieldId, bool)>,
    ) -> bool {
        let (mut named, mut filled) = (FieldSet::EMPTY, FieldSet::EMPTY);
        let known = cells.all(|(field, has_value)| {
            let once = self.index(field).is_some() && !named.contains(field);
            named.insert(field);
            if has_value {
                filled.insert(field);
            }
            once
        });
        let indexed: FieldSet = self.indexed().collect();
        let mut untagged = named.intersection(indexed);
        let tagged = tags.all(|(field, has_value)| {
            let expected = untagged.contains(field) && filled.contains(field) == has_value;
            untagged = untagged.difference(FieldSet::EMPTY.with(field));
            expected
        });
        known && tagged && untagged.is_empty()
    }

    /// The indexed fields in order.
    pub(super) fn indexed(&self) -> impl Iterator<Item = FieldId> {
        let numbered = (0u8..=u8::MAX).map(FieldId).zip(&self.fields);
        numbered.filter(|(_, index)| **index != Index::None).map(|(field, _)| field)
    }
}

/// All types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout {
    types: Vec<TypeLayout>,
}

impl Layout {
    pub(super) fn of(types: &RecordTypes) -> Self {
        let index = |field: &countersign_model::Field| match (field.unique, field.indexed) {
            (true, _) => Index::Unique,
            (false, true) => Index::Plain,
            (false, false) => Index::None,
        };
        let record_type =
            |one: &countersign_model::RecordType| TypeLayout { fields: one.fields.iter().map(index).collect() };
        Self { types: types.types.iter().map(record_type).collect() }
    }

    pub(super) fn record_type(&self, id: TypeId) -> Result<&TypeLayout, StoreError> {
        self.types.get(usize::from(id.0)).ok_or(StoreError::UnknownField)
    }

    fn to_text(&self) -> String {
        let letters = |one: &TypeLayout| one.fields.iter().map(|index| index.letter()).collect::<String>();
        self.types.iter().map(letters).collect::<Vec<_>>().join("/")
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let fields = |letters: &str| letters.chars().map(Index::from_letter).collect::<Result<Vec<_>, _>>();
        let types = text.split('/').map(|letters| Ok(TypeLayout { fields: fields(letters)? }));
        Ok(Self { types: types.collect::<Result<_, StoreError>>()? })
    }

    /// This layout with what `wanted` adds to it or has otherwise. Nothing is ever taken away: a file may know
    /// more than a program that was started with fewer types.
    fn grown_to(&self, wanted: &Self) -> Self {
        let mut grown = self.clone();
        for (place, record_type) in wanted.types.iter().enumerate() {
            match grown.types.get_mut(place) {
                None => grown.types.push(record_type.clone()),
                Some(known) => {
                    let rest = known.fields.split_off(known.fields.len().min(record_type.fields.len()));
                    known.fields.clone_from(&record_type.fields);
                    known.fields.extend(rest);
                }
            }
        }
        grown
    }
}

/// Refuses a file that is not ours or that a newer program wrote.
pub(super) fn check_format(connection: &Connection) -> Result<(), StoreError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map_err(fault);
    if number("application_id")? != APPLICATION {
        return Err(StoreError::Damaged);
    }
    match number("user_version")? {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
        _ => Err(StoreError::Damaged),
    }
}

/// Makes a blank file ours.
pub(super) fn initialise(connection: &Connection) -> Result<(), StoreError> {
    let sql = format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
         INSERT INTO meta VALUES ('layout', '');
         PRAGMA application_id = {APPLICATION};
         PRAGMA user_version = {FORMAT};
         COMMIT;"
    );
    connection.execute_batch(&sql).map_err(fault)
}

/// The layout that the file has.
pub(super) fn stored(connection: &Connection) -> Result<Layout, StoreError> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE name = 'layout'", [], |row| row.get(0))
        .optional()
        .map_err(fault)?;
    Layout::parse(&text.ok_or(StoreError::Damaged)?)
}

/// Whether the file already has all that `wanted` asks.
pub(super) fn is_current(connection: &Connection, wanted: &Layout) -> Result<bool, StoreError> {
    let stored = stored(connection)?;
    Ok(stored.grown_to(wanted) == stored)
}

/// Brings the file up to `wanted`, all at once or not at all.
pub(super) fn migrate(connection: &mut Connection, wanted: &Layout) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
    let old = stored(&transaction)?;
    let new = old.grown_to(wanted);
    if new == old {
        return Ok(());
    }
    transaction.execute_batch(&statements(&old, &new)).map_err(fault)?;
    transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'layout'", [new.to_text()]).map_err(fault)?;
    transaction.commit().map_err(fault)
}

/// What turns a file of layout `old` into one of layout `new`.
fn statements(old: &Layout, new: &Layout) -> String {
    let mut sql = String::new();
    for (place, record_type) in new.types.iter().enumerate() {
        match old.types.get(place) {
            None => create_table(&mut sql, place, record_type),
            Some(known) => alter_table(&mut sql, place, known, record_type),
        }
    }
    sql
}

fn create_table(sql: &mut String, place: usize, record_type: &TypeLayout) {
    let cells: String = (0..record_type.len()).map(|field| format!(", c{field} BLOB")).collect();
    let tags: String = record_type.indexed().map(|field| format!(", x{} BLOB", field.0)).collect();
    push(
        sql,
        format_args!(
            "CREATE TABLE r{place} (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, version INTEGER NOT NULL{cells}{tags});
         CREATE UNIQUE INDEX i{place}id ON r{place} (id);"
        ),
    );
    for (field, index) in record_type.fields.iter().enumerate() {
        create_index(sql, place, field, *index);
    }
}

fn alter_table(sql: &mut String, place: usize, known: &TypeLayout, record_type: &TypeLayout) {
    for (field, &index) in record_type.fields.iter().enumerate() {
        let before = known.fields.get(field).copied();
        if before == Some(index) {
            continue;
        }
        match before {
            None => push(sql, format_args!("ALTER TABLE r{place} ADD COLUMN c{field} BLOB;")),
            Some(Index::None) => {}
            Some(Index::Plain | Index::Unique) => push(sql, format_args!("DROP INDEX i{place}x{field};")),
        }
        let had_tag = !matches!(before, None | Some(Index::None));
        match (had_tag, index) {
            (true, Index::None) => push(sql, format_args!("ALTER TABLE r{place} DROP COLUMN x{field};")),
            (false, Index::Plain | Index::Unique) => {
                push(sql, format_args!("ALTER TABLE r{place} ADD COLUMN x{field} BLOB;"));
            }
            _ => {}
        }
        create_index(sql, place, field, index);
    }
}

/// Records of one tag lie in the index in the order of their ids, so that a page of them is one short walk.
fn create_index(sql: &mut String, place: usize, field: usize, index: Index) {
    match index {
        Index::None => {}
        Index::Plain => push(sql, format_args!("CREATE INDEX i{place}x{field} ON r{place} (x{field}, id);")),
        Index::Unique => push(sql, format_args!("CREATE UNIQUE INDEX i{place}x{field} ON r{place} (x{field});")),
    }
}

fn push(sql: &mut String, statement: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = sql.write_fmt(statement);
    sql.push('\n');
}

#[cfg(test)]
mod tests;
