//! Laying a new types file over the types in force.
//!
//! Ids are kept by name; new types and fields get the next ones, whatever their place in the file. INVARIANT
//! ids-are-for-ever: an id names sealed cells, so no type or field is ever removed, and none is reused.
//!
//! Stored records can't be rewritten here, as only the engine has keys. What would need that (a value for a newly
//! required field, a tag for a newly indexed one, a look for duplicates) is therefore refused while there may be
//! records of the type.

use std::collections::BTreeMap;
use std::fmt;

use countersign_model::{Field, FieldId, Kind, Name, RecordType, RecordTypes, Sensitivity, TypeId};

/// Something that a new types file changes, in words for the person who applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A new type with so many fields.
    TypeAdded {
        /// The type.
        record_type: Name,
        /// How many fields it has.
        fields: usize,
    },
    /// Another field identifies the records of a type that has none yet.
    KeyChanged {
        /// The type.
        record_type: Name,
        /// The field.
        field: Name,
    },
    /// A new field.
    FieldAdded {
        /// The type.
        record_type: Name,
        /// The field.
        field: Name,
    },
    /// A field has other attributes.
    FieldChanged {
        /// The type.
        record_type: Name,
        /// The field.
        field: Name,
        /// What it was and is, such as "required → optional".
        what: String,
    },
    /// A new attribute of principals.
    AttributeAdded {
        /// The attribute.
        attribute: Name,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TypeAdded { record_type, fields } => write!(f, "new type {record_type} with {fields} fields"),
            Self::KeyChanged { record_type, field } => write!(f, "{record_type}: {field} is the key now"),
            Self::FieldAdded { record_type, field } => write!(f, "{record_type}.{field}: new field"),
            Self::FieldChanged { record_type, field, what } => write!(f, "{record_type}.{field}: {what}"),
            Self::AttributeAdded { attribute } => write!(f, "new attribute {attribute} of principals"),
        }
    }
}

/// Something that a new types file would lose or break, so that it was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", Place(.record_type.as_ref(), .name.as_ref()))]
pub struct Loss {
    /// The type; `None` is the principals.
    pub record_type: Option<Name>,
    /// The field or attribute; `None` is the type itself.
    pub name: Option<Name>,
    /// What would happen.
    pub reason: Reason,
}

struct Place<'a>(Option<&'a Name>, Option<&'a Name>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(record_type), Some(field)) => write!(f, "{record_type}.{field}"),
            Self(Some(record_type), None) => record_type.fmt(f),
            Self(None, Some(attribute)) => write!(f, "principal.{attribute}"),
            Self(None, None) => f.write_str("principal"),
        }
    }
}

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A type is missing from the new file.
    #[error("missing from the new file; types are never removed, as their records would be lost")]
    TypeRemoved,
    /// A field is missing from the new file.
    #[error("missing from the new file; fields are never removed, as their values would be lost")]
    FieldRemoved,
    /// Stored values have another kind.
    #[error("was {} and can't become {}, as values are stored", .old.as_str(), .new.as_str())]
    KindChanged {
        /// The kind in force.
        old: Kind,
        /// The kind wanted.
        new: Kind,
    },
    /// Another field would identify records.
    #[error("the key can't change while there are records")]
    KeyChanged,
    /// Records have no value for a new required field.
    #[error("a new field can't be required while there are records, as they have no value for it")]
    RequiredAdded,
    /// Records may have no value.
    #[error("an optional field can't become required while there are records, as some may have no value")]
    BecameRequired,
    /// Records may have equal values.
    #[error("a field can't become unique while there are records, as some may have equal values")]
    BecameUnique,
    /// Records have no tag.
    #[error("an index can't be added while there are records, as their values are not in it")]
    IndexAdded,
    /// Records may refer to nothing.
    #[error("what a field refers to can't change while there are records, as they may refer to nothing")]
    ReferenceChanged,
    /// More types or fields than there can be.
    #[error("with what is in force already there would be too many of these")]
    TooMany,
    /// Users have values for the attribute.
    #[error("missing from the new file; attributes are never removed, as users may have values for them")]
    AttributeRemoved,
    /// Users have values of another kind.
    #[error("was {} and can't become {}, as users may have values for it", .old.as_str(), .new.as_str())]
    AttributeKind {
        /// The kind in force.
        old: Kind,
        /// The kind wanted.
        new: Kind,
    },
}

/// Lays `new` over `old`, taking every type in `old` to have records.
///
/// # Errors
/// Everything that would be lost or broken; nothing is changed then.
pub fn merge(old: &RecordTypes, new: &RecordTypes) -> Result<(RecordTypes, Vec<Change>), Vec<Loss>> {
    merge_knowing(old, new, |_| true)
}

/// The same, asking `has_records` whether a type of `old` has records before refusing what only they forbid.
///
/// Nothing may be written between the answer and the moment when the merged types come into force.
///
/// # Errors
/// Everything that would be lost or broken; nothing is changed then.
pub fn merge_knowing(
    old: &RecordTypes,
    new: &RecordTypes,
    mut has_records: impl FnMut(TypeId) -> bool,
) -> Result<(RecordTypes, Vec<Change>), Vec<Loss>> {
    let mut merging = Merging::default();
    let target_name = |id: Option<TypeId>| id.and_then(|id| new.record_type(id)).map(|target| target.name.clone());
    let mut drafts: Vec<Draft> = Vec::new();
    for (id, known) in old.iter() {
        match new.find(known.name.as_str()) {
            None => merging.lose(Some(&known.name), None, Reason::TypeRemoved),
            Some((_, wanted)) => {
                // Asked at most once a type, and only if the answer matters: it may be slow.
                let mut answer = None;
                let mut occupied = || *answer.get_or_insert_with(|| has_records(id));
                drafts.push(merging.record_type(old, known, wanted, &target_name, &mut occupied));
            }
        }
    }
    for (_, wanted) in new.iter().filter(|(_, wanted)| old.find(wanted.name.as_str()).is_none()) {
        if drafts.len() >= super::MAX_TYPES {
            merging.lose(Some(&wanted.name), None, Reason::TooMany);
        }
        merging.change(Change::TypeAdded { record_type: wanted.name.clone(), fields: wanted.fields.len() });
        drafts.push(Draft {
            name: wanted.name.clone(),
            key: wanted.key,
            fields: wanted.fields.iter().map(|field| (field.clone(), target_name(field.references))).collect(),
        });
    }
    let principal = merging.principal(&old.principal, &new.principal);
    if !merging.losses.is_empty() {
        return Err(merging.losses);
    }
    Ok((RecordTypes { types: finish(drafts), principal }, merging.changes))
}

/// A merged type whose references are still names, since the merged ids are not known yet.
struct Draft {
    name: Name,
    key: FieldId,
    fields: Vec<(Field, Option<Name>)>,
}

fn finish(drafts: Vec<Draft>) -> Vec<RecordType> {
    let ids: BTreeMap<Name, TypeId> =
        drafts.iter().zip(0u16..).map(|(draft, id)| (draft.name.clone(), TypeId(id))).collect();
    let resolve = |(mut field, target): (Field, Option<Name>)| {
        field.references = target.and_then(|name| ids.get(&name).copied());
        field
    };
    let record_type = |draft: Draft| {
        let fields = draft.fields.into_iter().map(resolve).collect();
        RecordType { name: draft.name, key: draft.key, fields }
    };
    drafts.into_iter().map(record_type).collect()
}

#[derive(Default)]
struct Merging {
    changes: Vec<Change>,
    losses: Vec<Loss>,
}

impl Merging {
    fn lose(&mut self, record_type: Option<&Name>, name: Option<&Name>, reason: Reason) {
        self.losses.push(Loss { record_type: record_type.cloned(), name: name.cloned(), reason });
    }

    fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn record_type(
        &mut self,
        old: &RecordTypes,
        known: &RecordType,
        wanted: &RecordType,
        target_name: &impl Fn(Option<TypeId>) -> Option<Name>,
        occupied: &mut impl FnMut() -> bool,
    ) -> Draft {
        let type_name = &known.name;
        let mut fields = Vec::with_capacity(wanted.fields.len());
        for field in &known.fields {
            let Some((_, new)) = wanted.find(field.name.as_str()) else {
                self.lose(Some(type_name), Some(&field.name), Reason::FieldRemoved);
                continue;
            };
            let old_target =
                field.references.and_then(|id| old.record_type(id)).map(|record_type| record_type.name.clone());
            let targets = (old_target, target_name(new.references));
            self.field(type_name, (field, new), &targets, occupied);
            fields.push((new.clone(), targets.1));
        }
        for (_, new) in wanted.iter().filter(|(_, new)| known.find(new.name.as_str()).is_none()) {
            if new.required && occupied() {
                self.lose(Some(type_name), Some(&new.name), Reason::RequiredAdded);
            }
            if fields.len() >= countersign_model::FieldSet::MAX {
                self.lose(Some(type_name), Some(&new.name), Reason::TooMany);
            }
            self.change(Change::FieldAdded { record_type: type_name.clone(), field: new.name.clone() });
            fields.push((new.clone(), target_name(new.references)));
        }
        let key = self.key(known, wanted, &fields, occupied);
        Draft { name: type_name.clone(), key, fields }
    }

    fn key(
        &mut self,
        known: &RecordType,
        wanted: &RecordType,
        merged: &[(Field, Option<Name>)],
        occupied: &mut impl FnMut() -> bool,
    ) -> FieldId {
        let Some(key) = wanted.field(wanted.key) else { return known.key };
        if known.field(known.key).is_none_or(|old| old.name != key.name) {
            if occupied() {
                self.lose(Some(&known.name), Some(&key.name), Reason::KeyChanged);
            }
            self.change(Change::KeyChanged { record_type: known.name.clone(), field: key.name.clone() });
        }
        let mut numbered = (0u8..=u8::MAX).map(FieldId).zip(merged);
        numbered.find(|(_, (field, _))| field.name == key.name).map_or(known.key, |(id, _)| id)
    }

    fn field(
        &mut self,
        record_type: &Name,
        (old, new): (&Field, &Field),
        (old_target, new_target): &(Option<Name>, Option<Name>),
        occupied: &mut impl FnMut() -> bool,
    ) {
        let mut what: Vec<String> = Vec::new();
        let mut refused: Vec<Reason> = Vec::new();
        if old.kind != new.kind {
            refused.push(Reason::KindChanged { old: old.kind, new: new.kind });
            what.push(format!("{} → {}", old.kind.as_str(), new.kind.as_str()));
        }
        if old.required != new.required {
            if new.required {
                refused.push(Reason::BecameRequired);
            }
            what.push(format!("{} → {}", requiredness(old.required), requiredness(new.required)));
        }
        if old.unique != new.unique {
            if new.unique {
                refused.push(Reason::BecameUnique);
            }
            what.push(format!("{} → {}", uniqueness(old.unique), uniqueness(new.unique)));
        }
        if old_target != new_target {
            // A reference that becomes a plain value breaks nothing.
            if new_target.is_some() {
                refused.push(Reason::ReferenceChanged);
            }
            let shown = |target: &Option<Name>| {
                target.as_ref().map_or_else(|| "no reference".to_owned(), |name| format!("reference to {name}"))
            };
            what.push(format!("{} → {}", shown(old_target), shown(new_target)));
        }
        if old.indexed != new.indexed {
            // Becoming unique or a reference says it already.
            if new.indexed && refused.is_empty() {
                refused.push(Reason::IndexAdded);
            }
            what.push(if new.indexed { "now indexed" } else { "no longer indexed" }.to_owned());
        }
        if old.class != new.class {
            what.push(format!("{} → {}", Sensitivity::as_str(old.class), Sensitivity::as_str(new.class)));
        }
        if !refused.is_empty() && occupied() {
            for reason in refused {
                self.lose(Some(record_type), Some(&new.name), reason);
            }
        }
        if !what.is_empty() {
            let (record_type, field) = (record_type.clone(), new.name.clone());
            self.change(Change::FieldChanged { record_type, field, what: what.join(", ") });
        }
    }

    fn principal(&mut self, old: &BTreeMap<Name, Kind>, new: &BTreeMap<Name, Kind>) -> BTreeMap<Name, Kind> {
        for (attribute, &kind) in old {
            match new.get(attribute) {
                None => self.lose(None, Some(attribute), Reason::AttributeRemoved),
                Some(&wanted) if wanted != kind => {
                    self.lose(None, Some(attribute), Reason::AttributeKind { old: kind, new: wanted });
                }
                Some(_) => {}
            }
        }
        for attribute in new.keys().filter(|attribute| !old.contains_key(*attribute)) {
            self.change(Change::AttributeAdded { attribute: attribute.clone() });
        }
        new.clone()
    }
}

const fn requiredness(required: bool) -> &'static str {
    if required { "required" } else { "optional" }
}

const fn uniqueness(unique: bool) -> &'static str {
    if unique { "unique" } else { "not unique" }
}
