//! What happened, as rules see it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use countersign_audit::TallyEntry;

/// One thing that happened: a record of some service's ledger, or something that the monitor saw for itself, with
/// what is known about it besides. Identifiers and numbers; no name of a person, no record and no value.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The record. What the monitor saw for itself has the form of one too, under `Service::Monitor` or the service
    /// that it is about.
    pub entry: TallyEntry,
    /// The ledger that it is from, by the name that stays: `gateway`, `store`, …
    pub ledger: String,
    /// Its place there; for what the monitor saw for itself, the moment in milliseconds.
    pub position: u64,
    /// What rules see, by the names of `docs/monitoring.md`.
    pub fields: BTreeMap<&'static str, FieldValue>,
}

impl Event {
    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldValue> {
        self.fields.get(name)
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// A word or an identifier.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Bool(bool),
}

impl FieldValue {
    /// As text, the way that a rule writes it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(is) => Cow::Borrowed(if *is { "true" } else { "false" }),
        }
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for FieldValue {
    /// What is past `i64::MAX` becomes that.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for FieldValue {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}
