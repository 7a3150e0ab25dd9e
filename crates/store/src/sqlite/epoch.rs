//! The key epoch that a tenant is at and how much its keys have sealed, in the tenant's file: the row `epoch` of `meta`, and
//! a table that is made when it is first needed. INVARIANT epoch-floor and INVARIANT seal-limit hold because there is one
//! writer, and what it goes by is changed in the transactions that it makes.

use std::sync::Arc;

use countersign_model::{FieldId, TenantId, TypeId};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _};

use super::failure::fault;
use crate::batch::{Batch, Rejected};
use crate::error::StoreError;
use crate::seals::{Blocks, CellKey, Needs, SealCount, SealLimit, is_near, needs_epoch};

/// What a tenant's writer knows between its transactions.
pub(super) struct Seals {
    tenant: TenantId,
    limit: Arc<SealLimit>,
    known: Mutex<Option<Known>>,
}

/// What the file says, as of the transaction that is under way.
pub(super) struct Known {
    pub(super) epoch: u32,
    blocks: Blocks,
    /// The transaction has changed it.
    changed: bool,
}

impl Seals {
    pub(super) const fn new(tenant: TenantId, limit: Arc<SealLimit>) -> Self {
        Self { tenant, limit, known: Mutex::new(None) }
    }

    /// For a transaction that has begun. Whoever doesn't bring it back with [`Self::end`] has it read anew.
    pub(super) fn begin(&self, connection: &Connection) -> Result<Known, StoreError> {
        if let Some(known) = self.known.lock().take() {
            return Ok(known);
        }
        Ok(Known { epoch: epoch(connection)?, blocks: Blocks::default(), changed: false })
    }

    /// The transaction was committed or rolled back.
    pub(super) fn end(&self, known: Known, committed: bool) {
        if committed || !known.changed {
            *self.known.lock() = Some(Known { changed: false, ..known });
        }
    }

    /// Admits a batch into the transaction: whether it is of the tenant's epoch, and what it seals is set aside. A newer
    /// epoch is the tenant's once the batch is made ([`Self::raise`]).
    pub(super) fn admit(
        &self,
        connection: &Connection,
        known: &mut Known,
        batch: &Batch,
    ) -> Result<Result<(), Rejected>, StoreError> {
        if needs_epoch(batch) && batch.epoch < known.epoch {
            return Ok(Err(Rejected::Epoch));
        }
        self.charge(connection, known, &Needs::of_batch(batch))
    }

    pub(super) fn raise(&self, connection: &Connection, known: &mut Known, epoch: u32) -> Result<(), StoreError> {
        if epoch > known.epoch {
            put(connection, EPOCH, &epoch.to_string())?;
            known.epoch = epoch;
            known.changed = true;
        }
        Ok(())
    }

    /// Whether it was further.
    pub(super) fn lower(&self, connection: &Connection, known: &mut Known, epoch: u32) -> Result<bool, StoreError> {
        let lowers = known.epoch > epoch;
        if lowers {
            put(connection, EPOCH, &epoch.to_string())?;
            known.epoch = epoch;
            known.changed = true;
        }
        Ok(lowers)
    }

    /// Counts values, all of them or none.
    pub(super) fn charge(
        &self,
        connection: &Connection,
        known: &mut Known,
        needs: &Needs,
    ) -> Result<Result<(), Rejected>, StoreError> {
        let limit = self.limit.max();
        if needs.is_past(limit) {
            return Ok(Err(Rejected::Limit));
        }
        let Err(wanted) = known.blocks.take(needs, limit) else { return Ok(Ok(())) };
        make(connection)?;
        let (mut grants, mut is_refused) = (Vec::with_capacity(wanted.len()), false);
        for one in &wanted {
            let sealed = sealed(connection, &one.key)?;
            let granted = one.grant(sealed, limit);
            let total = sealed.saturating_add(granted.unwrap_or(0));
            if granted.is_none() || is_near(total, limit) {
                self.limit.nearing.note(self.tenant, one.key);
            }
            is_refused |= granted.is_none();
            grants.extend(granted.map(|granted| (one.key, granted, total)));
        }
        if is_refused {
            return Ok(Err(Rejected::Epoch));
        }
        known.changed = true;
        for (key, granted, total) in grants {
            set(connection, &key, total)?;
            known.blocks.add(key, granted);
        }
        // Everything is at hand now.
        Ok(known.blocks.take(needs, limit).map_err(|_| Rejected::Epoch))
    }

    /// Counts values in a transaction of somebody else's, all of them or none. Blocks are left alone.
    pub(super) fn add(
        &self,
        connection: &Connection,
        counts: &[(CellKey, u64)],
    ) -> Result<Result<(), Rejected>, StoreError> {
        make(connection)?;
        let (limit, mut totals) = (self.limit.max(), Vec::with_capacity(counts.len()));
        if counts.iter().any(|(_, count)| *count > limit) {
            return Ok(Err(Rejected::Limit));
        }
        for (key, count) in counts {
            let total = sealed(connection, key)?.saturating_add(*count);
            if is_near(total, limit) {
                self.limit.nearing.note(self.tenant, *key);
            }
            totals.push((key, total));
        }
        if totals.iter().any(|(_, total)| *total > limit) {
            return Ok(Err(Rejected::Epoch));
        }
        for (key, total) in totals {
            set(connection, key, total)?;
        }
        Ok(Ok(()))
    }

    /// Takes over what another store says, where that is more.
    pub(super) fn put(
        &self,
        connection: &Connection,
        known: &mut Known,
        epoch: u32,
        counts: &[SealCount],
    ) -> Result<(), StoreError> {
        self.raise(connection, known, epoch)?;
        make(connection)?;
        for count in counts {
            if count.sealed > sealed(connection, &count.key)? {
                set(connection, &count.key, count.sealed)?;
            }
        }
        Ok(())
    }

    /// How many values each key has sealed.
    pub(super) fn counts(&self, connection: &Connection) -> Result<Vec<SealCount>, StoreError> {
        if !is_there(connection)? {
            return Ok(Vec::new());
        }
        let text = "SELECT type, field, epoch, sealed FROM seal_count ORDER BY type, field, epoch";
        let mut statement = connection.prepare_cached(text).map_err(fault)?;
        let counts = statement.query_map([], |row| {
            let key = CellKey { record_type: TypeId(row.get(0)?), field: FieldId(row.get(1)?), epoch: row.get(2)? };
            Ok(SealCount { key, sealed: row.get::<_, i64>(3)?.unsigned_abs(), limit: self.limit.max() })
        });
        counts.map_err(fault)?.collect::<Result<_, _>>().map_err(fault)
    }
}

const EPOCH: &str = "epoch";
/// How far sealing again has come, in hexadecimal digits.
pub(super) const PROGRESS: &str = "reseal";

/// The epoch that the file is at.
pub(super) fn epoch(connection: &Connection) -> Result<u32, StoreError> {
    found(connection, EPOCH)?.map_or(Ok(0), |text| text.parse().map_err(|_| StoreError::Damaged))
}

/// What a row of `meta` says.
pub(super) fn found(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1").map_err(fault)?;
    statement.query_row([name], |row| row.get(0)).optional().map_err(fault)
}

pub(super) fn put(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    let text = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(text).and_then(|mut one| one.execute((name, value))).map(drop).map_err(fault)
}

pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), StoreError> {
    let removed = connection.prepare_cached("DELETE FROM meta WHERE name = ?1").and_then(|mut one| one.execute([name]));
    removed.map(drop).map_err(fault)
}

fn sealed(connection: &Connection, key: &CellKey) -> Result<u64, StoreError> {
    let text = "SELECT sealed FROM seal_count WHERE type = ?1 AND field = ?2 AND epoch = ?3";
    let mut statement = connection.prepare_cached(text).map_err(fault)?;
    let key = (key.record_type.0, key.field.0, key.epoch);
    let sealed: Option<i64> = statement.query_row(key, |row| row.get(0)).optional().map_err(fault)?;
    u64::try_from(sealed.unwrap_or(0)).map_err(|_| StoreError::Damaged)
}

fn set(connection: &Connection, key: &CellKey, sealed: u64) -> Result<(), StoreError> {
    let text = "INSERT INTO seal_count (type, field, epoch, sealed) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (type, field, epoch) DO UPDATE SET sealed = excluded.sealed";
    let sealed = i64::try_from(sealed).unwrap_or(i64::MAX);
    let params = (key.record_type.0, key.field.0, key.epoch, sealed);
    connection.prepare_cached(text).and_then(|mut one| one.execute(params)).map(drop).map_err(fault)
}

fn is_there(connection: &Connection) -> Result<bool, StoreError> {
    let text = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'seal_count'";
    connection.prepare_cached(text).and_then(|mut one| one.exists([])).map_err(fault)
}

fn make(connection: &Connection) -> Result<(), StoreError> {
    if is_there(connection)? {
        return Ok(());
    }
    let text = "CREATE TABLE IF NOT EXISTS seal_count (type INTEGER NOT NULL, field INTEGER NOT NULL, \
         epoch INTEGER NOT NULL, sealed INTEGER NOT NULL, PRIMARY KEY (type, field, epoch)) WITHOUT ROWID";
    connection.execute(text, []).map(drop).map_err(fault)
}
