//! Whether a row is one of the record type, as far as can be said without asking the server.

use std::collections::{HashMap, HashSet};

use countersign_model::{Field, Kind, RecordType, Value};
use serde_json::value::RawValue;

use super::Good;

/// Judges rows. Without a record type it only checks their form, and the server judges the rest.
pub struct Checker<'a> {
    record_type: Option<&'a RecordType>,
    seen: HashMap<String, HashSet<Vec<u8>>>,
    is_known_unique: bool,
    left_out: Vec<String>,
}

/// A value as the file has it.
pub(super) enum Given<'a> {
    /// Text; empty is null.
    Text(&'a str),
    /// Text that may be empty.
    Exactly(&'a str),
    /// Nothing.
    Null,
    /// JSON.
    Json(&'a RawValue),
}

/// What is wrong with a row: the field at fault, and what was expected.
pub(super) struct Fault {
    pub(super) field: Option<String>,
    pub(super) expected: String,
}

impl<'a> Checker<'a> {
    /// Judges by this type.
    #[must_use]
    pub fn new(record_type: Option<&'a RecordType>) -> Self {
        Self { record_type, seen: HashMap::new(), is_known_unique: false, left_out: Vec::new() }
    }

    /// Doesn't keep unique values to compare them: the rows come from where they were unique.
    #[must_use]
    pub const fn known_unique(mut self) -> Self {
        self.is_known_unique = true;
        self
    }

    /// Judges these fields like the others, and leaves them out of what is sent.
    #[must_use]
    pub fn leaving_out(mut self, fields: Vec<String>) -> Self {
        self.left_out = fields;
        self
    }

    /// Forgets the rows seen: the file is read from its beginning.
    pub fn restart(&mut self) {
        self.seen.clear();
    }

    /// What is wrong with a name for a field, if anything is.
    pub(super) fn name_fault(&self, name: &str) -> Option<String> {
        let record_type = self.record_type?;
        if record_type.find(name).is_some() {
            return None;
        }
        let names = record_type.fields.iter().map(|field| field.name.as_str());
        let near = crate::nearest::nearest(name, names);
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Some(format!("{} has no field of that name{hint}", record_type.name))
    }

    /// The row as a JSON object, or what is wrong with it.
    pub(super) fn row<'n>(
        &mut self,
        line: u64,
        given: impl Iterator<Item = (&'n str, Given<'n>)>,
    ) -> Result<Good, Fault> {
        let mut json = String::from("{");
        let mut present: HashSet<&str> = HashSet::new();
        let mut empty: HashSet<&str> = HashSet::new();
        let mut names: Vec<&str> = Vec::new();
        for (name, given) in given {
            let fault = |expected: String| Fault { field: Some(name.to_owned()), expected };
            if let Some(expected) = self.name_fault(name) {
                return Err(fault(expected));
            }
            if !present.insert(name) {
                return Err(fault("the field is given twice".to_owned()));
            }
            let field = self.record_type.and_then(|record_type| record_type.find(name)).map(|(_, field)| field);
            let text = self.value(field, &given).map_err(fault)?;
            if text == "null" {
                empty.insert(name);
            }
            if self.left_out.iter().any(|left| left == name) {
                continue;
            }
            names.push(name);
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(name).to_string());
            json.push(':');
            json.push_str(&text);
        }
        json.push('}');
        let fields = self.record_type.map(|record_type| record_type.fields.as_slice()).unwrap_or_default();
        let has = |name: &str| present.contains(name) && !empty.contains(name);
        match fields.iter().find(|field| field.required && !has(field.name.as_str())) {
            Some(missing) => {
                Err(Fault { field: Some(missing.name.to_string()), expected: "a value is required".to_owned() })
            }
            None => {
                names.sort_unstable();
                Ok(Good { line, json, fields: names.join(",") })
            }
        }
    }

    /// The value as JSON text.
    fn value(&mut self, field: Option<&Field>, given: &Given<'_>) -> Result<String, String> {
        let kind = field.map(|field| field.kind);
        let value = match (kind, given) {
            (_, Given::Text("") | Given::Null) => Value::Null,
            (None, Given::Text(text) | Given::Exactly(text)) if text.contains('\0') => {
                return Err(Kind::Text.expectation().to_owned());
            }
            (None, Given::Text(text) | Given::Exactly(text)) => return Ok(serde_json::Value::from(*text).to_string()),
            (None, Given::Json(raw)) => return Ok(raw.get().to_owned()),
            (Some(kind), Given::Text(text) | Given::Exactly(text)) => {
                Value::parse(kind, text).map_err(|wrong| wrong.to_string())?
            }
            (Some(kind), Given::Json(raw)) => Value::from_json(kind, raw).map_err(|wrong| wrong.to_string())?,
        };
        let compared = |field: &&Field| field.unique && !self.is_known_unique && !value.is_null();
        if let Some(field) = field.filter(compared) {
            let seen = self.seen.entry(field.name.to_string()).or_default();
            if !seen.insert(value.to_tag_bytes()) {
                return Err("the field is unique, and an earlier line has the same value".to_owned());
            }
        }
        serde_json::to_string(&value).map_err(|_| "the value can't be written as JSON".to_owned())
    }
}
