use countersign_model::request::Input;

use super::*;

/// Lowers `METHOD /type?query` with headers, one `name: value` a line, and a body.
fn lowered(method: &str, query: &str, headers: &str, body: &str) -> Result<Lowered, Problem> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.lines().map(|line| line.trim().split_once(": ").unwrap()) {
        map.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    let method: Method = method.parse().unwrap();
    let incoming =
        Incoming { method: &method, record_type: "customer".into(), query, headers: &map, body: body.as_bytes() };
    lower(incoming, &Limits::default())
}

fn ok(method: &str, query: &str, headers: &str, body: &str) -> Lowered {
    lowered(method, query, headers, body)
        .unwrap_or_else(|problem| panic!("{method} {query} {headers} {body}: {problem}"))
}

fn read_of(lowered: Lowered) -> Read {
    match lowered.operation {
        Operation::Read(read) => read,
        other => panic!("{other:?}"),
    }
}

fn insert_of(lowered: Lowered) -> Insert {
    match lowered.operation {
        Operation::Insert(insert) => insert,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reading() {
    let request =
        ok("GET", "select=id&limit=20&offset=5", "prefer: count=exact\nrange: 0-9\naccept-profile: public", "");
    assert_eq!(request.tenant, None);
    assert_eq!(request.form.window, Window { offset: 5, limit: Some(5) });
    let read = read_of(request);
    assert_eq!((read.limit, read.offset, read.count), (Some(5), 5, true));
    assert_eq!(read.record_type, "customer");
    assert!(read_of(ok("GET", "", "", "")).select.is_empty());
    assert_eq!(ok("GET", "", "accept-profile: chinook\ncontent-profile: x", "").tenant.as_deref(), Some("chinook"));
    assert_eq!(ok("GET", "", "countersign-purpose: call back", "").purpose.as_deref(), Some("call back"));
    assert_eq!(ok("GET", "cursor=abc", "", "").cursor.as_deref(), Some("abc"));
    let one = "accept: application/vnd.pgrst.object+json";
    assert_eq!(read_of(ok("GET", "", one, "")).limit, Some(2), "a second record is enough to know");
    assert_eq!(read_of(ok("GET", "limit=1", one, "")).limit, Some(1));
    assert_eq!(read_of(ok("GET", "", &format!("{one}\nprefer: count=exact"), "")).limit, None);
    assert_eq!(ok("HEAD", "", "range: 0-4", "").form.kind, Kind::Head);
}

#[test]
fn making() {
    let one = ok("POST", "", "content-type: application/json", r#"{"id":1}"#);
    assert!(!one.form.gives_records());
    let insert = insert_of(one);
    assert_eq!(insert.rows, [vec![("id".to_owned(), Input::Json("1".into()))]]);
    assert_eq!((insert.on_conflict, insert.returning), (None, None));

    let headers = "prefer: return=representation,resolution=merge-duplicates\ncontent-profile: chinook";
    let upsert = ok("POST", "columns=id,b&on_conflict=id&select=id", headers, r#"[{"id":1,"x":2},{"b":3}]"#);
    assert_eq!(upsert.tenant.as_deref(), Some("chinook"));
    assert!(upsert.form.gives_records());
    let insert = insert_of(upsert);
    assert_eq!(insert.rows[0], [("id".to_owned(), Input::Json("1".into())), ("b".to_owned(), Input::Null)]);
    assert_eq!(insert.on_conflict, Some(OnConflict { field: Some("id".into()), merge: true }));
    assert_eq!(insert.returning, Some(vec![Select::Field { field: "id".into(), alias: None }]));

    let ignoring = insert_of(ok("POST", "", "prefer: resolution=ignore-duplicates, return=representation", "[]"));
    assert_eq!(ignoring.on_conflict, Some(OnConflict { field: None, merge: false }));
    assert_eq!(ignoring.returning, Some(vec![Select::All]));
    assert_eq!(insert_of(ok("POST", "on_conflict=id", "", "[]")).on_conflict, None, "as PostgREST has it");
    let csv = insert_of(ok("POST", "", "content-type: text/csv", "id,name\n1,\n"));
    assert_eq!(csv.rows[0], [("id".to_owned(), Input::Text("1".into())), ("name".to_owned(), Input::Null)]);
}

#[test]
fn changing_and_removing() {
    let headers = "prefer: return=representation, handling=strict, max-affected=3";
    let Operation::Update(update) = ok("PATCH", "id=eq.1", headers, r#"{"phone":"1"}"#).operation else { panic!() };
    assert_eq!(update.set.len(), 1);
    assert_eq!(update.max_affected, Some(3));
    assert_ne!(update.filter, Filter::default());
    // The Python client sends an empty object along with DELETE.
    let delete = ok("DELETE", "id=eq.1", "content-type: application/json\nprefer: count=exact", "{}");
    let Operation::Delete(delete) = delete.operation else { panic!() };
    assert_eq!((delete.max_affected, delete.returning), (None, None));
    let one = ok("DELETE", "id=eq.1", "accept: application/vnd.pgrst.object+json", "");
    let Operation::Delete(one) = one.operation else { panic!() };
    assert_eq!(one.max_affected, Some(1));
}

#[test]
fn refused() {
    let object = "accept: application/vnd.pgrst.object+json";
    let cases = [
        ("PUT", "", "", "{}", Problem::Method { allow: ALLOW }),
        ("GET", "columns=a", "", "", Problem::Unsupported("'columns' of a request without records in its body")),
        ("DELETE", "columns=a", "", "", Problem::Unsupported("'columns' of a request without records in its body")),
        ("GET", "on_conflict=a", "", "", Problem::Unsupported("'on_conflict' of anything but a POST")),
        ("PATCH", "on_conflict=a", "", r#"{"a":1}"#, Problem::Unsupported("'on_conflict' of anything but a POST")),
        ("GET", "", "accept: application/geo+json", "", Problem::NotAcceptable),
        ("GET", "limit=2&offset=20", "range: 0-9", "", Problem::EmptyRange),
        ("POST", "id=eq.1", "", "{}", Problem::Unsupported("filters when making records")),
        ("POST", "", "", r#"[{"a":1},{"b":1}]"#, Problem::UnevenKeys),
        ("POST", "", object, "[{},{}]", Problem::NotOne { none: false }),
        ("POST", "", object, "[]", Problem::NotOne { none: true }),
        ("POST", "", "content-type: text/html", "x", Problem::UnsupportedMedia),
        ("PATCH", "", "", "{}", Problem::NothingToDo),
        ("PATCH", "columns=b", "", r#"{"a":1}"#, Problem::NothingToDo),
        ("PATCH", "", "content-type: text/csv", "a\n1\n", Problem::UnsupportedMedia),
    ];
    for (method, query, headers, body, problem) in cases {
        assert_eq!(lowered(method, query, headers, body), Err(problem), "{method} {query} {headers} {body}");
    }
    assert!(matches!(lowered("PATCH", "", "", r#"[{"a":1}]"#), Err(Problem::Syntax { part: Part::Body, .. })));
    for paging in ["limit=1", "offset=1", "order=id", "cursor=x"] {
        for method in ["PATCH", "DELETE"] {
            assert!(
                matches!(lowered(method, paging, "", r#"{"a":1}"#), Err(Problem::Unsupported(_))),
                "{method} {paging}"
            );
        }
    }
    for ordering in ["order=id", "cursor=x"] {
        assert!(matches!(lowered("POST", ordering, "", r#"{"a":1}"#), Err(Problem::Unsupported(_))), "{ordering}");
    }
    let some = ok("POST", "limit=1&offset=2", "prefer: return=representation", r#"{"a":1}"#);
    assert_eq!(some.form.window, Window { offset: 2, limit: Some(1) });
    for twice in ["range: 0-1\nrange: 0-2", "accept-profile: a\naccept-profile: b"] {
        assert!(matches!(lowered("GET", "", twice, ""), Err(Problem::Syntax { part: Part::Header, .. })), "{twice}");
    }
    let long = format!("countersign-purpose: {}", "x".repeat(MAX_PURPOSE_BYTES + 1));
    assert!(matches!(lowered("GET", "", &long, ""), Err(Problem::TooMany { .. })));
}
