use countersign_guard::{Receipt, Refusal};
use countersign_model::query::Column;
use countersign_model::{Name, RequestId, RowSet};
use countersign_services::KmsFailure;

/// What leaves. It can't be made without the receipt of a durable audit record.
#[derive(Debug)]
pub struct Answer {
    /// The request it answers.
    pub request: RequestId,
    /// What the cells of each row are; empty if no rows were asked for.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: RowSet,
    /// How many records were made, changed or removed; `None` for reading.
    pub affected: Option<u64>,
    /// How many of those were made.
    pub created: Option<u64>,
    /// It is the answer to an earlier request for the same change; nothing was changed now.
    pub replayed: bool,
    /// Proof that the record is durable.
    pub receipt: Receipt,
}

/// Why an admitted request was not answered. Nothing was changed, except that after [`Failure::Unknown`], and after a
/// refusal to give back what was changed, a change may have been made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The caller's: a row of the change is outside what is permitted, or a callee refused.
    #[error(transparent)]
    Refused(Refusal),
    /// The caller's: too many rows to look at without an index.
    #[error("more than {limit} records of type '{record_type}' would have to be looked at")]
    ScanLimit {
        /// The type.
        record_type: Name,
        /// A field whose index would help; `None` if the request filters by nothing.
        index: Option<Name>,
        /// The bound.
        limit: u64,
    },
    /// The caller's: another record has that value. The field is named only to who may read it there.
    #[error("another record has that value")]
    UniqueTaken {
        /// The unique field.
        field: Option<Name>,
    },
    /// The caller's: a reference points at no record that the caller can see.
    #[error("field '{field}' refers to a record that doesn't exist")]
    MissingReference {
        /// The reference field.
        field: Name,
    },
    /// The caller's: other records refer to this one.
    #[error("other records refer to it")]
    StillReferenced,
    /// The caller's: more records match than may be changed.
    #[error("{matched} records match, {max} may be changed")]
    TooManyAffected {
        /// The bound.
        max: u64,
        /// How many match, or one more than the bound where counting stopped.
        matched: u64,
    },
    /// The caller's: the request has more values of one field than any key may seal.
    #[error("the request has more values of one field than one key may seal")]
    SealLimit,
    /// Nobody's: others kept changing the same records. Trying again is safe.
    #[error("others changed the same records at the same time")]
    Contention,
    /// The caller's: the idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The caller's: a request with the same idempotency key is being answered.
    #[error("a request with the same idempotency key is under way")]
    UnderWay,
    /// The operator's: a change was asked for, and what came of it, or its record, could not be had. It is made or it
    /// isn't.
    #[error("it is unknown whether the change was made")]
    Unknown,
    /// The operator's: the audit record could not be written.
    #[error("the audit record could not be written")]
    AuditUnavailable,
    /// The operator's: keys or records can't be reached.
    #[error("the service is not available")]
    Unavailable,
    /// The operator's: what wraps the tenant's key can't be reached.
    #[error(transparent)]
    Kms(#[from] KmsFailure),
    /// The operator's: stored bytes don't open under their key.
    #[error("stored data is damaged")]
    Damaged,
}
