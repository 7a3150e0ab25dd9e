//! A tenant's file at one moment, and one that is replaced as a whole.
//!
//! A moment is a read transaction on a connection of its own: SQLite's write-ahead log keeps what it sees while others write. A
//! replacement is a write transaction on another; who wants to write meanwhile finds the file busy.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::{RecordId, TenantId, TypeId, UnixMs};

use super::carry::{insert_past, insert_rows, past_rows, present_rows};
use super::connection::Counted;
use super::failure::fault;
use super::tenant::Tenant;
use super::{Shared, SqliteStore, once};
use crate::batch::{Once, Rejected};
use crate::carry::{CarriedRow, Moment, Moments, PastRow, Replacement};
use crate::error::{StoreError, Unavailable};
use crate::layout::{Layout, TypeLayout};
use crate::seals::CellKey;

/// A connection in a transaction of its own, with all that must stay open as long as that.
struct Opened {
    /// Dropped first: SQLite takes back what was not committed.
    connection: Counted,
    layout: Arc<Layout>,
    tenant: Arc<Tenant>,
    /// Types of which something was replaced.
    emptied: HashSet<TypeId>,
    _shared: Arc<Shared>,
}

/// Does work on a thread where blocking is allowed. After an error nothing more is done.
struct Worker(Option<Opened>);

impl Worker {
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Opened) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let interrupted = StoreError::Unavailable(Unavailable::Interrupted);
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| interrupted)?;
        let mut opened = self.0.take().ok_or(interrupted)?;
        let done = runtime.spawn_blocking(move || {
            let done = work(&mut opened)?;
            Ok::<_, StoreError>((opened, done))
        });
        let (opened, done) = done.await.map_err(|_| interrupted)??;
        self.0 = Some(opened);
        Ok(done)
    }
}

fn execute(connection: &Counted, sql: &str) -> Result<(), StoreError> {
    connection.execute_batch(sql).map_err(fault)
}

fn open(shared: &Arc<Shared>, id: TenantId, for_writing: bool) -> Result<Opened, StoreError> {
    let tenant = shared.tenant(id)?;
    let layout = shared.prepare(&tenant)?;
    let connection = if for_writing {
        // Nobody reads the file bare from now on.
        tenant.with_writer(|_| Ok(()))?;
        tenant.own_writer()?
    } else {
        tenant.own_reader()?
    };
    let emptied = HashSet::new();
    let opened = Opened { connection, layout, tenant, emptied, _shared: Arc::clone(shared) };
    if for_writing {
        execute(&opened.connection, "BEGIN IMMEDIATE")?;
    } else {
        // The moment is that of the first look.
        execute(&opened.connection, "BEGIN; SELECT count(*) FROM meta;")?;
    }
    Ok(opened)
}

struct SqliteMoment(Worker);

#[async_trait]
impl Moment for SqliteMoment {
    async fn rows(&mut self, of: TypeId, after: Option<RecordId>, limit: usize) -> Result<Vec<CarriedRow>, StoreError> {
        let work = move |opened: &mut Opened| {
            present_rows(&opened.connection, of, opened.layout.record_type(of)?, after, limit)
        };
        self.0.work(work).await
    }

    async fn past(
        &mut self,
        of: TypeId,
        after: Option<(RecordId, u64)>,
        limit: usize,
    ) -> Result<Vec<PastRow>, StoreError> {
        let work =
            move |opened: &mut Opened| past_rows(&opened.connection, of, opened.layout.record_type(of)?, after, limit);
        self.0.work(work).await
    }

    async fn known(
        &mut self,
        since: UnixMs,
        after: Option<(UnixMs, [u8; 32])>,
        limit: usize,
    ) -> Result<Vec<Once>, StoreError> {
        self.0.work(move |opened| once::known(&opened.connection, since, after, limit)).await
    }
}

struct SqliteReplacement(Worker);

impl Opened {
    /// The type's fields; the first time its records and their past are gone afterwards.
    fn emptied(&mut self, of: TypeId) -> Result<Arc<Layout>, StoreError> {
        let layout = Arc::clone(&self.layout);
        layout.record_type(of)?;
        if self.emptied.insert(of) {
            let place = of.0;
            execute(&self.connection, &format!("DELETE FROM r{place}; DELETE FROM h{place};"))?;
        }
        Ok(layout)
    }

    /// Types of which nothing came are empty from now on.
    fn commit(&mut self) -> Result<(), StoreError> {
        let count = self.layout.types().len();
        for place in (0..=u16::MAX).take(count) {
            self.emptied(TypeId(place))?;
        }
        execute(&self.connection, "COMMIT")?;
        // It is durable; what was replaced is still in the log and in its frames, unless somebody reads just now.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }
}

fn check(fits: bool) -> Result<(), StoreError> {
    if fits { Ok(()) } else { Err(StoreError::UnknownField) }
}

#[async_trait]
impl Replacement for SqliteReplacement {
    async fn rows(&mut self, of: TypeId, rows: Vec<CarriedRow>) -> Result<(), StoreError> {
        let work = move |opened: &mut Opened| {
            let layout = opened.emptied(of)?;
            let fields: &TypeLayout = layout.record_type(of)?;
            check(rows.iter().all(|row| row.fits(fields)))?;
            insert_rows(&opened.connection, of, fields, "INSERT", &rows)
        };
        self.0.work(work).await
    }

    async fn past(&mut self, of: TypeId, rows: Vec<PastRow>) -> Result<(), StoreError> {
        let work = move |opened: &mut Opened| {
            let layout = opened.emptied(of)?;
            let fields: &TypeLayout = layout.record_type(of)?;
            check(rows.iter().all(|row| row.fits(fields)))?;
            insert_past(&opened.connection, of, fields, "INSERT", &rows)
        };
        self.0.work(work).await
    }

    async fn known(&mut self, known: Vec<Once>) -> Result<(), StoreError> {
        self.0.work(move |opened| once::put(&opened.connection, &known)).await
    }

    async fn charge(&mut self, counts: Vec<(CellKey, u64)>) -> Result<Result<(), Rejected>, StoreError> {
        self.0.work(move |opened| opened.tenant.seals.add(&opened.connection, &counts)).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.0.work(Opened::commit).await
    }
}

#[async_trait]
impl Moments for SqliteStore {
    async fn moment(&self, tenant: TenantId) -> Result<Box<dyn Moment>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let opened = self.blocking(move |_| open(&shared, tenant, false)).await?;
        Ok(Box::new(SqliteMoment(Worker(Some(opened)))))
    }

    async fn replacement(&self, tenant: TenantId) -> Result<Box<dyn Replacement>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let opened = self
            .blocking(move |_| {
                let opened = open(&shared, tenant, true)?;
                once::forget(&opened.connection)?;
                Ok(opened)
            })
            .await?;
        Ok(Box::new(SqliteReplacement(Worker(Some(opened)))))
    }
}
