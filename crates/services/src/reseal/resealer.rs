//! Sealing everything of a tenant again, beside requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::sealed_epoch;
use countersign_model::beside::{Beside, Served};
use countersign_model::{Entropy, RecordId, RecordTypes, TenantId, TypeId};
use countersign_store::Rejected;
use countersign_store::carry::{CarriedRow, Noting, Resealed, Reseals};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::place::Place;
use super::{CellKeys, ResealError, stale};

/// How fast to go when there is nothing else to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Records that are sealed again in a second, at the most. At least 1.
    pub rows_per_second: u32,
    /// Records that are read, and sealed again in one transaction. Requests that write may wait for one of these. 1 to 1,000.
    pub rows_together: usize,
}

impl Default for Pace {
    /// 2,000 records in a second, 64 together.
    fn default() -> Self {
        Self { rows_per_second: 2_000, rows_together: 64 }
    }
}

impl Pace {
    /// Without rest: for a deployment that nobody uses.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { rows_per_second: u32::MAX, rows_together: 256 }
    }

    /// How long to rest, at the least, after so many records in so much time.
    fn rest_after(&self, rows: usize, work: Duration) -> Duration {
        let least = Duration::from_secs(1).saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
        let least = least.checked_div(self.rows_per_second.max(1)).unwrap_or_default();
        least.saturating_sub(work)
    }
}

/// How sealing a tenant again ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A whole pass, begun when nothing older could be stored any more, found nothing of an older epoch: every cell and tag is
    /// of what its field's epoch was in this one, or newer.
    Clean {
        /// The tenant's newest epoch when it began.
        epoch: u32,
    },
    /// As above, but for cells that can't be opened, whose key is destroyed or that are damaged.
    Left {
        /// The tenant's newest epoch when it began.
        epoch: u32,
        /// Records, and states that records had, with such cells.
        rows: u64,
    },
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResealStatus {
    /// The epoch that it goes to.
    pub epoch: u32,
    /// The pass, from 1 since the program began with this tenant.
    pub pass: u32,
    /// The type that it is at.
    pub record_type: TypeId,
    /// Whether it is at what records of the type were.
    pub past: bool,
    /// Records and former states that it has looked at.
    pub seen: u64,
    /// Those that it has sealed again.
    pub resealed: u64,
}

/// Seals tenants again. One at a time is enough; several at once, or a second one of the same tenant, do no harm.
pub struct Resealer {
    store: Arc<dyn Reseals>,
    keys: Arc<dyn CellKeys>,
    entropy: Arc<dyn Entropy>,
    pace: Pace,
    noting: Option<Arc<Noting>>,
    served: Served,
    status: Mutex<HashMap<TenantId, ResealStatus>>,
}

impl std::fmt::Debug for Resealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resealer").field("pace", &self.pace).finish_non_exhaustive()
    }
}

/// After so many pages with nothing to do, it is noted how far it has come.
const NOTE_EVERY: u32 = 64;
/// Tries for records that others change at the moment, before they are left to the next pass.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
/// Passes that found something, before it is given back to whoever began it.
const PASSES_MAX: u32 = 10;

impl Resealer {
    /// Seals what is in `store` under what `keys` has.
    #[must_use]
    pub fn new(store: Arc<dyn Reseals>, keys: Arc<dyn CellKeys>, entropy: Arc<dyn Entropy>, pace: Pace) -> Self {
        Self { store, keys, entropy, pace, noting: None, served: Arc::new(|| Duration::ZERO), status: Mutex::default() }
    }

    /// With somebody who notes what changes, for records to be carried elsewhere meanwhile.
    #[must_use]
    pub fn noted_by(mut self, noting: Arc<Noting>) -> Self {
        self.noting = Some(noting);
        self
    }

    /// Going second to requests that are served meanwhile.
    #[must_use]
    pub fn beside(mut self, served: Served) -> Self {
        self.served = served;
        self
    }

    /// How far it has come with a tenant; `None` if it is not at it.
    #[must_use]
    pub fn status(&self, tenant: TenantId) -> Option<ResealStatus> {
        self.status.lock().get(&tenant).copied()
    }

    /// Seals all of a tenant's records, and what they were, under its newest keys. Goes on where an earlier call for the same
    /// epoch ended, of this program or one before. Dropped, it stops at once and leaves everything as it should be.
    ///
    /// # Errors
    /// [`ResealError`]; to be begun again.
    pub async fn tenant(&self, tenant: TenantId, types: &Arc<RecordTypes>) -> Result<Outcome, ResealError> {
        let keys = Arc::clone(&self.keys);
        let epoch = blocking(move || keys.newest(tenant)).await?.map_err(ResealError::Keys)?;
        // INVARIANT epoch-floor: from here on nothing older is stored.
        self.store.raise(tenant, epoch).await?;
        let noted = self.store.progress(tenant).await?;
        let noted = noted.and_then(|bytes| Place::from_bytes(&bytes)).filter(|place| place.epoch == epoch);
        let mut place = noted.unwrap_or(Place::start(epoch));
        let running = Running { resealer: self, tenant };
        running.begin(place);
        for _ in 0..PASSES_MAX {
            self.pass(tenant, types, &mut place).await?;
            let left = place.left;
            if !place.found {
                self.store.note_progress(tenant, None).await?;
                return Ok(if left == 0 { Outcome::Clean { epoch } } else { Outcome::Left { epoch, rows: left } });
            }
            place = Place::start(epoch);
            self.store.note_progress(tenant, Some(place.to_bytes())).await?;
            running.note(|status| status.pass = status.pass.saturating_add(1));
        }
        Err(ResealError::Superseded)
    }

    /// From `place` to the end.
    async fn pass(&self, tenant: TenantId, types: &Arc<RecordTypes>, place: &mut Place) -> Result<(), ResealError> {
        let mut quiet = 0_u32;
        let limit = self.pace.rows_together.clamp(1, 1_000);
        while types.record_type(place.record_type).is_some() {
            let (began, piece) = (Instant::now(), Beside::begin(&self.served, Instant::now().into_std()));
            let rows = self.page(tenant, *place, limit).await?;
            let Some(last) = rows.last() else {
                *place = place.next();
                continue;
            };
            let after = place.moved(last.record, last.version);
            let seen = rows.len();
            let (stale, trouble) = self.stale(tenant, types, place, rows).await?;
            let left = place.left.saturating_add(trouble);
            *place = Place { found: place.found || !stale.is_empty(), left, ..after };
            let resealed = stale.len();
            if resealed > 0 {
                self.replace(tenant, types, *place, stale).await?;
                quiet = 0;
            } else {
                quiet = quiet.saturating_add(1);
                if quiet.is_multiple_of(NOTE_EVERY) {
                    self.store.note_progress(tenant, Some(place.to_bytes())).await?;
                }
            }
            self.note(tenant, *place, seen, resealed);
            let rest = self.pace.rest_after(resealed, began.elapsed()).max(piece.rest(Instant::now().into_std()));
            tokio::time::sleep(rest).await;
        }
        Ok(())
    }

    async fn page(&self, tenant: TenantId, place: Place, limit: usize) -> Result<Vec<CarriedRow>, ResealError> {
        let (record, _) = place.after;
        if place.past {
            let past = self.store.past(tenant, place.record_type, Some(place.after), limit).await?;
            return Ok(past.into_iter().map(|past| past.row).collect());
        }
        Ok(self.store.rows(tenant, place.record_type, Some(record), limit).await?)
    }

    /// What of these rows has to be sealed again, and is; and how many have cells that can't be opened.
    async fn stale(
        &self,
        tenant: TenantId,
        types: &Arc<RecordTypes>,
        place: &Place,
        rows: Vec<CarriedRow>,
    ) -> Result<(Vec<Resealed>, u64), ResealError> {
        let (keys, entropy, types) = (Arc::clone(&self.keys), Arc::clone(&self.entropy), Arc::clone(types));
        let (id, past, epoch) = (place.record_type, place.past, place.epoch);
        blocking(move || {
            let record_type = types.record_type(id).ok_or(ResealError::UnknownField)?;
            let (mut resealed, mut left) = (Vec::new(), 0_u64);
            for row in &rows {
                let (found, trouble) = stale(&*keys, &*entropy, tenant, (id, record_type), row, past);
                match trouble {
                    Some(ResealError::Damaged { .. } | ResealError::Destroyed { .. }) => left = left.saturating_add(1),
                    Some(other) => return Err(other),
                    None => {}
                }
                resealed.extend(found);
            }
            // INVARIANT epoch-floor: keys that came since the pass began are the next one's.
            let newer = |row: &Resealed| row.cells.iter().any(|(_, cell)| sealed_epoch(cell) > Some(epoch));
            if resealed.iter().any(newer) {
                return Err(ResealError::Superseded);
            }
            Ok((resealed, left))
        })
        .await?
    }

    /// Stores it. Records that were changed meanwhile are looked at again, because the change may have left other cells as they
    /// were.
    async fn replace(
        &self,
        tenant: TenantId,
        types: &Arc<RecordTypes>,
        place: Place,
        mut rows: Vec<Resealed>,
    ) -> Result<(), ResealError> {
        for _ in 0..TRIES {
            let (wanted, progress) = (rows.len(), Some(place.to_bytes()));
            let records: Vec<RecordId> = rows.iter().map(|row| row.record).collect();
            let noting = self.noting.as_ref();
            let _noted = noting.map(|noting| noting.resealing(tenant, place.record_type, records.iter().copied()));
            let done = self.store.reseal(tenant, place.record_type, place.epoch, rows, progress).await?;
            let done = done.map_err(|rejected| match rejected {
                Rejected::Limit => ResealError::Limit,
                _ => ResealError::Superseded,
            });
            if done? >= wanted {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            let there = if place.past {
                let past = self.store.past_of(tenant, place.record_type, &records).await?;
                past.into_iter().map(|past| past.row).collect()
            } else {
                self.store.these(tenant, place.record_type, &records).await?
            };
            rows = self.stale(tenant, types, &place, there).await?.0;
            if rows.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn note(&self, tenant: TenantId, place: Place, seen: usize, resealed: usize) {
        if let Some(status) = self.status.lock().get_mut(&tenant) {
            status.record_type = place.record_type;
            status.past = place.past;
            status.seen = status.seen.saturating_add(seen as u64);
            status.resealed = status.resealed.saturating_add(resealed as u64);
        }
    }
}

/// That a tenant is being sealed again, as long as it is.
struct Running<'a> {
    resealer: &'a Resealer,
    tenant: TenantId,
}

impl Running<'_> {
    fn begin(&self, place: Place) {
        let Place { epoch, record_type, past, .. } = place;
        let status = ResealStatus { epoch, pass: 1, record_type, past, seen: 0, resealed: 0 };
        self.resealer.status.lock().insert(self.tenant, status);
    }

    fn note(&self, change: impl FnOnce(&mut ResealStatus)) {
        if let Some(status) = self.resealer.status.lock().get_mut(&self.tenant) {
            change(status);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.resealer.status.lock().remove(&self.tenant);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ResealError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ResealError::Interrupted)
}
