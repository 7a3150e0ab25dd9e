//! PROPERTY: importing judges every row of a file exactly once; a good row is JSON of known fields whose values have
//! their fields' kinds; a bad one names a line of the file and repeats no value.

use std::sync::LazyLock;

use countersign::import::{Checker, Format, Source};
use countersign_model::{RecordType, RecordTypes, Value};
use serde_json::value::RawValue;

use crate::signature;

/// Pieces of CSV and NDJSON files.
pub const WORDS: &[&str] = &[
    "id,company,support_rep_id,born\n",
    "ALFKI,",
    "\"",
    "\"\"",
    ",",
    "\n",
    "\r\n",
    "\r",
    "1968-05-17",
    "canary7391",
    "\u{feff}",
    ";",
    "\t",
    "{\"id\":\"a\"}\n",
    "{\"id\":",
    "\\u0000",
    "99999999999999999999",
    "true",
    "-1",
    "12.50",
];

const CANARY: &str = "canary7391";

static TYPES: LazyLock<RecordTypes> = LazyLock::new(|| {
    let text = r#"
        [types.customer.fields]
        id = { kind = "text", required = true, unique = true, class = "internal" }
        company = { kind = "text", class = "internal" }
        support_rep_id = { kind = "integer", class = "internal" }
        born = { kind = "date", class = "personal" }
        credit = { kind = "decimal", class = "financial" }
        active = { kind = "boolean", class = "internal" }
        extra = { kind = "json", class = "internal" }
    "#;
    countersign_store::types_file::parse(text).expect("the fixture's types")
});

/// Runs the target: `{` as the first byte reads NDJSON, anything else CSV.
pub fn run(data: &[u8]) -> u64 {
    let (_, customer) = TYPES.find("customer").expect("the fixture's type");
    let format = if data.first() == Some(&b'{') { Format::Ndjson } else { Format::Csv };
    let source = Source::memory("input", format, data.to_vec());
    let mut checker = Checker::new(Some(customer));
    let lines = 1 + data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
    let rows = match source.rows(&mut checker) {
        Ok(rows) => rows,
        Err(problem) => return refused(&problem.to_string()),
    };
    let mut way = 0;
    let mut last = 0;
    let fits = |line, last| line > last && line <= lines;
    for row in rows {
        match row {
            Ok(Ok(good)) => {
                assert!(fits(good.line, last), "line {} after {last} of {lines}", good.line);
                last = good.line;
                judge(customer, &good.json);
                way |= 1;
            }
            Ok(Err(bad)) => {
                assert!(fits(bad.line, last), "line {} after {last} of {lines}", bad.line);
                last = bad.line;
                // The header is the file's own, and names of its columns may be repeated.
                assert!(!bad.expected.contains(CANARY), "a message shows a value: {}", bad.expected);
                way |= 2;
                way ^= signature::of(&bad.expected) & !3;
            }
            Err(problem) => return refused(&problem.to_string()),
        }
    }
    way
}

fn refused(said: &str) -> u64 {
    signature::of(said)
}

fn judge(customer: &RecordType, json: &str) {
    let row: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).expect("a row as JSON");
    for (name, raw) in &row {
        let (_, field) = customer.find(name).expect("a field of the type");
        assert!(Value::from_json(field.kind, raw).is_ok(), "a value that is not of its field's kind");
    }
    let required = customer.iter().filter(|(_, field)| field.required);
    for (_, field) in required {
        let given = row.get(field.name.as_str());
        assert!(given.is_some_and(|raw| raw.get() != "null"), "a row without a required value");
    }
}
