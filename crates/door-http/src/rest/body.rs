//! Records in a request's body: JSON or CSV, read strictly.
//!
//! Duplicate keys, NUL, invalid UTF-8, over-deep nesting and over-long lists are refused with line and column.
//! Values are carried raw: what kind they have to be is for the guard to say, which knows the fields.

pub mod csv;
pub mod json;

use countersign_model::request::{Input, InputRow};

use crate::Limits;
use crate::problem::{Part, Problem};

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// CSV with a header line.
    Csv,
}

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The records.
    pub rows: Vec<InputRow>,
    /// Whether it was one JSON object rather than a list.
    pub single: bool,
}

/// Reads the `Content-Type` header; none is JSON.
///
/// # Errors
/// [`Problem::UnsupportedMedia`] for everything else.
pub fn media(content_type: Option<&str>) -> Result<Media, Problem> {
    let Some(content_type) = content_type else { return Ok(Media::Json) };
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let utf8 = parts.all(|parameter| {
        let charset = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        charset.is_none_or(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"))
    });
    let one_of = |list: &[&str]| list.iter().any(|known| media.eq_ignore_ascii_case(known));
    match () {
        () if !utf8 => Err(Problem::UnsupportedMedia),
        () if one_of(&[
            "application/json",
            "application/vnd.pgrst.array+json",
            "application/vnd.pgrst.object+json",
            "application/vnd.pgrst.array",
            "application/vnd.pgrst.object",
        ]) =>
        {
            Ok(Media::Json)
        }
        () if one_of(&["text/csv"]) => Ok(Media::Csv),
        () => Err(Problem::UnsupportedMedia),
    }
}

/// Reads a body of records.
///
/// # Errors
/// [`Problem`] says where in the body and what was expected.
pub fn rows(media: Media, body: &[u8], limits: &Limits) -> Result<Rows, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::NotUtf8(Part::Body))?;
    match media {
        Media::Json => json::rows(text, limits),
        Media::Csv => Ok(Rows { rows: csv::rows(text, limits)?, single: false }),
    }
}

/// Keeps exactly `columns` of each record. What a record lacks becomes null, or stays away if `missing_default`,
/// which for Countersign is the same for new records and leaves old values when merging.
pub fn keep_columns(rows: &mut [InputRow], columns: &[String], missing_default: bool) {
    for row in rows {
        row.retain(|(name, _)| columns.contains(name));
        if !missing_default {
            for column in columns {
                if !row.iter().any(|(name, _)| name == column) {
                    row.push((column.clone(), Input::Null));
                }
            }
        }
    }
}

/// Whether all records name the same fields, which a list without `columns` must.
#[must_use]
pub fn uniform(rows: &[InputRow]) -> bool {
    let Some((first, others)) = rows.split_first() else { return true };
    let same = |row: &InputRow| {
        let in_order = row.iter().zip(first).all(|((a, _), (b, _))| a == b);
        row.len() == first.len()
            && (in_order || row.iter().all(|(name, _)| first.iter().any(|(known, _)| known == name)))
    };
    others.iter().all(same)
}

/// Line and column, both from 1 and in characters, of a byte of a text.
pub(crate) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count().saturating_add(1);
    let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let column = before.get(start..).unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

#[cfg(test)]
mod tests;
