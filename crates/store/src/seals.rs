//! How many values were sealed under each key: what keeps one from being used past its limit.
//!
//! A sealed value comes to be seen by others when it is stored, so the store counts. It counts in blocks that are set aside
//! durably before they are used, so after a crash too much is counted rather than too little; a block is about as large as
//! what was counted since the store was opened, so that opening and closing costs little of a key's life.
//!
//! INVARIANT seal-limit: what is set aside for a key never passes the limit, and no cell is stored that was not set aside
//! before. What is moved as it is sealed, into the past or to another store, is not counted again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_crypto::sealed_epoch;
use countersign_model::{FieldId, TenantId, TypeId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::batch::{Batch, SealedChange};
use crate::carry::Resealed;

/// How many values one key may seal, unless a store's options say otherwise: with random nonces of 96 bits, that many keep
/// the chance of a repeat below 2^-33 (RFC 8452, section 9).
pub const SEALS_MAX: u64 = 1 << 32;

/// The most that is set aside at once.
const BLOCK_MAX: u64 = 65_536;
/// The least, for a store that was just opened.
const BLOCK_FIRST: u64 = 64;

/// A key of cells, within one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey {
    /// The type.
    pub record_type: TypeId,
    /// The field.
    pub field: FieldId,
    /// The epoch.
    pub epoch: u32,
}

/// How many values a key has sealed, at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealCount {
    /// The key.
    pub key: CellKey,
    /// Values that were sealed or are set aside.
    pub sealed: u64,
    /// How many it may seal.
    pub limit: u64,
}

impl SealCount {
    /// Whether it is time for another key: three quarters of the limit are used.
    #[must_use]
    pub const fn is_near(&self) -> bool {
        is_near(self.sealed, self.limit)
    }
}

/// How many values each key of a store may seal, and whom to tell.
pub(crate) struct SealLimit {
    max: AtomicU64,
    pub(crate) nearing: Arc<Nearing>,
}

impl Default for SealLimit {
    fn default() -> Self {
        Self { max: AtomicU64::new(SEALS_MAX), nearing: Arc::default() }
    }
}

impl SealLimit {
    pub(crate) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// At least 1, at most [`SEALS_MAX`].
    pub(crate) fn set(&self, max: u64) {
        self.max.store(max.clamp(1, SEALS_MAX), Ordering::Relaxed);
    }
}

pub(crate) const fn is_near(sealed: u64, limit: u64) -> bool {
    sealed >= limit.saturating_sub(limit / 4)
}

/// Tells of keys that have come to three quarters of their limit, and of those that could not seal what they were asked to,
/// however little they have sealed: another key could.
#[derive(Default)]
pub struct Nearing {
    keys: Mutex<NearingKeys>,
    woken: Notify,
}

/// By tenant.
pub type NearingKeys = BTreeMap<TenantId, BTreeSet<CellKey>>;

impl Nearing {
    /// Waits for some, and gives all since this was last asked. For one task; given up, nothing is lost.
    pub async fn wait(&self) -> NearingKeys {
        loop {
            let found = std::mem::take(&mut *self.keys.lock());
            if !found.is_empty() {
                return found;
            }
            self.woken.notified().await;
        }
    }

    pub(crate) fn note(&self, tenant: TenantId, key: CellKey) {
        self.keys.lock().entry(tenant).or_default().insert(key);
        self.woken.notify_one();
    }
}

impl std::fmt::Debug for Nearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nearing").field("tenants", &self.keys.lock().len()).finish_non_exhaustive()
    }
}

/// How many values of each key something has. In order, so that whoever locks them locks them in one order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Needs(pub(crate) BTreeMap<CellKey, u64>);

impl Needs {
    pub(crate) fn of_batch(batch: &Batch) -> Self {
        let mut needs = Self::default();
        for change in &batch.changes {
            match change {
                SealedChange::Insert { record_type, cells, .. } => {
                    cells.iter().for_each(|(field, cell)| needs.add(*record_type, *field, cell));
                }
                SealedChange::Update { record_type, cells, .. } => {
                    let filled = cells.iter().filter_map(|(field, cell)| Some((field, cell.as_ref()?)));
                    filled.for_each(|(field, cell)| needs.add(*record_type, *field, cell));
                }
                SealedChange::Delete { .. } => {}
            }
        }
        needs
    }

    pub(crate) fn of_resealed(record_type: TypeId, rows: &[Resealed]) -> Self {
        let mut needs = Self::default();
        for (field, cell) in rows.iter().flat_map(|row| &row.cells) {
            needs.add(record_type, *field, cell);
        }
        needs
    }

    /// Whether no key could seal as much, however new.
    pub(crate) fn is_past(&self, limit: u64) -> bool {
        self.0.values().any(|count| *count > limit)
    }

    /// What is no sealed value was sealed by no key.
    fn add(&mut self, record_type: TypeId, field: FieldId, cell: &[u8]) {
        if let Some(epoch) = sealed_epoch(cell) {
            let count = self.0.entry(CellKey { record_type, field, epoch }).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// What of a key's blocks is left, and what was used since the store was opened.
#[derive(Debug, Default, Clone, Copy)]
struct Block {
    left: u64,
    used: u64,
}

/// A tenant's blocks.
#[derive(Debug, Default)]
pub(crate) struct Blocks(HashMap<CellKey, Block>);

/// What has to be set aside for a key before it can be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) key: CellKey,
    /// At least.
    pub(crate) least: u64,
    /// And if there is so much.
    pub(crate) most: u64,
}

impl Wanted {
    /// How much of it there is for a key that has this much set aside; `None` if that is not enough.
    pub(crate) fn grant(&self, sealed: u64, limit: u64) -> Option<u64> {
        let granted = limit.saturating_sub(sealed).min(self.most);
        (granted >= self.least).then_some(granted)
    }
}

impl Blocks {
    /// Takes what is needed, all of it or nothing. If not all is at hand, what is wanted, in order.
    pub(crate) fn take(&mut self, needs: &Needs, limit: u64) -> Result<(), Vec<Wanted>> {
        let mut wanted = Vec::new();
        for (key, count) in &needs.0 {
            let block = self.0.get(key).copied().unwrap_or_default();
            let least = count.saturating_sub(block.left);
            if least > 0 {
                let largest = (limit / 16).clamp(1, BLOCK_MAX);
                let size = block.used.saturating_add(*count).max(BLOCK_FIRST).min(largest);
                wanted.push(Wanted { key: *key, least, most: size.max(least) });
            }
        }
        if !wanted.is_empty() {
            return Err(wanted);
        }
        for (key, count) in &needs.0 {
            let block = self.0.entry(*key).or_default();
            block.left = block.left.saturating_sub(*count);
            block.used = block.used.saturating_add(*count);
        }
        Ok(())
    }

    /// This much was set aside.
    pub(crate) fn add(&mut self, key: CellKey, granted: u64) {
        let block = self.0.entry(key).or_default();
        block.left = block.left.saturating_add(granted);
    }
}

/// Whether a batch must be of the tenant's epoch: it brings cells or tags, or looks for tags of all epochs that there are.
pub(crate) fn needs_epoch(batch: &Batch) -> bool {
    batch.epoch > 0 || !batch.requires.is_empty() || batch.seals()
}

#[cfg(test)]
mod tests;
