//! JSON read strictly: no key twice in an object, at any depth.
//!
//! Parsers differ in which of two equal keys they believe; a signed text that says both says nothing.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Parses the whole of `bytes`.
///
/// `None` for anything that isn't valid JSON (RFC 8259), repeats a key, or doesn't fit `T`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Unrepeated.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    serde_json::from_slice(bytes).ok()
}

/// Walks a value and keeps nothing but the keys of the objects it is in.
struct Unrepeated;

impl<'de> DeserializeSeed<'de> for Unrepeated {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unrepeated {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("repeated key"));
            }
            map.next_value_seed(Self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_refused_at_any_depth_however_they_are_spelt() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"a":{"b":null,"c":[],"b":1}}]"#,
            r#"{"x":{},"y":{"z":1.5,"z":true}}"#,
        ] {
            assert!(parse::<serde_json::Value>(text.as_bytes()).is_none(), "{text}");
        }
        for text in [r#"{"a":{"a":1},"b":{"a":[1,-2,"x",null]}}"#, "[]", "1"] {
            assert!(parse::<serde_json::Value>(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn trailing_text_invalid_utf8_and_deep_nesting_are_refused() {
        assert!(parse::<serde_json::Value>(b"{} {}").is_none());
        assert!(parse::<serde_json::Value>(b"\"\xff\"").is_none());
        assert!(parse::<serde_json::Value>("[".repeat(4000).as_bytes()).is_none());
        let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_none());
    }
}
