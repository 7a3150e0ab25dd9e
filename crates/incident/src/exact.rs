//! Which records a breach came to. Only the tenant whose records they are gets to see it.

use countersign_audit::{Access, RecordSet, Verdict};
use countersign_model::{FieldSet, RequestId, TenantId, TokenId, TypeId, UnixMs};
use serde::{Deserialize, Serialize};

/// Which of a tenant's records a breach came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exact {
    /// By record type, ascending.
    pub types: Vec<ExactType>,
    /// Request by request, oldest first: those that released or changed something.
    pub requests: Vec<ExactRequest>,
}

/// The records of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactType {
    /// The type.
    pub record_type: TypeId,
    /// The fields that left as plaintext, of some record.
    pub fields: FieldSet,
    /// The fields that decided which records.
    pub filter_fields: FieldSet,
    /// The records that left as plaintext.
    pub records: RecordSet,
    /// The fields that were changed, or given back after a change.
    pub changed_fields: FieldSet,
    /// The records that were made, changed or removed.
    pub changed: RecordSet,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactRequest {
    /// The request.
    pub request: RequestId,
    /// When it was decided.
    pub time: UnixMs,
    /// What was to be done.
    pub action: String,
    /// What came of it.
    pub verdict: Verdict,
    /// By which token.
    pub token: Option<TokenId>,
    /// What was released or changed.
    pub accesses: Vec<Access>,
    /// Where each service has it on record: log and position, for `audit prove`.
    pub places: Vec<(String, u64)>,
}

impl Exact {
    /// What the sealed form is bound to: of which incident and which tenant it is.
    #[must_use]
    pub const fn label() -> &'static str {
        "incident"
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.requests.is_empty()
    }
}

/// The exact part of each tenant.
pub(crate) type ByTenant = std::collections::BTreeMap<TenantId, Exact>;
