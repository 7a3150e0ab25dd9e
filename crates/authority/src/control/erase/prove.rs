//! Looking for what was erased: wherever this deployment keeps anything, and in its backups.

use countersign_audit::LedgerQuery;
use countersign_guard::Permit;
use countersign_model::erasure::{Erased, Receipt};
use countersign_model::{RequestId, Service, UserId};
use countersign_services::Call;
use serde::Serialize;

use super::{ErasureEntry, is_visible};
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::control::{Done, called};
use crate::error::ControlFailure;

/// What was found of something erased.
#[derive(Debug, Clone, Serialize)]
pub struct ErasureProof {
    /// The receipt.
    pub receipt: ErasureEntry,
    /// Whether nothing of it opens anywhere that was looked at, and everything could be looked at.
    pub proved: bool,
    /// Place by place.
    pub findings: Vec<Finding>,
}

/// What one place has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The place.
    pub place: String,
    /// Whether nothing of it can be read there.
    pub clean: bool,
    /// How many things of it there are, sealed ones that nothing opens any more among them.
    pub found: u64,
    /// What that means, and until when.
    pub says: String,
}

impl Finding {
    /// Nothing is there.
    #[must_use]
    pub fn nothing(place: impl Into<String>) -> Self {
        Self { place: place.into(), clean: true, found: 0, says: "nothing".to_owned() }
    }

    /// So much is there; it is clean only if there is none.
    #[must_use]
    pub fn count(place: impl Into<String>, found: u64, says: &str) -> Self {
        if found == 0 {
            Self::nothing(place)
        } else {
            Self { place: place.into(), clean: false, found, says: says.to_owned() }
        }
    }

    /// It could not be looked at.
    #[must_use]
    pub fn unknown(place: impl Into<String>, why: &str) -> Self {
        Self { place: place.into(), clean: false, found: 0, says: format!("can't be looked at: {why}") }
    }
}

/// The most records of one ledger that are looked at.
const RECORDS_MAX: usize = 10_000;

impl Authority {
    pub(super) async fn prove_erasure(&self, permit: &Permit, id: RequestId) -> Result<Done, ControlFailure> {
        let receipts = self.registry.receipts();
        let receipt = receipts.find(id).filter(|receipt| is_visible(receipt, permit.principal().tenant, permit));
        let receipt =
            receipt.ok_or_else(|| ControlFailure::NotFound { what: "receipt", name: id.to_string() })?.clone();
        let mut findings = match receipt.finished {
            Some(_) => Vec::new(),
            None => {
                vec![Finding::unknown("receipt", "the erasure is not finished: it is tried again every half minute")]
            }
        };
        match &receipt.erased {
            Erased::Records { .. } => findings.extend(self.look_for_records(permit, &receipt).await?),
            Erased::Principal { user } => findings.extend(self.look_for_principal(permit, &receipt, *user).await?),
            Erased::Tenant => findings.extend(self.look_for_tenant(permit, &receipt).await?),
        }
        if let Some(custodian) = &self.custodian {
            findings.extend(custodian.look_for(&receipt).await);
        }
        let proof = ErasureProof {
            receipt: ErasureEntry::new(&receipt, &permit.state().facts.types),
            proved: findings.iter().all(|finding| finding.clean),
            findings,
        };
        Ok(Done::looked(ControlAnswer::ErasureProof(Box::new(proof))))
    }

    async fn look_for_records(&self, permit: &Permit, receipt: &Receipt) -> Result<Vec<Finding>, ControlFailure> {
        let Erased::Records { record_type, records } = &receipt.erased else { return Ok(Vec::new()) };
        let call = Call::of(permit, Service::Authority);
        let traces = self.records.traces(&call, *record_type, records).await.map_err(called("store"))?;
        let says = "still stored: erase it again";
        Ok(vec![
            Finding::count("store: records and tags", traces.records, says),
            Finding::count("store: history", traces.past, says),
            Finding::count("store: answers to changes made once", traces.answers, says),
        ])
    }

    /// In views of the ledgers there must be no name beside the identifier.
    async fn look_for_principal(
        &self,
        permit: &Permit,
        receipt: &Receipt,
        user: UserId,
    ) -> Result<Vec<Finding>, ControlFailure> {
        let facts = self.facts();
        let known = u64::from(facts.users.contains_key(&user));
        let query = LedgerQuery {
            by: Some(countersign_audit::By { user: Some(user), name: None }),
            limit: RECORDS_MAX,
            ..LedgerQuery::default()
        };
        let (call, owners) = (Call::of(permit, Service::Authority), [Some(receipt.tenant)]);
        let (mut named, mut all) = (0_u64, 0_u64);
        let view = self.view();
        for (_, trail) in self.trails.all() {
            let page = trail.query(&call, &owners, &query).await.map_err(called("audit ledger"))?;
            for entry in page.records {
                let shown = view.shown(entry, permit.state(), None);
                all = all.saturating_add(1);
                let says_name = shown.user.as_deref().is_some_and(|name| name != user.to_string());
                named = named.saturating_add(u64::from(shown.user_id == Some(user) && says_name));
            }
        }
        let mut ledgers = Finding::count("audit views", named, "shown with a name");
        if ledgers.clean && all > 0 {
            ledgers.found = all;
            ledgers.says =
                "records with the identifier alone; their sealed form has the name until it is too old to be kept, \
                            and is opened for these views alone"
                    .to_owned();
        }
        Ok(vec![Finding::count("facts", known, "still known: erase it again"), ledgers])
    }

    async fn look_for_tenant(&self, permit: &Permit, receipt: &Receipt) -> Result<Vec<Finding>, ControlFailure> {
        let tenant = receipt.tenant;
        let call = Call::of(permit, Service::Authority);
        let facts = self.facts();
        let users = facts.users.values().filter(|user| user.tenant == tenant).count() as u64;
        let known = users.saturating_add(u64::from(facts.tenants.contains_key(&tenant)));
        let wrapped = u64::from(self.registry.wrapped_keys().contains_key(&tenant));
        let open = u64::from(self.registry.tenant_keys().is_open(tenant));
        let stored = self.records.has_tenant(&call, tenant).await.map_err(called("store"))?;
        let mut findings = self.look_for_own_keys(receipt).await;
        findings.extend([
            Finding::count("facts", known, "still known: erase it again"),
            Finding::count("keys: wrapped", wrapped, "still stored"),
            Finding::count("keys: in memory", open, "still held"),
            Finding::count("store", u64::from(stored), "still stored: erase it again"),
        ]);
        Ok(findings)
    }
}
