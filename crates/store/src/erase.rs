//! The end of what is stored. A record is deleted by a batch like any other, which holds references; this removes what a
//! deletion leaves: its past, answers that name it, and the bytes themselves.

use async_trait::async_trait;
use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId};

use crate::error::StoreError;

/// How much was removed, or is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// Records.
    pub records: u64,
    /// Earlier states of records.
    pub past: u64,
    /// Answers that are kept for changes made once.
    pub answers: u64,
}

impl Traces {
    /// Whether there is nothing.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.records == 0 && self.past == 0 && self.answers == 0
    }
}

/// A backend that can remove data for good.
#[async_trait]
pub trait Erases: Send + Sync {
    /// Records that have no row any more and once had one of these tags, in the order of their ids.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn gone(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        tags: &[Tag],
    ) -> Result<Vec<RecordId>, StoreError>;

    /// Removes everything that is kept of deleted records, a row that was put back since among it. Durable when it returns;
    /// doing it twice is doing it once. Of its files the backend rids itself by [`Self::sweep`].
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn purge(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError>;

    /// Sees to it that what was deleted before is not in the files any more either, as far as that is up to this program: in
    /// PostgreSQL it is for `VACUUM` and the server's log. `false` if somebody still reads what was there: then it is to be
    /// tried again. No writer waits for it.
    ///
    /// # Errors
    /// As [`crate::Store::write`].
    async fn sweep(&self, tenant: TenantId) -> Result<bool, StoreError>;

    /// What there is of these records.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    async fn traces(&self, tenant: TenantId, record_type: TypeId, records: &[RecordId]) -> Result<Traces, StoreError>;

    /// Removes a tenant with everything that is stored of it. Durable when it returns; doing it twice is doing it once.
    ///
    /// # Errors
    /// What the storage may meet.
    async fn remove_tenant(&self, tenant: TenantId) -> Result<Traces, StoreError>;

    /// Whether anything at all is stored of a tenant.
    ///
    /// # Errors
    /// What the storage may meet.
    async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError>;
}

/// Whether the answer of a change made once gives back any of these records. What can't be read is taken to.
pub(crate) fn names(answer: &[u8], records: &[RecordId]) -> bool {
    let runs = match answer.split_at_checked(18) {
        Some(([1, ..], runs)) if runs.len().is_multiple_of(20) => runs,
        _ => return true,
    };
    runs.chunks_exact(20).any(|run| {
        let (first, count) = run.split_at(16);
        let first = first.try_into().map_or(0, u128::from_be_bytes);
        let count = u128::from(count.try_into().map_or(0, u32::from_be_bytes));
        records.iter().any(|record| record.as_u128().checked_sub(first).is_some_and(|place| place < count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_the_records_of_their_runs() {
        let record = |number: u128| RecordId::from_bytes(number.to_be_bytes());
        let mut answer = vec![1, 1];
        answer.extend(3u64.to_be_bytes());
        answer.extend(3u64.to_be_bytes());
        assert!(!names(&answer, &[record(7)]));
        for (first, count) in [(7u128, 2u32), (40, 1)] {
            answer.extend(first.to_be_bytes());
            answer.extend(count.to_be_bytes());
        }
        assert_eq!(
            [6, 7, 8, 9, 40, 41].map(|id| names(&answer, &[record(id)])),
            [false, true, true, false, true, false]
        );
        assert!(names(&[2], &[record(1)]), "of a form that nobody knows here");
    }
}
