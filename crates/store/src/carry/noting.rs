//! Which records change while they are being carried.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::{RecordId, RecordTypes, TenantId, TypeId, UnixMs};
use parking_lot::Mutex;

use crate::batch::SealedChange;
use crate::error::StoreError;
use crate::history::{Histories, NotRewound, Rewound, SealedState, StateScan};
use crate::{Batch, Done, Erases, Rejected, Scan, SealedRow, Store};

/// A record of a tenant and type.
type Place = (TenantId, TypeId, RecordId);

/// What was noted since it was last asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Records that were changed or removed, or may have been.
    pub changed: BTreeSet<Place>,
    /// Tenants that were made.
    pub tenants: BTreeSet<TenantId>,
    /// Tenants with batches that are made at most once.
    pub known: BTreeSet<TenantId>,
    /// Whether the record types were replaced.
    pub types: bool,
}

impl Noted {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.tenants.is_empty() && self.known.is_empty() && !self.types
    }
}

/// A store that notes what is changed through it while it is asked to. Asked nothing, it costs a look at a lock.
pub struct Noting {
    inner: Arc<dyn Store>,
    noted: Mutex<Option<Noted>>,
}

impl Noting {
    /// Notes nothing yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, noted: Mutex::new(None) })
    }

    /// Begins to note.
    pub fn begin(&self) {
        self.noted.lock().get_or_insert_default();
    }

    /// Stops, and forgets.
    pub fn end(&self) {
        *self.noted.lock() = None;
    }

    /// What was noted since this was last asked. A change that is under way now is there, and will be there again when
    /// it is made.
    #[must_use]
    pub fn take(&self) -> Noted {
        self.noted.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes records that are about to be sealed again, now and when what this gives is dropped.
    pub fn resealing(&self, tenant: TenantId, of: TypeId, records: impl Iterator<Item = RecordId>) -> impl Drop {
        let changed = records.map(|record| (tenant, of, record)).collect();
        let under = Under { noting: self, changed, known: None };
        under.note();
        under
    }

    fn note(&self, note: impl FnOnce(&mut Noted)) {
        if let Some(noted) = self.noted.lock().as_mut() {
            note(noted);
        }
    }
}

/// Notes records now and when it is dropped: whoever takes what is noted in between sees them again, and so does whoever
/// begins to ask in between.
struct Under<'a> {
    noting: &'a Noting,
    changed: Vec<Place>,
    known: Option<TenantId>,
}

impl<'a> Under<'a> {
    fn way(noting: &'a Noting, tenant: TenantId, batch: &Batch) -> Self {
        let under = Self { noting, changed: named(tenant, batch), known: batch.once.as_ref().map(|_| tenant) };
        under.note();
        under
    }

    fn note(&self) {
        self.noting.note(|noted| {
            noted.changed.extend(self.changed.iter().copied());
            noted.known.extend(self.known);
        });
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.note();
    }
}

fn named(tenant: TenantId, batch: &Batch) -> Vec<Place> {
    let named = |change: &SealedChange| match change {
        SealedChange::Insert { record_type, record, .. }
        | SealedChange::Update { record_type, record, .. }
        | SealedChange::Delete { record_type, record, .. } => (tenant, *record_type, *record),
    };
    batch.changes.iter().map(named).collect()
}

#[async_trait]
impl Store for Noting {
    async fn create_tenant(&self, tenant: TenantId) -> Result<(), StoreError> {
        let made = self.inner.create_tenant(tenant).await;
        self.note(|noted| noted.tenants.extend([tenant]));
        made
    }

    async fn apply_types(&self, types: &RecordTypes) -> Result<(), StoreError> {
        let applied = self.inner.apply_types(types).await;
        self.note(|noted| noted.types = true);
        applied
    }

    async fn read(&self, tenant: TenantId, scan: &Scan) -> Result<Vec<SealedRow>, StoreError> {
        self.inner.read(tenant, scan).await
    }

    async fn write(&self, tenant: TenantId, batch: Batch) -> Result<Result<(), Rejected>, StoreError> {
        let _under = Under::way(self, tenant, &batch);
        self.inner.write(tenant, batch).await
    }

    async fn done(&self, tenant: TenantId, id: [u8; 32], now: UnixMs) -> Result<Option<Done>, StoreError> {
        self.inner.done(tenant, id, now).await
    }

    async fn count(&self, tenant: TenantId, record_type: TypeId) -> Result<u64, StoreError> {
        self.inner.count(tenant, record_type).await
    }

    async fn any_records(&self, record_type: TypeId) -> Result<bool, StoreError> {
        self.inner.any_records(record_type).await
    }

    /// Not while records are carried: what is erased here meanwhile would be carried there.
    fn erasing(&self) -> Option<&dyn Erases> {
        let carries = self.noted.lock().is_some();
        if carries { None } else { self.inner.erasing() }
    }

    fn history(&self) -> Option<&dyn Histories> {
        self.inner.history().map(|_| self as &dyn Histories)
    }
}

#[async_trait]
impl Histories for Noting {
    fn keep(&self, ms: u64) {
        if let Some(inner) = self.inner.history() {
            inner.keep(ms);
        }
    }

    fn kept_ms(&self) -> u64 {
        self.inner.history().map_or(0, Histories::kept_ms)
    }

    async fn states(&self, tenant: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError> {
        self.past()?.states(tenant, scan).await
    }

    async fn since(&self, tenant: TenantId) -> Result<UnixMs, StoreError> {
        self.past()?.since(tenant).await
    }

    /// Any record may be another afterwards: all are compared again.
    async fn rewind(
        &self,
        tenant: TenantId,
        to: UnixMs,
        now: UnixMs,
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, StoreError> {
        let past = self.past()?;
        self.note(|noted| noted.types = true);
        let rewound = past.rewind(tenant, to, now, epoch).await;
        self.note(|noted| noted.types = true);
        rewound
    }

    async fn prune(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        now: UnixMs,
        most: usize,
    ) -> Result<usize, StoreError> {
        self.past()?.prune(tenant, record_type, now, most).await
    }
}

impl Noting {
    fn past(&self) -> Result<&dyn Histories, StoreError> {
        self.inner.history().ok_or(StoreError::Unavailable(crate::Unavailable::Forbidden))
    }
}
