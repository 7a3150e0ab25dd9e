//! Erasing what the store has.

use countersign_guard::Judgement;
use countersign_model::control::Control;
use countersign_model::custody::EraseControl;
use countersign_model::query::Judged;
use countersign_model::{RecordId, TenantId, TypeId, UnixMs};
use countersign_store::{Batch, Rejected, Requirement, SealedChange, Store, StoreError, Traces, Unavailable};

/// Whether a judged request erases this tenant.
pub(crate) fn is_to_be_erased(judgement: &Judgement, tenant: TenantId) -> bool {
    match &judgement.judged {
        Judged::Control(Control::Erase(EraseControl::Tenant { tenant: named })) => {
            judgement.state.facts.tenant_names.get(named) == Some(&tenant)
        }
        _ => false,
    }
}

/// What must hold for records to be erased, by tags of every key epoch up to this one.
#[derive(Debug, Clone, Default)]
pub struct Required {
    /// The newest epoch of the tenant's when the tags were made: a store that is past it takes none of them.
    pub epoch: u32,
    /// What must hold.
    pub all: Vec<Requirement>,
}

/// Erases records: first as any deletion, which holds references, then what that leaves. What a crash cuts off in between
/// is done by doing it again.
///
/// # Errors
/// As [`Store::write`]; [`StoreError::Unavailable`] for a storage that can't erase.
pub async fn erase_records(
    store: &dyn Store,
    tenant: TenantId,
    record_type: TypeId,
    records: &[(RecordId, Option<u64>)],
    requires: Required,
    now: UnixMs,
) -> Result<Result<Traces, Rejected>, StoreError> {
    let erasing = store.erasing().ok_or(StoreError::Unavailable(Unavailable::Forbidden))?;
    let present = records.iter().filter_map(|(record, version)| Some((*record, (*version)?)));
    let changes: Vec<SealedChange> =
        present.map(|(record, version)| SealedChange::Delete { record_type, record, version }).collect();
    let deleted = changes.len() as u64;
    if !changes.is_empty() {
        let batch = Batch { changes, requires: requires.all, epoch: requires.epoch, at: now, ..Batch::default() };
        if let Err(rejected) = store.write(tenant, batch).await? {
            return Ok(Err(rejected));
        }
    }
    let records: Vec<RecordId> = records.iter().map(|(record, _)| *record).collect();
    let traces = erasing.purge(tenant, record_type, &records).await?;
    Ok(Ok(Traces { records: traces.records.saturating_add(deleted), ..traces }))
}
