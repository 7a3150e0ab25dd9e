//! JSON in and out. Duplicate keys are refused at every depth; numbers keep their written digits.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Kind, Value, WrongKind};

/// Why a JSON text was refused. Carries positions, never content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or nested deeper than 127 levels, or with a duplicate key.
    #[error("not acceptable JSON at line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed { line: error.line(), column: error.column() }
    }
}

/// Reads a whole JSON value, refusing duplicate keys and NUL in strings.
pub(super) fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let json = Strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Value::Json(json))
}

impl Value {
    /// Reads a JSON value as a value of `kind`; JSON null is [`Value::Null`].
    ///
    /// Takes the raw text, so that 0.10 stays a decimal with two places.
    ///
    /// # Errors
    /// [`WrongKind`] if the JSON is not of that kind.
    pub fn from_json(kind: Kind, raw: &RawValue) -> Result<Self, WrongKind> {
        Self::from_json_text(kind, raw.get())
    }

    /// As [`Self::from_json`], from a text that is one JSON value without white space around it.
    ///
    /// # Errors
    /// [`WrongKind`] if the text is not JSON, or not of that kind.
    pub fn from_json_text(kind: Kind, text: &str) -> Result<Self, WrongKind> {
        let wrong = WrongKind(kind);
        if text == "null" {
            return Ok(Self::Null);
        }
        if kind == Kind::Json {
            return parse(text).map_err(|_| wrong);
        }
        if text.starts_with('"') {
            let inner: String = serde_json::from_str(text).map_err(|_| wrong)?;
            return Self::parse(kind, &inner);
        }
        match kind {
            Kind::Integer | Kind::Boolean => Self::parse(kind, text),
            Kind::Decimal => rust_decimal::Decimal::from_str_exact(text)
                .or_else(|_| rust_decimal::Decimal::from_scientific(text))
                .map(Self::Decimal)
                .map_err(|_| wrong),
            _ => Err(wrong),
        }
    }
}

/// As PostgREST writes it: numbers as JSON numbers with their places, everything else that is not JSON as text.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Boolean(flag) => serializer.serialize_bool(*flag),
            Self::Json(json) => json.serialize(serializer),
            Self::Decimal(number) => {
                let raw = RawValue::from_string(number.to_string()).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            other => serializer.serialize_str(&other.to_text().unwrap_or_default()),
        }
    }
}

/// Deserializes a [`serde_json::Value`] and refuses what serde_json would silently merge.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = serde_json::Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = serde_json::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(serde_json::Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.contains('\0') {
            return Err(E::custom("NUL in a string"));
        }
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key.contains('\0') || object.contains_key(&key) {
                return Err(de::Error::custom("duplicate key or NUL in a key"));
            }
            let value = entries.next_value_seed(Strict)?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}
