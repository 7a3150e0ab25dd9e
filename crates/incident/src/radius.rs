//! What a breach came to.

use std::collections::BTreeMap;

use countersign_model::{FieldSet, RecordTypes, Sensitivity, TenantId, TypeId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::exact::Exact;
use crate::notice::OWN;

/// What a breach came to: numbers, types and fields. Which records is [`Exact`], for each tenant's own eyes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Radius {
    /// By tenant.
    pub tenants: BTreeMap<TenantId, TenantRadius>,
    /// Requests in all, those among them that belong to no tenant as well.
    pub requests: u64,
    /// Which records of which log say so, each for itself to be proved.
    pub logs: BTreeMap<String, LogPart>,
    /// The logs that could not be asked.
    pub silent: Vec<String>,
    /// Requests of which a service has a record and no gateway does: what they released is not known.
    pub unaccounted: u64,
}

/// The records of one log that a radius is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPart {
    /// Their places: first and last of each run, ascending.
    pub positions: Vec<(u64, u64)>,
    /// How many there are.
    pub records: u64,
    /// The log's checkpoint at that time, a signed note; `None` if it has none or can't be asked.
    pub checkpoint: Option<String>,
}

impl LogPart {
    pub(crate) fn push(&mut self, position: u64) {
        self.records = self.records.saturating_add(1);
        match self.positions.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(position) => *last = position,
            _ => self.positions.push((position, position)),
        }
    }
}

/// What a breach came to for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TenantRadius {
    /// When the first of these requests was decided.
    pub first: Option<UnixMs>,
    /// When the last one was.
    pub last: Option<UnixMs>,
    /// Requests, whatever came of them.
    pub requests: u64,
    /// Those among them that were refused, or failed, and gave nothing.
    pub refused: u64,
    /// Those whose record of which records they released can't be opened at present: of them only the counts are known.
    pub unopened: u64,
    /// What was done besides reading and changing records: by action, how often.
    pub managed: BTreeMap<String, u64>,
    /// By record type.
    pub types: BTreeMap<TypeId, TypeRadius>,
    /// Whether everything that is stored has to be taken as reached, whatever was asked for: the key is out.
    pub everything: bool,
}

/// What a breach came to in one record type of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TypeRadius {
    /// Fields that left as plaintext.
    pub fields: FieldSet,
    /// Fields that decided which records: whoever filters on a field learns of it.
    pub filter_fields: FieldSet,
    /// Records that left as plaintext, each once.
    pub records: u64,
    /// Rows that left as plaintext, each as often as it did.
    pub rows: u64,
    /// Fields that were changed, or given back after a change.
    pub changed_fields: FieldSet,
    /// Records that were made, changed or removed.
    pub changed: u64,
    /// Fields of rows of which it can't be said which they were: the record can't be opened, or the gateway has none.
    pub unopened_fields: FieldSet,
    /// How many rows at most.
    pub unopened_rows: u64,
    /// Fields of rows that left the store sealed and not the gateway.
    pub sealed_fields: FieldSet,
    /// How many such rows.
    pub sealed_rows: u64,
}

impl TypeRadius {
    /// Every field that somebody learnt something of.
    #[must_use]
    pub fn learnt(&self) -> FieldSet {
        let Self { fields, filter_fields, changed_fields, unopened_fields, .. } = self;
        fields.union(*filter_fields).union(*changed_fields).union(*unopened_fields)
    }

    /// Whether nothing came of it but rows that stayed sealed.
    #[must_use]
    pub fn stayed_sealed(&self) -> bool {
        self.learnt().is_empty() && self.records == 0 && self.changed == 0 && self.unopened_rows == 0
    }

    /// The names of fields by how sensitive they are, least first. A field that the types don't have any more is `#` and
    /// its number, and counts as secret.
    #[must_use]
    pub fn by_class(fields: FieldSet, type_id: TypeId, types: &RecordTypes) -> BTreeMap<Sensitivity, Vec<String>> {
        let mut classes: BTreeMap<Sensitivity, Vec<String>> = BTreeMap::new();
        let record_type = types.record_type(type_id);
        for id in fields.iter() {
            let field = record_type.and_then(|record_type| record_type.field(id));
            let (class, name) = field.map_or_else(
                || (Sensitivity::Secret, format!("#{}", id.0)),
                |field| (field.class, field.name.to_string()),
            );
            classes.entry(class).or_default().push(name);
        }
        classes
    }
}

impl TenantRadius {
    /// Whether any record left as plaintext or was changed, or may have, or something else of the tenant was looked at or
    /// managed. That somebody logged in, or looked at their own token, is no concern by itself.
    #[must_use]
    pub fn is_concerned(&self) -> bool {
        let managed = self.managed.keys().any(|action| !OWN.contains(&action.as_str()));
        self.everything || managed || self.types.values().any(|one| !one.stayed_sealed())
    }

    /// Records that left as plaintext, over all types; with those that can't be told one by one as rows.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.types.values().fold(0, |sum, one| sum.saturating_add(one.records).saturating_add(one.unopened_rows))
    }

    /// Records that were changed, over all types.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.types.values().fold(0, |sum, one| sum.saturating_add(one.changed))
    }

    pub(crate) fn count(&mut self, exact: &Exact) {
        for one in &exact.types {
            let entry = self.types.entry(one.record_type).or_default();
            entry.records = one.records.len();
            entry.changed = one.changed.len();
        }
    }
}
