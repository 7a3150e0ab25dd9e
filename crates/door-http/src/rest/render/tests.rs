use std::sync::Arc;

use countersign_model::query::{EmbedColumn, Link, Query};
use countersign_model::{FieldId, Kind, Plan, Predicate, RecordId, TypeId};

use super::*;

fn field(label: &str) -> Column {
    Column::Field { label: label.into(), field: FieldId(0) }
}

fn embed(label: &str, columns: Vec<Column>) -> Column {
    let query = Query {
        record_type: TypeId(0),
        columns,
        filter: Predicate::TRUE,
        order: Vec::new(),
        limit: 1,
        offset: 0,
        count: false,
        after: None,
        plan: Arc::new(Plan::default()),
    };
    Column::Embed(EmbedColumn {
        label: label.into(),
        via: Link::ToMany(FieldId(0)),
        inner: false,
        query: Box::new(query),
    })
}

fn row(cells: Vec<Cell>) -> Row {
    Row { record: RecordId::from_u128(1), cells }
}

fn value(kind: Kind, text: &str) -> Cell {
    Cell::Value(Value::parse(kind, text).unwrap())
}

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

const NULL: Cell = Cell::Value(Value::Null);

#[test]
fn every_kind_of_value_in_both_forms() {
    let kinds = [
        (Kind::Text, "a\"b\\c\n\u{1}é", r#""a\"b\\c\n\u0001é""#, "\"a\"\"b\\c\n\u{1}é\""),
        (Kind::Integer, "-9223372036854775808", "-9223372036854775808", "-9223372036854775808"),
        (Kind::Decimal, "472.30", "472.30", "472.30"),
        (Kind::Boolean, "true", "true", "true"),
        (Kind::Date, "2026-07-01", "\"2026-07-01\"", "2026-07-01"),
        (Kind::Timestamp, "2026-07-01T09:30:00.25Z", "\"2026-07-01T09:30:00.25Z\"", "2026-07-01T09:30:00.25Z"),
        (
            Kind::Uuid,
            "0190b6c2-3f5e-7abc-8def-0123456789ab",
            "\"0190b6c2-3f5e-7abc-8def-0123456789ab\"",
            "0190b6c2-3f5e-7abc-8def-0123456789ab",
        ),
        (Kind::Json, r#"{"a":[1,"x"]}"#, r#"{"a":[1,"x"]}"#, r#""{""a"":[1,""x""]}""#),
        (Kind::Bytes, "AAEC", "\"AAEC\"", "AAEC"),
    ];
    for (kind, text, json, csv_text) in kinds {
        let (columns, rows) = ([field("f")], [row(vec![value(kind, text)])]);
        assert_eq!(written(|out| json_array(out, &columns, &rows, false)), format!("[{{\"f\":{json}}}]"));
        assert_eq!(written(|out| csv(out, &columns, &rows)), format!("f\n{csv_text}\n"), "{kind:?}");
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let same = serde_json::to_value(Value::parse(kind, text).unwrap()).unwrap();
        assert_eq!(json, same, "as the model serializes it");
    }
}

#[test]
fn lists_objects_and_embeds() {
    let columns = [field("id"), embed("invoice", vec![field("total")]), embed("rep", vec![field("name")])];
    let invoices = vec![row(vec![value(Kind::Decimal, "1.50")]), row(vec![NULL])];
    let rep = Some(Box::new(row(vec![value(Kind::Text, "Jane")])));
    let rows = [
        row(vec![value(Kind::Integer, "1"), Cell::Many(invoices), Cell::One(rep)]),
        row(vec![NULL, Cell::Many(Vec::new()), Cell::One(None)]),
    ];
    assert_eq!(
        written(|out| json_array(out, &columns, &rows, false)),
        "[{\"id\":1,\"invoice\":[{\"total\":1.50},\n {\"total\":null}],\"rep\":{\"name\":\"Jane\"}},\n \
         {\"id\":null,\"invoice\":[],\"rep\":null}]"
    );
    assert_eq!(
        written(|out| json_array(out, &columns, &rows, true)),
        "[{\"id\":1,\"invoice\":[{\"total\":1.50},\n {}],\"rep\":{\"name\":\"Jane\"}},\n {\"invoice\":[]}]"
    );
    assert_eq!(
        written(|out| csv(out, &columns, &rows)),
        "id,invoice,rep\n1,\"[{\"\"total\"\":1.50},\n {\"\"total\"\":null}]\",\"{\"\"name\"\":\"\"Jane\"\"}\"\n,[],\n"
    );
    assert_eq!(written(|out| json_array(out, &columns, &[], false)), "[]");
    assert_eq!(written(|out| csv(out, &columns, &[])), "id,invoice,rep\n");
    assert_eq!(written(|out| json_object(out, &[], &row(Vec::new()), false)), "{}");
}

#[test]
fn csv_reads_back_as_what_was_written() {
    let texts = ["", "NULL", " a ", "a,b", "\"", "\r\n", "plain", "é"];
    let columns: Vec<Column> = (0..texts.len()).map(|number| field(&format!("c{number}"))).collect();
    let cells = texts.iter().map(|text| Cell::Value(Value::Text((*text).to_owned()))).collect();
    let text = written(|out| csv(out, &columns, &[row(cells)]));
    let back = crate::rest::body::csv::rows(&text, &crate::Limits::default()).unwrap();
    let read: Vec<_> = back[0].iter().map(|(_, input)| input.clone()).collect();
    let expected: Vec<_> =
        texts.iter().map(|text| countersign_model::request::Input::Text((*text).to_owned())).collect();
    assert!(read == expected);
}
