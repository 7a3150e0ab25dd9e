//! Rows of a CSV file with a header row (RFC 4180). An empty cell is null.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::check::{Checker, Given};
use super::lines::{Lines, Watched};
use super::{Bad, Row};
use crate::problem::Problem;

pub(super) struct CsvRows<'c, 'a, R> {
    reader: Reader<Watched<R>>,
    lines: Lines,
    header: Vec<String>,
    checker: &'c mut Checker<'a>,
    name: String,
}

impl<'c, 'a, R: Read> CsvRows<'c, 'a, R> {
    pub(super) fn open(input: R, name: &str, checker: &'c mut Checker<'a>) -> Result<Self, Problem> {
        let (input, lines) = Watched::new(input);
        let mut reader = ReaderBuilder::new().flexible(true).terminator(Terminator::CRLF).from_reader(input);
        let bad = |column: usize, why: &str| {
            Problem::input(format!("{name}: line 1, column {}: {why}", column.saturating_add(1)))
                .next("the first line must name the fields, separated by commas")
        };
        let first = reader.byte_headers().map_err(|error| unreadable(name, &error))?.clone();
        let mut header: Vec<String> = Vec::with_capacity(first.len());
        for (place, cell) in first.iter().enumerate() {
            let text = std::str::from_utf8(cell).map_err(|_| bad(place, "expected UTF-8"))?;
            let text = if place == 0 { text.trim_start_matches('\u{feff}') } else { text };
            if header.iter().any(|earlier| earlier == text) {
                return Err(bad(place, "the field is named twice"));
            }
            if let Some(fault) = checker.name_fault(text) {
                return Err(bad(place, &fault));
            }
            header.push(text.to_owned());
        }
        if header.is_empty() || header.iter().all(String::is_empty) {
            return Err(bad(0, "there is no header row"));
        }
        Ok(Self { reader, lines, header, checker, name: name.to_owned() })
    }

    fn judge(&mut self, record: &ByteRecord) -> Row {
        let line = record.position().map_or(0, |place| self.lines.line(place.byte()));
        let bad = |column: Option<usize>, expected: String| {
            let named = |place: usize| match self.header.get(place) {
                Some(name) => format!("{} ({name})", place.saturating_add(1)),
                None => place.saturating_add(1).to_string(),
            };
            Bad { line, column: column.map(named), expected, original: original(record) }
        };
        if record.len() != self.header.len() {
            let at = record.len().min(self.header.len());
            return Err(bad(Some(at), format!("expected {} cells, the line has {}", self.header.len(), record.len())));
        }
        let mut cells = Vec::with_capacity(record.len());
        for (place, cell) in record.iter().enumerate() {
            cells.push(std::str::from_utf8(cell).map_err(|_| bad(Some(place), "expected UTF-8".to_owned()))?);
        }
        let given = self.header.iter().zip(&cells).map(|(name, cell)| (name.as_str(), Given::Text(cell)));
        match self.checker.row(line, given) {
            Ok(good) => Ok(good),
            Err(fault) => {
                let place = fault.field.as_ref().and_then(|field| self.header.iter().position(|name| name == field));
                let Bad { line, column, expected, original } = bad(place, fault.expected);
                Err(Bad { line, column: column.or(fault.field), expected, original })
            }
        }
    }
}

impl<R: Read> Iterator for CsvRows<'_, '_, R> {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = ByteRecord::new();
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => Some(Ok(self.judge(&record))),
            Ok(false) => None,
            Err(error) => Some(Err(unreadable(&self.name, &error))),
        }
    }
}

/// The header row as a line, for the file that bad rows are collected in.
pub(super) fn header_line(input: impl Read) -> Vec<u8> {
    let mut reader = ReaderBuilder::new().from_reader(input);
    reader.byte_headers().map(original).unwrap_or_default()
}

fn original(record: &ByteRecord) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    match writer.write_byte_record(record) {
        Ok(()) => writer.into_inner().unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

fn unreadable(name: &str, error: &csv::Error) -> Problem {
    Problem::failed(format!("{name} can't be read: {error}"))
}
