//! Strict CSV (RFC 4180): a header line of field names, then records with as many cells.
//!
//! An unquoted empty cell is null, and so is an unquoted `NULL`, as PostgREST has it; `""` is empty text. A byte
//! order mark at the beginning is passed over, a quote inside an unquoted cell is not.

use std::borrow::Cow;

use countersign_model::request::{Input, InputRow};

use super::position;
use crate::Limits;
use crate::problem::{Part, Problem};

/// Reads a whole file.
///
/// ```
/// use countersign_door_http::{Limits, rest::body::csv};
/// let rows = csv::rows("id,company\nALFKI,\"Alfreds, Futterkiste\"\n", &Limits::default()).unwrap();
/// assert_eq!(rows.len(), 1);
/// ```
///
/// # Errors
/// [`Problem`] with line and column.
pub fn rows(text: &str, limits: &Limits) -> Result<Vec<InputRow>, Problem> {
    let mut reader = Reader::new(text);
    let header = header(&mut reader, limits)?;
    let mut rows = Vec::new();
    while let Some(row) = record(&mut reader, &header)? {
        if rows.len() >= limits.rows {
            return Err(Problem::TooMany { what: "records in one body", max: limits.rows });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Reads the header line: field names, each once.
///
/// # Errors
/// [`Problem`] with line and column.
pub fn header(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<String>, Problem> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let start = reader.at;
        let cell = reader.cell()?;
        let name = cell.text.trim_matches(' ');
        if name.is_empty() {
            return Err(reader.expected_at(start, "a field name"));
        }
        if names.iter().any(|known| known == name) {
            let (line, column) = position(reader.text, start);
            return Err(Problem::DuplicateKey { line, column });
        }
        if names.len() >= limits.fields {
            return Err(Problem::TooMany { what: "fields in one record", max: limits.fields });
        }
        names.push(name.to_owned());
        if cell.last {
            return Ok(names);
        }
    }
}

/// Reads one record, or `None` at the end. Blank lines between records are passed over.
///
/// # Errors
/// [`Problem`] with line and column.
pub fn record(reader: &mut Reader<'_>, header: &[String]) -> Result<Option<InputRow>, Problem> {
    if header.len() > 1 {
        reader.skip_blank_lines();
    }
    if reader.at_end() {
        return Ok(None);
    }
    let mut row = InputRow::with_capacity(header.len());
    for (number, name) in header.iter().enumerate() {
        let cell = reader.cell()?;
        let input = match &*cell.text {
            "" | "NULL" if !cell.quoted => Input::Null,
            text => Input::Text(text.to_owned()),
        };
        row.push((name.clone(), input));
        let due = number.saturating_add(1) == header.len();
        if cell.last != due {
            let expected = if due {
                "as many cells as the header line has, not more"
            } else {
                "as many cells as the header line has"
            };
            return Err(reader.expected_at(cell.start, expected));
        }
    }
    Ok(Some(row))
}

/// Reads CSV cell by cell.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

struct Cell<'a> {
    text: Cow<'a, str>,
    start: usize,
    quoted: bool,
    /// Whether the record ends after it.
    last: bool,
}

impl<'a> Reader<'a> {
    /// From the beginning of a text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at }
    }

    /// The line of the place reached, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        position(self.text, self.at).0
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    const fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.at = self.at.saturating_add(taken.len());
        taken
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.take(word.len());
        }
        found
    }

    fn eat_newline(&mut self) -> bool {
        self.eat("\n") || self.eat("\r\n")
    }

    fn skip_blank_lines(&mut self) {
        while self.eat_newline() {}
    }

    fn expected_at(&self, at: usize, expected: &'static str) -> Problem {
        let (line, column) = position(self.text, at);
        Problem::Syntax { part: Part::Body, line, column, expected }
    }

    fn cell(&mut self) -> Result<Cell<'a>, Problem> {
        let start = self.at;
        let quoted = self.eat("\"");
        let text = if quoted { self.rest_of_quoted(start)? } else { self.unquoted()? };
        if text.contains('\0') {
            return Err(self.expected_at(start, "text without NUL"));
        }
        if self.eat(",") {
            return Ok(Cell { text, start, quoted, last: false });
        }
        if self.at_end() || self.eat_newline() {
            return Ok(Cell { text, start, quoted, last: true });
        }
        Err(self.expected_at(self.at, "',' or the end of the line after a quoted cell"))
    }

    fn unquoted(&mut self) -> Result<Cow<'a, str>, Problem> {
        let rest = self.rest();
        let mut length = rest.find([',', '\n', '"']).unwrap_or(rest.len());
        let stop = rest.as_bytes().get(length).copied();
        if stop == Some(b'"') {
            return Err(
                self.expected_at(self.at.saturating_add(length), "quotes around the whole cell, doubled inside")
            );
        }
        if stop != Some(b',') && rest.get(..length).is_some_and(|cell| cell.ends_with('\r')) {
            length = length.saturating_sub(1);
        }
        let text = self.take(length);
        if stop.is_none() {
            self.eat("\r");
        }
        Ok(Cow::Borrowed(text))
    }

    fn rest_of_quoted(&mut self, start: usize) -> Result<Cow<'a, str>, Problem> {
        let mut out = Cow::Borrowed("");
        loop {
            let Some(length) = self.rest().find('"') else {
                return Err(self.expected_at(start, "a closing quote for this cell"));
            };
            let part = self.take(length);
            if out.is_empty() {
                out = Cow::Borrowed(part);
            } else {
                out.to_mut().push_str(part);
            }
            self.take(1);
            if !self.eat("\"") {
                return Ok(out);
            }
            out.to_mut().push('"');
        }
    }
}
