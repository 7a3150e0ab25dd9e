//! Reading sealed rows through one connection.

use countersign_crypto::Tag;
use countersign_model::{FieldId, FieldSet, RecordId, TypeId};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Params, Row};

use super::failure::fault;
use super::layout;
use super::sql::{Find, Select, select};
use crate::access::{Access, Scan, SealedRow};
use crate::error::StoreError;
use crate::layout::{Index, Layout};
use crate::texts::Texts;

/// Runs a checked scan, giving at most `limit` rows.
pub(super) fn rows(
    connection: &Connection,
    texts: &Texts<Select>,
    layout: &Layout,
    scan: &Scan,
    limit: usize,
) -> Result<Vec<SealedRow>, StoreError> {
    let reading = Reading { connection, texts, scan, limit };
    if limit == 0 {
        return Ok(Vec::new());
    }
    match &scan.access {
        Access::All => reading.all(),
        Access::Records(records) => match records.as_slice() {
            [] => Ok(Vec::new()),
            [one] => reading.points(Find::Id, [*one].iter().filter(|id| reading.is_after(id)).map(|id| *id.as_bytes())),
            many => reading.at_one_moment(|| reading.records(many)),
        },
        Access::Tags { field, tags } => {
            let unique = layout.record_type(scan.record_type)?.index(*field) == Some(Index::Unique);
            match (tags.as_slice(), unique) {
                ([], _) => Ok(Vec::new()),
                ([one], true) => reading.points(Find::UniqueTag(*field), std::iter::once(one.0)),
                ([one], false) => reading.one_tag(*field, one),
                (many, true) => reading.at_one_moment(|| reading.unique_tags(*field, many)),
                (many, false) => reading.at_one_moment(|| reading.many_tags(*field, many)),
            }
        }
    }
}

struct Reading<'a> {
    connection: &'a Connection,
    texts: &'a Texts<Select>,
    scan: &'a Scan,
    limit: usize,
}

impl Reading<'_> {
    fn statement(&self, find: Find) -> Result<CachedStatement<'_>, StoreError> {
        let text = self.texts.of((self.scan.record_type, find, self.scan.cells), select);
        self.connection.prepare_cached(&text).map_err(fault)
    }

    /// Several statements that see the same moment. If one fails, the connection is not used again.
    fn at_one_moment<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let run = |sql: &str| self.connection.prepare_cached(sql).and_then(|mut one| one.execute([])).map_err(fault);
        run("BEGIN")?;
        let done = work()?;
        run("COMMIT")?;
        Ok(done)
    }

    fn is_after(&self, record: &RecordId) -> bool {
        self.scan.after.is_none_or(|after| *record > after)
    }

    /// The id to begin after, as SQL compares it: the empty blob is before every id.
    fn after(&self) -> &[u8] {
        self.scan.after.as_ref().map_or(&[], |after| after.as_bytes())
    }

    fn limit(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    fn all(&self) -> Result<Vec<SealedRow>, StoreError> {
        let mut out = Vec::new();
        collect(&mut self.statement(Find::All)?, (self.after(), self.limit()), self.scan.cells, &mut out)?;
        Ok(out)
    }

    fn one_tag(&self, field: FieldId, tag: &Tag) -> Result<Vec<SealedRow>, StoreError> {
        let mut out = Vec::new();
        let params = (tag.0.as_slice(), self.after(), self.limit());
        collect(&mut self.statement(Find::Tag(field))?, params, self.scan.cells, &mut out)?;
        Ok(out)
    }

    /// One row at most for each key, in the order of the keys, until there are enough.
    fn points(&self, find: Find, keys: impl Iterator<Item = [u8; 16]>) -> Result<Vec<SealedRow>, StoreError> {
        let mut out = Vec::new();
        let mut statement = self.statement(find)?;
        for key in keys {
            collect(&mut statement, [key.as_slice()], self.scan.cells, &mut out)?;
            if out.len() >= self.limit {
                break;
            }
        }
        out.retain(|row| self.is_after(&row.record));
        Ok(out)
    }

    fn records(&self, records: &[RecordId]) -> Result<Vec<SealedRow>, StoreError> {
        let mut wanted: Vec<RecordId> = records.iter().filter(|id| self.is_after(id)).copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.points(Find::Id, wanted.iter().map(|id| *id.as_bytes()))
    }

    fn unique_tags(&self, field: FieldId, tags: &[Tag]) -> Result<Vec<SealedRow>, StoreError> {
        let mut out = Vec::new();
        let mut statement = self.statement(Find::UniqueTag(field))?;
        for tag in distinct(tags) {
            collect(&mut statement, [tag.as_slice()], self.scan.cells, &mut out)?;
        }
        out.retain(|row| self.is_after(&row.record));
        out.sort_unstable_by_key(|row| row.record);
        out.truncate(self.limit);
        Ok(out)
    }

    /// First the ids from the index alone, so that no more cells are read than are given.
    fn many_tags(&self, field: FieldId, tags: &[Tag]) -> Result<Vec<SealedRow>, StoreError> {
        let mut found: Vec<(RecordId, i64)> = Vec::new();
        let mut index = self.statement(Find::TagRows(field))?;
        for tag in distinct(tags) {
            let mut rows = index.query((tag.as_slice(), self.after(), self.limit())).map_err(fault)?;
            while let Some(row) = rows.next().map_err(fault)? {
                found.push((record(row)?, row.get(1).map_err(fault)?));
            }
        }
        found.sort_unstable();
        found.truncate(self.limit);
        let mut out = Vec::with_capacity(found.len());
        let mut statement = self.statement(Find::Row)?;
        for (_, place) in found {
            collect(&mut statement, [place], self.scan.cells, &mut out)?;
        }
        Ok(out)
    }
}

fn distinct(tags: &[Tag]) -> Vec<[u8; 16]> {
    let mut bytes: Vec<[u8; 16]> = tags.iter().map(|tag| tag.0).collect();
    bytes.sort_unstable();
    bytes.dedup();
    bytes
}

fn collect(
    statement: &mut CachedStatement<'_>,
    params: impl Params,
    cells: FieldSet,
    out: &mut Vec<SealedRow>,
) -> Result<(), StoreError> {
    let mut rows = statement.query(params).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        out.push(sealed(row, cells)?);
    }
    Ok(())
}

fn record(row: &Row<'_>) -> Result<RecordId, StoreError> {
    let bytes = row.get_ref(0).map_err(fault)?.as_blob().map_err(|_| StoreError::Damaged)?;
    Ok(RecordId::from_bytes(bytes.try_into().map_err(|_| StoreError::Damaged)?))
}

fn sealed(row: &Row<'_>, fields: FieldSet) -> Result<SealedRow, StoreError> {
    let version = row.get::<_, i64>(1).map_err(fault)?;
    let mut cells = Vec::with_capacity(fields.len());
    for (column, field) in (2usize..).zip(fields.iter()) {
        let cell = match row.get_ref(column).map_err(fault)? {
            ValueRef::Null => None,
            ValueRef::Blob(bytes) => Some(bytes.to_vec()),
            _ => return Err(StoreError::Damaged),
        };
        cells.push((field, cell));
    }
    let version = u64::try_from(version).map_err(|_| StoreError::Damaged)?;
    Ok(SealedRow { record: record(row)?, version, cells })
}

/// Whether there is any record of a type, of which the file may not know yet.
pub(super) fn any(connection: &Connection, record_type: TypeId) -> Result<bool, StoreError> {
    if layout::stored(connection)?.record_type(record_type).is_err() {
        return Ok(false);
    }
    let sql = format!("SELECT EXISTS (SELECT 1 FROM r{})", record_type.0);
    connection.query_row(&sql, [], |row| row.get(0)).map_err(fault)
}
