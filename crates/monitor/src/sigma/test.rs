//! What a rule asks of one field.

use crate::event::FieldValue;

/// What is asked of one field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// The field is there, or is not.
    Exists(bool),
    /// It is a number that compares so.
    Number(Compare, i64),
    /// It is this text, with wildcards perhaps.
    Text(Pattern),
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Compare {
    pub(super) const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Gt => left > right,
            Self::Gte => left >= right,
            Self::Lt => left < right,
            Self::Lte => left <= right,
        }
    }
}

impl Test {
    /// Whether a value passes. What is not there passes only where that is asked for.
    pub(super) fn passes(&self, value: Option<&FieldValue>) -> bool {
        match (self, value) {
            (Self::Exists(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (Self::Number(compare, right), Some(FieldValue::Number(left))) => compare.holds(*left, *right),
            (Self::Number(..), Some(_)) => false,
            (Self::Text(pattern), Some(value)) => pattern.matches(value),
        }
    }
}

/// A text with wildcards, compared without regard to the case of ASCII letters unless it is `cased`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// Set where there is no wildcard.
    exact: Option<String>,
    number: Option<i64>,
    is_cased: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `?`: one byte.
    One,
    /// `*`: any number of them.
    Many,
}

/// Where the text may stand in the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Whole,
    Anywhere,
    Start,
    End,
}

impl Pattern {
    /// Reads a value of a rule: `*` and `?` are wildcards unless a backslash is before them.
    pub(super) fn new(text: &str, place: Place, is_cased: bool) -> Self {
        let mut parts = Vec::with_capacity(text.len().saturating_add(2));
        if matches!(place, Place::Anywhere | Place::End) {
            parts.push(Part::Many);
        }
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                b'\\' => match bytes.next_if(|next| matches!(next, b'*' | b'?' | b'\\')) {
                    Some(escaped) => Part::Byte(escaped),
                    None => Part::Byte(byte),
                },
                b'*' => Part::Many,
                b'?' => Part::One,
                byte => Part::Byte(byte),
            });
        }
        if matches!(place, Place::Anywhere | Place::Start) {
            parts.push(Part::Many);
        }
        let literal: Option<Vec<u8>> = parts
            .iter()
            .map(|part| match part {
                Part::Byte(byte) => Some(*byte),
                Part::One | Part::Many => None,
            })
            .collect();
        let exact = literal.and_then(|bytes| String::from_utf8(bytes).ok());
        let number = exact.as_ref().and_then(|text| text.parse().ok());
        Self { parts, exact, number, is_cased }
    }

    fn matches(&self, value: &FieldValue) -> bool {
        match (&self.exact, value) {
            (Some(exact), FieldValue::Text(text)) if self.is_cased => exact == text,
            (Some(exact), FieldValue::Text(text)) => exact.eq_ignore_ascii_case(text),
            (Some(_), FieldValue::Number(number)) => self.number == Some(*number),
            (Some(exact), FieldValue::Bool(is)) => exact.eq_ignore_ascii_case(if *is { "true" } else { "false" }),
            (None, value) => self.matches_text(value.text().as_bytes()),
        }
    }

    /// Goes back to the last `*` whenever it gets stuck, so it takes at most length times length steps.
    fn matches_text(&self, text: &[u8]) -> bool {
        let (mut part, mut at) = (0usize, 0usize);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = text.get(at) {
            let fits = match self.parts.get(part) {
                Some(Part::Byte(wanted)) if self.is_cased => wanted == byte,
                Some(Part::Byte(wanted)) => wanted.eq_ignore_ascii_case(byte),
                Some(Part::One) => true,
                Some(Part::Many) => {
                    star = Some((part, at));
                    part = part.saturating_add(1);
                    continue;
                }
                None => false,
            };
            if fits {
                (part, at) = (part.saturating_add(1), at.saturating_add(1));
            } else if let Some((of, from)) = star {
                let from = from.saturating_add(1);
                star = Some((of, from));
                (part, at) = (of.saturating_add(1), from);
            } else {
                return false;
            }
        }
        self.parts.get(part..).unwrap_or_default().iter().all(|part| *part == Part::Many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, place: Place, text: &str) -> bool {
        Pattern::new(pattern, place, false).matches(&FieldValue::from(text))
    }

    #[test]
    fn wildcards() {
        assert!(matches("not_permitted", Place::Whole, "NOT_permitted"));
        assert!(!matches("not_permitted", Place::Whole, "not_permitted2"));
        assert!(matches("a*c?e", Place::Whole, "abbbcde") && !matches("a*c?e", Place::Whole, "abbbce"));
        assert!(matches("*ab*ab", Place::Whole, "aabxabab") && !matches("*ab*ab", Place::Whole, "aabxaba"));
        assert!(matches("b", Place::Anywhere, "abc") && !matches("b", Place::Start, "abc"));
        assert!(matches("c", Place::End, "abc") && matches("", Place::Anywhere, ""));
        assert!(matches(r"a\*b", Place::Whole, "a*b") && !matches(r"a\*b", Place::Whole, "axb"));
        assert!(matches(r"a\\b\c", Place::Whole, r"a\b\c"));
    }

    #[test]
    fn numbers_and_flags_are_written_as_text() {
        let passes = |text: &str, value: FieldValue| Pattern::new(text, Place::Whole, false).matches(&value);
        assert!(passes("5", FieldValue::Number(5)) && !passes("5", FieldValue::Number(55)));
        assert!(passes("5*", FieldValue::Number(55)));
        assert!(passes("true", FieldValue::Bool(true)) && !passes("true", FieldValue::Bool(false)));
        assert!(!Pattern::new("A", Place::Whole, true).matches(&FieldValue::from("a")));
        assert!(Test::Exists(false).passes(None) && !Test::Number(Compare::Gt, 1).passes(None));
        assert!(!Test::Number(Compare::Gt, 1).passes(Some(&FieldValue::from("2"))), "a text is no number");
    }
}
