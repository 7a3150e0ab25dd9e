//! Where rows come from. A source can be read more than once.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use super::Row;
use super::check::Checker;
use super::csv_rows::{CsvRows, header_line};
use super::exported_csv::ExportedCsv;
use super::json_rows::JsonRows;
use crate::problem::{Problem, io};

/// What the rows are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated, with a header row.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, as exports are: an empty cell is null, `""` is empty text.
    #[value(skip)]
    ExportedCsv,
}

impl Format {
    /// The format that a file's name says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Rows in a file or in memory.
pub struct Source {
    name: String,
    format: Format,
    bytes: Bytes,
}

enum Bytes {
    File(PathBuf),
    Memory(Vec<u8>),
}

impl Source {
    /// The rows in a file.
    #[must_use]
    pub fn file(path: &Path, format: Format) -> Self {
        Self { name: path.display().to_string(), format, bytes: Bytes::File(path.to_owned()) }
    }

    /// Rows that are in memory, because they can be read only once or came with the program.
    #[must_use]
    pub fn memory(name: &str, format: Format, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), format, bytes: Bytes::Memory(bytes) }
    }

    /// What the source is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<Box<dyn Read + Send + '_>, Problem> {
        Ok(match &self.bytes {
            Bytes::File(path) => Box::new(File::open(path).map_err(io("read", path))?),
            Bytes::Memory(bytes) => Box::new(Cursor::new(bytes)),
        })
    }

    /// What has to stand before rows in a file of the same format.
    ///
    /// # Errors
    /// If the source can't be read.
    pub fn preamble(&self) -> Result<Vec<u8>, Problem> {
        match self.format {
            Format::Csv | Format::ExportedCsv => Ok(header_line(self.open()?)),
            Format::Ndjson => Ok(Vec::new()),
        }
    }

    /// The rows from the beginning, judged.
    ///
    /// # Errors
    /// If the source can't be read, or its header row is not one of the type.
    pub fn rows<'s>(
        &'s self,
        checker: &'s mut Checker<'_>,
    ) -> Result<Box<dyn Iterator<Item = Result<Row, Problem>> + Send + 's>, Problem> {
        let input = self.open()?;
        Ok(match self.format {
            Format::Csv => Box::new(CsvRows::open(input, &self.name, checker)?),
            Format::ExportedCsv => Box::new(ExportedCsv::open(BufReader::new(input), &self.name, checker)?),
            Format::Ndjson => Box::new(JsonRows::open(BufReader::new(input), &self.name, checker)),
        })
    }
}
