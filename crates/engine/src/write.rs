//! Writing: judge each row before and after, seal, make the intent durable, commit, give back.
//!
//! Nothing is locked between reading and committing. Each change names the version it was decided on, and the store
//! refuses the batch if another came first; then everything is decided anew.

mod change;
mod insert;
pub(crate) mod once;
mod reference;
mod rejected;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use countersign_guard::{Permit, Refusal};
use countersign_model::query::{Column, Values, output_fields};
use countersign_model::{FieldId, FieldSet, Plan, Predicate, RecordId, RowSet, TypeId};
use countersign_store::SealedChange;

use crate::Work;
use crate::answer::Failure;
use crate::embed::Embedded;
use crate::lookup::{Among, Finds, Search};
use crate::opened::{Opened, Referenced, View};
use crate::superseded::Pauses;
use crate::trace::Trace;

/// How often a change is decided anew because others came first.
const ATTEMPTS: usize = 8;

/// A change refused by a plan is as if the record or field did not exist.
const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

impl Work<'_> {
    /// Makes it durable once what is about to be changed, however often that is decided.
    async fn intend(&self, permit: &Permit, trace: &Trace) -> Result<(), Failure> {
        if !self.intended.load(Ordering::Relaxed) {
            permit.intend(trace.accesses(), None).await?;
            self.intended.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether `fields` are permitted by `plan` on all of these records.
    async fn all_permitted(&self, plan: &Plan, rows: &[(&Opened, FieldSet)]) -> Result<bool, Failure> {
        Ok(self.permitted(plan, rows).await?.into_iter().all(|permitted| permitted))
    }

    /// Whether `fields` are permitted by `plan`, for each of these records.
    async fn permitted(&self, plan: &Plan, rows: &[(&Opened, FieldSet)]) -> Result<Vec<bool>, Failure> {
        let mut referenced = Referenced::of(plan.rules.iter().map(|rule| &rule.rows));
        let opened: Vec<&Opened> = rows.iter().map(|(row, _)| *row).collect();
        self.look_up_referenced(&opened, &mut referenced).await?;
        let verdicts = rows.iter().map(|(row, fields)| {
            let permitted = plan.fields_on(&View { row, referenced: &referenced });
            // No field at all is a part of any set, also of the one that a plan has for a record it does not permit.
            !permitted.is_empty() && fields.is_subset(permitted)
        });
        Ok(verdicts.collect())
    }

    /// Cells and tags of new values.
    fn sealed(&self, type_id: TypeId, record: RecordId, values: &Values) -> Result<SealedValues, Failure> {
        let record_type = self.types.record_type(type_id).ok_or(Failure::Unavailable)?;
        let mut sealed = SealedValues::default();
        for (field, value) in values {
            let cell = self.keys.seal(type_id, *field, record, value, &*self.engine.entropy)?;
            sealed.cells.push((*field, cell));
            if record_type.field(*field).is_some_and(|field| field.indexed) {
                sealed.tags.push((*field, self.keys.tag(type_id, *field, value)?));
            }
        }
        Ok(sealed)
    }

    /// These records as the caller may read them, in this order.
    async fn give_back(
        &self,
        type_id: TypeId,
        columns: &[Column],
        read: &Plan,
        records: Vec<RecordId>,
        trace: &mut Trace,
    ) -> Result<RowSet, Failure> {
        let mut given = self.given_back(type_id, columns, read, records.clone(), trace).await;
        // They may have been sealed under newer keys meanwhile. The change is made, and is not decided again.
        let mut pauses = Pauses::until(self.call.deadline);
        while given.is_err()
            && let Some(patience) = self.patience()
            && pauses.wait(patience).await
        {
            let again = self.released_again().await?;
            given = Box::pin(again.given_back(type_id, columns, read, records.clone(), trace)).await;
        }
        given
    }

    async fn given_back(
        &self,
        type_id: TypeId,
        columns: &[Column],
        read: &Plan,
        records: Vec<RecordId>,
        trace: &mut Trace,
    ) -> Result<RowSet, Failure> {
        let Finds { mut found, .. } = self
            .search(Search {
                record_type: type_id,
                filter: &Predicate::TRUE,
                deciding: FieldSet::EMPTY,
                plan: read,
                output: self.cells_for(type_id, columns),
                links: FieldSet::EMPTY,
                among: Among::Records(records.clone()),
                after: None,
                enough: None,
            })
            .await?;
        let places: HashMap<RecordId, usize> = records.into_iter().zip(0usize..).collect();
        found.sort_by_key(|one| places.get(&one.row.record).copied());
        trace.looked(type_id, output_fields(columns), FieldSet::EMPTY);
        let mut embedded: Embedded = self.embed_all(type_id, columns, &mut found, trace).await?;
        let rows = self.shape(type_id, columns, found, &mut embedded)?;
        // The records themselves are on record as changed.
        trace.embedded(columns, &rows);
        Ok(RowSet { rows, total: None, next: None })
    }
}

#[derive(Default)]
struct SealedValues {
    cells: Vec<(FieldId, Option<Vec<u8>>)>,
    tags: Vec<(FieldId, Option<countersign_crypto::Tag>)>,
}

impl SealedValues {
    fn into_insert(self, record_type: TypeId, record: RecordId) -> SealedChange {
        let cells = self.cells.into_iter().filter_map(|(field, cell)| Some((field, cell?))).collect();
        let tags = self.tags.into_iter().filter_map(|(field, tag)| Some((field, tag?))).collect();
        SealedChange::Insert { record_type, record, cells, tags }
    }

    fn into_update(self, record_type: TypeId, record: RecordId, version: u64) -> SealedChange {
        SealedChange::Update { record_type, record, version, cells: self.cells, tags: self.tags }
    }
}
