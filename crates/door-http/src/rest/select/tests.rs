use super::*;

fn field(name: &str) -> Select {
    Select::Field { field: name.into(), alias: None }
}

fn aliased(alias: &str, name: &str) -> Select {
    Select::Field { field: name.into(), alias: Some(alias.into()) }
}

fn embed(name: &str, select: Vec<Select>) -> Embed {
    let read = Read { record_type: name.into(), select, ..Read::default() };
    Embed { alias: None, hint: None, inner: false, read }
}

#[test]
fn lists() {
    let lines = embed("invoice_line", vec![field("quantity")]);
    let invoices = embed("invoice", vec![field("total"), Select::Embed(lines)]);
    let hinted = Embed { hint: Some("billed_to".into()), inner: true, ..embed("customer", vec![Select::All]) };
    let left = Embed { alias: Some("boss".into()), ..embed("reports_to", vec![field("id")]) };
    for (text, list) in [
        ("*", vec![Select::All]),
        ("company", vec![field("company")]),
        ("id,*", vec![field("id"), Select::All]),
        ("name:company", vec![aliased("name", "company")]),
        ("\"the name\":\"com\\\"pany\"", vec![aliased("the name", "com\"pany")]),
        ("Ärger,a-b,a$", vec![field("Ärger"), field("a-b"), field("a$")]),
        (" company , id ", vec![field("company"), field("id")]),
        ("company,invoice(total,invoice_line(quantity))", vec![field("company"), Select::Embed(invoices)]),
        ("customer!inner!billed_to(*)", vec![Select::Embed(hinted.clone())]),
        ("customer!billed_to!inner(*)", vec![Select::Embed(hinted)]),
        ("boss:reports_to!left(id)", vec![Select::Embed(left)]),
    ] {
        assert_eq!(parse(text, &Limits::default()), Ok(list), "{text}");
    }
}

#[test]
fn refused_where_it_goes_wrong() {
    for (text, column) in [
        ("", 1),
        (",", 1),
        ("a,", 3),
        ("a b:", 5),
        ("a(b", 4),
        ("a()", 3),
        ("a)", 2),
        ("a(b))", 5),
        ("a!inner", 8),
        ("a!x!y(b)", 6),
        ("a:b:c", 4),
        ("\"a", 3),
        ("\"a\\", 3),
        ("\"\"", 1),
        ("é,;", 3),
        ("*a", 2),
    ] {
        let problem = parse(text, &Limits::default()).unwrap_err();
        assert!(matches!(problem, Problem::Syntax { column: at, .. } if at == column), "{text}: {problem:?}");
    }
}

#[test]
fn what_postgrest_has_and_countersign_does_not() {
    for text in
        ["total::text", "a:total::text", "...customer(id)", "x:...customer(id)", "data->a", "total.sum()", "count()"]
    {
        assert!(matches!(parse(text, &Limits::default()), Err(Problem::Unsupported(_))), "{text}");
    }
}

#[test]
fn bounds() {
    let limits = Limits { items: 3, embed_depth: 1, ..Limits::default() };
    assert!(parse("a,b(c)", &limits).is_ok());
    assert!(matches!(parse("a,b,c,d", &limits), Err(Problem::TooMany { max: 3, .. })));
    assert!(matches!(parse("a,b(c,d)", &limits), Err(Problem::TooMany { max: 3, .. })));
    assert!(matches!(parse("a(b(c))", &limits), Err(Problem::TooMany { max: 1, .. })));
}

#[test]
fn embeds_are_found_by_what_the_answer_calls_them() {
    let mut list = parse("invoice(id),old:invoice(id)", &Limits::default()).unwrap();
    assert!(find_embed(&mut list, "old").is_some());
    assert_eq!(find_embed(&mut list, "invoice").unwrap().alias, None);
    assert!(find_embed(&mut list, "line").is_none());
}

#[test]
fn names_are_listed() {
    let limits = Limits { fields: 3, ..Limits::default() };
    assert_eq!(names(Part::Columns, "a,\"b c\"", &limits), Ok(vec!["a".into(), "b c".into()]));
    assert!(matches!(names(Part::Columns, "a,b,c,d", &limits), Err(Problem::TooMany { max: 3, .. })));
    for bad in ["", "a,", "a:b", "a(b)"] {
        assert!(matches!(names(Part::Columns, bad, &limits), Err(Problem::Syntax { .. })), "{bad}");
    }
}
