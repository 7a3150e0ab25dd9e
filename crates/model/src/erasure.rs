//! What was erased: receipts, which every restore heeds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::id::{RecordId, RequestId, TenantId, TypeId, UserId};

/// That something was erased for good: what, when and by whom, in identifiers and numbers alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The request that erased. Receipts are called by it.
    pub id: RequestId,
    /// The tenant whose data it was, or that was erased.
    pub tenant: TenantId,
    /// What.
    pub erased: Erased,
    /// Who asked.
    pub by: UserId,
    /// When it began. From then on no restore brings anything of it back.
    pub begun: UnixMs,
    /// When it was done; `None` while it is under way. What a crash has cut off is finished at the next start.
    pub finished: Option<UnixMs>,
    /// What it came to.
    pub counts: Counts,
}

/// What a receipt is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erased {
    /// A tenant, with its keys and everything that was stored of it.
    Tenant,
    /// Records of one type. One, unless deleted ones had the same key.
    Records {
        /// The type.
        record_type: TypeId,
        /// Which.
        records: Vec<RecordId>,
    },
    /// Everything that was known of a principal beyond its id.
    Principal {
        /// Whom.
        user: UserId,
    },
}

/// What an erasure came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that there were.
    pub records: u64,
    /// Earlier states of records.
    pub past: u64,
    /// Answers that were kept for changes made once.
    pub answers: u64,
    /// Users.
    pub users: u64,
    /// Keys of their own in a key management service.
    pub keys: u64,
}

/// All receipts, for whoever puts something back.
///
/// ```
/// use countersign_model::erasure::Receipts;
/// let receipts = Receipts::default();
/// assert!(!receipts.is_tenant_erased(countersign_model::TenantId::from_bytes([1; 16])));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Receipts {
    all: BTreeMap<RequestId, Receipt>,
    tenants: BTreeSet<TenantId>,
    records: BTreeMap<(TenantId, TypeId), BTreeSet<RecordId>>,
    users: BTreeSet<UserId>,
}

impl Receipts {
    /// These receipts.
    #[must_use]
    pub fn new(receipts: impl IntoIterator<Item = Receipt>) -> Self {
        let mut all = Self::default();
        receipts.into_iter().for_each(|receipt| all.add(receipt));
        all
    }

    /// One more; one that is known is replaced.
    pub fn add(&mut self, receipt: Receipt) {
        match &receipt.erased {
            Erased::Tenant => drop(self.tenants.insert(receipt.tenant)),
            Erased::Records { record_type, records } => {
                self.records.entry((receipt.tenant, *record_type)).or_default().extend(records);
            }
            Erased::Principal { user } => drop(self.users.insert(*user)),
        }
        self.all.insert(receipt.id, receipt);
    }

    /// Every receipt, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Receipt> + '_ {
        self.all.values()
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, id: RequestId) -> Option<&Receipt> {
        self.all.get(&id)
    }

    /// Whether nothing of this tenant may be put back.
    #[must_use]
    pub fn is_tenant_erased(&self, tenant: TenantId) -> bool {
        self.tenants.contains(&tenant)
    }

    /// Whether this record, and any state that it ever had, must be left out.
    #[must_use]
    pub fn is_record_erased(&self, tenant: TenantId, record_type: TypeId, record: RecordId) -> bool {
        self.records.get(&(tenant, record_type)).is_some_and(|records| records.contains(&record))
            || self.is_tenant_erased(tenant)
    }

    /// Whether this user must be left out.
    #[must_use]
    pub fn is_user_erased(&self, user: UserId) -> bool {
        self.users.contains(&user)
    }

    /// The erased records of a tenant, by type.
    pub fn records_of(&self, tenant: TenantId) -> impl Iterator<Item = (TypeId, &BTreeSet<RecordId>)> + '_ {
        let of_tenant = self.records.iter().filter(move |((owner, _), _)| *owner == tenant);
        of_tenant.map(|((_, record_type), records)| (*record_type, records))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
