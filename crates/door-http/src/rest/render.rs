//! Answers as JSON or CSV, written straight into the buffer that is sent.

use bytes::{BufMut, BytesMut};
use countersign_model::Value;
use countersign_model::query::Column;
use countersign_model::row::{Cell, Row};
use std::fmt::Write as _;

/// Writes rows as a JSON array of objects.
pub fn json_array(out: &mut BytesMut, columns: &[Column], rows: &[Row], strip_nulls: bool) {
    out.put_u8(b'[');
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            out.put_slice(b",\n ");
        }
        json_object(out, columns, row, strip_nulls);
    }
    out.put_u8(b']');
}

/// Writes one row as a JSON object.
pub fn json_object(out: &mut BytesMut, columns: &[Column], row: &Row, strip_nulls: bool) {
    out.put_u8(b'{');
    let mut first = true;
    for (column, cell) in columns.iter().zip(&row.cells) {
        if strip_nulls && matches!(cell, Cell::Value(Value::Null) | Cell::One(None)) {
            continue;
        }
        if !first {
            out.put_u8(b',');
        }
        first = false;
        json_string(out, label(column));
        out.put_u8(b':');
        json_cell(out, column, cell, strip_nulls);
    }
    out.put_u8(b'}');
}

fn json_cell(out: &mut BytesMut, column: &Column, cell: &Cell, strip_nulls: bool) {
    let inner: &[Column] = match column {
        Column::Embed(embed) => &embed.query.columns,
        Column::Field { .. } => &[],
    };
    match cell {
        Cell::Value(value) => json_value(out, value),
        Cell::One(None) => out.put_slice(b"null"),
        Cell::One(Some(row)) => json_object(out, inner, row, strip_nulls),
        Cell::Many(rows) => json_array(out, inner, rows, strip_nulls),
    }
}

fn label(column: &Column) -> &str {
    match column {
        Column::Field { label, .. } => label,
        Column::Embed(embed) => &embed.label,
    }
}

fn json_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_slice(b"null"),
        Value::Text(text) => json_string(out, text),
        Value::Integer(number) => display(out, number),
        Value::Decimal(number) => display(out, number),
        Value::Boolean(flag) => out.put_slice(if *flag { b"true" } else { b"false" }),
        Value::Json(json) => display(out, json),
        other => json_string(out, &other.to_text().unwrap_or_default()),
    }
}

fn display(out: &mut BytesMut, value: &impl std::fmt::Display) {
    // Writing to memory does not fail; were it to, the answer would be malformed JSON, never another value.
    let _ = write!(out, "{value}");
}

/// Writes a JSON string. Runs without anything to escape, nearly all there are, are copied whole.
pub(crate) fn json_string(out: &mut BytesMut, text: &str) {
    out.reserve(text.len().saturating_add(2));
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, special) = rest.split_at(at);
        out.put_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
        rest = after;
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

/// Writes a header line and the rows as CSV. Null is an empty cell, empty text is `""`, embeds are JSON.
pub fn csv(out: &mut BytesMut, columns: &[Column], rows: &[Row]) {
    for (number, column) in columns.iter().enumerate() {
        if number > 0 {
            out.put_u8(b',');
        }
        csv_text(out, label(column));
    }
    out.put_u8(b'\n');
    for row in rows {
        for (number, (column, cell)) in columns.iter().zip(&row.cells).enumerate() {
            if number > 0 {
                out.put_u8(b',');
            }
            match cell {
                Cell::Value(Value::Null) | Cell::One(None) => {}
                Cell::Value(value) => csv_text(out, &value.to_text().unwrap_or_default()),
                embedded => {
                    let mut json = BytesMut::new();
                    json_cell(&mut json, column, embedded, false);
                    csv_text(out, std::str::from_utf8(&json).unwrap_or_default());
                }
            }
        }
        out.put_u8(b'\n');
    }
}

fn csv_text(out: &mut BytesMut, text: &str) {
    // Quoted also where it would be read back as null, or lose its blanks.
    let quote = text.is_empty()
        || text == "NULL"
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.contains([',', '"', '\n', '\r']);
    if !quote {
        out.put_slice(text.as_bytes());
        return;
    }
    out.put_u8(b'"');
    for (number, part) in text.split('"').enumerate() {
        if number > 0 {
            out.put_slice(b"\"\"");
        }
        out.put_slice(part.as_bytes());
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests;
