//! How record types, fields and references are called in policies.

use std::collections::{BTreeMap, HashMap};

use countersign_model::{FieldId, FieldSet, Kind, RecordType, RecordTypes, Sensitivity, TypeId};

/// Namespaces that record types can't have, because Countersign's own actions live there.
const TAKEN: [&str; 2] = ["Data", "Control"];
/// Attributes that every caller has.
pub(crate) const CALLER_TENANT: &str = "tenant";
/// See [`CALLER_TENANT`].
pub(crate) const CALLER_NAME: &str = "name";
/// The attribute of every record that holds its tenant.
pub(crate) const RECORD_TENANT: &str = "tenant";

/// The words for all types.
pub(crate) struct Vocabulary {
    types: Vec<TypeWords>,
    by_namespace: HashMap<String, TypeId>,
    /// The callers' attributes that policies can use, and their kinds.
    pub caller: BTreeMap<String, Kind>,
}

/// The words for one type.
pub(crate) struct TypeWords {
    /// The Cedar namespace.
    pub namespace: String,
    /// What follows `resource.` in a policy.
    pub attributes: BTreeMap<String, Attribute>,
    /// Every field by name.
    pub fields: BTreeMap<String, FieldId>,
    /// All fields.
    pub all: FieldSet,
    classes: [FieldSet; Sensitivity::ALL.len()],
}

/// What an attribute of a record stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// The tenant.
    Tenant,
    /// A field.
    Field { field: FieldId, kind: Kind, required: bool },
    /// The record that a field points at.
    Reference { field: FieldId, target: TypeId, required: bool },
}

/// Record types that policies can't be written for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unnameable {
    #[error("the record type \"{0}\" can't be used in policies: its name is taken")]
    TakenType(String),
    #[error("the record types \"{0}\" and \"{1}\" would have the same name in policies, {2}")]
    SameNamespace(String, String, String),
    #[error("the principal attribute \"{0}\" is one that every user has")]
    TakenAttribute(String),
}

impl Vocabulary {
    pub(crate) fn new(types: &RecordTypes) -> Result<Self, Unnameable> {
        let mut by_namespace: HashMap<String, TypeId> = HashMap::new();
        for (id, record_type) in types.iter() {
            let namespace = namespace_of(record_type.name.as_str());
            if TAKEN.contains(&namespace.as_str()) {
                return Err(Unnameable::TakenType(record_type.name.to_string()));
            }
            if let Some(other) = by_namespace.insert(namespace.clone(), id) {
                let other = types.record_type(other).map(|other| other.name.to_string()).unwrap_or_default();
                return Err(Unnameable::SameNamespace(other, record_type.name.to_string(), namespace));
            }
        }
        if let Some(taken) = types.principal.keys().find(|name| [CALLER_TENANT, CALLER_NAME].contains(&name.as_str())) {
            return Err(Unnameable::TakenAttribute(taken.to_string()));
        }
        let caller = types.principal.iter().filter(|(_, kind)| is_comparable(**kind));
        Ok(Self {
            types: types.iter().map(|(_, record_type)| TypeWords::new(record_type)).collect(),
            by_namespace,
            caller: caller.map(|(name, kind)| (name.to_string(), *kind)).collect(),
        })
    }

    pub(crate) fn words(&self, id: TypeId) -> Option<&TypeWords> {
        self.types.get(usize::from(id.0))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TypeId, &TypeWords)> {
        (0u16..=u16::MAX).map(TypeId).zip(&self.types)
    }

    /// The type of a Cedar namespace, and its words.
    pub(crate) fn find(&self, namespace: &str) -> Option<(TypeId, &TypeWords)> {
        let id = *self.by_namespace.get(namespace)?;
        Some((id, self.words(id)?))
    }
}

impl TypeWords {
    fn new(record_type: &RecordType) -> Self {
        let mut attributes = BTreeMap::from([(RECORD_TENANT.to_owned(), Attribute::Tenant)]);
        let comparable = record_type.iter().filter(|(_, field)| is_comparable(field.kind));
        for (id, field) in comparable {
            let attribute = Attribute::Field { field: id, kind: field.kind, required: field.required };
            attributes.entry(field.name.to_string()).or_insert(attribute);
        }
        let references = record_type.iter().filter_map(|(id, field)| Some((id, field, field.references?)));
        for (id, field, target) in references {
            let attribute = Attribute::Reference { field: id, target, required: field.required };
            attributes.entry(reference_attribute(field.name.as_str())).or_insert(attribute);
        }
        let class = |class| record_type.iter().filter(|(_, field)| field.class == class).map(|(id, _)| id).collect();
        Self {
            namespace: namespace_of(record_type.name.as_str()),
            attributes,
            fields: record_type.iter().map(|(id, field)| (field.name.to_string(), id)).collect(),
            all: record_type.all(),
            classes: Sensitivity::ALL.map(class),
        }
    }

    /// The fields of a class.
    pub(crate) fn class(&self, class: &str) -> Option<FieldSet> {
        let mut classes = Sensitivity::ALL.iter().zip(self.classes);
        classes.find(|(one, _)| one.as_str() == class).map(|(_, fields)| fields)
    }
}

/// Kinds whose values Cedar can hold and compare as we do.
pub(crate) const fn is_comparable(kind: Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Integer | Kind::Boolean)
}

/// `invoice_line` is `InvoiceLine`.
fn namespace_of(type_name: &str) -> String {
    let words = type_name.split(['_', '-']);
    let capitalised = words.flat_map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
    });
    capitalised.collect()
}

/// The record that `customer_id` points at is `customer`, the one that `reports_to` points at `reports_to_record`.
fn reference_attribute(field_name: &str) -> String {
    match field_name.strip_suffix("_id") {
        Some(short) if !short.is_empty() => short.to_owned(),
        _ => format!("{field_name}_record"),
    }
}
