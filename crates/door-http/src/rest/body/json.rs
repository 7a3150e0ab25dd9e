//! Strict JSON: objects whose keys are given once, values kept as they were written.

use std::borrow::Cow;
use std::fmt;

use countersign_model::request::{Input, InputRow};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Rows, position};
use crate::Limits;
use crate::problem::{Part, Problem};

/// One object's members, keys decoded, values raw.
pub type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Reads one object, or a list of objects.
///
/// # Errors
/// [`Problem`] with line and column.
pub fn rows(text: &str, limits: &Limits) -> Result<Rows, Problem> {
    if text.trim_ascii().is_empty() {
        return Err(Problem::Syntax {
            part: Part::Body,
            line: 1,
            column: 1,
            expected: "an object or a list of objects",
        });
    }
    let single = text.trim_ascii_start().starts_with('{');
    let records = if single { vec![object(text, limits)?] } else { objects(text, limits)? };
    let mut rows = Vec::with_capacity(records.len());
    for (number, members) in records.into_iter().enumerate() {
        let mut row = InputRow::with_capacity(members.len());
        for (key, raw) in members {
            check_value(text, raw, limits, (!single).then_some(number))?;
            let input = if raw.get() == "null" { Input::Null } else { Input::Json(raw.get().to_owned()) };
            row.push((key.into_owned(), input));
        }
        rows.push(row);
    }
    Ok(Rows { rows, single })
}

/// Reads one object.
///
/// # Errors
/// [`Problem`] with line and column.
pub fn object<'a>(text: &'a str, limits: &Limits) -> Result<Members<'a>, Problem> {
    read(text, limits, |fault, reader| ObjectSeed { fault, fields: limits.fields }.deserialize(reader))
}

fn objects<'a>(text: &'a str, limits: &Limits) -> Result<Vec<Members<'a>>, Problem> {
    read(text, limits, |fault, reader| ListSeed { fault, limits }.deserialize(reader))
}

fn read<'a, T>(
    text: &'a str,
    limits: &Limits,
    deserialize: impl FnOnce(&mut Option<Fault>, &mut Reader<'a>) -> Result<T, serde_json::Error>,
) -> Result<T, Problem> {
    let mut fault = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = deserialize(&mut fault, &mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match fault {
            None => Problem::Syntax { part: Part::Body, line, column, expected: Fault::EXPECTED },
            Some(Fault::Duplicate) => Problem::DuplicateKey { line, column },
            Some(Fault::Nul) => Problem::Nul { part: Part::Body, row: None },
            Some(Fault::Rows) => Problem::TooMany { what: "records in one body", max: limits.rows },
            Some(Fault::Fields) => Problem::TooMany { what: "fields in one record", max: limits.fields },
        }
    })
}

type Reader<'a> = serde_json::Deserializer<serde_json::de::StrRead<'a>>;

/// What is wrong with JSON that is well-formed. Beside the error because serde's carries only text.
enum Fault {
    Duplicate,
    Nul,
    Rows,
    Fields,
}

impl Fault {
    const EXPECTED: &'static str = "JSON: an object or a list of objects";
}

struct ObjectSeed<'f> {
    fault: &'f mut Option<Fault>,
    fields: usize,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Members<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Fault::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::with_capacity(8);
        while let Some(Key(key)) = entries.next_key::<Key<'de>>()? {
            let fault = match () {
                () if members.len() >= self.fields => Some(Fault::Fields),
                () if members.iter().any(|(known, _)| *known == key) => Some(Fault::Duplicate),
                () if key.contains('\0') => Some(Fault::Nul),
                () => None,
            };
            if fault.is_some() {
                *self.fault = fault;
                return Err(A::Error::custom(Fault::EXPECTED));
            }
            members.push((key, entries.next_value()?));
        }
        Ok(members)
    }
}

/// A key, borrowed from the text unless it has escapes. (Serde's own `Cow` always copies.)
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Key<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct ListSeed<'f, 'l> {
    fault: &'f mut Option<Fault>,
    limits: &'l Limits,
}

impl<'de> DeserializeSeed<'de> for ListSeed<'_, '_> {
    type Value = Vec<Members<'de>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_, '_> {
    type Value = Vec<Members<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Fault::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        loop {
            let seed = ObjectSeed { fault: &mut *self.fault, fields: self.limits.fields };
            match items.next_element_seed(seed)? {
                None => return Ok(rows),
                Some(_) if rows.len() >= self.limits.rows => {
                    *self.fault = Some(Fault::Rows);
                    return Err(A::Error::custom(Fault::EXPECTED));
                }
                Some(row) => rows.push(row),
            }
        }
    }
}

/// Refuses NUL in strings, and nesting beyond the bound; the object around the value is one level.
pub(crate) fn check_value(text: &str, raw: &RawValue, limits: &Limits, row: Option<usize>) -> Result<(), Problem> {
    let value = raw.get();
    if value.contains("\\u0000") && has_escaped_nul(value) {
        return Err(Problem::Nul { part: Part::Body, row });
    }
    if !value.starts_with(['[', '{']) {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (1_usize, false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth = depth.saturating_add(1),
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits.json_depth {
            let (line, column) = position(text, offset(text, value).saturating_add(at));
            return Err(Problem::TooDeep { max: limits.json_depth, line, column });
        }
    }
    Ok(())
}

/// Whether a `\u0000` is an escape, and not a backslash followed by the letters.
fn has_escaped_nul(value: &str) -> bool {
    value.match_indices("\\u0000").any(|(at, _)| {
        let before = value.as_bytes().get(..at).unwrap_or_default();
        before.iter().rev().take_while(|b| **b == b'\\').count().is_multiple_of(2)
    })
}

/// Where in `text` its part `inner` begins.
pub(crate) fn offset(text: &str, inner: &str) -> usize {
    (inner.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}
