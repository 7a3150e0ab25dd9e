//! Paths with a query string (RFC 3986).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in a value as it is. Everything else is encoded, so no value can end the value.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'*')
    .remove(b',')
    .remove(b'(')
    .remove(b')')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// What may stand in one part of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path that grows a query string.
#[derive(Debug, Clone)]
pub struct Query {
    text: String,
    begun: bool,
}

impl Query {
    /// The path alone.
    #[must_use]
    pub const fn new(path: String) -> Self {
        Self { text: path, begun: false }
    }

    /// Adds a parameter.
    pub fn add(&mut self, name: &str, value: &str) {
        self.text.push(if self.begun { '&' } else { '?' });
        self.begun = true;
        self.text.extend(utf8_percent_encode(name, VALUE));
        self.text.push('=');
        self.text.extend(utf8_percent_encode(value, VALUE));
    }

    /// The path and its query.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One part of a path.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_the_value() {
        let mut query = Query::new("/rest/v1/customer".to_owned());
        query.add("company", "eq.A&B=C#D é");
        query.add("select", "*,invoice(total)");
        assert_eq!(query.text(), "/rest/v1/customer?company=eq.A%26B%3DC%23D%20%C3%A9&select=*,invoice(total)");
    }
}
