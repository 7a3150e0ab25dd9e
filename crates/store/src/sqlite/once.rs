//! What is known of batches that are made at most once: a table in the tenant's file, made when it is first needed.

use countersign_model::UnixMs;
use rusqlite::{Connection, OptionalExtension as _};

use super::failure::fault;
use crate::batch::{Done, ONCE_MS, Once};
use crate::error::StoreError;

const MAKE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS once (
        id BLOB PRIMARY KEY, at INTEGER NOT NULL, request BLOB NOT NULL, answer BLOB NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS once_at ON once (at)",
];

/// Notes a batch in its transaction. Whether it is the first of its id.
pub(super) fn note(connection: &Connection, once: &Once) -> Result<bool, StoreError> {
    if !is_there(connection)? {
        for text in MAKE {
            connection.execute(text, []).map_err(fault)?;
        }
    }
    let run = |text: &str, params: &[&dyn rusqlite::ToSql]| {
        connection.prepare_cached(text).and_then(|mut one| one.execute(params)).map_err(fault)
    };
    run("DELETE FROM once WHERE at <= ?1", &[&since(once.at.0)])?;
    let Done { request, answer } = &once.done;
    let text = "INSERT INTO once (id, at, request, answer) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let made = run(text, &[&once.id.as_slice(), &number(once.at.0), &request.as_slice(), answer])?;
    Ok(made == 1)
}

/// What is known of one.
pub(super) fn done(connection: &Connection, id: &[u8; 32], now_ms: u64) -> Result<Option<Done>, StoreError> {
    if !is_there(connection)? {
        return Ok(None);
    }
    let text = "SELECT request, answer FROM once WHERE id = ?1 AND at > ?2";
    let mut statement = connection.prepare_cached(text).map_err(fault)?;
    let found = statement
        .query_row((id.as_slice(), since(now_ms)), |row| Ok(Done { request: row.get(0)?, answer: row.get(1)? }));
    found.optional().map_err(fault)
}

/// What is known of all since then, in the order of their times and ids, from the one after `after`.
pub(super) fn known(
    connection: &Connection,
    since: UnixMs,
    after: Option<(UnixMs, [u8; 32])>,
    limit: usize,
) -> Result<Vec<Once>, StoreError> {
    if !is_there(connection)? {
        return Ok(Vec::new());
    }
    let text = "SELECT id, at, request, answer FROM once WHERE at >= ?1 AND (at > ?2 OR (at = ?2 AND id > ?3)) \
         ORDER BY at, id LIMIT ?4";
    let mut statement = connection.prepare_cached(text).map_err(fault)?;
    let (at, id) = after.map_or((-1, [0; 32]), |(at, id)| (number(at.0), id));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((number(since.0), at, id.as_slice(), limit), |row| {
        let done = Done { request: row.get(2)?, answer: row.get(3)? };
        Ok(Once { id: row.get(0)?, at: UnixMs(row.get::<_, i64>(1)?.unsigned_abs()), done })
    });
    rows.map_err(fault)?.collect::<Result<_, _>>().map_err(fault)
}

/// Forgets all of them.
pub(super) fn forget(connection: &Connection) -> Result<(), StoreError> {
    match is_there(connection)? {
        true => connection.execute("DELETE FROM once", []).map(drop).map_err(fault),
        false => Ok(()),
    }
}

/// Notes many as they are, whatever their age.
pub(super) fn put(connection: &Connection, known: &[Once]) -> Result<(), StoreError> {
    for text in MAKE {
        connection.execute(text, []).map_err(fault)?;
    }
    let text = "INSERT INTO once (id, at, request, answer) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let mut insert = connection.prepare_cached(text).map_err(fault)?;
    for Once { id, at, done } in known {
        insert.execute((id.as_slice(), number(at.0), done.request.as_slice(), &done.answer)).map_err(fault)?;
    }
    Ok(())
}

fn is_there(connection: &Connection) -> Result<bool, StoreError> {
    let text = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'once'";
    connection.prepare_cached(text).and_then(|mut one| one.exists([])).map_err(fault)
}

fn since(now_ms: u64) -> i64 {
    number(now_ms.saturating_sub(ONCE_MS))
}

fn number(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
