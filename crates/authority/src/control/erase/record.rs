//! Erasing a record: as a deletion that leaves nothing.

use countersign_guard::{Permit, Refusal};
use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::request::Action;
use countersign_model::{FieldId, FieldSet, RecordId, Service, TenantId, TypeId, Value};
use countersign_services::Call;
use countersign_store::{Access, Rejected, Requirement, Scan};

use super::counts;
use crate::authority::Authority;
use crate::control::{Done, called};
use crate::error::ControlFailure;
use crate::registry::erasure::ErasureFact;

/// How often a record is looked for that changes meanwhile.
const TRIES: usize = 8;

/// What is to be erased, and what must not refer to it.
struct Found {
    record_type: TypeId,
    /// With the version that it has now; without one it is deleted.
    records: Vec<(RecordId, Option<u64>)>,
    absent: Vec<(TypeId, FieldId, Vec<countersign_crypto::Tag>)>,
    /// The newest key epoch when these tags were made.
    epoch: u32,
}

impl Authority {
    pub(super) async fn erase_record(&self, permit: &Permit, named: &str, key: &str) -> Result<Done, ControlFailure> {
        let call = Call::of(permit, Service::Authority);
        for _ in 0..TRIES {
            let found = self.find_to_erase(permit, &call, named, key).await?;
            let ids = found.records.iter().map(|(record, _)| *record).collect();
            let receipt = Receipt {
                id: permit.request().id,
                tenant: permit.principal().tenant,
                erased: Erased::Records { record_type: found.record_type, records: ids },
                by: permit.principal().acting().0,
                begun: self.registry.clock().now(),
                finished: None,
                counts: Counts::default(),
            };
            let mut fact =
                ErasureFact { absent: found.stored_absent(), epoch: found.epoch, ..ErasureFact::of(&receipt) };
            self.intend(&fact).await?;
            let erased = self.records.erase_records(&call, found.record_type, &found.records, fact.required()).await;
            let rejected = match erased.map_err(called("store"))? {
                Ok(traces) => {
                    fact.receipt.counts = counts(&traces);
                    fact.absent.clear();
                    // Nobody reads it any more, whatever is still in the files: that is finished later then.
                    if self.is_swept(fact.receipt.tenant).await {
                        fact.receipt.finished = Some(self.registry.clock().now());
                    }
                    self.intend(&fact).await?;
                    let copies = match fact.receipt.finished {
                        Some(_) => self.copy_receipt(&fact.receipt).await,
                        None => Vec::new(),
                    };
                    return Ok(self.erased(permit, &fact.receipt, copies));
                }
                Err(rejected) => rejected,
            };
            // Nothing was done.
            let mut change = self.registry.begin().await;
            change.forget_erasure(fact.receipt.id)?;
            change.commit().await?;
            match rejected {
                Rejected::Present { requirement, .. } => {
                    return Err(referred(permit, fact.required().all.get(requirement)));
                }
                Rejected::Stale { .. } | Rejected::Epoch => {}
                _ => return Err(ControlFailure::Unavailable("store")),
            }
        }
        Err(ControlFailure::Unavailable("store"))
    }

    /// Whether nothing that was erased is in the store's files any more.
    async fn is_swept(&self, tenant: TenantId) -> bool {
        match self.store.as_ref().and_then(|store| store.erasing()) {
            Some(erasing) => erasing.sweep(tenant).await.unwrap_or_default(),
            None => false,
        }
    }

    async fn find_to_erase(
        &self,
        permit: &Permit,
        call: &Call<'_>,
        named: &str,
        key: &str,
    ) -> Result<Found, ControlFailure> {
        let types = &permit.state().facts.types;
        let (record_type, known) = types.find(named).ok_or(Refusal::Forbidden)?;
        let field = known.field(known.key).ok_or(Refusal::Forbidden)?;
        if let Ok(value) = Value::parse(field.kind, key) {
            let keys = self.keys.release(call).await.map_err(called("key service"))?;
            let tags = |of: TypeId, field: FieldId| {
                // While the tenant's cells are sealed anew, those of every epoch.
                let tags = keys.tags(of, field, &value).map_err(|_| ControlFailure::Unavailable("key"));
                tags.map(Iterator::collect::<Vec<_>>)
            };
            let own = tags(record_type, known.key)?;
            let access = Access::Tags { field: known.key, tags: own.clone() };
            let scan = Scan { record_type, access, cells: FieldSet::EMPTY, limit: 1, after: None };
            let rows = self.records.read(call, &scan).await.map_err(called("store"))?;
            if let Some(row) = rows.first() {
                let mut absent = Vec::new();
                for (child, reference) in types.references_to(record_type) {
                    absent.push((child, reference, tags(child, reference)?));
                }
                let records = vec![(row.record, Some(row.version))];
                return Ok(Found { record_type, records, absent, epoch: keys.epoch() });
            }
            let gone = self.records.gone(call, record_type, known.key, &own).await.map_err(called("store"))?;
            if !gone.is_empty() {
                let records = gone.into_iter().map(|record| (record, None)).collect();
                return Ok(Found { record_type, records, absent: Vec::new(), epoch: 0 });
            }
        }
        // Of a deleted record that only backups still have, only the identifier is known.
        let Ok(record) = key.parse::<RecordId>() else {
            return Err(ControlFailure::NotFound { what: "record", name: key.to_owned() });
        };
        let access = Access::Records(vec![record]);
        let scan = Scan { record_type, access, cells: FieldSet::EMPTY, limit: 1, after: None };
        if !self.records.read(call, &scan).await.map_err(called("store"))?.is_empty() {
            return Err(invalid("its key, as the record is there"));
        }
        Ok(Found { record_type, records: vec![(record, None)], absent: Vec::new(), epoch: 0 })
    }
}

impl Found {
    fn stored_absent(&self) -> Vec<(u16, u8, Vec<[u8; 16]>)> {
        let stored = |(of, field, tags): &(TypeId, FieldId, Vec<countersign_crypto::Tag>)| {
            (of.0, field.0, tags.iter().map(|tag| tag.0).collect())
        };
        self.absent.iter().map(stored).collect()
    }
}

fn invalid(expected: impl Into<String>) -> ControlFailure {
    ControlFailure::Invalid { field: "record".to_owned(), expected: expected.into() }
}

/// Something refers to it. Only who may read every such reference is told of it; all others are refused, as when they delete
/// it.
fn referred(permit: &Permit, requirement: Option<&Requirement>) -> ControlFailure {
    let Some(Requirement::Absent { record_type, field, .. }) = requirement else { return Refusal::Forbidden.into() };
    let state = permit.state();
    let Ok(plan) = state.policies.plan(permit.principal(), Action::Read, *record_type) else {
        return Refusal::PolicyFault.into();
    };
    let reads = plan.rows_with_all(FieldSet::EMPTY.with(*field)) == countersign_model::Predicate::TRUE;
    let child = state.facts.types.record_type(*record_type).filter(|_| reads && plan.fields().contains(*field));
    match child.and_then(|child| Some((&child.name, &child.field(*field)?.name))) {
        Some((child, reference)) => invalid(format!("one that no {child} refers to in {reference}")),
        None => Refusal::Forbidden.into(),
    }
}
