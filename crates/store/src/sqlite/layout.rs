//! How record types lie in a tenant's file, and bringing a file up to date with them: what [`crate::layout`] says, in
//! the table `meta`.

use std::fmt::Write as _;

use rusqlite::{Connection, OptionalExtension as _};

use super::failure::fault;
use crate::error::StoreError;
use crate::layout::{Index, Layout, TypeLayout};

/// The format of tenant files that this program writes.
pub(super) const FORMAT: u32 = 2;
/// The oldest that is brought up to it. It had no history and no times.
const OLDEST: u32 = 1;
/// Marks a file as ours, in SQLite's header field for that: "CsgT".
pub(super) const APPLICATION: u32 = 0x4373_6754;

fn number(connection: &Connection, pragma: &str) -> Result<u32, StoreError> {
    connection.pragma_query_value(None, pragma, |row| row.get(0)).map_err(fault)
}

/// Refuses a file that is not ours or that a newer program wrote.
pub(super) fn check_format(connection: &Connection) -> Result<(), StoreError> {
    if number(connection, "application_id")? != APPLICATION {
        return Err(StoreError::Damaged);
    }
    match number(connection, "user_version")? {
        OLDEST..=FORMAT => Ok(()),
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
    Ok(number(connection, "user_version")? == FORMAT && stored.grown_to(wanted) == stored)
}

/// Brings the file up to `wanted`, all at once or not at all.
pub(super) fn migrate(connection: &mut Connection, wanted: &Layout) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
    let old = stored(&transaction)?;
    let new = old.grown_to(wanted);
    let format = number(&transaction, "user_version")?;
    if new == old && format == FORMAT {
        return Ok(());
    }
    if format < FORMAT {
        transaction.execute_batch(&upgrade(&old)).map_err(fault)?;
    }
    transaction.execute_batch(&statements(&old, &new)).map_err(fault)?;
    transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'layout'", [new.to_text()]).map_err(fault)?;
    transaction.commit().map_err(fault)
}

/// What turns a file of the format before into one of this: its records have no times, and there is nothing of what they
/// were.
fn upgrade(old: &Layout) -> String {
    let mut sql = format!("PRAGMA user_version = {FORMAT};");
    if !old.types().is_empty() {
        // What changed before now is not known.
        sql.push_str("INSERT INTO meta VALUES ('past_since', CAST(unixepoch('subsec') * 1000 AS INTEGER));");
    }
    for (place, record_type) in old.types().iter().enumerate() {
        push(&mut sql, format_args!("ALTER TABLE r{place} ADD COLUMN at INTEGER NOT NULL DEFAULT 0;"));
        create_history(&mut sql, place, record_type);
    }
    sql
}

/// What turns a file of layout `old` into one of layout `new`.
fn statements(old: &Layout, new: &Layout) -> String {
    let mut sql = String::new();
    for (place, record_type) in new.types().iter().enumerate() {
        match old.types().get(place) {
            None => create_table(&mut sql, place, record_type),
            Some(known) => alter_table(&mut sql, place, known, record_type),
        }
    }
    sql
}

fn create_table(sql: &mut String, place: usize, record_type: &TypeLayout) {
    let values = values(record_type);
    push(
        sql,
        format_args!(
            "CREATE TABLE r{place} (
             seq INTEGER PRIMARY KEY, id BLOB NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL DEFAULT 0{values});
         CREATE UNIQUE INDEX i{place}id ON r{place} (id);"
        ),
    );
    for (field, index) in record_type.fields().iter().enumerate() {
        create_index(sql, place, field, *index);
    }
    create_history(sql, place, record_type);
}

/// What records were, in the order in which they ceased to be so.
fn create_history(sql: &mut String, place: usize, record_type: &TypeLayout) {
    let values = values(record_type);
    push(
        sql,
        format_args!(
            "CREATE TABLE h{place} (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, version INTEGER NOT NULL,
             at INTEGER NOT NULL, until INTEGER NOT NULL{values});
         CREATE UNIQUE INDEX j{place}id ON h{place} (id, version);
         CREATE INDEX j{place}until ON h{place} (until);"
        ),
    );
    for (field, index) in record_type.fields().iter().enumerate() {
        create_past_index(sql, place, field, *index);
    }
}

fn values(record_type: &TypeLayout) -> String {
    let cells = (0..record_type.len()).map(|field| format!(", c{field} BLOB"));
    cells.chain(record_type.indexed().map(|field| format!(", x{} BLOB", field.0))).collect()
}

fn alter_table(sql: &mut String, place: usize, known: &TypeLayout, record_type: &TypeLayout) {
    for (field, &index) in record_type.fields().iter().enumerate() {
        let before = known.fields().get(field).copied();
        if before == Some(index) {
            continue;
        }
        match before {
            None => both(sql, place, format_args!("ADD COLUMN c{field} BLOB")),
            Some(Index::None) => {}
            Some(Index::Plain | Index::Unique) => {
                push(sql, format_args!("DROP INDEX i{place}x{field}; DROP INDEX IF EXISTS j{place}x{field};"));
            }
        }
        let had_tag = !matches!(before, None | Some(Index::None));
        match (had_tag, index) {
            (true, Index::None) => both(sql, place, format_args!("DROP COLUMN x{field}")),
            (false, Index::Plain | Index::Unique) => both(sql, place, format_args!("ADD COLUMN x{field} BLOB")),
            _ => {}
        }
        create_index(sql, place, field, index);
        create_past_index(sql, place, field, index);
    }
}

/// The same with the table of a type and that of its past.
fn both(sql: &mut String, place: usize, change: std::fmt::Arguments<'_>) {
    push(sql, format_args!("ALTER TABLE r{place} {change}; ALTER TABLE h{place} {change};"));
}

/// What was is found by the tags of unique fields, as a key is one: each more costs a write.
fn create_past_index(sql: &mut String, place: usize, field: usize, index: Index) {
    if index == Index::Unique {
        push(sql, format_args!("CREATE INDEX j{place}x{field} ON h{place} (x{field}, id);"));
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
