//! A record with some of its cells opened, as conditions see it.

use std::collections::HashMap;

use countersign_model::predicate::Fields;
use countersign_model::{FieldId, FieldSet, Predicate, RecordId, TypeId, Value};
use countersign_store::SealedRow;

use crate::Work;
use crate::answer::Failure;

/// A sealed row, some of its cells opened.
pub(crate) struct Opened {
    pub(crate) record: RecordId,
    pub(crate) version: u64,
    sealed: Vec<(FieldId, Option<Vec<u8>>)>,
    values: Vec<Value>,
    opened: FieldSet,
}

impl Opened {
    pub(crate) fn new(row: SealedRow, field_count: usize) -> Self {
        let values = vec![Value::Null; field_count];
        Self { record: row.record, version: row.version, sealed: row.cells, values, opened: FieldSet::EMPTY }
    }

    /// A record that is not stored yet.
    pub(crate) fn unstored(record: RecordId, field_count: usize, values: &[(FieldId, Value)]) -> Self {
        let mut new = Self {
            record,
            version: 0,
            sealed: Vec::new(),
            values: vec![Value::Null; field_count],
            opened: FieldSet::EMPTY,
        };
        for (field, value) in values {
            new.set(*field, value.clone());
        }
        new
    }

    /// Puts a value in place of what is stored.
    pub(crate) fn set(&mut self, field: FieldId, value: Value) {
        if let Some(slot) = self.values.get_mut(usize::from(field.0)) {
            *slot = value;
            self.opened.insert(field);
        }
    }

    /// The opened values alone, for judging what a change would make of them.
    pub(crate) fn copy_of_values(&self) -> Self {
        let (record, version, values, opened) = (self.record, self.version, self.values.clone(), self.opened);
        Self { record, version, sealed: Vec::new(), values, opened }
    }

    pub(crate) fn at(&self, field: FieldId) -> &Value {
        self.values.get(usize::from(field.0)).unwrap_or(&Value::Null)
    }
}

impl Work<'_> {
    /// Opens those of `fields` that are not open yet.
    pub(crate) fn open(&self, type_id: TypeId, row: &mut Opened, fields: FieldSet) -> Result<(), Failure> {
        let missing = fields.difference(row.opened);
        if missing.is_empty() {
            return Ok(());
        }
        let record_type = self.types.record_type(type_id).ok_or(Failure::Unavailable)?;
        let mut plain = Vec::with_capacity(64);
        for field in missing.iter() {
            let sealed = row.sealed.iter().find(|(id, _)| *id == field).and_then(|(_, cell)| cell.as_deref());
            let kind = record_type.field(field).ok_or(Failure::Unavailable)?.kind;
            let value = match sealed {
                None => Value::Null,
                Some(sealed) => self.open_cell((type_id, field), kind, row.record, sealed, &mut plain)?,
            };
            row.set(field, value);
        }
        Ok(())
    }
}

/// What is known of the records that references point at, for [`Predicate::Via`] conditions.
#[derive(Default)]
pub(crate) struct Referenced<'q> {
    conditions: Vec<Known<'q>>,
}

struct Known<'q> {
    reference: FieldId,
    target: TypeId,
    condition: &'q Predicate,
    verdicts: HashMap<Vec<u8>, Option<bool>>,
}

impl<'q> Referenced<'q> {
    pub(crate) fn of<'a>(conditions: impl Iterator<Item = &'q Predicate>) -> Self
    where
        'q: 'a,
    {
        let mut known = Vec::new();
        for condition in conditions {
            condition.for_each_via(&mut |reference, target, condition| {
                known.push(Known { reference, target, condition, verdicts: HashMap::new() });
            });
        }
        Self { conditions: known }
    }

    fn verdict(&self, reference: FieldId, condition: &Predicate, value: &Value) -> Option<bool> {
        let same = |known: &&Known<'_>| {
            known.reference == reference && (std::ptr::eq(known.condition, condition) || known.condition == condition)
        };
        // INVARIANT deny-on-doubt: a null has the same bytes as an empty text, and is no key.
        if value.is_null() {
            return None;
        }
        let known = self.conditions.iter().find(same)?;
        known.verdicts.get(&value.to_tag_bytes()).copied().flatten()
    }
}

impl Work<'_> {
    /// Looks up the records that the references in `rows` point at, so that conditions on them can be evaluated.
    pub(crate) async fn look_up_referenced<R: std::borrow::Borrow<Opened>>(
        &self,
        rows: &[R],
        referenced: &mut Referenced<'_>,
    ) -> Result<(), Failure> {
        for known in &mut referenced.conditions {
            let mut wanted: HashMap<Vec<u8>, &Value> = HashMap::new();
            for row in rows {
                let row: &Opened = row.borrow();
                let value = row.at(known.reference);
                let bytes = value.to_tag_bytes();
                if !value.is_null() && !known.verdicts.contains_key(&bytes) {
                    wanted.insert(bytes, value);
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let values: Vec<&Value> = wanted.into_values().collect();
            let verdicts = Box::pin(self.evaluate_on(known.target, known.condition, &values)).await?;
            known.verdicts.extend(verdicts);
        }
        Ok(())
    }

    /// Evaluates a condition on the records of a type that have these keys. A key without a record stays unknown.
    async fn evaluate_on(
        &self,
        target: TypeId,
        condition: &Predicate,
        keys: &[&Value],
    ) -> Result<HashMap<Vec<u8>, Option<bool>>, Failure> {
        let key = self.types.record_type(target).ok_or(Failure::Unavailable)?.key;
        let fields = condition.fields().with(key);
        let mut rows = self.rows_by_value(target, key, keys, fields).await?;
        for row in &mut rows {
            self.open(target, row, fields)?;
        }
        let mut referenced = Referenced::of(std::iter::once(condition));
        self.look_up_referenced(&rows, &mut referenced).await?;
        let verdicts = rows
            .iter()
            .map(|row| (row.at(key).to_tag_bytes(), condition.evaluate(&View { row, referenced: &referenced })));
        Ok(verdicts.collect())
    }
}

/// A record as conditions see it.
pub(crate) struct View<'a, 'q> {
    pub(crate) row: &'a Opened,
    pub(crate) referenced: &'a Referenced<'q>,
}

impl Fields for View<'_, '_> {
    fn value(&self, field: FieldId) -> &Value {
        self.row.at(field)
    }

    fn via(&self, reference: FieldId, _target: TypeId, condition: &Predicate) -> Option<bool> {
        self.referenced.verdict(reference, condition, self.row.at(reference))
    }
}
