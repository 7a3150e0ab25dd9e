//! The example: its types fit every row of both companies' files.

use super::*;
use countersign_model::{RecordType, Value};
use std::collections::{HashMap, HashSet};
use std::path::Path;

type Columns = HashMap<(String, String), HashSet<String>>;

#[test]
fn the_example_fits_both_companies() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/trading");
    let types = parse(&std::fs::read_to_string(example.join("types.toml")).unwrap()).unwrap();
    assert_eq!(types.types.len(), 5);
    for company in ["chinook", "northwind"] {
        let mut columns = Columns::new();
        let mut rows = 0;
        for record_type in &types.types {
            let file = example.join("data").join(company).join(format!("{}.csv", record_type.name));
            rows += check_file(record_type, &std::fs::read_to_string(&file).unwrap(), &mut columns);
        }
        assert_eq!(rows, if company == "chinook" { 6222 } else { 3162 }, "{company}");
        for record_type in &types.types {
            for field in &record_type.fields {
                let Some(target) = field.references.and_then(|id| types.record_type(id)) else { continue };
                let key = target.field(target.key).unwrap();
                let own = &columns[&(record_type.name.to_string(), field.name.to_string())];
                let there = &columns[&(target.name.to_string(), key.name.to_string())];
                assert!(own.is_subset(there), "{company}: {}.{} refers to nothing", record_type.name, field.name);
            }
        }
    }
}

fn check_file(record_type: &RecordType, text: &str, columns: &mut Columns) -> usize {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let declared: HashSet<&str> = record_type.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(header.iter().map(String::as_str).collect::<HashSet<_>>(), declared, "{}", record_type.name);
    let mut rows: usize = 0;
    for (line, row) in reader.records().enumerate() {
        rows = rows.saturating_add(1);
        for (name, cell) in header.iter().zip(row.unwrap().iter()) {
            let (_, field) = record_type.find(name).unwrap();
            let place = || format!("{} row {line}, {name}", record_type.name);
            if cell.is_empty() {
                assert!(!field.required, "{} is empty", place());
                continue;
            }
            assert!(Value::parse(field.kind, cell).is_ok(), "{} is not {}", place(), field.kind.as_str());
            let seen = columns.entry((record_type.name.to_string(), name.clone())).or_default();
            assert!(seen.insert(cell.to_owned()) || !field.unique, "{} is there twice", place());
        }
    }
    rows
}
