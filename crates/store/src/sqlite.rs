//! The embedded backend: SQLite, one file a tenant, named by the tenant's id.
//!
//! - Every commit is on disk (write-ahead log, full sync) before it is acknowledged; batches that arrive while the
//!   disk works are committed together.
//! - Reads that touch few rows run where they are asked, as they take a few microseconds; everything else,
//!   opening files included, runs on a thread where blocking is allowed.
//! - As many files stay open as [`Options`] say; the ones not used for longest are closed first.
//!
//! What a file looks like inside is written in `docs/formats.md`.

mod carry;
mod connection;
mod epoch;
mod erase;
mod failure;
mod history;
mod layout;
mod moment;
mod once;
mod queue;
mod read;
mod reseal;
mod sql;
mod tenant;
mod write;

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use countersign_model::{RecordTypes, TenantId, TypeId, UnixMs};
use parking_lot::{Mutex, MutexGuard, RwLock};

use self::connection::Budget;
use self::epoch::Seals;
use self::queue::Leader;
use self::sql::Select;
use self::tenant::Tenant;
use crate::error::{StoreError, Unavailable};
use crate::history::KEEP_MS;
use crate::layout::Layout;
use crate::seals::SealLimit;
use crate::texts::Texts;
use crate::{Access, Batch, Done, Rejected, Scan, SealedRow, Store};

/// A read that may give more rows than this is not run on the caller's thread.
const INLINE_ROWS: usize = 128;
/// Nor is one that looks up more keys than this.
const INLINE_KEYS: usize = 64;

/// How much the store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The file descriptors that open tenants may take together. A tenant that is only read takes one, or a few
    /// while many read it at once; one that is written takes five. When they are used up, the tenants not used
    /// for longest are closed; a burst of requests to more tenants than that goes over it for a moment.
    /// Default 512, half the usual limit of a process; at least 16. To serve 10,000 tenants at the rate of one,
    /// give it 12,000.
    pub descriptors_max: usize,
    /// How much of their files all open tenants may keep in memory together, in bytes. Default 512 MiB; beyond it,
    /// each connection has 256 KiB.
    pub cache_bytes_max: usize,
    /// Connections for reading that a tenant keeps between requests. Default 2; at least 1.
    pub readers_kept: usize,
}

impl Options {
    /// The least that works.
    const DESCRIPTORS_LEAST: usize = 16;
}

impl Default for Options {
    fn default() -> Self {
        Self { descriptors_max: 512, cache_bytes_max: 512 << 20, readers_kept: 2 }
    }
}

/// Sealed records in SQLite files. Cheap to share behind an [`Arc`]; one for each folder.
pub struct SqliteStore {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("open_tenants", &self.shared.open.read().len()).finish_non_exhaustive()
    }
}

struct Shared {
    folder: PathBuf,
    options: Options,
    /// The record types in force and their generation, counted from 1; 0 is none.
    types: RwLock<(u64, Arc<Layout>)>,
    open: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    /// Held while a tenant's file is opened or closed, so that neither happens twice at once; by the last byte of the
    /// tenant's id.
    opening: [Mutex<()>; 16],
    budget: Arc<Budget>,
    /// Moves on at each opening; tells which tenant was not used for longest.
    tick: AtomicU64,
    texts: Texts<Select>,
    seals: Arc<SealLimit>,
    /// For how long what records were before is kept, in milliseconds.
    keep_ms: AtomicU64,
    /// Held until everything above is closed, so that no other program opens the same files.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store in `folder`, which is made if it is not there. Tenants' files are opened when they are used.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another program has it open, [`StoreError::Unavailable`] if it can't be written.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        private_folder(folder)?;
        let lock = private_file(&folder.join("store.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let folder = folder.join("tenants");
        private_folder(&folder)?;
        let descriptors_max = options.descriptors_max.max(Options::DESCRIPTORS_LEAST);
        let shared = Shared {
            folder,
            options,
            types: RwLock::default(),
            open: RwLock::default(),
            opening: Default::default(),
            budget: Arc::new(Budget::new(descriptors_max, options.cache_bytes_max)),
            tick: AtomicU64::new(0),
            texts: Texts::default(),
            seals: Arc::default(),
            keep_ms: AtomicU64::new(KEEP_MS),
            _lock: lock,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Lets each key of a tenant seal so many values, at the most and unless it is set [`SEALS_MAX`](crate::SEALS_MAX).
    /// Counts are kept beside the data; a limit below what is counted already lets nothing more be sealed.
    pub fn limit_seals(&self, max: u64) {
        self.shared.seals.set(max);
    }

    /// Runs work on a thread where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let interrupted = StoreError::Unavailable(Unavailable::Interrupted);
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| interrupted)?;
        runtime.spawn_blocking(move || work(&shared)).await.map_err(|_| interrupted)?
    }
}

impl Shared {
    fn path(&self, tenant: TenantId) -> PathBuf {
        self.folder.join(format!("{tenant}.db"))
    }

    fn types(&self) -> (u64, Arc<Layout>) {
        let types = self.types.read();
        (types.0, Arc::clone(&types.1))
    }

    /// The tenant if its file is open.
    fn opened(&self, tenant: TenantId) -> Option<Arc<Tenant>> {
        let open = self.open.read();
        let found = open.get(&tenant)?;
        found.last_used.store(self.tick.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(found))
    }

    /// The tenant, its file opened if it is not. May block.
    fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, StoreError> {
        if let Some(found) = self.opened(id) {
            return Ok(found);
        }
        self.make_room();
        let _opening = self.opening(id);
        // Somebody else may have opened it while this one waited.
        if let Some(found) = self.opened(id) {
            return Ok(found);
        }
        let seals = Seals::new(id, Arc::clone(&self.seals));
        let tenant = Tenant::open(self.path(id), &self.budget, self.options.readers_kept, seals)?;
        Ok(self.keep(id, tenant))
    }

    fn opening(&self, id: TenantId) -> Option<MutexGuard<'_, ()>> {
        let [.., last] = id.as_bytes();
        self.opening.get(usize::from(last % 16)).map(Mutex::lock)
    }

    /// Notes a tenant as open.
    fn keep(&self, id: TenantId, tenant: Tenant) -> Arc<Tenant> {
        let tick = self.tick.fetch_add(1, Ordering::Relaxed);
        tenant.last_used.store(tick, Ordering::Relaxed);
        Arc::clone(self.open.write().entry(id).or_insert_with(|| Arc::new(tenant)))
    }

    /// Closes tenants that nobody uses at the moment, those not used for longest first, if too many are open.
    fn make_room(&self) {
        if !self.budget.is_used_up() {
            return;
        }
        let mut idle: Vec<(u64, TenantId)> = {
            let open = self.open.read();
            let idle = open.iter().filter(|(_, tenant)| Arc::strong_count(tenant) == 1);
            idle.map(|(id, tenant)| (tenant.last_used.load(Ordering::Relaxed), *id)).collect()
        };
        idle.sort_unstable();
        // A sixteenth at once, so that not every opening has to look through all of them.
        let count = (idle.len() / 16).max(1);
        for (_, id) in idle.into_iter().take(count) {
            // Nobody opens it again before it is closed.
            let _closing = self.opening(id);
            let mut open = self.open.write();
            // Nobody can take a tenant from the map while it is locked, so one that only the map holds is idle.
            let closing = match open.get(&id) {
                Some(tenant) if Arc::strong_count(tenant) == 1 => open.remove(&id),
                _ => None,
            };
            // Not under that lock: the last connection to a file empties its write-ahead log.
            drop(open);
            drop(closing);
        }
    }

    /// Makes a tenant's file: whole under another name first, so that one with its own name is never half made.
    fn create(&self, id: TenantId) -> Result<(), StoreError> {
        let _opening = self.opening(id);
        let path = self.path(id);
        if path.try_exists()? {
            return Ok(());
        }
        let unfinished = path.with_extension("new");
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = private_file(&unfinished)?;
        let (_, layout) = self.types();
        connection::make(&unfinished, &self.budget, &layout)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// Reads on this thread, if all is at hand and the read is short. `None` otherwise.
    fn read_now(&self, id: TenantId, scan: &Scan) -> Result<Option<Vec<SealedRow>>, StoreError> {
        let keys = match &scan.access {
            Access::Records(records) => records.len(),
            Access::Tags { tags, .. } => tags.len(),
            Access::All => 0,
        };
        let (generation, layout) = self.types();
        let Some(tenant) = self.opened(id).filter(|tenant| tenant.is_at(generation) && keys <= INLINE_KEYS) else {
            return Ok(None);
        };
        layout.check_scan(scan)?;
        let Some(reader) = tenant.idle_reader() else { return Ok(None) };
        // One row more than is wanted here says that there are too many.
        let limit = scan.limit.min(INLINE_ROWS.saturating_add(1));
        let rows = read::rows(reader.connection()?, &self.texts, &layout, scan, limit)?;
        reader.give_back();
        Ok((rows.len() <= INLINE_ROWS).then_some(rows))
    }

    fn read(&self, id: TenantId, scan: &Scan) -> Result<Vec<SealedRow>, StoreError> {
        let (generation, layout) = self.types();
        let tenant = self.tenant(id)?;
        layout.check_scan(scan)?;
        tenant.bring_to(generation, &layout)?;
        let reader = tenant.reader()?;
        let rows = read::rows(reader.connection()?, &self.texts, &layout, scan, scan.limit)?;
        reader.give_back();
        Ok(rows)
    }

    /// Brings a tenant's file up to the types in force, for writing to it.
    fn prepare(&self, tenant: &Tenant) -> Result<Arc<Layout>, StoreError> {
        let (generation, layout) = self.types();
        tenant.bring_to(generation, &layout)?;
        Ok(layout)
    }

    fn done(&self, id: TenantId, once: &[u8; 32], now: UnixMs) -> Result<Option<Done>, StoreError> {
        let tenant = self.tenant(id)?;
        let reader = tenant.reader()?;
        let done = once::done(reader.connection()?, once, now.0)?;
        reader.give_back();
        Ok(done)
    }

    fn count(&self, id: TenantId, record_type: TypeId) -> Result<u64, StoreError> {
        let tenant = self.tenant(id)?;
        let layout = self.prepare(&tenant)?;
        layout.record_type(record_type)?;
        let reader = tenant.reader()?;
        let sql = format!("SELECT count(*) FROM r{}", record_type.0);
        let connection = reader.connection()?;
        let counted = connection.prepare_cached(&sql).and_then(|mut one| one.query_row([], |row| row.get::<_, i64>(0)));
        let counted = counted.map_err(failure::fault)?;
        reader.give_back();
        u64::try_from(counted).map_err(|_| StoreError::Damaged)
    }

    fn any_records(&self, record_type: TypeId) -> Result<bool, StoreError> {
        for id in self.tenants()? {
            let tenant = self.tenant(id)?;
            let reader = tenant.reader()?;
            let found = read::any(reader.connection()?, record_type)?;
            reader.give_back();
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_tenant(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.blocking(move |shared| shared.create(tenant)).await
    }

    async fn apply_types(&self, types: &RecordTypes) -> Result<(), StoreError> {
        let layout = Arc::new(Layout::of(types));
        let mut current = self.shared.types.write();
        if current.1 != layout || current.0 == 0 {
            *current = (current.0.saturating_add(1), layout);
        }
        Ok(())
    }

    async fn read(&self, tenant: TenantId, scan: &Scan) -> Result<Vec<SealedRow>, StoreError> {
        if let Some(rows) = self.shared.read_now(tenant, scan)? {
            return Ok(rows);
        }
        let scan = scan.clone();
        self.blocking(move |shared| shared.read(tenant, &scan)).await
    }

    async fn write(&self, tenant: TenantId, batch: Batch) -> Result<Result<(), Rejected>, StoreError> {
        let open = match self.shared.opened(tenant) {
            Some(open) => open,
            None => self.blocking(move |shared| shared.tenant(tenant)).await?,
        };
        let (verdict, must_lead) = open.queue.push(batch);
        if must_lead {
            let leader = Leader::new(open);
            let shared = Arc::clone(&self.shared);
            let interrupted = StoreError::Unavailable(Unavailable::Interrupted);
            let runtime = tokio::runtime::Handle::try_current().map_err(|_| interrupted)?;
            // Not awaited: it goes on for the others even if this caller goes away.
            drop(
                runtime.spawn_blocking(move || leader.run(move |tenant| Ok((shared.prepare(tenant)?, shared.keeps())))),
            );
        }
        verdict.await.map_err(|_| StoreError::Unavailable(Unavailable::Interrupted))?
    }

    async fn done(&self, tenant: TenantId, id: [u8; 32], now: UnixMs) -> Result<Option<Done>, StoreError> {
        self.blocking(move |shared| shared.done(tenant, &id, now)).await
    }

    async fn count(&self, tenant: TenantId, record_type: TypeId) -> Result<u64, StoreError> {
        self.blocking(move |shared| shared.count(tenant, record_type)).await
    }

    async fn any_records(&self, record_type: TypeId) -> Result<bool, StoreError> {
        self.blocking(move |shared| shared.any_records(record_type)).await
    }

    fn history(&self) -> Option<&dyn crate::Histories> {
        Some(self)
    }

    fn erasing(&self) -> Option<&dyn crate::Erases> {
        Some(self)
    }
}

/// A folder that only this program's user may enter.
fn private_folder(path: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    Ok(builder.create(path)?)
}

/// A file that only this program's user may read. SQLite gives the files beside it the same rights.
fn private_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

#[cfg(test)]
mod tests;
