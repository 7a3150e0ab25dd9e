//! Names of tenants, users, types, fields, roles and tags of policy.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name: a lower-case ASCII letter, then letters, digits, `_` or `-`, at most [`Name::MAX_BYTES`] in all.
///
/// Cheap to clone. The alphabet needs no quoting in a URL, in SQL, in Cedar or in a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is a lower-case letter followed by at most 62 lower-case letters, digits, '_' or '-'")]
pub struct NotAName;

impl Name {
    /// The longest name.
    pub const MAX_BYTES: usize = 63;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`NotAName`] if the text breaks the rule above.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        let starts_well = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on_well = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if starts_well && goes_on_well && text.len() <= Self::MAX_BYTES { Ok(Self(text.into())) } else { Err(NotAName) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared rather than copied.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_narrow_alphabet() {
        for good in ["a", "invoice_line", "chinook", "r2-d2"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "_a", "a b", "a\0", "é", "a.b", &"a".repeat(64)] {
            assert_eq!(Name::new(bad), Err(NotAName), "{bad}");
        }
    }
}
