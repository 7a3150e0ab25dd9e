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

/// What must exist for a batch, and which field each requirement comes from.
#[derive(Default)]
pub(super) struct Required {
    pub(super) requirements: Vec<Requirement>,
    pub(super) fields: Vec<FieldId>,
}

impl Required {
    pub(super) fn add(&mut self, more: Self) {
        self.requirements.extend(more.requirements);
        self.fields.extend(more.fields);
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
                if let Some(tag) = self.keys.tag(target, target_key, value)? {
                    required.requirements.push(Requirement::Exists { record_type: target, field: target_key, tag });
                    required.fields.push(field_id);
                }
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
        let key_field = self.types.record_type(type_id).ok_or(Failure::Unavailable)?.key;
        for (child, reference) in self.types.references_to(type_id) {
            if let Some(tag) = self.keys.tag(child, reference, key)? {
                required.requirements.push(Requirement::Absent { record_type: child, field: reference, tag });
                required.fields.push(key_field);
            }
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
            tags.extend(self.keys.tag(target, key, value)?);
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
