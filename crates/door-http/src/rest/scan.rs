//! Reading a parameter's text from left to right.

use std::borrow::Cow;

use crate::problem::{Part, Problem};

/// A place in a text. Positions in errors are in characters, counted only when an error is made.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    part: Part,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(part: Part, text: &'a str) -> Self {
        Self { text, at: 0, part }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn starts_with(&self, word: &str) -> bool {
        self.rest().starts_with(word)
    }

    pub(super) fn eat(&mut self, word: &str) -> bool {
        let found = self.starts_with(word);
        if found {
            self.skip(word.len());
        }
        found
    }

    pub(super) fn expect(&mut self, word: &'static str, expected: &'static str) -> Result<(), Problem> {
        if self.eat(word) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.text.len());
    }

    /// Takes everything up to the first character that `stop` wants, which may be nothing.
    pub(super) fn until(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(stop).unwrap_or(rest.len());
        self.skip(length);
        rest.get(..length).unwrap_or_default()
    }

    pub(super) fn take_rest(&mut self) -> &'a str {
        self.until(|_| false)
    }

    /// The place reached, for [`Self::expected_at`].
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    pub(super) fn expected(&self, expected: &'static str) -> Problem {
        self.expected_at(self.at, expected)
    }

    pub(super) fn expected_at(&self, place: usize, expected: &'static str) -> Problem {
        let before = self.text.get(..place).unwrap_or_default();
        Problem::Syntax { part: self.part, line: 1, column: before.chars().count().saturating_add(1), expected }
    }

    /// A double-quoted text in which a backslash takes the next character as it is.
    pub(super) fn quoted(&mut self) -> Result<String, Problem> {
        self.expect("\"", "a double quote")?;
        let mut out = String::new();
        loop {
            out.push_str(self.until(|c| c == '"' || c == '\\'));
            if self.eat("\"") {
                return Ok(out);
            }
            let mut escaped = self.rest().chars().skip(1);
            let Some(next) = escaped.next().filter(|_| self.peek() == Some(b'\\')) else {
                return Err(self.expected("a closing double quote"));
            };
            out.push(next);
            self.skip(next.len_utf8().saturating_add(1));
        }
    }

    /// The name of a field, type or alias, quoted or plain. Whether it exists is not this door's business.
    pub(super) fn name(&mut self, expected: &'static str) -> Result<Cow<'a, str>, Problem> {
        let start = self.at;
        let name = if self.peek() == Some(b'"') {
            Cow::Owned(self.quoted()?)
        } else {
            let rest = self.rest();
            let bytes = rest.as_bytes();
            let follows = |at: usize| at.checked_add(1).and_then(|next| bytes.get(next)).copied();
            // A dash belongs to the name unless it begins a JSON path.
            let inside = |at: usize, c: char| {
                c.is_alphanumeric() || matches!(c, '_' | ' ' | '$') || (c == '-' && follows(at) != Some(b'>'))
            };
            let length = rest.char_indices().find(|&(at, c)| !inside(at, c)).map_or(rest.len(), |(at, _)| at);
            self.skip(length);
            Cow::Borrowed(rest.get(..length).unwrap_or_default().trim_matches(' '))
        };
        if name.is_empty() {
            self.at = start;
            return Err(self.expected(expected));
        }
        Ok(name)
    }

    /// Refuses what PostgREST allows after a field's name and Countersign does not.
    pub(super) fn refuse_extensions(&self) -> Result<(), Problem> {
        if self.starts_with("->") {
            return Err(Problem::Unsupported("JSON paths (-> and ->>)"));
        }
        if self.starts_with("::") {
            return Err(Problem::Unsupported("casts (::type); values are given in their field's own kind"));
        }
        Ok(())
    }
}
