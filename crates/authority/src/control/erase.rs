//! The end of data. Each erasure is a fact before anything is done, and is finished at the next start if a crash cuts it off;
//! its receipt is durable, and in the repositories of backups, before it is answered.

mod principal;
mod prove;
mod record;
mod resume;
mod tenant;
mod view;

use countersign_audit::{Access, RecordSet};
use countersign_guard::Permit;
use countersign_model::custody::EraseControl;
use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::facts::OPERATORS;
use countersign_model::{FieldSet, Name, TenantId};
use countersign_store::Traces;

pub use self::prove::{ErasureProof, Finding};
pub use self::view::{CopyEntry, ErasureEntry};
use super::Done;
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::registry::erasure::ErasureFact;

impl Authority {
    pub(super) async fn erase(&self, permit: &Permit, erase: EraseControl) -> Result<Done, ControlFailure> {
        // Before anything is written down: what is begun is finished, whoever was told what.
        let of_facts = match &erase {
            EraseControl::Principal { .. } | EraseControl::Receipts { .. } => true,
            EraseControl::Prove { receipt } => {
                let receipts = self.registry.receipts();
                let of_principal = |receipt: &Receipt| matches!(receipt.erased, Erased::Principal { .. });
                receipts.find(*receipt).is_none_or(of_principal)
            }
            EraseControl::Record { .. } | EraseControl::Tenant { .. } => false,
        };
        let erases = self.store.as_ref().is_some_and(|store| store.erasing().is_some()) && !self.is_apart;
        if !of_facts && !erases {
            let expected = "one process that is all services, and that is not moving at present: services that run apart \
                            erase principals only";
            return Err(ControlFailure::Invalid { field: "deployment".to_owned(), expected: expected.to_owned() });
        }
        match erase {
            EraseControl::Record { record_type, key } => self.erase_record(permit, &record_type, &key).await,
            EraseControl::Principal { tenant, user } => self.erase_principal(permit, tenant.as_ref(), &user).await,
            EraseControl::Tenant { tenant } => self.erase_tenant(permit, &tenant).await,
            EraseControl::Receipts { tenant } => self.erasures(permit, tenant.as_ref()),
            EraseControl::Prove { receipt } => self.prove_erasure(permit, receipt).await,
        }
    }

    /// Operators see the receipts of erased tenants beside their own.
    fn erasures(&self, permit: &Permit, tenant: Option<&Name>) -> Result<Done, ControlFailure> {
        let (tenant, _, _) = self.tenant_of(permit.principal(), tenant)?;
        let types = &permit.state().facts.types;
        let receipts = self.registry.receipts();
        let visible = receipts.iter().filter(|receipt| is_visible(receipt, tenant, permit));
        let entries = visible.map(|receipt| ErasureEntry::new(receipt, types)).collect();
        Ok(Done::looked(ControlAnswer::Erasures(entries)))
    }

    /// Keeps that an erasure begins. Nothing that decisions depend on is another yet.
    async fn intend(&self, fact: &ErasureFact) -> Result<(), ControlFailure> {
        let mut change = self.registry.begin().await;
        change.put_erasure(fact.clone())?;
        change.commit().await?;
        Ok(())
    }

    /// Copies a receipt to wherever backups are.
    async fn copy_receipt(&self, receipt: &Receipt) -> Vec<CopyEntry> {
        let Some(custodian) = &self.custodian else { return Vec::new() };
        let copies = custodian.keep_receipt(receipt).await;
        copies.into_iter().map(|(repository, failed)| CopyEntry { repository, failed }).collect()
    }

    /// The answer, and what goes on record with it: identifiers alone.
    fn erased(&self, permit: &Permit, receipt: &Receipt, copies: Vec<CopyEntry>) -> Done {
        let mut entry = ErasureEntry::new(receipt, &permit.state().facts.types);
        let detail = match &receipt.erased {
            Erased::Tenant => format!("erased tenant {}", receipt.tenant),
            Erased::Principal { user } => format!("erased principal {user}"),
            Erased::Records { records, .. } => format!("erased {} record", records.len()),
        };
        entry.copies = copies;
        let accesses = access_of(receipt).into_iter().collect();
        Done { detail: Some(detail), accesses, ..Done::changed(ControlAnswer::Erasure(Box::new(entry))) }
    }
}

/// What was done to records, for the record of it.
pub(super) fn access_of(receipt: &Receipt) -> Option<Access> {
    let Erased::Records { record_type, records } = &receipt.erased else { return None };
    Some(Access {
        record_type: *record_type,
        fields: FieldSet::EMPTY,
        filter_fields: FieldSet::EMPTY,
        records: records.iter().copied().collect::<RecordSet>(),
        rows: records.len() as u64,
    })
}

fn is_visible(receipt: &Receipt, tenant: TenantId, permit: &Permit) -> bool {
    let is_operators = permit.principal().tenant_name.as_str() == OPERATORS;
    receipt.tenant == tenant || is_operators && receipt.erased == Erased::Tenant
}

const fn counts(traces: &Traces) -> Counts {
    Counts { records: traces.records, past: traces.past, answers: traces.answers, users: 0, keys: 0 }
}
