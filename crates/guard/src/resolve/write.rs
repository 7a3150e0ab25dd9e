//! Writes: every field that is set must be the caller's to set, every field that decides must be its to read.

use std::sync::Arc;

use countersign_model::query::{Change, Column, Conflict, Insertion, Values};
use countersign_model::request::{Action, Delete, Filter, Input, InputRow, Insert, OnConflict, Select, Update};
use countersign_model::{FieldSet, Kind, Plan, TypeId, Value};

use super::{Resolver, Subject, filter};
use crate::refusal::{Invalid, Refusal};

impl<'a> Resolver<'a> {
    pub(crate) fn insert(&self, insert: &Insert) -> Result<Insertion, Refusal> {
        let create = self.subject(&insert.record_type, Action::Create)?;
        if insert.rows.len() > self.limits.insert_rows_max {
            return Err(Invalid::TooMany { what: "rows in one insert", max: self.limits.insert_rows_max }.into());
        }
        let read = self.same_type(&create, Action::Read)?;
        let update = self.same_type(&create, Action::Update)?;
        let on_conflict = insert.on_conflict.as_ref().map(|on| conflict(&read, &update, on)).transpose()?;
        let rows = insert.rows.iter().enumerate().map(|(index, row)| {
            let values = values(&create, row, Some(index))?;
            required(&create, &values, index)?;
            Ok(values)
        });
        Ok(Insertion {
            record_type: create.id,
            rows: rows.collect::<Result<_, Refusal>>()?,
            on_conflict,
            returning: self.returning(&read, insert.returning.as_deref())?,
            // Only a merge that another field decides can change a key, and leave those behind that refer to it.
            read_targets: self.targets_of(&create, on_conflict.is_some_and(|on| on.field != create.record_type.key))?,
            create: create.plan,
            update: update.plan,
            read: read.plan,
        })
    }

    pub(crate) fn update(&self, update: &Update) -> Result<Change, Refusal> {
        let subject = self.subject(&update.record_type, Action::Update)?;
        let set = values(&subject, &update.set, None)?;
        for (id, value) in &set {
            let field = subject.record_type.field(*id).ok_or(Refusal::Forbidden)?;
            if field.required && value.is_null() {
                return Err(Invalid::Required { field: field.name.clone(), row: None }.into());
            }
        }
        let targets = self.targets_of(&subject, set.iter().any(|(id, _)| *id == subject.record_type.key))?;
        let (filter, returning) = (&update.filter, update.returning.as_deref());
        self.change(subject, Some(set), filter, update.max_affected, returning, targets)
    }

    /// Removing a record removes every field of it, so each must be permitted.
    pub(crate) fn delete(&self, delete: &Delete) -> Result<Change, Refusal> {
        let subject = self.subject(&delete.record_type, Action::Delete)?;
        if !subject.record_type.all().is_subset(subject.plan.fields()) {
            return Err(Refusal::Forbidden);
        }
        let pointing = self.state.facts.types.references_to(subject.id).map(|(type_id, _)| type_id);
        let targets = self.read_plans(pointing)?;
        self.change(subject, None, &delete.filter, delete.max_affected, delete.returning.as_deref(), targets)
    }

    fn change(
        &self,
        subject: Subject<'a>,
        set: Option<Values>,
        filter: &Filter,
        max_affected: Option<u64>,
        returning: Option<&[Select]>,
        read_targets: Vec<(TypeId, Arc<Plan>)>,
    ) -> Result<Change, Refusal> {
        let read = self.same_type(&subject, Action::Read)?;
        Ok(Change {
            record_type: subject.id,
            set,
            filter: filter::resolve(&read, filter, &mut self.budget())?,
            max_affected,
            returning: self.returning(&read, returning)?,
            plan: subject.plan,
            read: read.plan,
            read_targets,
        })
    }

    /// The same type under another action; the plan may permit nothing.
    fn same_type(&self, subject: &Subject<'a>, action: Action) -> Result<Subject<'a>, Refusal> {
        let plan = self.plan(subject.id, subject.record_type, action)?;
        Ok(Subject { plan, ..subject.clone() })
    }

    fn returning(&self, read: &Subject<'a>, select: Option<&[Select]>) -> Result<Option<Vec<Column>>, Refusal> {
        let columns = select.map(|select| self.columns(read, select, self.limits.embed_depth_max, &mut self.budget()));
        columns.transpose()
    }

    /// What the caller may read of the types that this one refers to, and of those that refer to it if its key may
    /// change.
    fn targets_of(&self, subject: &Subject<'a>, rekeyed: bool) -> Result<Vec<(TypeId, Arc<Plan>)>, Refusal> {
        let referred = subject.record_type.fields.iter().filter_map(|field| field.references);
        let referring = self.state.facts.types.references_to(subject.id).map(|(type_id, _)| type_id);
        self.read_plans(referred.chain(referring.filter(|_| rekeyed)))
    }

    fn read_plans(&self, types: impl Iterator<Item = TypeId>) -> Result<Vec<(TypeId, Arc<Plan>)>, Refusal> {
        let mut plans: Vec<(TypeId, Arc<Plan>)> = Vec::new();
        for type_id in types {
            if plans.iter().any(|(known, _)| *known == type_id) {
                continue;
            }
            if let Some(record_type) = self.state.facts.types.record_type(type_id) {
                plans.push((type_id, self.plan(type_id, record_type, Action::Read)?));
            }
        }
        Ok(plans)
    }
}

/// Names to ids and input to values, ascending by field.
fn values(subject: &Subject<'_>, row: &InputRow, index: Option<usize>) -> Result<Values, Refusal> {
    let mut values = Values::with_capacity(row.len());
    for (name, input) in row {
        let (id, field) = subject.field(name)?;
        let wrong = |_| Invalid::WrongKind { field: field.name.clone(), expected: field.kind, row: index };
        let value = match input {
            Input::Null => Value::Null,
            Input::Text(text) => Value::parse(field.kind, text).map_err(wrong)?,
            Input::Json(json) => Value::from_json_text(field.kind, json).map_err(wrong)?,
        };
        values.push((id, value));
    }
    values.sort_by_key(|(id, _)| *id);
    let twice = values.windows(2).find_map(|pair| match pair {
        [(a, _), (b, _)] if a == b => Some(*a),
        _ => None,
    });
    match twice.and_then(|id| subject.record_type.field(id)) {
        Some(field) => Err(Invalid::DuplicateField { field: field.name.clone() }.into()),
        None => Ok(values),
    }
}

/// Every required field has a value. A key of kind uuid may be left out: the record's own id takes its place.
/// A required field that the caller may not create is not named (INVARIANT hidden-is-absent).
fn required(subject: &Subject<'_>, values: &Values, row: usize) -> Result<(), Refusal> {
    let given: FieldSet = values.iter().filter(|(_, value)| !value.is_null()).map(|(id, _)| *id).collect();
    for (id, field) in subject.record_type.iter() {
        let made_by_us = id == subject.record_type.key && field.kind == Kind::Uuid;
        if !field.required || made_by_us || given.contains(id) {
            continue;
        }
        if !subject.plan.fields().contains(id) {
            return Err(Refusal::Forbidden);
        }
        return Err(Invalid::Required { field: field.name.clone(), row: Some(row) }.into());
    }
    Ok(())
}

fn conflict(read: &Subject<'_>, update: &Subject<'_>, on: &OnConflict) -> Result<Conflict, Refusal> {
    let key = read.record_type.field(read.record_type.key).ok_or(Refusal::Forbidden)?;
    // Whether a record is there already is something that only a reader of the field may learn.
    let (id, field) = read.field(on.field.as_deref().unwrap_or(key.name.as_str()))?;
    if !field.unique {
        return Err(Invalid::NotUnique { field: field.name.clone() }.into());
    }
    if on.merge && update.plan.fields().is_empty() {
        return Err(Refusal::Forbidden);
    }
    Ok(Conflict { field: id, merge: on.merge })
}
