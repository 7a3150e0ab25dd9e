//! References: a record may only point at records that exist and that the caller can see.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_model::query::Values;
use countersign_model::{FieldId, FieldSet, Plan, Predicate, TypeId, Value};
use countersign_store::Requirement;

use crate::Work;
use crate::answer::Failure;
use crate::lookup::{Among, Search};
use crate::opened::Opened;
use crate::trace::Trace;

/// What must hold for a batch, and why each of it.
#[derive(Default)]
pub(super) struct Required {
    pub(super) requirements: Vec<Requirement>,
    pub(super) causes: Vec<Cause>,
    /// How many of them, at the beginning, are [`Cause::Unique`].
    uniques: usize,
}

/// Why something must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This field refers to a record, which must be there.
    Reference(FieldId),
    /// What goes away must not be referred to.
    Referred,
    /// This field is unique, also among records that were tagged in another key epoch.
    Unique(FieldId),
}

impl Required {
    pub(super) fn add(&mut self, more: Self) {
        self.requirements.extend(more.requirements);
        self.causes.extend(more.causes);
    }

    /// Before all that is of another kind: as a store finds a value that is taken before it looks at requirements.
    fn push_unique(&mut self, requirement: Requirement, field: FieldId) {
        self.requirements.insert(self.uniques, requirement);
        self.causes.insert(self.uniques, Cause::Unique(field));
        self.uniques = self.uniques.saturating_add(1);
    }

    fn push(&mut self, requirement: Requirement, cause: Cause) {
        self.requirements.push(requirement);
        self.causes.push(cause);
    }
}

impl Work<'_> {
    /// Checks that every record referred to is visible to the caller or among the new ones, and says what the store
    /// must find when it commits.
    pub(super) async fn references<'v>(
        &self,
        type_id: TypeId,
        rows: impl Iterator<Item = &'v Values> + Clone,
        read_targets: &[(TypeId, Arc<Plan>)],
        trace: &mut Trace,
    ) -> Result<Required, Failure> {
        let record_type = self.types.record_type(type_id).ok_or(Failure::Unavailable)?;
        let mut required = Required::default();
        for (field_id, field) in record_type.iter() {
            let Some(target) = field.references else { continue };
            let target_key = self.types.record_type(target).ok_or(Failure::Unavailable)?.key;
            let mut wanted: HashMap<Vec<u8>, &Value> = HashMap::new();
            for value in rows.clone().filter_map(|row| value_of(row, field_id)) {
                wanted.insert(value.to_tag_bytes(), value);
            }
            if wanted.is_empty() {
                continue;
            }
            trace.looked(target, FieldSet::EMPTY, FieldSet::EMPTY.with(target_key));
            for value in wanted.values() {
                let tags = self.keys.tags(target, target_key, value)?.collect();
                let exists = Requirement::Exists { record_type: target, field: target_key, tags };
                required.push(exists, Cause::Reference(field_id));
            }
            if target == type_id {
                for value in rows.clone().filter_map(|row| value_of(row, target_key)) {
                    wanted.remove(&value.to_tag_bytes());
                }
            }
            let plan = read_targets.iter().find(|(id, _)| *id == target).map(|(_, plan)| plan);
            let missing = || Failure::MissingReference { field: field.name.clone() };
            self.all_visible(target, target_key, plan.ok_or_else(missing)?, &mut wanted).await?;
            if !wanted.is_empty() {
                return Err(missing());
            }
        }
        Ok(required)
    }

    /// Requires that nothing refers to a record by this key, which is about to go.
    pub(super) fn unreferenced(&self, type_id: TypeId, key: &Value, required: &mut Required) -> Result<(), Failure> {
        if key.is_null() {
            return Ok(());
        }
        for (child, reference) in self.types.references_to(type_id) {
            let tags = self.keys.tags(child, reference, key)?.collect();
            required.push(Requirement::Absent { record_type: child, field: reference, tags }, Cause::Referred);
        }
        Ok(())
    }

    /// Requires that no record has one of these values in a unique field under a tag of another epoch than the newest. Under
    /// the newest the store sees to it by itself.
    pub(super) fn unique(&self, type_id: TypeId, values: &Values, required: &mut Required) -> Result<(), Failure> {
        let record_type = self.types.record_type(type_id).ok_or(Failure::Unavailable)?;
        for (field, value) in values.iter().filter(|(_, value)| !value.is_null()) {
            let unique = record_type.field(*field).is_some_and(|field| field.unique);
            if !unique || !self.keys.is_mixed(type_id, *field)? {
                continue;
            }
            let tags = self.keys.tags(type_id, *field, value)?.skip(1).collect();
            required.push_unique(Requirement::Absent { record_type: type_id, field: *field, tags }, *field);
        }
        Ok(())
    }

    /// Requires the same where a record's key becomes another, which is to leave those that refer to it behind.
    pub(super) fn rekeyed(
        &self,
        type_id: TypeId,
        old: &Opened,
        set: &Values,
        required: &mut Required,
    ) -> Result<(), Failure> {
        let key = self.types.record_type(type_id).ok_or(Failure::Unavailable)?.key;
        match set.iter().find(|(field, _)| *field == key) {
            Some((_, new)) if new.equals(old.at(key)) != Some(true) => {
                self.unreferenced(type_id, old.at(key), required)
            }
            _ => Ok(()),
        }
    }

    /// Takes out of `wanted` the keys of records that the caller can see.
    async fn all_visible(
        &self,
        target: TypeId,
        key: FieldId,
        plan: &Plan,
        wanted: &mut HashMap<Vec<u8>, &Value>,
    ) -> Result<(), Failure> {
        let mut tags = Vec::with_capacity(wanted.len());
        for value in wanted.values() {
            tags.extend(self.keys.tags(target, key, value)?);
        }
        if tags.is_empty() {
            return Ok(());
        }
        let key_alone = FieldSet::EMPTY.with(key);
        let search = Search {
            record_type: target,
            filter: &Predicate::TRUE,
            deciding: key_alone,
            plan,
            output: key_alone,
            links: FieldSet::EMPTY,
            among: Among::Tagged(key, tags),
            after: None,
            enough: None,
        };
        for found in self.search(search).await?.found {
            wanted.remove(&found.row.at(key).to_tag_bytes());
        }
        Ok(())
    }
}

fn value_of(row: &Values, field: FieldId) -> Option<&Value> {
    row.iter().find(|(id, value)| *id == field && !value.is_null()).map(|(_, value)| value)
}
