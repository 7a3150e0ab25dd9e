//! A JSON object read key by key. Each key is known, there once, and of the right form, or the whole is refused.

use std::borrow::Cow;

use countersign_model::Name;
use serde_json::value::RawValue;

use crate::Limits;
use crate::problem::Problem;
use crate::rest::body::json::{check_value, object, offset};
use crate::rest::body::position;

/// An object whose members are taken one by one.
pub struct Fields<'a> {
    /// The whole body, for line and column.
    whole: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    limits: &'a Limits,
}

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// [`Problem`] with line and column: not JSON, a key twice, a NUL, nested too deep.
    pub fn parse(text: &'a str, limits: &'a Limits) -> Result<Self, Problem> {
        Self::within(text, text, limits)
    }

    fn within(whole: &'a str, text: &'a str, limits: &'a Limits) -> Result<Self, Problem> {
        let members = object(text, limits).map_err(|problem| moved(problem, whole, text))?;
        for (_, raw) in &members {
            check_value(whole, raw, limits, None)?;
        }
        Ok(Self { whole, members, limits })
    }

    fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(known, _)| known == key)?;
        let (_, raw) = self.members.remove(at);
        // Null is the JSON way to say that there is nothing.
        (raw.get() != "null").then_some(raw)
    }

    fn wrong(&self, key: &'static str, raw: &RawValue, expected: &'static str) -> Problem {
        let (line, column) = position(self.whole, offset(self.whole, raw.get()));
        Problem::WrongValue { key, line, column, expected }
    }

    fn read<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Problem> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| self.wrong(key, raw, expected))
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// [`Problem::MissingKey`] or [`Problem::WrongValue`].
    pub fn text(&mut self, key: &'static str) -> Result<String, Problem> {
        self.maybe_text(key)?.ok_or(Problem::MissingKey(key))
    }

    /// A text.
    ///
    /// # Errors
    /// [`Problem::WrongValue`].
    pub fn maybe_text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        self.read(key, "text")
    }

    /// A name that has to be there.
    ///
    /// # Errors
    /// [`Problem::MissingKey`] or [`Problem::WrongValue`].
    pub fn name(&mut self, key: &'static str) -> Result<Name, Problem> {
        self.maybe_name(key)?.ok_or(Problem::MissingKey(key))
    }

    /// A name.
    ///
    /// # Errors
    /// [`Problem::WrongValue`].
    pub fn maybe_name(&mut self, key: &'static str) -> Result<Option<Name>, Problem> {
        self.read(key, "a name: a lower-case letter, then lower-case letters, digits, '_' or '-'")
    }

    /// A list of names.
    ///
    /// # Errors
    /// [`Problem::WrongValue`].
    pub fn names(&mut self, key: &'static str) -> Result<Option<Vec<Name>>, Problem> {
        self.read(key, "a list of names")
    }

    /// A list of texts.
    ///
    /// # Errors
    /// [`Problem::WrongValue`].
    pub fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, Problem> {
        self.read(key, "a list of texts")
    }

    /// True or false.
    ///
    /// # Errors
    /// [`Problem::WrongValue`].
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Problem> {
        self.read(key, "true or false")
    }

    /// Something else that says itself whether it is right.
    ///
    /// # Errors
    /// [`Problem::WrongValue`].
    pub fn parsed<T: std::str::FromStr>(
        &mut self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Problem> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        let text: Option<String> = serde_json::from_str(raw.get()).ok();
        text.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| self.wrong(key, raw, expected))
    }

    /// An object.
    ///
    /// # Errors
    /// [`Problem`] with line and column.
    pub fn object(&mut self, key: &'static str) -> Result<Option<Self>, Problem> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        if !raw.get().starts_with('{') {
            return Err(self.wrong(key, raw, "an object"));
        }
        Self::within(self.whole, raw.get(), self.limits).map(Some)
    }

    /// A list of objects that has to be there.
    ///
    /// # Errors
    /// [`Problem`] with line and column.
    pub fn objects(&mut self, key: &'static str) -> Result<Vec<Self>, Problem> {
        let raw = self.take(key).ok_or(Problem::MissingKey(key))?;
        let wrong = || self.wrong(key, raw, "a list of objects");
        let items: Vec<&'a RawValue> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        if !items.iter().all(|item| item.get().starts_with('{')) {
            return Err(wrong());
        }
        items.into_iter().map(|item| Self::within(self.whole, item.get(), self.limits)).collect()
    }

    /// All members, of which each is a text, a number or a flag under a name. Consumes the object.
    ///
    /// # Errors
    /// [`Problem::WrongValue`] for `key`, which this object is the value of.
    pub fn into_texts(self, key: &'static str) -> Result<Vec<(Name, String)>, Problem> {
        let mut out = Vec::with_capacity(self.members.len());
        for (member, raw) in &self.members {
            let value = match raw.get() {
                text if text.starts_with('"') => serde_json::from_str(text).ok(),
                text if text.starts_with(['[', '{']) || text == "null" => None,
                plain => Some(plain.to_owned()),
            };
            match (Name::new(member), value) {
                (Ok(name), Some(value)) => out.push((name, value)),
                _ => return Err(self.wrong(key, raw, "texts, numbers or flags under names")),
            }
        }
        Ok(out)
    }

    /// Refuses whatever was not taken.
    ///
    /// # Errors
    /// [`Problem::UnknownKey`] with what is known instead.
    pub fn finish(self, known: &'static str) -> Result<(), Problem> {
        let Some((_, raw)) = self.members.first() else { return Ok(()) };
        // The key stands before its value; its line is what helps to find it.
        let (line, column) = position(self.whole, offset(self.whole, raw.get()));
        Err(Problem::UnknownKey { line, column, known })
    }
}

/// Positions inside `inner` become positions inside `whole`.
fn moved(problem: Problem, whole: &str, inner: &str) -> Problem {
    let (line_before, column_before) = position(whole, offset(whole, inner));
    let shift = |line: usize, column: usize| match line {
        1 => (line_before, column_before.saturating_add(column).saturating_sub(1)),
        more => (line_before.saturating_add(more).saturating_sub(1), column),
    };
    match problem {
        Problem::Syntax { part, line, column, expected } => {
            let (line, column) = shift(line, column);
            Problem::Syntax { part, line, column, expected }
        }
        Problem::DuplicateKey { line, column } => {
            let (line, column) = shift(line, column);
            Problem::DuplicateKey { line, column }
        }
        other => other,
    }
}
