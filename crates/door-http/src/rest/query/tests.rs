use countersign_model::request::{Embed, Literal, Operator};

use super::*;

fn parsed(query: &str) -> Parameters {
    parse(query, &Limits::default()).unwrap_or_else(|problem| panic!("{query}: {problem}"))
}

fn refused(query: &str) -> Problem {
    parse(query, &Limits::default()).expect_err(query)
}

fn eq(field: &str, value: &str) -> Filter {
    Filter::Test { field: field.into(), operator: Operator::Eq, literal: Literal::One(value.into()) }
}

fn embed(parameters: &Parameters, at: usize) -> &Embed {
    match &parameters.select[at] {
        Select::Embed(embed) => embed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_at_once() {
    let all =
        parsed("select=id,company&country=eq.Brazil&order=id.desc&limit=5&offset=10&columns=%22a%22,b&on_conflict=id");
    assert_eq!(all.select.len(), 2);
    assert_eq!(all.filter, Filter::And(vec![eq("country", "Brazil")]));
    assert_eq!(all.order.len(), 1);
    assert_eq!((all.limit, all.offset), (Some(5), Some(10)));
    assert_eq!(all.columns, Some(vec!["a".into(), "b".into()]));
    assert_eq!(all.on_conflict.as_deref(), Some("id"));
    assert_eq!(parsed(""), Parameters::default());
    assert_eq!(parsed("&&order="), Parameters::default());
}

#[test]
fn form_encoding_is_undone_once() {
    assert_eq!(parsed("phone=eq.%2B55+%2812%29").filter, Filter::And(vec![eq("phone", "+55 (12)")]));
    assert_eq!(parsed("a=eq.100%25").filter, Filter::And(vec![eq("a", "100%")]));
    assert_eq!(parsed("a=eq.%2541").filter, Filter::And(vec![eq("a", "%41")]));
    assert_eq!(parsed("a=eq.S%C3%A3o").filter, Filter::And(vec![eq("a", "São")]));
    assert_eq!(parsed("a=eq.x=y").filter, Filter::And(vec![eq("a", "x=y")]));
    assert_eq!(refused("a=eq.%ff"), Problem::NotUtf8(Part::Query));
    assert_eq!(refused("a=eq.%00"), Problem::Nul { part: Part::Query, row: None });
    assert_eq!(refused("%00=eq.1"), Problem::Nul { part: Part::Query, row: None });
}

#[test]
fn logic_and_filters_connect_by_and() {
    let two = parsed("a=eq.1&a=eq.2").filter;
    assert_eq!(two, Filter::And(vec![eq("a", "1"), eq("a", "2")]));
    let logic = parsed("or=(a.eq.1,b.eq.2)&not.and=(a.eq.1)&c=eq.3").filter;
    let or = Filter::Or(vec![eq("a", "1"), eq("b", "2")]);
    let nand = Filter::Not(Box::new(Filter::And(vec![eq("a", "1")])));
    assert_eq!(logic, Filter::And(vec![or, nand, eq("c", "3")]));
    // Quoted, the reserved words are fields like any other.
    assert_eq!(parsed("%22or%22=eq.1").filter, Filter::And(vec![eq("or", "1")]));
    assert_eq!(parsed("%22limit%22=eq.1").filter, Filter::And(vec![eq("limit", "1")]));
}

#[test]
fn parameters_of_embeds() {
    let query = "select=company,invoice(total,lines:invoice_line(quantity))&invoice.total=eq.5&invoice.order=total.desc\
                 &invoice.limit=3&invoice.offset=1&invoice.lines.quantity=eq.1&invoice.or=(total.eq.1,total.eq.2)\
                 &invoice.not.and=(total.eq.9)";
    let parameters = parsed(query);
    assert_eq!(parameters.filter, Filter::default());
    let invoice = embed(&parameters, 1);
    let or = Filter::Or(vec![eq("total", "1"), eq("total", "2")]);
    let nand = Filter::Not(Box::new(Filter::And(vec![eq("total", "9")])));
    assert_eq!(invoice.read.filter, Filter::And(vec![eq("total", "5"), or, nand]));
    assert_eq!(invoice.read.order.len(), 1);
    assert_eq!((invoice.read.limit, invoice.read.offset), (Some(3), 1));
    let Select::Embed(lines) = &invoice.read.select[1] else { panic!() };
    assert_eq!(lines.read.filter, Filter::And(vec![eq("quantity", "1")]));
    // Before the select list as well as after it.
    let before = parsed("invoice.total=eq.5&select=invoice(total)");
    assert_eq!(embed(&before, 0).read.filter, Filter::And(vec![eq("total", "5")]));
}

#[test]
fn conditions_on_an_embed_itself() {
    assert!(embed(&parsed("select=invoice(id)&invoice=not.is.null"), 0).inner);
    assert!(matches!(refused("select=invoice(id)&invoice=is.null"), Problem::Unsupported(_)));
    assert_eq!(refused("select=invoice(id)&invoice=eq.5"), Problem::EmbedFilter);
    assert_eq!(refused("select=id&invoice.total=eq.5"), Problem::NotEmbedded);
    assert_eq!(refused("select=old:invoice(id)&invoice.total=eq.5"), Problem::NotEmbedded);
}

#[test]
fn numbers_and_repetitions() {
    assert_eq!(parsed("limit=0").limit, Some(0));
    assert_eq!(refused("limit=-1"), Problem::NegativeLimit);
    for bad in ["limit=", "limit=a", "limit=+1", "limit=1.5", "offset=-1", "offset=99999999999999999999"] {
        assert!(matches!(refused(bad), Problem::Syntax { .. }), "{bad}");
    }
    for name in ["select", "order", "columns", "on_conflict"] {
        assert_eq!(refused(&format!("{name}=a&{name}=b")), Problem::Repeated(name));
    }
    assert_eq!(refused("limit=1&limit=2"), Problem::Repeated("limit"));
    assert_eq!(refused("select=a(b)&a.limit=1&a.limit=2"), Problem::Repeated("limit"));
    assert!(matches!(refused("on_conflict=a,b"), Problem::Unsupported(_)));
}

#[test]
fn keys_that_are_none() {
    for bad in ["=eq.1", "a..b=eq.1", ".a=eq.1", "a.=eq.1", "a(b)=eq.1", "%22a=eq.1"] {
        assert!(matches!(refused(bad), Problem::Syntax { part: Part::Name, .. }), "{bad}");
    }
    assert!(matches!(refused("a->b=eq.1"), Problem::Unsupported(_)));
    assert!(matches!(refused("a::text=eq.1"), Problem::Unsupported(_)));
}

#[test]
fn bounds_hold_over_all_filters_of_a_request() {
    let limits = Limits { filter_nodes: 2, ..Limits::default() };
    assert!(parse("a=eq.1&b=eq.2", &limits).is_ok());
    let Err(Problem::In { problem, .. }) = parse("a=eq.1&b=eq.2&c=eq.3", &limits) else { panic!() };
    assert!(matches!(*problem, Problem::TooMany { max: 2, .. }));
}

#[test]
fn errors_name_the_filter() {
    let text = refused("total=over.5").to_string();
    assert!(text.starts_with("filter 'total': in a filter at line 1, column 1: expected an operator"), "{text}");
    let odd = refused("%22To%20tal%22=over.5").to_string();
    assert!(odd.starts_with("in a filter at line 1"), "{odd}");
}
