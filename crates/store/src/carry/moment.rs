//! All that is stored of one tenant at one moment, and putting such a thing back.
//!
//! Backups read by this, and restores write by it. Like everything in [`super`] it carries what is sealed as it is.

use async_trait::async_trait;
use countersign_model::{RecordId, TenantId, TypeId, UnixMs};

use super::{CarriedRow, PastRow};
use crate::batch::{Once, Rejected};
use crate::error::StoreError;
use crate::seals::CellKey;

/// A tenant as it was when this was opened: everything that it gives is of the same moment, whatever is written meanwhile.
#[async_trait]
pub trait Moment: Send {
    /// Records of a type in the order of their ids, at most `limit`, from the one after `after`.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn rows(
        &mut self,
        record_type: TypeId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<CarriedRow>, StoreError>;

    /// What records of a type were before, in the order of their ids and versions, at most `limit`, from the one after
    /// `after`.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn past(
        &mut self,
        record_type: TypeId,
        after: Option<(RecordId, u64)>,
        limit: usize,
    ) -> Result<Vec<PastRow>, StoreError>;

    /// What is known of batches that are made at most once, as [`super::Carry::known`].
    ///
    /// # Errors
    /// As [`crate::Store::done`].
    async fn known(
        &mut self,
        since: UnixMs,
        after: Option<(UnixMs, [u8; 32])>,
        limit: usize,
    ) -> Result<Vec<Once>, StoreError>;
}

/// A tenant's data that is about to be replaced as a whole. Nothing of it is seen before [`Self::commit`], and all of it
/// then; dropped before that, nothing is changed.
#[async_trait]
pub trait Replacement: Send {
    /// More records. In the order of their ids in each type.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn rows(&mut self, record_type: TypeId, rows: Vec<CarriedRow>) -> Result<(), StoreError>;

    /// More of what records were before.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn past(&mut self, record_type: TypeId, rows: Vec<PastRow>) -> Result<(), StoreError>;

    /// More of what is known of batches that are made at most once.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn known(&mut self, known: Vec<Once>) -> Result<(), StoreError>;

    /// Counts what was sealed anew for this, by key how many values, as [`super::Reseals::charge`] does; in its own
    /// transaction where that is possible, so that nothing is counted for what is not stored. All of it or, as
    /// [`Rejected::Epoch`], nothing.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn charge(&mut self, counts: Vec<(CellKey, u64)>) -> Result<Result<(), Rejected>, StoreError>;

    /// Puts all of it in place of what there was. Durable when it returns.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// A backend that can do both.
#[async_trait]
pub trait Moments: Send + Sync {
    /// This tenant as it is now.
    ///
    /// # Errors
    /// [`StoreError::UnknownTenant`], and what the storage may meet.
    async fn moment(&self, tenant: TenantId) -> Result<Box<dyn Moment>, StoreError>;

    /// Begins to replace all that is stored of this tenant, for which there must be room. Others' writes to the tenant wait
    /// or fail until it is over.
    ///
    /// # Errors
    /// [`StoreError::UnknownTenant`], and what the storage may meet.
    async fn replacement(&self, tenant: TenantId) -> Result<Box<dyn Replacement>, StoreError>;
}
