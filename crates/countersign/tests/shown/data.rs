//! The two companies' data, as the files have it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::root;

/// The record types, and so the files.
pub const TYPES: [&str; 5] = ["employee", "customer", "product", "invoice", "invoice_line"];

/// One row: names and cells.
pub type Row = BTreeMap<String, String>;

/// The rows of one file.
pub fn rows(tenant: &str, record_type: &str) -> Result<Vec<Row>> {
    let file = root().join(format!("examples/trading/data/{tenant}/{record_type}.csv"));
    let mut reader = csv::Reader::from_path(&file).with_context(|| file.display().to_string())?;
    reader.deserialize().map(|row| Ok(row?)).collect()
}

/// Whether a JSON value is what the cell says. Numbers are compared as numbers.
pub fn same(cell: &str, value: &Value) -> bool {
    match value {
        Value::Null => cell.is_empty(),
        Value::String(text) => text == cell,
        Value::Bool(flag) => flag.to_string() == cell,
        Value::Number(number) => cell.parse::<f64>().ok() == number.as_f64(),
        _ => false,
    }
}
