//! Making one batch of changes inside an open transaction.

use std::fmt::Write as _;

use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TypeId, UnixMs};
use rusqlite::types::Null;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};

use super::failure::{fault, is_taken};
use super::history::forget;
use super::once;
use crate::batch::{Batch, Rejected, Requirement, SealedChange};
use crate::error::StoreError;
use crate::layout::{Index, Layout, TypeLayout};

/// Makes a checked batch. If it is rejected or fails, the caller takes back what was made of it.
pub(super) fn apply(
    connection: &Connection,
    (layout, keeps): (&Layout, bool),
    batch: &Batch,
) -> Result<Result<(), Rejected>, StoreError> {
    if let Some(once) = &batch.once
        && !once::note(connection, once)?
    {
        return Ok(Err(Rejected::Done));
    }
    for (place, change) in batch.changes.iter().enumerate() {
        let writing = Writing { connection, layout, change: place, at: time(batch.at), keeps };
        if let Err(rejected) = writing.apply(change)? {
            return Ok(Err(rejected));
        }
    }
    for (requirement, required) in batch.requires.iter().enumerate() {
        let (Requirement::Exists { record_type, field, tags } | Requirement::Absent { record_type, field, tags }) =
            required;
        let mut found = None;
        for tag in tags {
            found = found.or(holder(connection, *record_type, *field, tag)?);
        }
        match (required, found) {
            (Requirement::Exists { .. }, None) => return Ok(Err(Rejected::Missing { requirement })),
            (Requirement::Absent { .. }, Some(existing)) => {
                return Ok(Err(Rejected::Present { requirement, existing }));
            }
            _ => {}
        }
    }
    if !keeps && batch.forgets() {
        forget(connection, time(batch.at))?;
    }
    Ok(Ok(()))
}

struct Writing<'a> {
    connection: &'a Connection,
    layout: &'a Layout,
    change: usize,
    at: i64,
    /// Whether what was before is kept.
    keeps: bool,
}

impl Writing<'_> {
    fn apply(&self, change: &SealedChange) -> Result<Result<(), Rejected>, StoreError> {
        match change {
            SealedChange::Insert { record_type, record, cells, tags } => {
                let fields = self.layout.record_type(*record_type)?;
                let made = self.insert(*record_type, fields, record, cells, tags);
                self.verdict(*record_type, fields, record, made, || {
                    tags.iter().map(|(field, tag)| (*field, *tag)).collect()
                })
            }
            SealedChange::Update { record_type, record, version, cells, tags } => {
                let fields = self.layout.record_type(*record_type)?;
                if !self.keep(*record_type, fields, record, *version)? {
                    return Ok(Err(Rejected::Stale { change: self.change }));
                }
                let made = self.update(*record_type, record, *version, cells, tags);
                let set = || tags.iter().filter_map(|(field, tag)| tag.map(|tag| (*field, tag))).collect();
                self.verdict(*record_type, fields, record, made, set)
            }
            SealedChange::Delete { record_type, record, version } => {
                if !self.keep(*record_type, self.layout.record_type(*record_type)?, record, *version)? {
                    return Ok(Err(Rejected::Stale { change: self.change }));
                }
                let sql = format!("DELETE FROM r{} WHERE id = ?1 AND version = ?2", record_type.0);
                let made = self.prepare(&sql).and_then(|mut one| one.execute((record.as_bytes(), number(*version))));
                let changed = made.map_err(fault)?;
                Ok(if changed == 1 { Ok(()) } else { Err(Rejected::Stale { change: self.change }) })
            }
        }
    }

    fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    /// Copies what a record is into the history, if one is kept. Whether the record has that version.
    fn keep(
        &self,
        TypeId(place): TypeId,
        fields: &TypeLayout,
        record: &RecordId,
        version: u64,
    ) -> Result<bool, StoreError> {
        if !self.keeps {
            return Ok(true);
        }
        let (columns, values) = (fields.past_columns(), fields.values());
        let sql = format!(
            "INSERT INTO h{place} ({columns}) SELECT id, version, at, max(at, ?3){values} FROM r{place} \
             INDEXED BY i{place}id WHERE id = ?1 AND version = ?2"
        );
        let kept = self
            .prepare(&sql)
            .and_then(|mut one| one.execute((record.as_bytes().as_slice(), number(version), self.at)));
        Ok(kept.map_err(fault)? == 1)
    }

    /// One statement text for every insert of a type. A column without a value is bound to null by being left out. Versions
    /// and times of a record that there was before go on from there.
    fn insert(
        &self,
        TypeId(place): TypeId,
        fields: &TypeLayout,
        record: &RecordId,
        cells: &[(FieldId, Vec<u8>)],
        tags: &[(FieldId, Tag)],
    ) -> rusqlite::Result<usize> {
        let mut sql = format!(
            "INSERT INTO r{place} ({}) SELECT ?1, coalesce(max(version), 0) + 1, max(?2, coalesce(max(until), 0))",
            fields.columns()
        );
        let parameters = fields.len().saturating_add(fields.indexed().count());
        for parameter in (3usize..).take(parameters) {
            let _ = write!(sql, ", ?{parameter}");
        }
        let _ = write!(sql, " FROM h{place} WHERE id = ?1");
        let mut statement = self.prepare(&sql)?;
        statement.raw_bind_parameter(1, record.as_bytes())?;
        statement.raw_bind_parameter(2, self.at)?;
        for (FieldId(field), cell) in cells {
            statement.raw_bind_parameter(usize::from(*field).saturating_add(3), cell.as_slice())?;
        }
        let first_tag = fields.len().saturating_add(3);
        for (parameter, field) in (first_tag..).zip(fields.indexed()) {
            if let Some((_, tag)) = tags.iter().find(|(tagged, _)| *tagged == field) {
                statement.raw_bind_parameter(parameter, tag.0.as_slice())?;
            }
        }
        statement.raw_execute()
    }

    fn update(
        &self,
        TypeId(place): TypeId,
        record: &RecordId,
        version: u64,
        cells: &[(FieldId, Option<Vec<u8>>)],
        tags: &[(FieldId, Option<Tag>)],
    ) -> rusqlite::Result<usize> {
        let mut sql = format!("UPDATE r{place} SET version = version + 1, at = max(at, ?3)");
        let columns = cells.iter().map(|(field, _)| ('c', field)).chain(tags.iter().map(|(field, _)| ('x', field)));
        for (parameter, (letter, FieldId(field))) in (4usize..).zip(columns) {
            let _ = write!(sql, ", {letter}{field} = ?{parameter}");
        }
        sql.push_str(" WHERE id = ?1 AND version = ?2");
        let mut statement = self.prepare(&sql)?;
        statement.raw_bind_parameter(1, record.as_bytes())?;
        statement.raw_bind_parameter(2, number(version))?;
        statement.raw_bind_parameter(3, self.at)?;
        let cells = cells.iter().map(|(_, cell)| cell.as_deref());
        let tags = tags.iter().map(|(_, tag)| tag.as_ref().map(|tag| tag.0.as_slice()));
        for (parameter, bytes) in (4usize..).zip(cells.chain(tags)) {
            match bytes {
                Some(bytes) => statement.raw_bind_parameter(parameter, bytes)?,
                None => statement.raw_bind_parameter(parameter, Null)?,
            }
        }
        statement.raw_execute()
    }

    /// Reads the outcome of an insert or an update. Only when SQLite says that a key is taken is it looked up
    /// which: the ordinary case pays nothing for it.
    fn verdict(
        &self,
        record_type: TypeId,
        fields: &TypeLayout,
        record: &RecordId,
        made: rusqlite::Result<usize>,
        tags: impl FnOnce() -> Vec<(FieldId, Tag)>,
    ) -> Result<Result<(), Rejected>, StoreError> {
        let change = self.change;
        let stale = Rejected::Stale { change };
        match made {
            Ok(1) => return Ok(Ok(())),
            Ok(_) => return Ok(Err(stale)),
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(fault(error)),
        }
        let mut tags = tags();
        tags.retain(|(field, _)| fields.index(*field) == Some(Index::Unique));
        tags.sort_unstable_by_key(|(field, _)| *field);
        for (field, tag) in tags {
            match holder(self.connection, record_type, field, &tag)? {
                Some(existing) if existing != *record => return Ok(Err(Rejected::Unique { change, field, existing })),
                _ => {}
            }
        }
        // No tag is taken, so the record's own id is: it was inserted before.
        Ok(Err(stale))
    }
}

/// Some record that has this tag.
fn holder(
    connection: &Connection,
    TypeId(place): TypeId,
    FieldId(field): FieldId,
    tag: &Tag,
) -> Result<Option<RecordId>, StoreError> {
    let sql = format!("SELECT id FROM r{place} INDEXED BY i{place}x{field} WHERE x{field} = ?1 LIMIT 1");
    let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
    let id = statement.query_row([tag.0.as_slice()], |row| row.get::<_, [u8; 16]>(0)).optional().map_err(fault)?;
    Ok(id.map(RecordId::from_bytes))
}

/// A time as it is stored; one that does not fit is the last that does.
pub(super) fn time(at: UnixMs) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// No record has a version that SQLite can't hold, so one that is too large matches none.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}
