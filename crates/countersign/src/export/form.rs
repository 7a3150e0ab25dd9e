//! One record as a line of NDJSON, or as a line of CSV.

use std::borrow::Cow;
use std::collections::HashMap;

use clap::ValueEnum;
use countersign_model::Kind;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// What a type's records are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header row (RFC 4180).
    Csv,
}

/// The fields, and what each holds where that may be known.
pub(super) type Kinds = Vec<(String, Option<Kind>)>;

impl Form {
    /// What names of such files end in.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// What stands before the first record.
    pub(super) fn header(self, fields: &[countersign_model::Name]) -> Vec<u8> {
        let mut out = Vec::new();
        if self == Self::Csv {
            let names = fields.iter().map(|name| Some(Cow::Borrowed(name.as_str())));
            csv_line(&mut out, names);
        }
        out
    }

    /// Adds a record.
    ///
    /// # Errors
    /// If what the server gave is no record of these fields.
    pub(super) fn line(self, out: &mut Vec<u8>, row: &RawValue, kinds: &Kinds) -> Result<(), Problem> {
        match self {
            Self::Ndjson => {
                // In JSON a line end stands between values only, where a blank does as well.
                out.extend(row.get().bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
                out.push(b'\n');
            }
            Self::Csv => {
                let odd = || Problem::failed("the server's answer is not a list of records");
                let cells: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(row.get()).map_err(|_| odd())?;
                if cells.len() != kinds.len() {
                    return Err(odd());
                }
                let mut texts = Vec::with_capacity(kinds.len());
                for (name, kind) in kinds {
                    let raw = cells.get(name.as_str()).ok_or_else(odd)?;
                    texts.push(cell(raw.get(), *kind).map_err(|_| odd())?);
                }
                csv_line(out, texts.into_iter());
            }
        }
        Ok(())
    }
}

/// The text of a cell; `None` is null. Where the kind is JSON, its JSON; else the text in a string, and anything else as
/// JSON has it.
fn cell(raw: &str, kind: Option<Kind>) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    Ok(match raw {
        "null" => None,
        _ if kind == Some(Kind::Json) || !raw.starts_with('"') => Some(Cow::Borrowed(raw)),
        _ => Some(Cow::Owned(serde_json::from_str(raw)?)),
    })
}

/// Null is an empty cell; empty text is `""`. What could be taken for something else is quoted.
fn csv_line<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = Option<Cow<'a, str>>>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let Some(text) = cell else { continue };
        let is_plain = !text.is_empty()
            && text != "NULL"
            && !text.starts_with(char::is_whitespace)
            && !text.ends_with(char::is_whitespace)
            && !text.contains([',', '"', '\n', '\r', '\u{feff}']);
        if is_plain {
            out.extend_from_slice(text.as_bytes());
        } else {
            out.push(b'"');
            for byte in text.bytes() {
                if byte == b'"' {
                    out.push(b'"');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"\r\n");
}
