//! Record types: what an application keeps. Declared in a types file, one set for the whole deployment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fieldset::FieldSet;
use crate::id::{FieldId, TypeId};
use crate::name::Name;
use crate::value::Kind;

/// How sensitive a field is. Policies may speak of classes; audit and incident reports group by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Could be printed on a leaflet.
    Public,
    /// For people of the organisation.
    Internal,
    /// About an identifiable person.
    Personal,
    /// Money.
    Financial,
    /// Credentials and the like.
    Secret,
}

impl Sensitivity {
    /// Every class, least sensitive first.
    pub const ALL: [Self; 5] = [Self::Public, Self::Internal, Self::Personal, Self::Financial, Self::Secret];

    /// The name used in types files and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Personal => "personal",
            Self::Financial => "financial",
            Self::Secret => "secret",
        }
    }
}

/// One field of a record type. Its id is its place in [`RecordType::fields`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// What requests call it.
    pub name: Name,
    /// What it holds.
    pub kind: Kind,
    /// Whether a record must have a value.
    pub required: bool,
    /// Whether no two records of a tenant may have the same value; implies `indexed`.
    pub unique: bool,
    /// Whether values are findable by equality through a keyed tag.
    pub indexed: bool,
    /// The type whose key this field holds, if it is a reference; implies `indexed`.
    pub references: Option<TypeId>,
    /// How sensitive it is.
    pub class: Sensitivity,
}

/// One record type. Its id is its place in [`RecordTypes::types`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordType {
    /// What requests call it.
    pub name: Name,
    /// The field by which applications identify a record: required, unique.
    pub key: FieldId,
    /// At most [`FieldSet::MAX`] fields. Fields are only ever appended.
    pub fields: Vec<Field>,
}

impl RecordType {
    /// The field of that id.
    #[must_use]
    pub fn field(&self, id: FieldId) -> Option<&Field> {
        self.fields.get(usize::from(id.0))
    }

    /// The field of that name and its id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(FieldId, &Field)> {
        self.iter().find(|(_, field)| field.name.as_str() == name)
    }

    /// Every field with its id, in order.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, &Field)> {
        (0u8..=u8::MAX).map(FieldId).zip(&self.fields)
    }

    /// Every field.
    #[must_use]
    pub const fn all(&self) -> FieldSet {
        FieldSet::first(self.fields.len())
    }
}

/// All record types of a deployment, and the facts about callers that policies may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordTypes {
    /// Types are only ever appended.
    pub types: Vec<RecordType>,
    /// Attributes that a user may have and policies may compare with, such as an employee number.
    pub principal: BTreeMap<Name, Kind>,
}

impl RecordTypes {
    /// The type of that id.
    #[must_use]
    pub fn record_type(&self, id: TypeId) -> Option<&RecordType> {
        self.types.get(usize::from(id.0))
    }

    /// The type of that name and its id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(TypeId, &RecordType)> {
        self.iter().find(|(_, record_type)| record_type.name.as_str() == name)
    }

    /// Every type with its id, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &RecordType)> {
        (0u16..=u16::MAX).map(TypeId).zip(&self.types)
    }

    /// The references that point at `target`, as (type, field) pairs.
    pub fn references_to(&self, target: TypeId) -> impl Iterator<Item = (TypeId, FieldId)> {
        self.iter().flat_map(move |(type_id, record_type)| {
            let pointing = record_type.iter().filter(move |(_, field)| field.references == Some(target));
            pointing.map(move |(field_id, _)| (type_id, field_id))
        })
    }
}
