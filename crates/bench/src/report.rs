//! The table and the JSON file.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// Figure over limit, at least.
    RatioAtLeast(f64),
    /// The figure itself, less than.
    Under(f64),
    /// None was set.
    Unset,
}

/// One figure beside its limit.
pub struct Row {
    /// What was measured.
    pub name: String,
    /// How much.
    pub figure: f64,
    /// Of what.
    pub unit: &'static str,
    /// The limit on this machine: its name, and its figure in the same unit.
    pub limit: Option<(String, f64)>,
    /// What it has to reach.
    pub target: Target,
    /// Anything else worth knowing, such as latencies.
    pub note: String,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|(_, limit)| self.figure / limit)
    }

    fn met(&self) -> Option<bool> {
        match self.target {
            Target::RatioAtLeast(least) => self.ratio().map(|ratio| ratio >= least),
            Target::Under(most) => Some(self.figure < most),
            Target::Unset => None,
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::RatioAtLeast(least) => format!("ratio ≥ {least}"),
            Target::Under(most) => format!("< {} {}", number(most), self.unit),
            Target::Unset => String::new(),
        }
    }
}

/// All rows of a run.
pub struct Report {
    rows: Vec<Row>,
    began: Instant,
    quick: bool,
}

impl Report {
    /// An empty report.
    pub fn new(quick: bool) -> Self {
        Self { rows: Vec::new(), began: Instant::now(), quick }
    }

    /// Adds a row, and says so.
    pub fn add(&mut self, row: Row) {
        let limit = row.limit.as_ref().map(|(name, limit)| format!("; {name}: {}", number(*limit)));
        eprintln!("  {}: {} {}{}", row.name, number(row.figure), row.unit, limit.unwrap_or_default());
        self.rows.push(row);
    }

    /// The file's text.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name,
                "figure": row.figure,
                "unit": row.unit,
                "limit": row.limit.as_ref().map(|(name, figure)| json!({"name": name, "figure": figure})),
                "ratio": row.ratio(),
                "target": row.target(),
                "met": row.met(),
                "note": row.note,
            })
        });
        let whole = json!({
            "format": 1,
            "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "quick": self.quick,
            "seconds": self.began.elapsed().as_secs_f64(),
            "rows": rows.collect::<Vec<Value>>(),
        });
        format!("{whole:#}\n")
    }

    /// The table for a person.
    pub fn table(&self) -> String {
        let mut cells = vec![["what", "figure", "unit", "limit", "", "ratio", "target", "met"].map(String::from)];
        cells.extend(self.rows.iter().map(|row| {
            let (limit_name, limit) = row.limit.clone().map_or_else(Default::default, |(n, f)| (n, number(f)));
            [
                row.name.clone(),
                number(row.figure),
                row.unit.to_owned(),
                limit,
                limit_name,
                row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                row.target(),
                row.met().map(|met| if met { "met" } else { "MISSED" }.to_owned()).unwrap_or_default(),
            ]
        }));
        let width =
            |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..8).map(|column| width(column).unwrap_or(0)).collect();
        let mut table = String::from("\n");
        for (index, row) in cells.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let right = matches!(column, 1 | 3 | 5) && index > 0;
                let _ = if right { write!(table, "{pad}{cell}  ") } else { write!(table, "{cell}{pad}  ") };
            }
            let note = index.checked_sub(1).and_then(|index| self.rows.get(index)).map_or("", |row| row.note.as_str());
            let _ = writeln!(table, "{note}");
        }
        let count = |wanted: bool| self.rows.iter().filter(|row| row.met() == Some(wanted)).count();
        let _ = writeln!(
            table,
            "\n{} targets met, {} missed, in {:.0} s{}",
            count(true),
            count(false),
            self.began.elapsed().as_secs_f64(),
            if self.quick { " (quick: figures are rough)" } else { "" }
        );
        table
    }
}

/// Three significant digits, thousands apart.
fn number(figure: f64) -> String {
    if figure >= 100.0 {
        let digits = format!("{figure:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if figure >= 10.0 {
        format!("{figure:.1}")
    } else if figure >= 1.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_and_targets_are_judged() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(0.1234), "0.123");
        let row = |figure, target| Row {
            name: String::new(),
            figure,
            unit: "µs",
            limit: Some((String::new(), 10.0)),
            target,
            note: String::new(),
        };
        assert_eq!(row(5.0, Target::RatioAtLeast(0.5)).met(), Some(true));
        assert_eq!(row(4.9, Target::RatioAtLeast(0.5)).met(), Some(false));
        assert_eq!(row(5.0, Target::Under(5.0)).met(), Some(false));
        assert_eq!(row(5.0, Target::Unset).met(), None);
    }
}
