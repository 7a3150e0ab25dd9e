//! Making records, or changing those that are there already.

use std::collections::{HashMap, HashSet};

use countersign_guard::Permit;
use countersign_model::query::{Insertion, Values};
use countersign_model::{FieldId, FieldSet, Kind, RecordId, Value};
use countersign_store::{Batch, Rejected, SealedChange};

use super::reference::{Cause, Required};
use super::rejected::{Sent, repeated};
use super::{ATTEMPTS, FORBIDDEN};
use crate::answer::Failure;
use crate::opened::Opened;
use crate::trace::Trace;
use crate::{Done, Work};

/// What becomes of each row that was supplied.
enum Fate {
    Make(RecordId),
    Merge(Opened),
    Leave,
}

impl Work<'_> {
    pub(crate) async fn insert(
        &self,
        permit: &Permit,
        insertion: &Insertion,
        trace: &mut Trace,
    ) -> Result<Done, Failure> {
        let own = insertion.record_type;
        let (rows, new_ids) = self.with_keys(insertion)?;
        let given: FieldSet = rows.iter().flatten().map(|(field, _)| *field).collect();
        let decided_on = insertion.on_conflict.map_or(FieldSet::EMPTY, |conflict| FieldSet::EMPTY.with(conflict.field));
        trace.looked(own, given, decided_on);
        let returning = insertion.returning.as_ref();
        if let Some(earlier) = self.earlier(own, returning, &insertion.read, trace).await? {
            return Ok(earlier);
        }
        for _ in 0..ATTEMPTS {
            trace.forget_records();
            let fates = self.fates(insertion, &rows, &new_ids).await?;
            let mut required = Required::default();
            let (changes, touched) = self.insert_changes(insertion, &rows, &new_ids, &fates, &mut required).await?;
            trace.records(own, touched.iter().copied());
            self.intend(permit, trace).await?;
            let live = || rows.iter().zip(&fates).filter(|(_, fate)| !matches!(fate, Fate::Leave)).map(|(row, _)| row);
            required.add(self.references(own, live(), &insertion.read_targets, trace).await?);
            let once = self.once(touched.len(), Some(made(&fates)), returning, &touched);
            let batch = Batch { changes, requires: required.requirements.clone(), once, ..Batch::default() };
            let rejected = match self.write_batch(batch).await? {
                Ok(()) => return self.inserted(insertion, &fates, touched, trace).await,
                Err(Rejected::Done) => {
                    let earlier = self.earlier(own, returning, &insertion.read, trace).await?;
                    return earlier.ok_or(Failure::Contention);
                }
                Err(rejected) => rejected,
            };
            let sent = Sent {
                record_type: own,
                read: &insertion.read,
                read_targets: &insertion.read_targets,
                requirements: &required.requirements,
                causes: &required.causes,
                repeated: repeated(self.types.record_type(own).ok_or(Failure::Unavailable)?, live()),
            };
            let conflict_on =
                insertion.on_conflict.map(|conflict| conflict.field).filter(|on| !sent.repeated.contains(*on));
            let taken = match rejected {
                Rejected::Unique { field, .. } => Some(field),
                Rejected::Present { requirement, .. } => match required.causes.get(requirement) {
                    Some(Cause::Unique(field)) => Some(*field),
                    _ => None,
                },
                _ => None,
            };
            let others_came_first = taken.is_some() && taken == conflict_on;
            if !others_came_first && let Some(failure) = self.explain(rejected, &sent).await? {
                return Err(failure);
            }
        }
        Err(Failure::Contention)
    }

    async fn inserted(
        &self,
        insertion: &Insertion,
        fates: &[Fate],
        touched: Vec<RecordId>,
        trace: &mut Trace,
    ) -> Result<Done, Failure> {
        let affected = touched.len() as u64;
        let (columns, rows) = match &insertion.returning {
            None => Default::default(),
            Some(columns) => {
                let rows = self.give_back(insertion.record_type, columns, &insertion.read, touched, trace).await?;
                (columns.clone(), rows)
            }
        };
        Ok(Done { columns, rows, affected: Some(affected), created: Some(made(fates)), replayed: false })
    }

    /// The rows with an id each; a key of kind uuid that was left out is the record's own id.
    fn with_keys(&self, insertion: &Insertion) -> Result<(Vec<Values>, Vec<RecordId>), Failure> {
        let record_type = self.types.record_type(insertion.record_type).ok_or(Failure::Unavailable)?;
        let is_uuid = record_type.field(record_type.key).is_some_and(|key| key.kind == Kind::Uuid);
        let ids = RecordId::batch(self.engine.clock.now(), &*self.engine.entropy, insertion.rows.len());
        let rows = insertion.rows.iter().zip(&ids).map(|(row, id)| {
            let mut row = row.clone();
            let has_key = row.iter().any(|(field, value)| *field == record_type.key && !value.is_null());
            if is_uuid && !has_key {
                row.retain(|(field, _)| *field != record_type.key);
                row.push((record_type.key, Value::Uuid(id.uuid())));
                row.sort_by_key(|(field, _)| *field);
            }
            row
        });
        Ok((rows.collect(), ids))
    }

    async fn fates(&self, insertion: &Insertion, rows: &[Values], new_ids: &[RecordId]) -> Result<Vec<Fate>, Failure> {
        let Some(conflict) = insertion.on_conflict else {
            return Ok(new_ids.iter().map(|id| Fate::Make(*id)).collect());
        };
        let mut existing = self.existing(insertion, conflict.field, rows).await?;
        let mut supplied = HashSet::new();
        let fates = rows.iter().zip(new_ids).map(|(row, id)| {
            let held = row.iter().find(|(field, value)| *field == conflict.field && !value.is_null());
            let Some(value) = held.map(|(_, value)| value.to_tag_bytes()) else { return Fate::Make(*id) };
            let old = existing.remove(&value);
            let again = !supplied.insert(value);
            match old {
                Some(old) if conflict.merge => Fate::Merge(old),
                None if conflict.merge || !again => Fate::Make(*id),
                _ => Fate::Leave,
            }
        });
        Ok(fates.collect())
    }

    /// Records that already have one of the new rows' values in the field that decides, by that value.
    async fn existing(
        &self,
        insertion: &Insertion,
        field: FieldId,
        rows: &[Values],
    ) -> Result<HashMap<Vec<u8>, Opened>, Failure> {
        let own = insertion.record_type;
        let values = rows.iter().flatten().filter(|(id, value)| *id == field && !value.is_null());
        let values: Vec<&Value> = values.map(|(_, value)| value).collect();
        let conditions = insertion.update.condition_fields().union(insertion.read.condition_fields());
        let key = self.types.record_type(own).ok_or(Failure::Unavailable)?.key;
        let cells = conditions.with(field).with(key);
        let mut existing = HashMap::new();
        for mut row in self.rows_by_value(own, field, &values, cells).await? {
            self.open(own, &mut row, cells)?;
            existing.insert(row.at(field).to_tag_bytes(), row);
        }
        // Whether a record is there is something that only a reader of the field on that record may learn.
        let seen: Vec<(&Opened, FieldSet)> = existing.values().map(|row| (row, FieldSet::EMPTY.with(field))).collect();
        if !self.all_permitted(&insertion.read, &seen).await? {
            return Err(FORBIDDEN);
        }
        Ok(existing)
    }

    /// The sealed changes and the records that they touch, if every one is permitted.
    async fn insert_changes(
        &self,
        insertion: &Insertion,
        rows: &[Values],
        new_ids: &[RecordId],
        fates: &[Fate],
        required: &mut Required,
    ) -> Result<(Vec<SealedChange>, Vec<RecordId>), Failure> {
        let own = insertion.record_type;
        let record_type = self.types.record_type(own).ok_or(Failure::Unavailable)?;
        let field_count = record_type.fields.len();
        let key_we_made = |field: FieldId| field == record_type.key && !insertion.create.fields().contains(field);
        let (mut made, mut merged_before, mut merged_after) = (Vec::new(), Vec::new(), Vec::new());
        let (mut changes, mut touched) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for ((row, new_id), fate) in rows.iter().zip(new_ids).zip(fates) {
            match fate {
                Fate::Leave => continue,
                Fate::Make(record) => {
                    let fields = row.iter().map(|(field, _)| *field).filter(|field| !key_we_made(*field)).collect();
                    made.push((Opened::unstored(*record, field_count, row), fields));
                    self.unique(own, row, required)?;
                    changes.push(self.sealed(own, *record, row)?.into_insert(own, *record));
                    touched.push(*record);
                }
                Fate::Merge(old) => {
                    let set = set_by_merge(insertion, record_type.key, row, *new_id);
                    self.rekeyed(own, old, &set, required)?;
                    self.unique(own, &set, required)?;
                    let fields: FieldSet = set.iter().map(|(field, _)| *field).collect();
                    merged_before.push((old, fields));
                    merged_after.push((old.with(&set), fields));
                    changes.push(self.sealed(own, old.record, &set)?.into_update(own, old.record, old.version));
                    touched.push(old.record);
                }
            }
        }
        let made: Vec<(&Opened, FieldSet)> = made.iter().map(|(row, fields)| (row, *fields)).collect();
        let merged_after: Vec<(&Opened, FieldSet)> = merged_after.iter().map(|(row, fields)| (row, *fields)).collect();
        let permitted = self.all_permitted(&insertion.create, &made).await?
            && self.all_permitted(&insertion.update, &merged_before).await?
            && self.all_permitted(&insertion.update, &merged_after).await?;
        if permitted { Ok((changes, touched)) } else { Err(FORBIDDEN) }
    }
}

fn made(fates: &[Fate]) -> u64 {
    fates.iter().filter(|fate| matches!(fate, Fate::Make(_))).count() as u64
}

/// What a merge sets: the supplied values, without the one that decided and is the same, and without a key that was
/// made for a new record: the old one keeps its own.
fn set_by_merge(insertion: &Insertion, key: FieldId, row: &Values, new_id: RecordId) -> Values {
    let decided = insertion.on_conflict.map(|conflict| conflict.field);
    let made = |field: FieldId, value: &Value| field == key && *value == Value::Uuid(new_id.uuid());
    row.iter().filter(|(field, value)| Some(*field) != decided && !made(*field, value)).cloned().collect()
}
