//! In which order types are imported: each after those that it refers to, as far as that can be.

use std::collections::BTreeSet;

use countersign_model::{Name, RecordType, RecordTypes, TypeId};

/// One type, and which of its references can be set only when everything is there: those to its own records, and those
/// that go round in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The type.
    pub record_type: Name,
    /// Such fields.
    pub late: Vec<Name>,
}

/// The types of these names in the order in which their records can be made. Names that there are no types of are left out.
#[must_use]
pub fn order(types: &RecordTypes, names: &[Name]) -> Vec<Step> {
    let mut left: Vec<(TypeId, &RecordType)> = names.iter().filter_map(|name| types.find(name.as_str())).collect();
    left.sort_by_key(|(id, _)| *id);
    left.dedup_by_key(|(id, _)| *id);
    let mut waiting: BTreeSet<TypeId> = left.iter().map(|(id, _)| *id).collect();
    let mut steps = Vec::with_capacity(left.len());
    while !left.is_empty() {
        // What must refer to something that is not there yet comes last; else what can refer to most.
        let cost = |(id, record_type): &(TypeId, &RecordType)| {
            let open = record_type
                .fields
                .iter()
                .filter(|field| field.references.is_some_and(|target| target != *id && waiting.contains(&target)));
            open.fold((0usize, 0usize), |(must, may), field| {
                if field.required { (must.saturating_add(1), may) } else { (must, may.saturating_add(1)) }
            })
        };
        let Some(next) = (0..left.len()).min_by_key(|place| left.get(*place).map(cost)) else { break };
        let (id, record_type) = left.remove(next);
        let late = record_type
            .fields
            .iter()
            .filter(|field| !field.required && field.references.is_some_and(|target| waiting.contains(&target)));
        steps
            .push(Step { record_type: record_type.name.clone(), late: late.map(|field| field.name.clone()).collect() });
        waiting.remove(&id);
    }
    steps
}
