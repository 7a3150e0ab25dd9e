//! The file: one SQLite table of sealed facts.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params};

use super::{Changes, Row, wrapped_of};
use crate::error::RegistryError;

/// `Csgn`: marks the file for `file(1)` and for opening.
const APPLICATION: i64 = 0x4373_676e;

/// The format of the table and of the facts in it.
const FORMAT: i64 = 1;

/// Sealed facts on disk.
pub(super) struct File {
    connection: Connection,
}

fn storage(error: rusqlite::Error) -> RegistryError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => RegistryError::InUse,
        Some(ErrorCode::DiskFull) => RegistryError::Storage("no space is left"),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            RegistryError::Storage("it is not writable")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => RegistryError::Storage("it is damaged"),
        _ => RegistryError::Storage("input or output failed"),
    }
}

impl File {
    /// A new file at `path`, readable by its owner alone, with these rows. It appears whole or not at all: it is
    /// made beside its place and then renamed.
    pub(super) fn create(path: &Path, rows: &[Row]) -> Result<Self, RegistryError> {
        let io = |source| RegistryError::Io { path: path.to_owned(), source };
        if path.symlink_metadata().is_ok() {
            return Err(RegistryError::Exists(path.to_owned()));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        // One that a crash left behind holds nothing that anybody was told of.
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(io)?;
        // With a rollback journal the file is whole when the connection is closed.
        let mut connection = Connection::open(&unfinished).map_err(storage)?;
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL; \
             CREATE TABLE fact (kind INTEGER NOT NULL, id BLOB NOT NULL, body BLOB NOT NULL, \
                                PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID; \
             PRAGMA user_version = {FORMAT}; PRAGMA application_id = {APPLICATION};"
            ))
            .map_err(storage)?;
        let transaction = connection.transaction().map_err(storage)?;
        for (kind, id, body) in rows {
            transaction.execute("INSERT INTO fact VALUES (?1, ?2, ?3)", params![kind, id, body]).map_err(storage)?;
        }
        transaction.commit().map_err(storage)?;
        connection.close().map_err(|(_, error)| storage(error))?;
        std::fs::rename(&unfinished, path).map_err(io)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(Self { connection: connect(path)? })
    }

    /// The file at `path` and the wrapped deployment key in it.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<u8>), RegistryError> {
        let not_ours = || RegistryError::NotARegistry(path.to_owned());
        if !path.is_file() {
            return Err(not_ours());
        }
        let connection = connect(path)?;
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(storage);
        if number("application_id")? != APPLICATION {
            return Err(not_ours());
        }
        let found = number("user_version")?;
        if found > FORMAT {
            return Err(RegistryError::Newer { found, known: FORMAT });
        }
        let file = Self { connection };
        let wrapped = wrapped_of(&file.query("SELECT kind, id, body FROM fact WHERE kind = 0")?)?;
        Ok((file, wrapped))
    }

    #[cfg(test)]
    pub(super) fn stop_writing(&self) {
        self.connection.pragma_update(None, "query_only", true).unwrap();
    }

    pub(super) fn rows(&self) -> Result<Vec<Row>, RegistryError> {
        self.query("SELECT kind, id, body FROM fact ORDER BY kind, id")
    }

    fn query(&self, select: &str) -> Result<Vec<Row>, RegistryError> {
        let mut statement = self.connection.prepare(select).map_err(storage)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let rows = statement.query_map([], row).map_err(storage)?;
        rows.collect::<Result<_, _>>().map_err(storage)
    }

    /// Makes all these changes or none; durable when it returns.
    pub(super) fn apply(&mut self, changes: &Changes) -> Result<(), RegistryError> {
        let transaction = self.connection.transaction().map_err(storage)?;
        for ((kind, id), body) in changes {
            match body {
                Some(body) => {
                    transaction.execute("INSERT OR REPLACE INTO fact VALUES (?1, ?2, ?3)", params![kind, id, body])
                }
                None => transaction.execute("DELETE FROM fact WHERE kind = ?1 AND id = ?2", params![kind, id]),
            }
            .map_err(storage)?;
        }
        transaction.commit().map_err(storage)
    }
}

/// INVARIANT durable-first: with WAL and full sync a commit that has returned survives a loss of power.
fn connect(path: &Path) -> Result<Connection, RegistryError> {
    let connection = Connection::open(path).map_err(storage)?;
    // Exclusive before WAL, so that no shared-memory file is made and a second process is refused.
    connection
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; \
             BEGIN EXCLUSIVE; COMMIT;",
        )
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => RegistryError::NotARegistry(path.to_owned()),
            _ => storage(error),
        })?;
    Ok(connection)
}
