use countersign_model::{Field, Kind, RecordType};
use countersign_model::{FieldId, Name, Sensitivity};

use super::*;

fn customer() -> RecordType {
    let field = |name: &str, kind, required, unique| Field {
        name: Name::new(name).unwrap(),
        kind,
        required,
        unique,
        indexed: unique,
        references: None,
        class: Sensitivity::Internal,
    };
    RecordType {
        name: Name::new("customer").unwrap(),
        key: FieldId(0),
        fields: vec![
            field("id", Kind::Text, true, true),
            field("since", Kind::Date, false, false),
            field("extra", Kind::Json, false, false),
        ],
    }
}

fn rows(format: Format, text: &[u8]) -> Result<Vec<Result<String, String>>, String> {
    let record_type = customer();
    let mut checker = Checker::new(Some(&record_type));
    let source = Source::memory("rows", format, text.to_vec());
    let judged = source.rows(&mut checker).map_err(|problem| problem.to_string())?;
    Ok(judged.map(|row| row.unwrap().map(|good| good.json).map_err(|bad| bad.to_string())).collect())
}

#[test]
fn csv_rows_become_json_objects() {
    let text = b"\xef\xbb\xbfid,since,extra\r\nA,2026-07-01,\"{\"\"a\"\": [1, 2]}\"\n\"B, b\",,\n";
    let rows = rows(Format::Csv, text).unwrap();
    assert_eq!(rows[0].as_deref(), Ok(r#"{"id":"A","since":"2026-07-01","extra":{"a":[1,2]}}"#));
    assert_eq!(rows[1].as_deref(), Ok(r#"{"id":"B, b","since":null,"extra":null}"#));
}

#[test]
fn a_bad_csv_row_names_line_and_column() {
    let text = b"id,since\nA,2026-07-01\nB,yesterday\n,2026-07-01\nC,2026-07-01,x\nA,\n\xff,\n\"two\nlines\",x\n";
    let rows = rows(Format::Csv, text).unwrap();
    let faults: Vec<&str> = rows.iter().filter_map(|row| row.as_ref().err()).map(String::as_str).collect();
    assert_eq!(
        faults,
        [
            "line 3, column 2 (since): expected a date such as 2026-07-01",
            "line 4, column 1 (id): a value is required",
            "line 5, column 3: expected 2 cells, the line has 3",
            "line 6, column 1 (id): the field is unique, and an earlier line has the same value",
            "line 7, column 1 (id): expected UTF-8",
            "line 8, column 2 (since): expected a date such as 2026-07-01",
        ]
    );
}

#[test]
fn lines_are_counted_whatever_ends_them() {
    for text in [
        "id,since\r\nA,\r\n\r\n\"x\r\ny\",\r\nB,x\r\n",
        "id,since\nA,\n\n\"x\ny\",\nB,x\n",
        "id,since\rA,\r\r\"x\ry\",\rB,x",
    ] {
        let rows = rows(Format::Csv, text.as_bytes()).unwrap();
        let expected = "line 6, column 2 (since): expected a date such as 2026-07-01";
        assert_eq!(rows[2].as_ref().unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn a_header_that_is_not_of_the_type_is_refused_with_the_nearest_name() {
    let refused = rows(Format::Csv, b"id,sinse\nA,x\n").unwrap_err();
    assert!(refused.starts_with("rows: line 1, column 2: customer has no field of that name; did you mean since?"));
    assert!(rows(Format::Csv, b"id,id\n").unwrap_err().contains("named twice"));
    assert!(rows(Format::Csv, b"").unwrap_err().contains("no header row"));
}

#[test]
fn ndjson_rows_are_judged_line_by_line() {
    let text = b"{\"id\":\"A\",\"since\":\"2026-07-01\"}\n\n{\"id\":\"B\",\"id\":\"C\"}\n[1]\n{\"id\":\"D\",\"x\":1}\n{\"id\":\n";
    let rows = rows(Format::Ndjson, text).unwrap();
    assert_eq!(rows[0].as_deref(), Ok(r#"{"id":"A","since":"2026-07-01"}"#));
    assert_eq!(rows[1].as_ref().unwrap_err(), "line 3, column id: the field is given twice");
    assert!(rows[2].as_ref().unwrap_err().starts_with("line 4, column "));
    assert_eq!(rows[3].as_ref().unwrap_err(), "line 5, column x: customer has no field of that name");
    assert!(rows[4].as_ref().unwrap_err().starts_with("line 6, column "));
}
