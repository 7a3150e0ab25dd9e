//! Receipts as they are shown.

use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::{Name, RecordId, RecordTypes, RequestId, TenantId, UserId};
use serde::Serialize;

use crate::time::rfc3339;

/// That something was erased.
#[derive(Debug, Clone, Serialize)]
pub struct ErasureEntry {
    /// What the receipt is called: the request that erased.
    pub receipt: RequestId,
    /// `tenant`, `record` or `principal`.
    pub erased: &'static str,
    /// The tenant.
    pub tenant: TenantId,
    /// Of records: their type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// Of records: which. More than one if deleted ones had the same key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordId>,
    /// Of a principal: whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<UserId>,
    /// Who asked.
    pub by: UserId,
    /// When it began, RFC 3339.
    pub begun: String,
    /// When it was done; `None` if that is still to come.
    pub finished: Option<String>,
    /// What it came to.
    pub counts: Counts,
    /// Where copies of the receipt went, once it was made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyEntry>,
}

/// A copy of a receipt in a repository of backups.
#[derive(Debug, Clone, Serialize)]
pub struct CopyEntry {
    /// The repository.
    pub repository: Name,
    /// Why there is none; `None` if there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl ErasureEntry {
    pub(super) fn new(receipt: &Receipt, types: &RecordTypes) -> Self {
        let (erased, record_type, records, principal) = match &receipt.erased {
            Erased::Tenant => ("tenant", None, Vec::new(), None),
            Erased::Principal { user } => ("principal", None, Vec::new(), Some(*user)),
            Erased::Records { record_type, records } => {
                let name = types.record_type(*record_type);
                let name = name.map_or_else(|| format!("#{}", record_type.0), |known| known.name.to_string());
                ("record", Some(name), records.clone(), None)
            }
        };
        Self {
            receipt: receipt.id,
            erased,
            tenant: receipt.tenant,
            record_type,
            records,
            principal,
            by: receipt.by,
            begun: rfc3339(receipt.begun),
            finished: receipt.finished.map(rfc3339),
            counts: receipt.counts,
            copies: Vec::new(),
        }
    }
}
