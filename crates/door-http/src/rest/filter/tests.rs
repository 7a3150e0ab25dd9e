use super::*;

fn one(field: &str, operator: Operator, value: &str) -> Filter {
    test_of(field, operator, Literal::One(value.into()))
}

fn list_of(field: &str, values: &[&str]) -> Filter {
    test_of(field, Operator::In, Literal::List(values.iter().map(|value| (*value).to_owned()).collect()))
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn parse(text: &str) -> Result<Filter, Problem> {
    test("f", text, &mut Budget::new(&Limits::default()))
}

fn parse_or(text: &str) -> Result<Filter, Problem> {
    tree(Connective::Or, false, text, &mut Budget::new(&Limits::default()))
}

#[test]
fn comparisons() {
    use Operator::{Eq, Gt, Gte, Ilike, Is, Like, Lt, Lte, Neq};
    for (text, filter) in [
        ("eq.Brazil", one("f", Eq, "Brazil")),
        ("eq.", one("f", Eq, "")),
        ("eq.a.b,c)\"(", one("f", Eq, "a.b,c)\"(")),
        ("eq.\"quoted\"", one("f", Eq, "\"quoted\"")),
        ("neq.1", one("f", Neq, "1")),
        ("gt.1.5", one("f", Gt, "1.5")),
        ("gte.1", one("f", Gte, "1")),
        ("lt.1", one("f", Lt, "1")),
        ("lte.1", one("f", Lte, "1")),
        ("like.A*n%_", one("f", Like, "A%n%_")),
        ("ilike.*a*", one("f", Ilike, "%a%")),
        ("is.null", one("f", Is, "null")),
        ("is.TRUE", one("f", Is, "true")),
        ("is.unknown", one("f", Is, "null")),
        ("is.not_null", not(one("f", Is, "null"))),
        ("not.is.null", not(one("f", Is, "null"))),
        ("not.eq.x", not(one("f", Eq, "x"))),
        ("eq.not.x", one("f", Eq, "not.x")),
        ("in.(1,2)", list_of("f", &["1", "2"])),
        ("in.()", list_of("f", &[])),
        ("in.(\"a,b\",c d,\"e\\\"f\\\\\")", list_of("f", &["a,b", "c d", "e\"f\\"])),
        ("in.(,)", list_of("f", &["", ""])),
        ("in.(5\" pipe)", list_of("f", &["5\" pipe"])),
        ("not.in.(1)", not(list_of("f", &["1"]))),
        ("isdistinct.1", Filter::Or(vec![one("f", Neq, "1"), one("f", Is, "null")])),
        ("like(any).{A*,\"B,*\"}", Filter::Or(vec![one("f", Like, "A%"), one("f", Like, "B,%")])),
        ("eq(all).{1}", Filter::And(vec![one("f", Eq, "1")])),
        ("not.ilike(all).{a*,*b}", not(Filter::And(vec![one("f", Ilike, "a%"), one("f", Ilike, "%b")]))),
    ] {
        assert_eq!(parse(text), Ok(filter), "{text}");
    }
}

#[test]
fn refused_where_it_goes_wrong() {
    for (text, column) in [
        ("", 1),
        ("Brazil", 1),
        ("equals.1", 1),
        ("eq", 3),
        ("not.not.eq.1", 5),
        ("is.nil", 7),
        ("is.null.x", 10),
        ("in.1", 4),
        ("in.(1", 6),
        ("in.(1)x", 7),
        ("in.(\"a\"b)", 8),
        ("in.(\"a)", 8),
        ("like(some).{a}", 10),
        ("like(any).a", 11),
        ("neq(any).{a}", 4),
        ("in(any).{a}", 3),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(matches!(problem, Problem::Syntax { column: at, .. } if at == column), "{text}: {problem:?}");
    }
    for text in ["match.^a", "fts.a", "wfts(english).a", "cs.{a}", "ov.[1,2)", "not.cd.{a}"] {
        assert!(matches!(parse(text), Err(Problem::Unsupported(_)) | Err(Problem::Syntax { .. })), "{text}");
    }
    assert!(matches!(parse("cs.{a}"), Err(Problem::Unsupported(_))));
}

#[test]
fn trees() {
    use Operator::{Eq, Gt, Lt};
    let range = Filter::And(vec![one("b", Gt, "1"), one("b", Lt, "5")]);
    for (text, filter) in [
        ("(a.eq.1)", Filter::Or(vec![one("a", Eq, "1")])),
        ("(a.eq.1,and(b.gt.1,b.lt.5))", Filter::Or(vec![one("a", Eq, "1"), range.clone()])),
        ("(a.not.eq.1,not.and(b.gt.1,b.lt.5))", Filter::Or(vec![not(one("a", Eq, "1")), not(range)])),
        ("(a.eq.\"x,y)\",a.eq.z.w)", Filter::Or(vec![one("a", Eq, "x,y)"), one("a", Eq, "z.w")])),
        ("(a.in.(1,2),b.is.null)", Filter::Or(vec![list_of("a", &["1", "2"]), one("b", Operator::Is, "null")])),
        ("( a.eq.1 , b.eq.2)", Filter::Or(vec![one("a", Eq, "1 "), one("b", Eq, "2")])),
        ("(\"and\".eq.1,order.eq.2)", Filter::Or(vec![one("and", Eq, "1"), one("order", Eq, "2")])),
        ("(or(a.eq.1,a.eq.2))", Filter::Or(vec![Filter::Or(vec![one("a", Eq, "1"), one("a", Eq, "2")])])),
    ] {
        assert_eq!(parse_or(text), Ok(filter), "{text}");
    }
    for (text, column) in [
        ("", 1),
        ("()", 2),
        ("(a.eq.1", 8),
        ("(a.eq.1)x", 9),
        ("(a.eq.1,)", 9),
        ("(a)", 3),
        ("(a.b.eq.1)", 4),
        ("(a.eq.\"x\"y)", 10),
        ("(and)", 5),
    ] {
        let problem = parse_or(text).unwrap_err();
        assert!(matches!(problem, Problem::Syntax { column: at, .. } if at == column), "{text}: {problem:?}");
    }
    let negated = tree(Connective::And, true, "(a.eq.1)", &mut Budget::new(&Limits::default())).unwrap();
    assert_eq!(negated, not(Filter::And(vec![one("a", Eq, "1")])));
}

#[test]
fn bounds() {
    let limits = Limits { filter_nodes: 3, filter_depth: 2, list: 2, ..Limits::default() };
    let or = |text: &str| tree(Connective::Or, false, text, &mut Budget::new(&limits));
    assert!(or("(a.eq.1,b.eq.2)").is_ok());
    assert!(matches!(or("(a.eq.1,b.eq.2,c.eq.3)"), Err(Problem::TooMany { max: 3, .. })));
    assert!(or("(and(a.eq.1))").is_ok());
    assert!(matches!(or("(and(or(a.eq.1)))"), Err(Problem::TooMany { max: 2, .. })));
    let test = |text: &str| test("f", text, &mut Budget::new(&limits));
    assert!(test("in.(1,2)").is_ok());
    assert!(matches!(test("in.(1,2,3)"), Err(Problem::TooMany { max: 2, .. })));
    assert!(matches!(test("like(any).{1,2,3}"), Err(Problem::TooMany { max: 2, .. })));
    let deep = format!("{}a.eq.1{}", "(and".repeat(100_000), ")".repeat(100_000));
    assert!(or(&deep).is_err());
}
