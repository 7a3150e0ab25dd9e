//! From one backend to another: all that is stored of a record, as it is stored.
//!
//! This is for moving a whole deployment, by whoever holds both stores. It is no part of [`crate::Store`], so no request
//! can reach it: a request reads cells that its permit names and writes changes of versions that it knows, while this
//! carries sealed cells, tags and versions as they are. It opens nothing, and whoever carries needs no key.

mod bring;
mod moment;
mod noting;
mod reseal;

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};

use crate::batch::Once;
use crate::error::StoreError;
use crate::layout::TypeLayout;

pub use bring::{Brought, Step, bring, bring_known, bring_noted, bring_past};
pub use moment::{Moment, Moments, Replacement};
pub use noting::{Noted, Noting};
pub use reseal::{Resealed, Reseals, bring_counts};

/// One record with everything that is stored of it. Two are equal if the same is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct CarriedRow {
    /// The record.
    pub record: RecordId,
    /// Counts the changes of this record, from 1.
    pub version: u64,
    /// When it came to be as it is: the time of its last change. 0 if that was before changes had times.
    pub at: UnixMs,
    /// Cells, in the order of their fields; a field that is null has none.
    pub cells: Vec<(FieldId, Vec<u8>)>,
    /// Tags, in the order of their fields.
    pub tags: Vec<(FieldId, Tag)>,
}

/// What a record was before a change, in the history that the store keeps: that is what was stored, and until when it was
/// so. A record that is deleted has its last state here, and no row any more.
#[derive(Clone, PartialEq, Eq)]
pub struct PastRow {
    /// As it was.
    pub row: CarriedRow,
    /// The moment of the change that ended this state. The state held from `row.at` up to it, without it.
    pub until: UnixMs,
}

impl CarriedRow {
    /// Whether the type has these fields, and a tag for each cell of an indexed one.
    pub(crate) fn fits(&self, fields: &TypeLayout) -> bool {
        let cells = self.cells.iter().map(|(field, _)| (*field, true));
        fields.takes(cells, self.tags.iter().map(|(field, _)| (*field, true)))
    }
}

impl PastRow {
    /// Whether the type has these fields. What was may have no tag for a field that was indexed later.
    pub(crate) fn fits(&self, fields: &TypeLayout) -> bool {
        let cells = self.row.cells.iter().all(|(field, _)| fields.index(*field).is_some());
        cells && self.row.tags.iter().all(|(field, _)| fields.is_indexed(*field))
    }
}

impl std::fmt::Debug for PastRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PastRow").field("row", &self.row).field("until", &self.until).finish()
    }
}

impl std::fmt::Debug for CarriedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedRow")
            .field("record", &self.record)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A backend whose records can be carried to another and back. The record types in force must be the same in both.
#[async_trait]
pub trait Carry: Send + Sync {
    /// Every tenant that there is room for, in the order of their ids.
    ///
    /// # Errors
    /// What the storage may meet.
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError>;

    /// Records of a type in the order of their ids, at most `limit`, from the one after `after`.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn rows(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<CarriedRow>, StoreError>;

    /// Those of these records that there are, in the order of their ids.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn these(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<CarriedRow>, StoreError>;

    /// Removes the records `gone` and stores `rows`, in place of what there was of the same records. A row whose unique
    /// tag another record has is left out: it is for whoever carries to see that and come again once that record was
    /// carried, too. Durable when it returns; doing it twice is doing it once.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn put(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        gone: &[RecordId],
        rows: Vec<CarriedRow>,
    ) -> Result<(), StoreError>;

    /// What records of a type were before, in the order of their ids and versions, at most `limit`, from the one after
    /// `after`.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn past(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        after: Option<(RecordId, u64)>,
        limit: usize,
    ) -> Result<Vec<PastRow>, StoreError>;

    /// Since when all that changed is known.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn past_since(&self, tenant: TenantId) -> Result<UnixMs, StoreError>;

    /// Notes that before that moment, not all is known. One that is known to be later stays. Durable when it returns.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn put_past_since(&self, tenant: TenantId, since: UnixMs) -> Result<(), StoreError>;

    /// All that these records were before, in the order of their ids and versions.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn past_of(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Vec<PastRow>, StoreError>;

    /// Removes the states `gone` and stores `rows`, in place of what there was of the same records and versions. Durable when
    /// it returns; doing it twice is doing it once.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn put_past(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        gone: &[(RecordId, u64)],
        rows: Vec<PastRow>,
    ) -> Result<(), StoreError>;

    /// What is known of batches that are made at most once, in the order of their times and ids, at most `limit`, from
    /// the one after `after` and not from before `since`.
    ///
    /// # Errors
    /// As [`crate::Store::done`].
    async fn known(
        &self,
        tenant: TenantId,
        since: UnixMs,
        after: Option<(UnixMs, [u8; 32])>,
        limit: usize,
    ) -> Result<Vec<Once>, StoreError>;

    /// Stores that; what is known already stays as it is. Durable when it returns.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn put_known(&self, tenant: TenantId, known: Vec<Once>) -> Result<(), StoreError>;
}
