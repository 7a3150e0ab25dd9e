//! What records were before they were changed: kept for a while beside what they are, sealed as it was.
//!
//! A change moves what was before into the history, in its own transaction. A state held from the moment of the change that
//! made it up to the moment of the next change of that record, without it; a record that was deleted has its last state
//! here and no row. Times of one record never go backwards, whatever the clock did.

use async_trait::async_trait;
use countersign_model::{FieldSet, RecordId, TenantId, TypeId, UnixMs};

use crate::access::{Access, SealedRow};
use crate::error::StoreError;

mod state;

pub use state::{StateAt, Then, state_at};

/// For how long states are kept unless it is said otherwise: 30 days, in milliseconds.
pub const KEEP_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// One access to the states of records of one type, those that were and those that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateScan {
    /// The type.
    pub record_type: TypeId,
    /// Which states: those of these records, those that have one of these tags themselves, or all.
    pub access: Access,
    /// Which cells to give of each.
    pub cells: FieldSet,
    /// At most this many states.
    pub limit: usize,
    /// Only states after that one.
    pub after: Option<(RecordId, u64)>,
}

/// What a record was, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedState {
    /// The record with the version and the cells that it had.
    pub row: SealedRow,
    /// The moment of the change that made it so. 0 if that was before changes had times.
    pub at: UnixMs,
    /// The moment of the change that ended it; `None` if it is so.
    pub until: Option<UnixMs>,
}

/// A backend that keeps what records were.
#[async_trait]
pub trait Histories: Send + Sync {
    /// Keeps states from now on for this long after they have ended, in milliseconds; 0 keeps none. What is kept already
    /// is removed by [`Self::prune`].
    fn keep(&self, ms: u64);

    /// For how long states are kept, in milliseconds.
    fn kept_ms(&self) -> u64;

    /// States in the order of their records and versions; those of one moment of the store.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn states(&self, tenant: TenantId, scan: &StateScan) -> Result<Vec<SealedState>, StoreError>;

    /// Since when all that changed is known, to the moment: states that ended by then may have been removed, or never kept.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn since(&self, tenant: TenantId) -> Result<UnixMs, StoreError>;

    /// Makes all records of a tenant what they were at the moment `to`, in one transaction and as ordinary changes made at
    /// `now`: what they are goes into the history, versions go up, and so it can be undone in the same way. Cells and tags are
    /// put back as they were sealed; `epoch` is the newest key epoch for which all states have been sealed again.
    ///
    /// # Errors
    /// As [`crate::Store::write`]; after [`StoreError::Unknown`] doing it again does no harm.
    async fn rewind(
        &self,
        tenant: TenantId,
        to: UnixMs,
        now: UnixMs,
        epoch: u32,
    ) -> Result<Result<Rewound, NotRewound>, StoreError>;

    /// Removes some states of a type that need not be kept any more, at most `most`, and says how many: fewer than `most`
    /// if these were all.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn prune(&self, tenant: TenantId, record_type: TypeId, now: UnixMs, most: usize)
    -> Result<usize, StoreError>;
}

/// What putting a tenant back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewound {
    /// Records that had changed since, and are no more what they were before this.
    pub changed: u64,
    /// Records that are what they were at the moment asked for, because this made them so.
    pub restored: u64,
}

/// Why a tenant was not put back. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRewound {
    /// What was at that moment is not known any more.
    #[error("what was before {} ms is not kept", .since.0)]
    NotKept {
        /// Since when it is.
        since: UnixMs,
    },
    /// The moment is not over yet.
    #[error("that moment is still to come")]
    Later,
    /// The tenant has got a newer key meanwhile: once all is sealed again under it, this can be done.
    #[error("the tenant's data is being sealed under a newer key")]
    Epoch,
    /// Record types have changed since so that records can't be what they were.
    #[error("the record types have changed since so that records can't be what they were")]
    OtherTypes,
    /// Two records would have the same unique value: a clock was set back at that time. Another moment has no such pair.
    #[error("at that moment two records had the same unique value")]
    Contradiction,
}

/// The end of the oldest state that is kept. Times are whole milliseconds, and a state that ended now is kept if any is.
pub(crate) const fn oldest_end(now: UnixMs, keep_ms: u64) -> UnixMs {
    if keep_ms == 0 { UnixMs(u64::MAX) } else { UnixMs(now.0.saturating_sub(keep_ms)) }
}
