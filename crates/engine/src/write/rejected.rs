//! What the store's rejection of a batch means to the caller.

use std::collections::HashSet;
use std::sync::Arc;

use countersign_crypto::Tag;
use countersign_model::query::Values;
use countersign_model::{FieldId, FieldSet, Plan, Predicate, RecordId, RecordType, TypeId};
use countersign_store::{Rejected, Requirement};

use super::FORBIDDEN;
use super::reference::Cause;
use crate::Work;
use crate::answer::Failure;
use crate::lookup::{Among, Search};

/// What a rejected batch was about.
pub(super) struct Sent<'a> {
    pub(super) record_type: TypeId,
    /// What the caller may read of the type.
    pub(super) read: &'a Plan,
    /// What the caller may read of the types that references point at or come from.
    pub(super) read_targets: &'a [(TypeId, Arc<Plan>)],
    pub(super) requirements: &'a [Requirement],
    /// Why each of them is one.
    pub(super) causes: &'a [Cause],
    /// Unique fields for which the caller supplied one value for several records.
    pub(super) repeated: FieldSet,
}

impl Work<'_> {
    /// What a rejection means to the caller, or `None` if deciding anew may help.
    pub(super) async fn explain(&self, rejected: Rejected, sent: &Sent<'_>) -> Result<Option<Failure>, Failure> {
        let record_type = self.types.record_type(sent.record_type).ok_or(Failure::Unavailable)?;
        Ok(match rejected {
            // A change that was made before is answered before this is asked.
            Rejected::Stale { .. } | Rejected::Done | Rejected::Epoch => None,
            Rejected::Limit => Some(Failure::SealLimit),
            Rejected::Missing { requirement } => {
                let name = match sent.causes.get(requirement) {
                    Some(Cause::Reference(field)) => record_type.field(*field),
                    _ => None,
                };
                Some(name.map_or(FORBIDDEN, |field| Failure::MissingReference { field: field.name.clone() }))
            }
            Rejected::Present { requirement, existing } => {
                if let Some(Cause::Unique(field)) = sent.causes.get(requirement) {
                    return self.taken(sent, record_type, *field, existing).await.map(Some);
                }
                let seen = match sent.requirements.get(requirement) {
                    Some(Requirement::Absent { record_type, field, tags }) => {
                        self.sees_referrer(sent, *record_type, *field, tags).await?
                    }
                    _ => false,
                };
                Some(if seen { Failure::StillReferenced } else { FORBIDDEN })
            }
            Rejected::Unique { field, existing, .. } => Some(self.taken(sent, record_type, field, existing).await?),
        })
    }

    /// A unique field's value is another record's, under whichever key epoch that was tagged.
    async fn taken(
        &self,
        sent: &Sent<'_>,
        record_type: &RecordType,
        field: FieldId,
        existing: RecordId,
    ) -> Result<Failure, Failure> {
        // A value that was supplied twice fails whatever is stored, and is no secret to who supplied it.
        let seen = sent.repeated.contains(field)
            || self.sees(sent.record_type, sent.read, Among::Records(vec![existing]), field).await?;
        let name = record_type.field(field).filter(|_| seen).map(|field| field.name.clone());
        Ok(name.map_or(FORBIDDEN, |name| Failure::UniqueTaken { field: Some(name) }))
    }

    /// Whether the caller can see, of the records that refer to one, at least one that does.
    async fn sees_referrer(
        &self,
        sent: &Sent<'_>,
        child: TypeId,
        reference: FieldId,
        tags: &[Tag],
    ) -> Result<bool, Failure> {
        let plan = sent.read_targets.iter().find(|(id, _)| *id == child).map(|(_, plan)| plan);
        match plan.filter(|plan| plan.fields().contains(reference)) {
            Some(plan) => self.sees(child, plan, Among::Tagged(reference, tags.to_vec()), reference).await,
            None => Ok(false),
        }
    }

    /// Whether the caller can see this field on any of these records.
    async fn sees(&self, type_id: TypeId, plan: &Plan, among: Among, field: FieldId) -> Result<bool, Failure> {
        // What is found by a value comes with the cell of it, and is counted: the store gives nothing otherwise.
        let output = match &among {
            Among::Tagged(tagged, _) => FieldSet::EMPTY.with(*tagged),
            Among::Any | Among::Records(_) => FieldSet::EMPTY,
        };
        let search = Search {
            record_type: type_id,
            filter: &Predicate::TRUE,
            deciding: FieldSet::EMPTY,
            plan,
            output,
            links: FieldSet::EMPTY,
            among,
            after: None,
            enough: None,
        };
        Ok(self.search(search).await?.found.iter().any(|one| one.visible.contains(field)))
    }
}

/// The unique fields for which some value is in several of these rows.
pub(super) fn repeated<'v>(record_type: &RecordType, rows: impl Iterator<Item = &'v Values>) -> FieldSet {
    let mut seen = HashSet::new();
    let mut repeated = FieldSet::EMPTY;
    for (field, value) in rows.flatten().filter(|(_, value)| !value.is_null()) {
        let unique = record_type.field(*field).is_some_and(|field| field.unique);
        if unique && !seen.insert((*field, value.to_tag_bytes())) {
            repeated.insert(*field);
        }
    }
    repeated
}
