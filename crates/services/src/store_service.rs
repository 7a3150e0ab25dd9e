//! The store behind its own guard: hands out sealed cells for what a request may use, once the key service has
//! counted them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{Access as Accessed, RecordSet, Verdict};
use countersign_crypto::{Tag, sha256};
use countersign_guard::{Guard, Judgement, Refusal};
use countersign_model::control::Control;
use countersign_model::custody::EraseControl;
use countersign_model::query::Judged;
use countersign_model::{FieldId, FieldSet, Opened, RecordId, Service, TenantId, TypeId};
use countersign_store::{
    Access, Batch, Done, Rejected, Scan, SealedRow, SealedState, StateScan, Store, StoreError, Traces,
};
use parking_lot::RwLock;

use crate::call::{BEYOND, Call, ServiceFailure};
use crate::key_service::KeyRelease;
use crate::reach::Reach;

mod erase;
mod within;

pub(crate) use self::erase::is_to_be_erased;
pub use self::erase::{Required, erase_records};
use self::within::{change_within, requirement_within};

/// Reads and writes sealed records.
#[async_trait]
pub trait Records: Send + Sync {
    /// Sealed rows of the token's tenant, within what the request may use.
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure>;

    /// Changes sealed rows of the token's tenant, within what the request may change. Durable when it returns. Whose a
    /// batch is that is to be made once, and when, is put in by the store.
    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure>;

    /// States that records of the token's tenant had or have, for a request that reads what a record was: by the tag of the
    /// key.
    async fn history(&self, call: &Call<'_>, scan: &StateScan) -> Result<Vec<SealedState>, ServiceFailure> {
        let _ = (call, scan);
        Err(ServiceFailure::Unavailable)
    }

    /// What is known of a change that the same principal asked for before, by the digest that it goes by
    /// ([`Once::id`](countersign_store::Once), as the gateway has it). For a request that changes records.
    async fn done(&self, call: &Call<'_>, id: [u8; 32]) -> Result<Option<Done>, ServiceFailure> {
        let _ = (call, id);
        Err(ServiceFailure::Unavailable)
    }

    /// Makes room for a tenant that the request adds. For the authority alone.
    async fn create_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<(), ServiceFailure>;

    /// Whether any tenant has a record of this type, for a request that changes types. For the authority alone.
    async fn any_records(&self, call: &Call<'_>, record_type: TypeId) -> Result<bool, ServiceFailure>;

    /// Deleted records of the token's tenant that once had one of these tags of their key, for a request that erases one.
    /// For the authority alone.
    async fn gone(
        &self,
        call: &Call<'_>,
        record_type: TypeId,
        field: FieldId,
        tags: &[Tag],
    ) -> Result<Vec<RecordId>, ServiceFailure> {
        let _ = (call, record_type, field, tags);
        Err(ServiceFailure::Unavailable)
    }

    /// Erases records of the token's tenant for good, if none of these requirements is in the way; those with a version are
    /// there now. For the authority alone.
    async fn erase_records(
        &self,
        call: &Call<'_>,
        record_type: TypeId,
        records: &[(RecordId, Option<u64>)],
        requires: Required,
    ) -> Result<Result<Traces, Rejected>, ServiceFailure> {
        let _ = (call, record_type, records, requires);
        Err(ServiceFailure::Unavailable)
    }

    /// How much is stored of records of the token's tenant, for a request that proves that they were erased. For the
    /// authority alone.
    async fn traces(
        &self,
        call: &Call<'_>,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Traces, ServiceFailure> {
        let _ = (call, record_type, records);
        Err(ServiceFailure::Unavailable)
    }

    /// Whether anything is stored of a tenant that nobody knows any more, for the same. For the authority alone.
    async fn has_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<bool, ServiceFailure> {
        let _ = (call, tenant);
        Err(ServiceFailure::Unavailable)
    }

    /// Removes all that is stored of a tenant that the request erases. For the authority alone.
    async fn erase_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<Traces, ServiceFailure> {
        let _ = (call, tenant);
        Err(ServiceFailure::Unavailable)
    }
}

/// The store, behind its own guard.
pub struct StoreService {
    guard: Arc<Guard>,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyRelease>,
    /// The newest epochs of tenants that are known to have been issued: none is ever taken back.
    issued: RwLock<HashMap<TenantId, u32>>,
}

impl StoreService {
    /// A store service with its own guard. `keys` counts what it hands out, and says which key epochs there are.
    #[must_use]
    pub fn new(guard: Arc<Guard>, store: Arc<dyn Store>, keys: Arc<dyn KeyRelease>) -> Self {
        Self { guard, store, keys, issued: RwLock::default() }
    }

    async fn judge(&self, call: &Call<'_>, callers: &[Service]) -> Result<(Judgement, Reach), ServiceFailure> {
        if !callers.contains(&call.caller) {
            return Err(self.beyond(call).await);
        }
        let judgement = self.guard.judge_again(call.bearer, call.request, call.epoch).await?;
        let reach = reach(&judgement);
        Ok((judgement, reach))
    }

    /// Judges a request that erases a record of this type.
    async fn judge_erasure(&self, call: &Call<'_>, record_type: TypeId) -> Result<Judgement, ServiceFailure> {
        let (judgement, reach) = self.judge(call, FROM_AUTHORITY).await?;
        let named = match &judgement.judged {
            Judged::Control(Control::Erase(EraseControl::Record { record_type, .. })) => {
                judgement.state.facts.types.find(record_type).map(|(id, _)| id)
            }
            _ => None,
        };
        if named != Some(record_type) || !reach.touches(record_type) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        Ok(judgement)
    }

    async fn judge_proof(&self, call: &Call<'_>) -> Result<Judgement, ServiceFailure> {
        let (judgement, _) = self.judge(call, FROM_AUTHORITY).await?;
        match judgement.judged {
            Judged::Control(Control::Erase(EraseControl::Prove { .. })) => Ok(judgement),
            _ => Err(self.beyond_of(call, &judgement).await),
        }
    }

    /// Whether the epoch of a batch, and those that its cells name, were issued. A later one would keep everybody else's
    /// changes out: INVARIANT epoch-floor.
    async fn is_of_issued_epochs(
        &self,
        call: &Call<'_>,
        tenant: TenantId,
        batch: &Batch,
    ) -> Result<bool, ServiceFailure> {
        if !batch.names_epochs() || batch.epoch == 0 && batch.seals() {
            return Ok(false);
        }
        let known = self.issued.read().get(&tenant).copied().unwrap_or(0);
        if batch.epoch <= known {
            return Ok(true);
        }
        let newest = self.keys.issued_epoch(&Call { caller: Service::Store, ..*call }).await?;
        let mut issued = self.issued.write();
        let known = issued.entry(tenant).or_default();
        *known = newest.max(*known);
        Ok(batch.epoch <= newest)
    }

    /// Refuses, on record, a call by whom it is not for.
    async fn beyond(&self, call: &Call<'_>) -> ServiceFailure {
        let noted = self.guard.note_refusal(&Refusal::Forbidden, call.request, call.epoch).await;
        noted.err().map_or(BEYOND, ServiceFailure::Refused)
    }

    /// The same, once it is known who asks.
    async fn beyond_of(&self, call: &Call<'_>, judgement: &Judgement) -> ServiceFailure {
        let noted = self.guard.note_refusal_of(&Refusal::Forbidden, judgement, call.request).await;
        noted.err().map_or(BEYOND, ServiceFailure::Refused)
    }
}

const FROM_GATEWAY: &[Service] = &[Service::Gateway];
const FROM_AUTHORITY: &[Service] = &[Service::Authority];

#[async_trait]
impl Records for StoreService {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        let (judgement, reach) = self.judge(call, &[Service::Gateway, Service::Authority]).await?;
        let by_tag_within = match &scan.access {
            Access::Tags { field, .. } => {
                // Whoever finds a record by a value knows that value of it, so that cell is counted. Whoever asks who
                // saw a record is answered in the authority's own record.
                let asks = matches!(judgement.judged, Judged::Control(_)) && call.caller == Service::Authority;
                reach.tagged(scan.record_type).contains(*field) && (scan.cells.contains(*field) || asks)
            }
            Access::Records(_) | Access::All => true,
        };
        let within = reach.touches(scan.record_type) && scan.cells.is_subset(reach.opened(scan.record_type));
        if !(within && by_tag_within) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let rows = self.store.read(judgement.principal.tenant, scan).await.map_err(failure)?;
        let opened = Opened { record_type: scan.record_type, fields: scan.cells, rows: rows.len() as u64 };
        let counted = opened.cells() > 0;
        if counted {
            let counting = Call { caller: Service::Store, ..*call };
            self.keys.count(&counting, &[opened]).await?;
        }
        let filter_fields = match &scan.access {
            Access::Tags { field, .. } => FieldSet::EMPTY.with(*field),
            Access::Records(_) | Access::All => FieldSet::EMPTY,
        };
        // That there is no record with a value is an answer too.
        if counted || !filter_fields.is_empty() {
            let mut tally = judgement.tally();
            tally.open(opened.record_type, opened.fields, opened.rows);
            let access = accessed(scan.record_type, scan.cells, filter_fields, opened.rows);
            self.guard.countersign(&judgement, call.request, Verdict::Released, vec![access], tally).await?;
        }
        Ok(rows)
    }

    async fn history(&self, call: &Call<'_>, scan: &StateScan) -> Result<Vec<SealedState>, ServiceFailure> {
        let (judgement, reach) = self.judge(call, FROM_GATEWAY).await?;
        let asked = match &judgement.judged {
            Judged::History(past) => Some(past.record_type),
            _ => None,
        };
        let key = judgement.state.facts.types.record_type(scan.record_type).map(|one| one.key);
        let by_key = matches!(&scan.access, Access::Tags { field, .. } if Some(*field) == key);
        let within = asked == Some(scan.record_type)
            && by_key
            && key.is_some_and(|key| scan.cells.contains(key))
            && scan.cells.is_subset(reach.opened(scan.record_type));
        if !within {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let history = self.store.history().ok_or(ServiceFailure::Unavailable)?;
        let states = history.states(judgement.principal.tenant, scan).await.map_err(failure)?;
        let opened = Opened { record_type: scan.record_type, fields: scan.cells, rows: states.len() as u64 };
        if opened.cells() > 0 {
            let counting = Call { caller: Service::Store, ..*call };
            self.keys.count(&counting, &[opened]).await?;
        }
        let mut tally = judgement.tally();
        tally.open(opened.record_type, opened.fields, opened.rows);
        let filter_fields: FieldSet = key.into_iter().collect();
        let access = accessed(scan.record_type, scan.cells, filter_fields, opened.rows);
        self.guard.countersign(&judgement, call.request, Verdict::Released, vec![access], tally).await?;
        Ok(states)
    }

    async fn write(&self, call: &Call<'_>, mut batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        let (judgement, reach) = self.judge(call, FROM_GATEWAY).await?;
        batch.at = self.guard.clock().now();
        if let Some(once) = &mut batch.once {
            once.id = own(&judgement, &once.id);
            once.at = batch.at;
        }
        // What is required only tells what is there, unless it is for a change.
        let only_asks = batch.changes.is_empty() && !batch.requires.is_empty();
        let within = !only_asks
            && batch.changes.iter().all(|change| change_within(change, &judgement, &reach))
            && batch.requires.iter().all(|requirement| requirement_within(requirement, &reach));
        if !(within && self.is_of_issued_epochs(call, judgement.principal.tenant, &batch).await?) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let (changes, mut tally) = (batch.changes.len() as u64, judgement.tally());
        let record_type = match &judgement.judged {
            Judged::Insert(insertion) => Some(insertion.record_type),
            Judged::Change(change) => Some(change.record_type),
            Judged::Read(_) | Judged::History(_) | Judged::Control(_) => None,
        };
        let written = self.store.write(judgement.principal.tenant, batch).await;
        let verdict = match &written {
            Ok(Ok(())) => Verdict::Changed,
            Ok(Err(_)) => Verdict::Failed,
            Err(StoreError::Unknown) => Verdict::Unknown,
            Err(error) => return Err(failure(*error)),
        };
        // What is unknown is not counted.
        let made = verdict == Verdict::Changed;
        tally.written = if made { changes } else { 0 };
        let access = |id| accessed(id, reach.sealed(id), FieldSet::EMPTY, tally.written);
        let accesses = record_type.map(access).into_iter().collect();
        let noted = self.guard.countersign(&judgement, call.request, verdict, accesses, tally).await;
        if verdict == Verdict::Failed {
            // Why a change failed tells what is there: not without a record.
            noted?;
        }
        // Else the change is made, or may be. The gateway's own records of it are durable; a verdict that is missing
        // here is reported when the services' verdicts are compared.
        written.map_err(failure)
    }

    async fn done(&self, call: &Call<'_>, id: [u8; 32]) -> Result<Option<Done>, ServiceFailure> {
        let (judgement, _) = self.judge(call, FROM_GATEWAY).await?;
        if !matches!(judgement.judged, Judged::Insert(_) | Judged::Change(_)) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let (id, now) = (own(&judgement, &id), self.guard.clock().now());
        self.store.done(judgement.principal.tenant, id, now).await.map_err(failure)
    }

    async fn create_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<(), ServiceFailure> {
        let (judgement, _) = self.judge(call, FROM_AUTHORITY).await?;
        let Judged::Control(Control::TenantAdd { .. }) = judgement.judged else {
            return Err(self.beyond_of(call, &judgement).await);
        };
        self.store.create_tenant(tenant).await.map_err(failure)
    }

    async fn any_records(&self, call: &Call<'_>, record_type: TypeId) -> Result<bool, ServiceFailure> {
        let (judgement, _) = self.judge(call, FROM_AUTHORITY).await?;
        let Judged::Control(Control::TypesApply { .. }) = judgement.judged else {
            return Err(self.beyond_of(call, &judgement).await);
        };
        self.store.any_records(record_type).await.map_err(failure)
    }

    async fn gone(
        &self,
        call: &Call<'_>,
        record_type: TypeId,
        field: FieldId,
        tags: &[Tag],
    ) -> Result<Vec<RecordId>, ServiceFailure> {
        let judgement = self.judge_erasure(call, record_type).await?;
        if !reach(&judgement).tagged(record_type).contains(field) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let erasing = self.store.erasing().ok_or(ServiceFailure::Unavailable)?;
        erasing.gone(judgement.principal.tenant, record_type, field, tags).await.map_err(failure)
    }

    async fn erase_records(
        &self,
        call: &Call<'_>,
        record_type: TypeId,
        records: &[(RecordId, Option<u64>)],
        requires: Required,
    ) -> Result<Result<Traces, Rejected>, ServiceFailure> {
        let judgement = self.judge_erasure(call, record_type).await?;
        let reach = reach(&judgement);
        if !requires.all.iter().all(|requirement| requirement_within(requirement, &reach)) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let (owner, now) = (judgement.principal.tenant, self.guard.clock().now());
        let erased = erase_records(&*self.store, owner, record_type, records, requires, now).await;
        let (verdict, rows) = match &erased {
            Ok(Ok(traces)) => (Verdict::Changed, traces.records),
            Ok(Err(_)) => (Verdict::Failed, 0),
            Err(StoreError::Unknown) => (Verdict::Unknown, 0),
            Err(error) => return Err(failure(*error)),
        };
        let accesses = vec![accessed(record_type, FieldSet::EMPTY, reach.tagged(record_type), rows)];
        let noted = self.guard.countersign(&judgement, call.request, verdict, accesses, judgement.tally()).await;
        if verdict == Verdict::Failed {
            noted?;
        }
        erased.map_err(failure)
    }

    async fn erase_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<Traces, ServiceFailure> {
        let (judgement, _) = self.judge(call, FROM_AUTHORITY).await?;
        if !is_to_be_erased(&judgement, tenant) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let erasing = self.store.erasing().ok_or(ServiceFailure::Unavailable)?;
        erasing.remove_tenant(tenant).await.map_err(failure)
    }

    async fn traces(
        &self,
        call: &Call<'_>,
        record_type: TypeId,
        records: &[RecordId],
    ) -> Result<Traces, ServiceFailure> {
        let judgement = self.judge_proof(call).await?;
        let erasing = self.store.erasing().ok_or(ServiceFailure::Unavailable)?;
        erasing.traces(judgement.principal.tenant, record_type, records).await.map_err(failure)
    }

    async fn has_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<bool, ServiceFailure> {
        let judgement = self.judge_proof(call).await?;
        if judgement.state.facts.tenants.contains_key(&tenant) {
            return Err(self.beyond_of(call, &judgement).await);
        }
        let erasing = self.store.erasing().ok_or(ServiceFailure::Unavailable)?;
        erasing.has_tenant(tenant).await.map_err(failure)
    }
}

/// INVARIANT once-is-own: by what a principal calls a change, only the same principal's change is found.
fn own(judgement: &Judgement, id: &[u8; 32]) -> [u8; 32] {
    let principal = &judgement.principal;
    let mut parts = b"countersign once 1".to_vec();
    parts.extend(principal.tenant.as_bytes());
    parts.extend(principal.user.as_bytes());
    parts.extend(principal.actor.iter().flat_map(|actor| *actor.user.as_bytes()));
    parts.extend(id);
    sha256(&parts)
}

fn accessed(record_type: TypeId, fields: FieldSet, filter_fields: FieldSet, rows: u64) -> Accessed {
    Accessed { record_type, fields, filter_fields, records: RecordSet::default(), rows }
}

fn reach(judgement: &Judgement) -> Reach {
    Reach::of(&judgement.judged, &judgement.state.facts.types)
}

fn failure(error: StoreError) -> ServiceFailure {
    match error {
        StoreError::Damaged => ServiceFailure::Damaged,
        StoreError::Unknown => ServiceFailure::Unknown,
        _ => ServiceFailure::Unavailable,
    }
}
