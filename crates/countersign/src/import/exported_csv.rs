//! Rows of a CSV file that an export wrote (RFC 4180): an empty cell is null, `""` is empty text. The reader of other CSV
//! files can't tell the two apart.

use std::io::BufRead;

use super::check::{Checker, Given};
use super::{Bad, Row};
use crate::problem::Problem;

/// The longest row, in bytes; far more than a request may have.
const MAX_ROW: usize = 1 << 28;

pub(super) struct ExportedCsv<'c, 'a, R> {
    reader: R,
    line: u64,
    header: Vec<String>,
    checker: &'c mut Checker<'a>,
    name: String,
}

/// A row as it stands in the file.
struct Record {
    line: u64,
    bytes: Vec<u8>,
}

impl<'c, 'a, R: BufRead> ExportedCsv<'c, 'a, R> {
    pub(super) fn open(reader: R, name: &str, checker: &'c mut Checker<'a>) -> Result<Self, Problem> {
        let mut rows = Self { reader, line: 1, header: Vec::new(), checker, name: name.to_owned() };
        let bad = || Problem::input(format!("{name}: line 1: there is no header row"));
        let first = rows.record()?.ok_or_else(bad)?;
        let cells = cells(&first.bytes).ok_or_else(bad)?;
        for (place, cell) in cells.into_iter().enumerate() {
            let text = cell.ok_or_else(bad)?;
            let wrong =
                |why: &str| Problem::input(format!("{name}: line 1, column {}: {why}", place.saturating_add(1)));
            if rows.header.contains(&text) {
                return Err(wrong("the field is named twice"));
            }
            if let Some(fault) = rows.checker.name_fault(&text) {
                return Err(wrong(&fault));
            }
            rows.header.push(text);
        }
        Ok(rows)
    }

    /// Up to the first line end that is not inside quotes.
    fn record(&mut self) -> Result<Option<Record>, Problem> {
        let unreadable = |why: &dyn std::fmt::Display| Problem::failed(format!("{} can't be read: {why}", self.name));
        let (line, mut bytes, mut quotes) = (self.line, Vec::new(), 0usize);
        loop {
            let from = bytes.len();
            let read = self.reader.read_until(b'\n', &mut bytes).map_err(|error| unreadable(&error))?;
            if read == 0 {
                return Ok((!bytes.is_empty()).then_some(Record { line, bytes }));
            }
            self.line = self.line.saturating_add(1);
            let new = bytes.get(from..).unwrap_or_default();
            quotes = quotes.saturating_add(new.iter().filter(|byte| **byte == b'"').count());
            if quotes.is_multiple_of(2) {
                return Ok(Some(Record { line, bytes }));
            }
            if bytes.len() > MAX_ROW {
                return Err(unreadable(&"a row does not end"));
            }
        }
    }

    fn judge(&mut self, record: &Record) -> Row {
        let bad = |column: Option<String>, expected: String| Bad {
            line: record.line,
            column,
            expected,
            original: record.bytes.clone(),
        };
        let cells = cells(&record.bytes).ok_or_else(|| bad(None, "expected a row of CSV in UTF-8".to_owned()))?;
        if cells.len() != self.header.len() {
            let (wanted, has) = (self.header.len(), cells.len());
            return Err(bad(None, format!("expected {wanted} cells, the line has {has}")));
        }
        let given = self
            .header
            .iter()
            .zip(&cells)
            .map(|(name, cell)| (name.as_str(), cell.as_deref().map_or(Given::Null, Given::Exactly)));
        self.checker.row(record.line, given).map_err(|fault| bad(fault.field, fault.expected))
    }
}

impl<R: BufRead> Iterator for ExportedCsv<'_, '_, R> {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.record().transpose()?;
        Some(record.map(|record| self.judge(&record)))
    }
}

/// The cells of a row; `None` if it is none.
fn cells(record: &[u8]) -> Option<Vec<Option<String>>> {
    let text = std::str::from_utf8(record).ok()?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        let after = if let Some(inside) = rest.strip_prefix('"') {
            let (cell, after) = quoted(inside)?;
            cells.push(Some(cell));
            after
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (cell, after) = rest.split_at_checked(end)?;
            if cell.contains('"') {
                return None;
            }
            cells.push((!cell.is_empty()).then(|| cell.to_owned()));
            after
        };
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(cells),
            None => return None,
        }
    }
}

/// What stands up to the closing quote, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                rest = more;
            }
            None => return Some((cell, after)),
        }
    }
}
