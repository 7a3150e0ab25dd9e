//! Sealing again under a newer key, in place.
//!
//! INVARIANT epoch-floor: a store keeps the key epoch that each tenant is at. What a batch of an older one brings is not
//! stored any more ([`crate::Rejected::Epoch`]), from the moment on that anything of the newer one is. So tags of the newest
//! epoch alone make unique values unique, and once all is sealed again nothing of an older epoch comes after it.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId};

use super::Carry;
use crate::batch::Rejected;
use crate::error::StoreError;
use crate::layout::TypeLayout;
use crate::seals::{Nearing, SealCount};

/// What of a record was sealed again.
#[derive(Clone, PartialEq, Eq)]
pub struct Resealed {
    /// The record.
    pub record: RecordId,
    /// The version that it has, or had.
    pub version: u64,
    /// A state that it had before, in the history.
    pub past: bool,
    /// Cells in place of those that there are.
    pub cells: Vec<(FieldId, Vec<u8>)>,
    /// Tags: one for each of these cells that is of an indexed field.
    pub tags: Vec<(FieldId, Tag)>,
}

impl Resealed {
    /// Whether the type has these fields, and a tag for each cell of an indexed one.
    pub(crate) fn fits(&self, fields: &TypeLayout) -> bool {
        let cells = self.cells.iter().map(|(field, _)| (*field, true));
        fields.takes(cells, self.tags.iter().map(|(field, _)| (*field, true)))
    }
}

impl std::fmt::Debug for Resealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resealed")
            .field("record", &self.record)
            .field("version", &self.version)
            .field("past", &self.past)
            .finish_non_exhaustive()
    }
}

/// A backend in which cells can be sealed again.
#[async_trait]
pub trait Reseals: Carry {
    /// The epoch that a tenant is at; 0 before its first batch.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn epoch(&self, tenant: TenantId) -> Result<u32, StoreError>;

    /// Brings a tenant to an epoch, if it is not further already. Durable when it returns, and no batch of an older one is
    /// stored any more.
    ///
    /// # Errors
    /// As [`crate::Store::write`]. Doing it twice is doing it once.
    async fn raise(&self, tenant: TenantId, epoch: u32) -> Result<(), StoreError>;

    /// Puts a tenant that is at a later epoch down to this one, and says whether it was: for a tenant whose store was brought to
    /// one that nobody has issued. The caller knows this one to be the newest that was issued, and sees to it that none is
    /// issued until it is done; else values of the older one could be stored beside those of the newer.
    ///
    /// # Errors
    /// As [`Self::raise`]. Doing it twice is doing it once.
    async fn lower(&self, tenant: TenantId, epoch: u32) -> Result<bool, StoreError>;

    /// Replaces these cells and tags in records that still have that version, which stays as it is; nothing of it is
    /// history. Notes how far it has come, to be found by [`Self::progress`], in the same transaction. How many of the
    /// rows were replaced; [`Rejected::Epoch`] if that would be more than a key may seal, or if `epoch`, the one that
    /// they were sealed for, is not the tenant's any more; [`Rejected::Limit`] if no key may seal so many.
    ///
    /// # Errors
    /// As [`crate::Store::write`], but nothing is unknown: doing it twice is doing it once.
    async fn reseal(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        epoch: u32,
        rows: Vec<Resealed>,
        progress: Option<Vec<u8>>,
    ) -> Result<Result<usize, Rejected>, StoreError>;

    /// What was last noted of how far it has come.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn progress(&self, tenant: TenantId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Notes it; `None` when there is no more to do.
    ///
    /// # Errors
    /// As [`Self::reseal`].
    async fn note_progress(&self, tenant: TenantId, progress: Option<Vec<u8>>) -> Result<(), StoreError>;

    /// How many values each key of a tenant has sealed, in the order of the keys.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn counts(&self, tenant: TenantId) -> Result<Vec<SealCount>, StoreError>;

    /// Counts what was sealed elsewhere and is to be stored, as by a restore under the newest keys: by key, how many. All of
    /// it or, as [`Rejected::Epoch`] or [`Rejected::Limit`], nothing.
    ///
    /// # Errors
    /// As [`Self::raise`], but that twice is twice.
    async fn charge(
        &self,
        tenant: TenantId,
        counts: Vec<(crate::seals::CellKey, u64)>,
    ) -> Result<Result<(), Rejected>, StoreError>;

    /// Takes over the epoch and the counts that a tenant has in another store, where they are higher.
    ///
    /// # Errors
    /// As [`Self::raise`].
    async fn put_counts(&self, tenant: TenantId, epoch: u32, counts: Vec<SealCount>) -> Result<(), StoreError>;

    /// Tells which keys come near their limit, or could not seal what was asked of them.
    fn nearing(&self) -> Arc<Nearing>;

    /// Lets each key seal so many values from now on, at the most [`SEALS_MAX`](crate::SEALS_MAX).
    fn set_seal_limit(&self, max: u64);
}

/// Brings a tenant's epoch and counts from one store to another, with its records.
///
/// # Errors
/// What either meets.
pub async fn bring_counts(from: &dyn Reseals, to: &dyn Reseals, tenant: TenantId) -> Result<(), StoreError> {
    let (epoch, counts) = (from.epoch(tenant).await?, from.counts(tenant).await?);
    to.put_counts(tenant, epoch, counts).await
}
