//! The file: one table of sealed facts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use countersign_crypto::{Aad, SealKey};
use countersign_model::Entropy;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use zeroize::Zeroizing;

use super::fact::{Kind, Write};
use crate::error::RegistryError;

/// `Csgn`: marks the file for `file(1)` and for opening.
const APPLICATION: i64 = 0x4373_676e;

/// The format of the table and of the facts in it.
const FORMAT: i64 = 1;

/// Sealed facts on disk.
pub(super) struct Db {
    connection: Connection,
    key: Option<SealKey>,
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

fn aad(kind: Kind, id: &[u8]) -> Aad {
    Aad::new("fact.1").part(&[kind as u8]).part(id)
}

impl Db {
    /// A new file at `path`, readable by its owner alone, with these facts. It appears whole or not at all: it is
    /// made beside its place and then renamed.
    pub(super) fn create(
        path: &Path,
        wrapped: &[u8],
        key: SealKey,
        entropy: &dyn Entropy,
        writes: &[Write],
    ) -> Result<Self, RegistryError> {
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
        let connection = Connection::open(&unfinished).map_err(storage)?;
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL; \
             CREATE TABLE fact (kind INTEGER NOT NULL, id BLOB NOT NULL, body BLOB NOT NULL, \
                                PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID; \
             PRAGMA user_version = {FORMAT}; PRAGMA application_id = {APPLICATION};"
            ))
            .map_err(storage)?;
        connection
            .execute("INSERT INTO fact VALUES (?1, ?2, ?3)", params![Kind::DeploymentKey as i64, &[][..], wrapped])
            .map_err(storage)?;
        let mut db = Self { connection, key: Some(key) };
        db.write(entropy, writes)?;
        db.connection.close().map_err(|(_, error)| storage(error))?;
        std::fs::rename(&unfinished, path).map_err(io)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(Self { connection: connect(path)?, key: db.key })
    }

    /// The file at `path` and the wrapped deployment key in it. Facts can be read after [`Self::unlock`].
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
        let wrapped = connection
            .query_row("SELECT body FROM fact WHERE kind = ?1", [Kind::DeploymentKey as i64], |row| row.get(0))
            .optional()
            .map_err(storage)?
            .ok_or(RegistryError::Missing("deployment key"))?;
        Ok((Self { connection, key: None }, wrapped))
    }

    /// Replaces the wrapped deployment key by the same key, wrapped again.
    pub(super) fn rewrap(&self, wrapped: &[u8]) -> Result<(), RegistryError> {
        let update = "UPDATE fact SET body = ?2 WHERE kind = ?1";
        self.connection.execute(update, params![Kind::DeploymentKey as i64, wrapped]).map(|_| ()).map_err(storage)
    }

    pub(super) fn unlock(&mut self, key: SealKey) {
        self.key = Some(key);
    }

    #[cfg(test)]
    pub(super) fn stop_writing(&self) {
        self.connection.pragma_update(None, "query_only", true).unwrap();
    }

    fn key(&self) -> Result<&SealKey, RegistryError> {
        self.key.as_ref().ok_or(RegistryError::Missing("deployment key"))
    }

    /// Gives every fact, opened, to `take`.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(Kind, &[u8], &[u8]) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut statement =
            self.connection.prepare("SELECT kind, id, body FROM fact ORDER BY kind, id").map_err(storage)?;
        let mut rows = statement.query([]).map_err(storage)?;
        let key = self.key()?;
        while let Some(row) = rows.next().map_err(storage)? {
            let (kind, id, body): (i64, Vec<u8>, Vec<u8>) =
                (row.get(0).map_err(storage)?, row.get(1).map_err(storage)?, row.get(2).map_err(storage)?);
            let damaged = |kind| RegistryError::Damaged { kind, id: hex::encode(&id) };
            let kind = Kind::from_number(kind).ok_or_else(|| damaged("fact of an unknown kind"))?;
            if kind == Kind::DeploymentKey {
                continue;
            }
            let plain = Zeroizing::new(key.open(&aad(kind, &id), &body).map_err(|_| damaged(kind.name()))?);
            take(kind, &id, &plain)?;
        }
        Ok(())
    }

    /// Makes all these changes or none; durable when it returns.
    pub(super) fn write(&mut self, entropy: &dyn Entropy, writes: &[Write]) -> Result<(), RegistryError> {
        let key = self.key.as_ref().ok_or(RegistryError::Missing("deployment key"))?;
        let transaction = self.connection.transaction().map_err(storage)?;
        for write in writes {
            match write {
                Write::Put { kind, id, body } => {
                    let sealed = key.seal(entropy, &aad(*kind, id), body);
                    transaction
                        .execute("INSERT OR REPLACE INTO fact VALUES (?1, ?2, ?3)", params![*kind as i64, id, sealed])
                }
                Write::Delete { kind, id } => {
                    transaction.execute("DELETE FROM fact WHERE kind = ?1 AND id = ?2", params![*kind as i64, id])
                }
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
