//! Changing and removing records.

use countersign_guard::Permit;
use countersign_model::query::{Change, Values};
use countersign_model::{FieldSet, RecordId};
use countersign_store::{Batch, Rejected, SealedChange};

use super::reference::Required;
use super::rejected::{Sent, repeated};
use super::{ATTEMPTS, FORBIDDEN};
use crate::answer::Failure;
use crate::lookup::{Among, Search};
use crate::opened::Opened;
use crate::trace::Trace;
use crate::{Done, Work};

impl Work<'_> {
    pub(crate) async fn change(&self, permit: &Permit, change: &Change, trace: &mut Trace) -> Result<Done, Failure> {
        let own = change.record_type;
        let set_fields = change.set.iter().flatten().map(|(field, _)| *field).collect();
        trace.looked(own, set_fields, change.filter.fields());
        let returning = change.returning.as_ref();
        if let Some(earlier) = self.earlier(own, returning, &change.read, trace).await? {
            return Ok(earlier);
        }
        for _ in 0..ATTEMPTS {
            trace.forget_records();
            let rows = self.to_change(change).await?;
            let records: Vec<RecordId> = rows.iter().map(|row| row.record).collect();
            trace.records(own, records.iter().copied());
            let affected = records.len() as u64;
            let once = self.once(records.len(), None, returning, &records);
            if records.is_empty() {
                // That there was nothing to change is what is answered again, too.
                if once.is_some() && self.write_batch(Batch { once, ..Batch::default() }).await?.is_err() {
                    let earlier = self.earlier(own, returning, &change.read, trace).await?;
                    return earlier.ok_or(Failure::Contention);
                }
                return self.changed(change, records, None, trace).await;
            }
            self.intend(permit, trace).await?;
            // What is removed can only be given back from before.
            let before = match (&change.set, &change.returning) {
                (None, Some(columns)) => {
                    Some(self.give_back(own, columns, &change.read, records.clone(), trace).await?)
                }
                _ => None,
            };
            let (changes, required) = match &change.set {
                Some(set) => self.updates(change, set, &rows, trace).await?,
                None => self.deletes(change, &rows)?,
            };
            let batch = Batch { changes, requires: required.requirements.clone(), once, ..Batch::default() };
            let rejected = match self.write_batch(batch).await? {
                Ok(()) => {
                    let done = self.changed(change, records, before, trace).await?;
                    return Ok(Done { affected: Some(affected), ..done });
                }
                Err(Rejected::Done) => {
                    let earlier = self.earlier(own, returning, &change.read, trace).await?;
                    return earlier.ok_or(Failure::Contention);
                }
                Err(rejected) => rejected,
            };
            // One value for several records is a value supplied several times.
            let set_again = change.set.iter().filter(|_| records.len() > 1).flat_map(|set| [set, set]);
            let record_type = self.types.record_type(own).ok_or(Failure::Unavailable)?;
            let sent = Sent {
                record_type: own,
                read: &change.read,
                read_targets: &change.read_targets,
                requirements: &required.requirements,
                causes: &required.causes,
                repeated: repeated(record_type, set_again),
            };
            if let Some(failure) = self.explain(rejected, &sent).await? {
                return Err(failure);
            }
        }
        Err(Failure::Contention)
    }

    async fn changed(
        &self,
        change: &Change,
        records: Vec<RecordId>,
        before: Option<countersign_model::RowSet>,
        trace: &mut Trace,
    ) -> Result<Done, Failure> {
        let (columns, rows) = match (&change.returning, before) {
            (None, _) => Default::default(),
            (Some(columns), Some(rows)) => (columns.clone(), rows),
            (Some(columns), None) => {
                let rows = self.give_back(change.record_type, columns, &change.read, records, trace).await?;
                (columns.clone(), rows)
            }
        };
        Ok(Done { columns, rows, affected: Some(0), created: None, replayed: false })
    }

    /// The records that the filter matches, the caller can see, and the plan lets it change.
    async fn to_change(&self, change: &Change) -> Result<Vec<Opened>, Failure> {
        let own = change.record_type;
        let record_type = self.types.record_type(own).ok_or(Failure::Unavailable)?;
        let max = change.max_affected.unwrap_or(u64::MAX).min(self.engine.limits.change_rows_max);
        let after_fields = change.plan.condition_fields().with(record_type.key);
        let finds = self
            .search(Search {
                record_type: own,
                filter: &change.filter,
                deciding: change.filter.fields(),
                plan: &change.read,
                output: after_fields,
                links: FieldSet::EMPTY,
                among: Among::Any,
                after: None,
                enough: None,
            })
            .await?;
        let mut rows: Vec<Opened> = finds.found.into_iter().map(|one| one.row).collect();
        if !finds.with_output {
            let records = rows.iter().map(|row| row.record).collect();
            let search = Search {
                record_type: own,
                filter: &change.filter,
                deciding: change.filter.fields(),
                plan: &change.read,
                output: after_fields,
                links: FieldSet::EMPTY,
                among: Among::Records(records),
                after: None,
                enough: None,
            };
            rows = self.search(search).await?.found.into_iter().map(|one| one.row).collect();
        }
        for row in &mut rows {
            self.open(own, row, after_fields)?;
        }
        let touched = self.touched_fields(change);
        let asked: Vec<(&Opened, FieldSet)> = rows.iter().map(|row| (row, touched)).collect();
        let verdicts = self.permitted(&change.plan, &asked).await?;
        let permitted = rows.into_iter().zip(verdicts).filter(|(_, permitted)| *permitted);
        let permitted: Vec<Opened> = permitted.map(|(row, _)| row).collect();
        let matched = permitted.len() as u64;
        if matched > max {
            return Err(Failure::TooManyAffected { max, matched });
        }
        Ok(permitted)
    }

    fn touched_fields(&self, change: &Change) -> FieldSet {
        match &change.set {
            Some(set) => set.iter().map(|(field, _)| *field).collect(),
            None => self.types.record_type(change.record_type).map_or(FieldSet::EMPTY, |record_type| record_type.all()),
        }
    }

    async fn updates(
        &self,
        change: &Change,
        set: &Values,
        rows: &[Opened],
        trace: &mut Trace,
    ) -> Result<(Vec<SealedChange>, Required), Failure> {
        let own = change.record_type;
        let fields = self.touched_fields(change);
        let after: Vec<Opened> = rows.iter().map(|row| row.with(set)).collect();
        let after: Vec<(&Opened, FieldSet)> = after.iter().map(|row| (row, fields)).collect();
        // A record may not be changed into one that the caller could not change.
        if !self.all_permitted(&change.plan, &after).await? {
            return Err(FORBIDDEN);
        }
        let mut required = self.references(own, std::iter::once(set), &change.read_targets, trace).await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            self.rekeyed(own, row, set, &mut required)?;
            self.unique(own, set, &mut required)?;
            changes.push(self.sealed(own, row.record, set)?.into_update(own, row.record, row.version));
        }
        Ok((changes, required))
    }

    fn deletes(&self, change: &Change, rows: &[Opened]) -> Result<(Vec<SealedChange>, Required), Failure> {
        let own = change.record_type;
        let key = self.types.record_type(own).ok_or(Failure::Unavailable)?.key;
        let mut required = Required::default();
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            changes.push(SealedChange::Delete { record_type: own, record: row.record, version: row.version });
            self.unreferenced(own, row.at(key), &mut required)?;
        }
        Ok((changes, required))
    }
}

impl Opened {
    /// This record with values set, for judging what it would become.
    pub(super) fn with(&self, set: &Values) -> Self {
        let mut changed = self.copy_of_values();
        for (field, value) in set {
            changed.set(*field, value.clone());
        }
        changed
    }
}
