//! Where audit records go, and the keys they are sealed under.

use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_model::TenantId;

use crate::error::AuditError;
use crate::ledger::Position;
use crate::record::Record;

/// Takes audit records.
#[async_trait::async_trait]
pub trait AuditSink: Send + Sync {
    /// Records `record`. Returns when it is durable, and only then.
    ///
    /// A caller that stops waiting may or may not have recorded; it must not release anything.
    /// A record whose lists are too long for one leaf takes several positions in a row, each a record of its
    /// own about part of the lists; the position returned is the last. Rows and affected records are counted
    /// in the first of them only, so that sums are right.
    ///
    /// # Errors
    /// [`AuditError`] if it is not durable.
    async fn append(&self, record: Record) -> Result<Position, AuditError>;

    /// Records `record` without waiting until it is durable, which it soon is: for verdicts that another service's
    /// durable record stands beside.
    ///
    /// It is queued when this returns, before everything that is appended or noted after that, and durable no later
    /// than that. Who dies before then loses it; the request is then reported as one that lacks a record
    /// ([`reconcile`](crate::reconcile)).
    ///
    /// # Errors
    /// [`AuditError`] if records can't be written at present, or too many wait: nothing may be released then.
    async fn note(&self, record: Record) -> Result<(), AuditError> {
        self.append(record).await.map(|_| ())
    }
}

/// Gives the keys that records are sealed under.
pub trait AuditKeys: Send + Sync {
    /// The audit key of a tenant; the service's own for `None`. Called for each record, so it should be quick.
    ///
    /// # Errors
    /// [`AuditError::NoKey`] if it can't be had. A tenant's records are then sealed under the service's own key.
    /// [`AuditError::Destroyed`] if there is none any more: likewise, but without names and what people typed.
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError>;

    /// The same in the epoch that a sealed record names, to read that record. Where keys have no epochs, the only one.
    ///
    /// # Errors
    /// [`AuditError::Destroyed`] if there is none any more, and as [`Self::audit_key`].
    fn audit_key_at(&self, tenant: Option<TenantId>, epoch: u32) -> Result<Arc<SealKey>, AuditError> {
        let _ = epoch;
        self.audit_key(tenant)
    }
}
