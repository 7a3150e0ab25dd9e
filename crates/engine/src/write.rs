//! Writing: judge each row before and after, seal, make the intent durable, commit, give back.
//!
//! Nothing is locked between reading and committing. Each change names the version it was decided on, and the store
//! refuses the batch if another came first; then everything is decided anew.

mod change;
mod insert;
mod reference;

use countersign_guard::Refusal;
use countersign_model::query::{Column, Values, output_fields};
use countersign_model::{FieldId, FieldSet, Plan, Predicate, RecordId, RowSet, TypeId};
use countersign_store::{Rejected, SealedChange};

use crate::Work;
use crate::answer::Failure;
use crate::lookup::{Among, Finds, Search};
use crate::opened::{Opened, Referenced, View};
use crate::read::Embedded;
use crate::trace::Trace;

/// How often a change is decided anew because others came first.
const ATTEMPTS: usize = 8;

/// A change refused by a plan is as if the record or field did not exist.
const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

impl Work<'_> {
    /// Whether `fields` are permitted by `plan` on all of these records.
    async fn all_permitted(&self, plan: &Plan, rows: &[(&Opened, FieldSet)]) -> Result<bool, Failure> {
        Ok(self.permitted(plan, rows).await?.into_iter().all(|permitted| permitted))
    }

    /// Whether `fields` are permitted by `plan`, for each of these records.
    async fn permitted(&self, plan: &Plan, rows: &[(&Opened, FieldSet)]) -> Result<Vec<bool>, Failure> {
        let mut referenced = Referenced::of(plan.rules.iter().map(|rule| &rule.rows));
        let opened: Vec<&Opened> = rows.iter().map(|(row, _)| *row).collect();
        self.look_up_referenced(&opened, &mut referenced).await?;
        let verdicts =
            rows.iter().map(|(row, fields)| fields.is_subset(plan.fields_on(&View { row, referenced: &referenced })));
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
        let Finds { mut found, .. } = self
            .search(Search {
                record_type: type_id,
                filter: &Predicate::TRUE,
                deciding: FieldSet::EMPTY,
                plan: read,
                output: self.cells_for(type_id, columns),
                among: Among::Records(records.clone()),
                after: None,
                enough: None,
            })
            .await?;
        let place = |record: RecordId| records.iter().position(|one| *one == record);
        if found.len() <= ORDERED_ROWS_MAX {
            found.sort_by_cached_key(|one| place(one.row.record));
        }
        trace.looked(type_id, output_fields(columns), FieldSet::EMPTY);
        let mut embedded: Embedded = self.embed_all(type_id, columns, &mut found, trace).await?;
        let rows = self.shape(type_id, columns, found, &mut embedded)?;
        Ok(RowSet { rows, total: None, next: None })
    }

    /// What a rejection of the store means to the caller, or `None` if deciding anew may help.
    async fn explain(
        &self,
        rejected: Rejected,
        type_id: TypeId,
        read: &Plan,
        batch: &Sent<'_>,
    ) -> Result<Option<Failure>, Failure> {
        let record_type = self.types.record_type(type_id).ok_or(Failure::Unavailable)?;
        Ok(match rejected {
            Rejected::Stale { .. } => None,
            Rejected::Missing { requirement } => {
                let name = batch.references.get(requirement).and_then(|field| record_type.field(*field));
                Some(name.map_or(FORBIDDEN, |field| Failure::MissingReference { field: field.name.clone() }))
            }
            Rejected::Present { .. } if batch.referrers_visible => Some(Failure::StillReferenced),
            Rejected::Present { .. } => Some(FORBIDDEN),
            Rejected::Unique { field, existing, .. } => {
                // A value that the batch itself holds twice is no secret to who supplied it.
                let visible =
                    batch.records.contains(&existing) || self.may_read(type_id, read, existing, field).await?;
                let name = record_type.field(field).filter(|_| visible).map(|field| field.name.clone());
                Some(name.map_or(FORBIDDEN, |name| Failure::UniqueTaken { field: Some(name) }))
            }
        })
    }

    async fn may_read(&self, type_id: TypeId, plan: &Plan, record: RecordId, field: FieldId) -> Result<bool, Failure> {
        let search = Search {
            record_type: type_id,
            filter: &Predicate::TRUE,
            deciding: FieldSet::EMPTY,
            plan,
            output: FieldSet::EMPTY,
            among: Among::Records(vec![record]),
            after: None,
            enough: None,
        };
        Ok(self.search(search).await?.found.iter().any(|one| one.visible.contains(field)))
    }
}

/// Up to here, rows are given back in the order in which they were supplied; beyond, in the order of their ids.
const ORDERED_ROWS_MAX: usize = 5_000;

/// What a rejected batch was about.
struct Sent<'a> {
    records: &'a [RecordId],
    /// The reference field that each requirement comes from.
    references: &'a [FieldId],
    /// Whether the caller may learn that other records refer to these.
    referrers_visible: bool,
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
