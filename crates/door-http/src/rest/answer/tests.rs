use countersign_model::row::{Cell, Row};
use countersign_model::{FieldId, RecordId, Value};

use super::*;
use crate::rest::prefer;
use crate::rest::range::Window;

fn form(kind: Kind, format: Format, prefer: &str) -> Form {
    let preferences = prefer::parse(std::iter::once(prefer)).unwrap();
    Form { format, kind, preferences, window: Window::default() }
}

fn answer(rows: u64, total: Option<u64>, affected: Option<u64>, created: Option<u64>) -> Answer {
    let row = |number| Row { record: RecordId::from_u128(1), cells: vec![Cell::Value(Value::Integer(number))] };
    let rows = (0..rows).map(|number| row(i64::try_from(number).unwrap())).collect();
    Answer {
        tenant: TenantId::from_u128(1),
        user: UserId::from_u128(1),
        columns: vec![Column::Field { label: "id".into(), field: FieldId(0) }],
        rows: RowSet { rows, total, next: None },
        affected,
        created,
        replayed: false,
    }
}

const ARRAY: Format = Format::Array { strip_nulls: false };
const OBJECT: Format = Format::Object { strip_nulls: false };

/// Status, Content-Range, Preference-Applied and Content-Type.
fn summary(form: &Form, answer: &Answer) -> Result<(u16, String, String, String), Problem> {
    let response = response(form, answer, None)?;
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status().as_u16();
    Ok((status, header("content-range"), header("preference-applied"), header("content-type")))
}

#[test]
fn statuses_and_headers() {
    const JSON: &str = "application/json; charset=utf-8";
    let representation = "return=representation";
    for (kind, prefer, answer, expected) in [
        (Kind::Read, "", answer(2, None, None, None), (200, "0-1/*", "", JSON)),
        (Kind::Read, "count=exact", answer(2, Some(9), None, None), (206, "0-1/9", "count=exact", JSON)),
        (Kind::Head, "count=planned", answer(2, Some(2), None, None), (200, "0-1/2", "count=planned", JSON)),
        (Kind::Create, "", answer(0, None, Some(2), Some(2)), (201, "*/*", "", "")),
        (Kind::Create, representation, answer(2, None, Some(2), Some(2)), (201, "*/*", representation, JSON)),
        (Kind::Create, "count=exact", answer(0, None, Some(2), Some(2)), (201, "*/2", "count=exact", "")),
        (
            Kind::Create,
            "resolution=merge-duplicates",
            answer(0, None, Some(2), Some(0)),
            (200, "*/*", "resolution=merge-duplicates", ""),
        ),
        (
            Kind::Create,
            "resolution=merge-duplicates",
            answer(0, None, Some(2), Some(1)),
            (201, "*/*", "resolution=merge-duplicates", ""),
        ),
        (Kind::Update, "", answer(0, None, Some(3), None), (204, "0-2/*", "", "")),
        (Kind::Update, representation, answer(1, None, Some(1), None), (200, "0-0/*", representation, JSON)),
        (Kind::Update, "", answer(0, None, Some(0), None), (204, "*/*", "", "")),
        (Kind::Delete, "count=exact", answer(0, None, Some(3), None), (204, "*/3", "count=exact", "")),
        (
            Kind::Delete,
            "max-affected=5, handling=strict",
            answer(0, None, Some(3), None),
            (204, "*/*", "handling=strict, max-affected=5", ""),
        ),
    ] {
        let (status, range, applied, content_type) = summary(&form(kind, ARRAY, prefer), &answer).unwrap();
        assert_eq!((status, &*range, &*applied, &*content_type), expected, "{kind:?} {prefer}");
    }
}

#[test]
fn exactly_one() {
    let read = form(Kind::Read, OBJECT, "");
    assert_eq!(summary(&read, &answer(1, None, None, None)).unwrap().3, OBJECT.content_type());
    assert_eq!(summary(&read, &answer(0, None, None, None)), Err(Problem::NotOne { none: true }));
    assert_eq!(summary(&read, &answer(2, None, None, None)), Err(Problem::NotOne { none: false }));
    let update = form(Kind::Update, OBJECT, "");
    assert_eq!(summary(&update, &answer(0, None, Some(0), None)), Err(Problem::NotOne { none: true }));
    assert!(summary(&update, &answer(0, None, Some(1), None)).is_ok());
}

#[test]
fn a_range_after_the_end_is_refused_where_the_end_is_known() {
    let mut read = form(Kind::Read, ARRAY, "count=exact");
    read.window.offset = 11;
    assert_eq!(summary(&read, &answer(0, Some(10), None, None)), Err(Problem::BeyondEnd { offset: 11, total: 10 }));
    assert_eq!(summary(&read, &answer(0, None, None, None)).unwrap().0, 200);
}

#[tokio::test]
async fn of_new_records_those_that_were_asked_for() {
    for (offset, limit, expected) in [
        (0, None, r#"[{"id":0},{"id":1},{"id":2}]"#),
        (0, Some(1), r#"[{"id":0}]"#),
        (1, Some(9), r#"[{"id":1},{"id":2}]"#),
        (5, None, "[]"),
    ] {
        let mut create = form(Kind::Create, ARRAY, "return=representation");
        create.window = Window { offset, limit };
        let response = response(&create, &answer(3, None, Some(3), Some(3)), None).unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(String::from_utf8(body.to_vec()).unwrap().replace(",\n ", ","), expected);
    }
}
