use super::*;

fn json(text: &str) -> Result<Rows, Problem> {
    rows(Media::Json, text.as_bytes(), &Limits::default())
}

fn csv(text: &str) -> Result<Vec<InputRow>, Problem> {
    super::csv::rows(text, &Limits::default())
}

fn raw(text: &str) -> Input {
    Input::Json(text.into())
}

fn text(text: &str) -> Input {
    Input::Text(text.into())
}

fn row(cells: &[(&str, Input)]) -> InputRow {
    cells.iter().map(|(name, input)| ((*name).to_owned(), input.clone())).collect()
}

#[test]
fn json_objects_keep_their_values_as_written() {
    let one = json(r#" {"id": "ALFKI", "total": 0.10, "note": null, "data": {"a": [1, 2.00]}} "#).unwrap();
    assert!(one.single);
    let expected = row(&[
        ("id", raw("\"ALFKI\"")),
        ("total", raw("0.10")),
        ("note", Input::Null),
        ("data", raw(r#"{"a": [1, 2.00]}"#)),
    ]);
    assert_eq!(one.rows, [expected]);
    let many = json("[{\"a\":1},\n{\"\\u0061\":2}]").unwrap();
    assert!(!many.single);
    assert_eq!(many.rows, [row(&[("a", raw("1"))]), row(&[("a", raw("2"))])]);
    assert_eq!(json("[]").unwrap().rows.len(), 0);
    assert_eq!(json("{}").unwrap().rows, [row(&[])]);
}

#[test]
fn json_refused_with_line_and_column() {
    let syntax = |text: &str| match json(text) {
        Err(Problem::Syntax { line, column, .. }) => (line, column),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(syntax(""), (1, 1));
    assert_eq!(syntax("{\"a\":1,\n \"b\":}"), (2, 6));
    assert_eq!(syntax("[{\"a\":1}] x"), (1, 11));
    for other in ["5", "\"a\"", "null", "[1]", "[[]]", "[null]", "{a:1}", "{'a':1}", "{\"a\":1,}", "{\"a\":NaN}", "[{}"]
    {
        syntax(other);
    }
    assert_eq!(json("{\"a\":1,\n\"a\":2}"), Err(Problem::DuplicateKey { line: 2, column: 3 }));
    assert_eq!(json("{\"a\":1,\"\\u0061\":2}"), Err(Problem::DuplicateKey { line: 1, column: 15 }));
    assert_eq!(json("[{\"a\":1},{\"a\":\"x\\u0000\"}]"), Err(Problem::Nul { part: Part::Body, row: Some(1) }));
    assert_eq!(json("{\"a\\u0000\":1}"), Err(Problem::Nul { part: Part::Body, row: None }));
    assert!(json("{\"a\":\"\\\\u0000\"}").is_ok(), "a backslash, then letters");
    assert_eq!(json("{\"a\":\"\\\\\\u0000\"}"), Err(Problem::Nul { part: Part::Body, row: None }));
    assert!(matches!(json("{\"a\":\"\0\"}"), Err(Problem::Syntax { .. })));
    let not_utf8 = rows(Media::Json, b"{\"a\":\"\xff\"}", &Limits::default());
    assert_eq!(not_utf8, Err(Problem::NotUtf8(Part::Body)));
}

#[test]
fn json_bounds() {
    let limits = Limits { rows: 2, fields: 2, json_depth: 3, ..Limits::default() };
    let json = |text: &str| rows(Media::Json, text.as_bytes(), &limits);
    assert!(json("[{},{}]").is_ok());
    assert!(matches!(json("[{},{},{}]"), Err(Problem::TooMany { max: 2, .. })));
    assert!(json(r#"{"a":1,"b":2}"#).is_ok());
    assert!(matches!(json(r#"{"a":1,"b":2,"c":3}"#), Err(Problem::TooMany { max: 2, .. })));
    assert!(json(r#"{"a":[[1],"[[["]}"#).is_ok());
    assert_eq!(json("{\"a\":\n[[[1]]]}"), Err(Problem::TooDeep { max: 3, line: 2, column: 3 }));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(matches!(json(&deep), Err(Problem::TooDeep { .. })));
    assert!(json(&"[".repeat(200_000)).is_err());
}

#[test]
fn csv_cells() {
    let rows =
        csv("\u{feff}id,company,\"the \"\"note\"\"\"\r\n1,,\"\"\r\n2,NULL,\"NULL\"\n\n3,\"a,b\n\"\"c\"\"\", x \n")
            .unwrap();
    let expected = [
        row(&[("id", text("1")), ("company", Input::Null), ("the \"note\"", text(""))]),
        row(&[("id", text("2")), ("company", Input::Null), ("the \"note\"", text("NULL"))]),
        row(&[("id", text("3")), ("company", text("a,b\n\"c\"")), ("the \"note\"", text(" x "))]),
    ];
    assert_eq!(rows, expected);
    assert_eq!(csv("id\n1").unwrap(), [row(&[("id", text("1"))])]);
    assert_eq!(csv("id\n1\r\n").unwrap(), [row(&[("id", text("1"))])]);
    assert_eq!(csv("id\n1\n\n2\n").unwrap().len(), 3, "with one column an empty line is a null");
    assert_eq!(csv("id,name\n").unwrap().len(), 0);
    assert_eq!(csv("id\n\"\"\"\"").unwrap(), [row(&[("id", text("\""))])]);
}

#[test]
fn csv_refused_with_line_and_column() {
    for (text, line, column) in [
        ("", 1, 1),
        ("id,\n", 1, 4),
        ("id,name\n1\n", 2, 1),
        ("id,name\n1,2,3\n", 2, 3),
        ("id,name\n1,2\n3,a\"b\n", 3, 4),
        ("id,name\n1,\"a\n", 2, 3),
        ("id,name\n\"a\"b,2\n", 2, 4),
        ("id,name\n\"a\nb\",\"c\0\"\n", 3, 4),
        ("id\nx\0\n", 2, 1),
    ] {
        match csv(text) {
            Err(Problem::Syntax { line: l, column: c, .. }) => assert_eq!((l, c), (line, column), "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
    assert_eq!(csv("id,name,id\n"), Err(Problem::DuplicateKey { line: 1, column: 9 }));
    let limits = Limits { rows: 1, fields: 1, ..Limits::default() };
    assert!(matches!(super::csv::rows("a\n1\n2\n", &limits), Err(Problem::TooMany { max: 1, .. })));
    assert!(matches!(super::csv::rows("a,b\n", &limits), Err(Problem::TooMany { max: 1, .. })));
}

#[test]
fn media_types() {
    for (header, expected) in [
        (None, Ok(Media::Json)),
        (Some("application/json"), Ok(Media::Json)),
        (Some("Application/JSON; charset=UTF-8"), Ok(Media::Json)),
        (Some("application/vnd.pgrst.object+json"), Ok(Media::Json)),
        (Some("text/csv"), Ok(Media::Csv)),
        (Some("text/csv;charset=latin1"), Err(Problem::UnsupportedMedia)),
        (Some("application/x-www-form-urlencoded"), Err(Problem::UnsupportedMedia)),
        (Some(""), Err(Problem::UnsupportedMedia)),
    ] {
        assert_eq!(media(header), expected, "{header:?}");
    }
}

#[test]
fn columns_decide_which_keys_count() {
    let mut rows = vec![row(&[("a", raw("1")), ("x", raw("9"))]), row(&[("b", raw("2"))])];
    assert!(!uniform(&rows));
    let columns = ["a".to_owned(), "b".to_owned()];
    keep_columns(&mut rows, &columns, false);
    assert_eq!(rows, [row(&[("a", raw("1")), ("b", Input::Null)]), row(&[("b", raw("2")), ("a", Input::Null)])]);
    assert!(uniform(&rows));
    let mut rows = vec![row(&[("a", raw("1")), ("x", raw("9"))])];
    keep_columns(&mut rows, &columns, true);
    assert_eq!(rows, [row(&[("a", raw("1"))])]);
}
