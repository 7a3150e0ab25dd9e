//! Rows and columns as a table for people, as JSON or as CSV.

use clap::ValueEnum;
use console::{measure_text_width, truncate_str};
use serde_json::Value;

use crate::problem::Problem;
use crate::terminal::{Terminal, harmless};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns, shortened to the width of the terminal.
    Table,
    /// JSON.
    Json,
    /// CSV with a header row; nulls are empty.
    Csv,
}

/// Named columns and their rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// A table with these columns and no row.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row: one cell a column, in their order.
    pub fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// Adds the rows of another table with the same columns.
    pub fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A table of these columns out of an array of objects; a missing field is null.
    #[must_use]
    pub fn of(columns: &[&str], objects: &[Value]) -> Self {
        let mut table = Self::new(columns);
        for object in objects {
            let cell = |column: &&str| object.get(*column).cloned().unwrap_or(Value::Null);
            table.push(columns.iter().map(cell).collect());
        }
        table
    }

    /// A table out of CSV text with a header row. Every cell is text; an empty one is null.
    ///
    /// # Errors
    /// If it is not CSV.
    pub fn from_csv(text: &[u8]) -> Result<Self, Problem> {
        let bad = |error: csv::Error| Problem::failed(format!("the server's CSV can't be read: {error}"));
        let mut reader = csv::Reader::from_reader(text);
        let columns = reader.headers().map_err(bad)?.iter().map(str::to_owned).collect();
        let mut table = Self { columns, rows: Vec::new() };
        for record in reader.records() {
            let cell = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
            table.push(record.map_err(bad)?.iter().map(cell).collect());
        }
        Ok(table)
    }

    /// Writes the table to standard output.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, terminal: &Terminal, output: Output) -> Result<(), Problem> {
        let text = match output {
            Output::Table => self.render(terminal.width(), |header| terminal.bold(header)),
            Output::Json => self.to_json(),
            Output::Csv => self.to_csv()?,
        };
        terminal.write(text.as_bytes())
    }

    /// The table in aligned columns. Where it is wider than `width`, the widest columns are shortened.
    #[must_use]
    pub fn render(&self, width: Option<usize>, heading: impl Fn(&str) -> String) -> String {
        let texts: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| harmless(&plain(cell))).collect()).collect();
        let widest = |index: usize, column: &String| {
            let cells = texts.iter().filter_map(|row| row.get(index)).map(|text| measure_text_width(text));
            cells.max().unwrap_or(0).max(measure_text_width(column))
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(index, column)| widest(index, column)).collect();
        shrink(&mut widths, width);
        let numeric: Vec<bool> = (0..self.columns.len()).map(|index| self.is_numeric(index)).collect();
        let mut text = heading(&line(&self.columns, &widths, &numeric));
        text.push('\n');
        for row in &texts {
            text.push_str(&line(row, &widths, &numeric));
            text.push('\n');
        }
        text
    }

    fn is_numeric(&self, index: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.is_null()).peekable();
        cells.peek().is_some() && cells.all(Value::is_number)
    }

    fn to_json(&self) -> String {
        let object = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row);
            let fields: Vec<String> =
                pairs.map(|(name, cell)| format!("{}:{cell}", Value::from(name.as_str()))).collect();
            format!("{{{}}}", fields.join(","))
        };
        format!("[{}]\n", self.rows.iter().map(object).collect::<Vec<_>>().join(",\n "))
    }

    fn to_csv(&self) -> Result<String, Problem> {
        let bad = |_| Problem::failed("the result can't be written as CSV");
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(bad)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(plain)).map_err(bad)?;
        }
        let bytes = writer.into_inner().map_err(|_| Problem::failed("the result can't be written as CSV"))?;
        String::from_utf8(bytes).map_err(|_| Problem::failed("the result is not UTF-8"))
    }
}

/// A JSON value as a person reads it: text without quotes, null as nothing, a list of text with commas.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Value::Object(fields) if fields.values().all(|value| value.is_string() || value.is_number()) => {
            fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

const GAP: usize = 2;

/// Takes from the widest columns until everything fits, leaving each at least a few characters.
fn shrink(widths: &mut [usize], limit: Option<usize>) {
    const LEAST: usize = 6;
    let Some(limit) = limit else { return };
    let gaps = widths.len().saturating_sub(1).saturating_mul(GAP);
    loop {
        let total = widths.iter().sum::<usize>().saturating_add(gaps);
        let over = total.saturating_sub(limit);
        match widths.iter_mut().max() {
            Some(widest) if over > 0 && *widest > LEAST => *widest = widest.saturating_sub(1),
            _ => return,
        }
    }
}

fn line(cells: &[String], widths: &[usize], numeric: &[bool]) -> String {
    let mut text = String::new();
    for ((cell, &width), &right) in cells.iter().zip(widths).zip(numeric) {
        if !text.is_empty() {
            text.push_str(&" ".repeat(GAP));
        }
        let cell = truncate_str(cell, width, "…");
        let padding = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
        if right {
            text.push_str(&padding);
            text.push_str(&cell);
        } else {
            text.push_str(&cell);
            text.push_str(&padding);
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Table {
        let mut table = Table::new(&["id", "company", "rows"]);
        table.push(vec![json!("ALFKI"), json!("Alfreds Futterkiste, Berlin"), json!(7)]);
        table.push(vec![json!("日本"), Value::Null, json!(1200)]);
        table
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let text = example().render(None, str::to_owned);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "id     company                      rows");
        assert_eq!(lines[1], "ALFKI  Alfreds Futterkiste, Berlin     7");
        assert_eq!(lines[2], "日本                                1200");
    }

    #[test]
    fn a_narrow_terminal_shortens_the_widest_column() {
        let text = example().render(Some(26), str::to_owned);
        assert!(text.lines().all(|line| measure_text_width(line) <= 26), "{text}");
        assert!(text.contains("Alfreds Futt…"), "{text}");
    }

    #[test]
    fn json_and_csv_carry_everything() {
        let table = example();
        let back: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&table.to_json()).unwrap();
        assert_eq!(back[1]["rows"], json!(1200));
        assert_eq!(table.to_csv().unwrap().lines().nth(1).unwrap(), "ALFKI,\"Alfreds Futterkiste, Berlin\",7");
    }
}
