//! What records were, in tenants' files.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use countersign_model::{FieldId, FieldSet, RecordId, TenantId, TypeId, UnixMs};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql};

use super::epoch::{found, put};
use super::failure::{fault, is_taken};
use super::write::time;
use super::{Shared, SqliteStore};
use crate::access::{Access, SealedRow};
use crate::error::StoreError;
use crate::history::{Histories, NotRewound, Rewound, SealedState, StateScan, oldest_end};
use crate::layout::TypeLayout;

impl Shared {
    /// Whether what was before a change is kept.
    pub(super) fn keeps(&self) -> bool {
        self.keep_ms.load(Ordering::Relaxed) > 0
    }

    fn states(&self, id: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.check_states(scan)?;
        let reader = tenant.reader()?;
        let states = states(reader.connection()?, scan)?;
        reader.give_back();
        Ok(states)
    }

    fn prune(&self, id: TenantId, of: TypeId, now: UnixMs, most: usize) -> Result<usize, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.record_type(of)?;
        let end = time(oldest_end(now, self.keep_ms.load(Ordering::Relaxed)));
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        // A file that nobody writes stays one that nobody writes.
        let reader = tenant.reader()?;
        let sql = format!("SELECT EXISTS (SELECT 1 FROM h{} WHERE until < ?1)", of.0);
        let any: bool = reader.connection()?.query_row(&sql, [end], |row| row.get(0)).map_err(fault)?;
        reader.give_back();
        if !any {
            return Ok(0);
        }
        tenant.with_writer(|connection| {
            let transaction = connection.transaction().map_err(fault)?;
            let place = of.0;
            let these = format!("SELECT seq, until FROM h{place} WHERE until < ?1 ORDER BY until LIMIT ?2");
            let sql = format!("SELECT max(until) FROM ({these})");
            let last: Option<i64> = transaction.query_row(&sql, (end, most), |row| row.get(0)).map_err(fault)?;
            let sql = format!("DELETE FROM h{place} WHERE seq IN (SELECT seq FROM ({these}))");
            let gone = transaction.execute(&sql, (end, most)).map_err(fault)?;
            forget(&transaction, last.unwrap_or(0))?;
            transaction.commit().map_err(fault)?;
            Ok(gone)
        })
    }

    fn since(&self, id: TenantId) -> Result<UnixMs, StoreError> {
        let tenant = self.tenant(id)?;
        self.prepare(&tenant)?;
        let reader = tenant.reader()?;
        let since = since(reader.connection()?)?;
        reader.give_back();
        Ok(since)
    }

    fn rewind(
        &self,
        id: TenantId,
        to: UnixMs,
        now: UnixMs,
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        if to > now {
            return Ok(Err(NotRewound::Later));
        }
        tenant.with_writer(|connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
            let since = since(&transaction)?;
            if to < since {
                return Ok(Err(NotRewound::NotKept { since }));
            }
            if super::epoch::epoch(&transaction)? > epoch {
                return Ok(Err(NotRewound::Epoch));
            }
            let mut rewound = Rewound::default();
            for (place, fields) in layout.types().iter().enumerate() {
                match rewind(&transaction, place, fields, (time(to), time(now)))? {
                    Ok((changed, restored)) => {
                        rewound.changed = rewound.changed.saturating_add(changed);
                        rewound.restored = rewound.restored.saturating_add(restored);
                    }
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            transaction.commit().map_err(fault)?;
            Ok(Ok(rewound))
        })
    }
}

/// The row of `meta` that says since when all is known.
const SINCE: &str = "past_since";

pub(super) fn since(connection: &Connection) -> Result<UnixMs, StoreError> {
    let text = found(connection, SINCE)?.unwrap_or_else(|| "0".to_owned());
    text.parse().map(UnixMs).map_err(|_| StoreError::Damaged)
}

/// What ended by that time is not known any more.
pub(super) fn forget(connection: &Connection, until: i64) -> Result<(), StoreError> {
    let until = UnixMs(u64::try_from(until).unwrap_or(0));
    if until > since(connection)? { put(connection, SINCE, &until.0.to_string()) } else { Ok(()) }
}

/// One type's records, moved into the history where they have changed since, and what they were put in their place.
fn rewind(
    connection: &Connection,
    place: usize,
    fields: &TypeLayout,
    (to, now): (i64, i64),
) -> Result<Result<(u64, u64), NotRewound>, StoreError> {
    let run = |sql: String, params: &[&dyn ToSql]| connection.execute(&sql, params);
    let (columns, values) = (fields.past_columns(), fields.values());
    let keep = format!(
        "INSERT INTO h{place} ({columns}) SELECT id, version, at, max(at, ?2){values} FROM r{place} WHERE at > ?1"
    );
    run(keep, &[&to, &now]).map_err(fault)?;
    let changed = run(format!("DELETE FROM r{place} WHERE at > ?1"), &[&to]).map_err(fault)?;
    // Of states that claim to have held at once, the newest.
    let put = format!(
        "INSERT INTO r{place} ({}) SELECT id, (SELECT max(version) + 1 FROM h{place} n WHERE n.id = s.id), \
         max(?2, (SELECT max(until) FROM h{place} n WHERE n.id = s.id)){values} FROM h{place} s \
         WHERE at <= ?1 AND until > ?1 AND NOT EXISTS (SELECT 1 FROM r{place} r WHERE r.id = s.id) \
         AND version = (SELECT max(version) FROM h{place} n WHERE n.id = s.id AND n.at <= ?1 AND n.until > ?1)",
        fields.columns()
    );
    let restored = match run(put, &[&to, &now]) {
        Ok(restored) => restored,
        Err(error) if is_taken(&error) => return Ok(Err(NotRewound::Contradiction)),
        Err(error) => return Err(fault(error)),
    };
    for FieldId(field) in fields.indexed() {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM r{place} WHERE (c{field} IS NULL) <> (x{field} IS NULL))");
        if restored > 0 && connection.query_row(&sql, [], |row| row.get(0)).map_err(fault)? {
            return Ok(Err(NotRewound::OtherTypes));
        }
    }
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    Ok(Ok((count(changed), count(restored))))
}

fn states(connection: &Connection, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
    let (condition, mut keys): (String, Vec<[u8; 16]>) = match &scan.access {
        Access::All => return some(connection, scan, "true", None),
        Access::Records(records) => ("id = ?4".into(), records.iter().map(|record| *record.as_bytes()).collect()),
        Access::Tags { field: FieldId(field), tags } => {
            (format!("x{field} = ?4"), tags.iter().map(|tag| tag.0).collect())
        }
    };
    keys.sort_unstable();
    keys.dedup();
    let mut out = Vec::new();
    for key in keys {
        out.extend(some(connection, scan, &condition, Some(key))?);
    }
    out.sort_unstable_by_key(|state: &SealedState| (state.row.record, state.row.version));
    out.truncate(scan.limit);
    Ok(out)
}

/// Both kinds of states in one statement, so that none is missed between the two.
fn some(
    connection: &Connection,
    scan: &StateScan,
    condition: &str,
    key: Option<[u8; 16]>,
) -> Result<Vec<SealedState>, StoreError> {
    let TypeId(place) = scan.record_type;
    let cells: String = scan.cells.iter().map(|FieldId(field)| format!(", c{field}")).collect();
    let condition = format!("(id > ?1 OR (id = ?1 AND version > ?2)) AND {condition}");
    let sql = format!(
        "SELECT id, version, at, until{cells} FROM h{place} WHERE {condition} \
         UNION ALL SELECT id, version, at, NULL{cells} FROM r{place} WHERE {condition} ORDER BY 1, 2 LIMIT ?3"
    );
    // The empty blob is before every id.
    let id: &[u8] = scan.after.as_ref().map_or(&[], |(record, _)| record.as_bytes());
    let version = scan.after.map_or(0, |(_, version)| i64::try_from(version).unwrap_or(i64::MAX));
    let limit = i64::try_from(scan.limit).unwrap_or(i64::MAX);
    let mut params: Vec<&dyn ToSql> = vec![&id, &version, &limit];
    let key = key.as_ref().map(<[u8; 16]>::as_slice);
    if let Some(key) = &key {
        params.push(key);
    }
    let mut statement = connection.prepare_cached(&sql).map_err(fault)?;
    let mut rows = statement.query(params.as_slice()).map_err(fault)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        out.push(state(row, scan.cells)?);
    }
    Ok(out)
}

fn state(row: &Row<'_>, fields: FieldSet) -> Result<SealedState, StoreError> {
    let id: [u8; 16] = row.get(0).map_err(fault)?;
    let number = |column: usize| match row.get::<_, Option<i64>>(column).map_err(fault)? {
        None => Ok(None),
        Some(number) => u64::try_from(number).map(Some).map_err(|_| StoreError::Damaged),
    };
    let mut cells = Vec::with_capacity(fields.len());
    for (column, field) in (4usize..).zip(fields.iter()) {
        let cell = match row.get_ref(column).map_err(fault)? {
            ValueRef::Null => None,
            ValueRef::Blob(bytes) => Some(bytes.to_vec()),
            _ => return Err(StoreError::Damaged),
        };
        cells.push((field, cell));
    }
    let version = number(1)?.ok_or(StoreError::Damaged)?;
    Ok(SealedState {
        row: SealedRow { record: RecordId::from_bytes(id), version, cells },
        at: UnixMs(number(2)?.ok_or(StoreError::Damaged)?),
        until: number(3)?.map(UnixMs),
    })
}

#[async_trait]
impl Histories for SqliteStore {
    fn keep(&self, ms: u64) {
        self.shared.keep_ms.store(ms, Ordering::Relaxed);
    }

    fn kept_ms(&self) -> u64 {
        self.shared.keep_ms.load(Ordering::Relaxed)
    }

    async fn states(&self, tenant: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        let scan = scan.clone();
        self.blocking(move |shared| shared.states(tenant, &scan)).await
    }

    async fn since(&self, tenant: TenantId) -> Result<UnixMs, StoreError> {
        self.blocking(move |shared| shared.since(tenant)).await
    }

    async fn rewind(
        &self,
        tenant: TenantId,
        to: UnixMs,
        now: UnixMs,
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, StoreError> {
        self.blocking(move |shared| shared.rewind(tenant, to, now, epoch)).await
    }

    async fn prune(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        now: UnixMs,
        most: usize,
    ) -> Result<usize, StoreError> {
        self.blocking(move |shared| shared.prune(tenant, record_type, now, most)).await
    }
}
