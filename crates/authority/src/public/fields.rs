//! A JSON object or a form, read member by member. Each is known, there once, and of the right form, or the whole is
//! refused: a limit that was misspelt must not give a token without it.

use std::fmt;
use std::str::FromStr;

use countersign_model::Name;
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reply::Trouble;

/// The most members of one object or form.
const MEMBERS_MAX: usize = 64;

/// An object whose members are taken one by one.
pub(super) struct Fields<'a> {
    /// The whole body, for line and column.
    whole: &'a str,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Trouble> {
        Self::within(text, text)
    }

    fn within(whole: &'a str, text: &'a str) -> Result<Self, Trouble> {
        let mut fault = None;
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = Members(&mut fault).deserialize(&mut reader).and_then(|found| reader.end().map(|()| found));
        let members = members.map_err(|error| {
            let (line, column) = moved(whole, text, error.line(), error.column());
            match fault {
                None => Trouble::syntax(line, column),
                Some(Fault::Repeated) => Trouble::repeated_key(line, column),
                Some(Fault::TooMany) => Trouble::too_many_keys(MEMBERS_MAX),
            }
        })?;
        Ok(Self { whole, members })
    }

    fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(known, _)| known == key)?;
        let (_, raw) = self.members.remove(at);
        // Null is the JSON way to say that there is nothing.
        (raw.get() != "null").then_some(raw)
    }

    fn wrong(&self, key: &str, raw: &RawValue, expected: &str) -> Trouble {
        let (line, column) = position(self.whole, offset(self.whole, raw.get()));
        Trouble::wrong_value(key, line, column, expected)
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Result<Option<T>, Trouble> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| self.wrong(key, raw, expected))
    }

    pub(super) fn text(&mut self, key: &str) -> Result<String, Trouble> {
        self.maybe_text(key)?.ok_or_else(|| Trouble::missing_key(key))
    }

    pub(super) fn maybe_text(&mut self, key: &str) -> Result<Option<String>, Trouble> {
        let text: Option<String> = self.read(key, "text")?;
        if text.as_deref().is_some_and(|text| text.contains('\0')) { Err(Trouble::nul()) } else { Ok(text) }
    }

    pub(super) fn name(&mut self, key: &str) -> Result<Name, Trouble> {
        self.maybe_name(key)?.ok_or_else(|| Trouble::missing_key(key))
    }

    pub(super) fn maybe_name(&mut self, key: &str) -> Result<Option<Name>, Trouble> {
        self.read(key, "a name: a lower-case letter, then lower-case letters, digits, '_' or '-'")
    }

    pub(super) fn names(&mut self, key: &str) -> Result<Option<Vec<Name>>, Trouble> {
        self.read(key, "a list of names")
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Trouble> {
        self.read(key, "a list of texts")
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Trouble> {
        self.read(key, "true or false")
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>, Trouble> {
        self.read(key, "a whole number, zero or more")
    }

    /// Something else that says itself whether it is right.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Result<Option<T>, Trouble> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        let text: Option<String> = serde_json::from_str(raw.get()).ok();
        text.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| self.wrong(key, raw, expected))
    }

    pub(super) fn maybe_objects(&mut self, key: &str) -> Result<Option<Vec<Self>>, Trouble> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        let wrong = || self.wrong(key, raw, "a list of objects");
        let items: Vec<&'a RawValue> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        if !items.iter().all(|item| item.get().starts_with('{')) {
            return Err(wrong());
        }
        let objects: Result<Vec<Self>, Trouble> =
            items.into_iter().map(|item| Self::within(self.whole, item.get())).collect();
        objects.map(Some)
    }

    /// Refuses whatever was not taken.
    pub(super) fn finish(self, known: &str) -> Result<(), Trouble> {
        let Some((_, raw)) = self.members.first() else { return Ok(()) };
        // The key stands before its value; its line is what helps to find it.
        let (line, column) = position(self.whole, offset(self.whole, raw.get()));
        Err(Trouble::unknown_key(line, column, known))
    }
}

/// What is wrong with JSON that is well-formed. Beside the error because serde's carries only text.
enum Fault {
    Repeated,
    TooMany,
}

struct Members<'f>(&'f mut Option<Fault>);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<(String, &'de RawValue)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::with_capacity(8);
        while let Some(key) = entries.next_key::<String>()? {
            *self.0 = match () {
                () if members.len() >= MEMBERS_MAX => Some(Fault::TooMany),
                () if members.iter().any(|(known, _)| *known == key) => Some(Fault::Repeated),
                () => None,
            };
            if self.0.is_some() {
                return Err(A::Error::custom(""));
            }
            members.push((key, entries.next_value()?));
        }
        Ok(members)
    }
}

/// Members of a form or of a JSON object, where an endpoint takes both.
pub(super) enum Source<'a> {
    Form(Vec<(String, String)>),
    Json(Fields<'a>),
}

impl<'a> Source<'a> {
    pub(super) fn read(media: Option<&str>, body: &'a str) -> Result<Self, Trouble> {
        match media {
            Some("application/x-www-form-urlencoded") => read_form(body).map(Self::Form),
            None if body.is_empty() => Ok(Self::Form(Vec::new())),
            None | Some("application/json") => Fields::parse(body).map(Self::Json),
            Some(_) => Err(Trouble::media()),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Trouble> {
        match self {
            Self::Json(fields) => fields.maybe_text(key),
            Self::Form(pairs) => {
                let at = pairs.iter().position(|(known, _)| known == key);
                // RFC 6749, section 3.1: a parameter without a value counts as left out.
                Ok(at.map(|at| pairs.swap_remove(at).1).filter(|value| !value.is_empty()))
            }
        }
    }

    pub(super) fn seconds(&mut self, key: &str) -> Result<Option<u64>, Trouble> {
        match self {
            Self::Json(fields) => fields.number(key),
            form @ Self::Form(_) => match form.text(key)? {
                None => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| Trouble::request("expires_in takes seconds")),
            },
        }
    }

    pub(super) fn finish(self, known: &str) -> Result<(), Trouble> {
        match self {
            Self::Json(fields) => fields.finish(known),
            Self::Form(pairs) if pairs.is_empty() => Ok(()),
            Self::Form(_) => Err(Trouble::unknown_key(1, 1, known)),
        }
    }
}

fn read_form(body: &str) -> Result<Vec<(String, String)>, Trouble> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in body.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decode(key)?;
        if pairs.len() >= MEMBERS_MAX || pairs.iter().any(|(known, _)| *known == key) {
            return Err(Trouble::repeated_parameter());
        }
        pairs.push((key, decode(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, Trouble> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| Trouble::not_utf8())?;
    if decoded.contains('\0') { Err(Trouble::nul()) } else { Ok(decoded.into_owned()) }
}

/// Where `inner`, a part of `whole`, begins.
fn offset(whole: &str, inner: &str) -> usize {
    (inner.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len())
}

/// Line and column, from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let column = before.get(start..).unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

/// A position inside `inner` as one inside `whole`.
fn moved(whole: &str, inner: &str, line: usize, column: usize) -> (usize, usize) {
    let (line_before, column_before) = position(whole, offset(whole, inner));
    match line {
        1 => (line_before, column_before.saturating_add(column).saturating_sub(1)),
        more => (line_before.saturating_add(more).saturating_sub(1), column),
    }
}
