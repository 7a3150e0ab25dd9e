//! Filters: `field=operator.value`, and the nested lists of `and` and `or`.

use std::borrow::Cow;

use countersign_model::request::{Filter, Literal, Operator};

use super::scan::Scanner;
use crate::Limits;
use crate::problem::{Part, Problem};

/// How much of the bounds on filters one request has left.
#[derive(Debug)]
pub struct Budget<'a> {
    limits: &'a Limits,
    nodes_left: usize,
}

impl<'a> Budget<'a> {
    /// All of it.
    #[must_use]
    pub const fn new(limits: &'a Limits) -> Self {
        Self { limits, nodes_left: limits.filter_nodes }
    }

    fn spend(&mut self) -> Result<(), Problem> {
        let too_many = Problem::TooMany { what: "filters", max: self.limits.filter_nodes };
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(too_many)?;
        Ok(())
    }
}

/// What connects the members of a logic tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connective {
    /// All.
    And,
    /// At least one.
    Or,
}

/// Reads the value of a filter parameter such as `eq.Brazil`, `not.in.(1,2)` or `like(any).{A*,B*}`.
///
/// # Errors
/// [`Problem::Syntax`], [`Problem::Unsupported`] or [`Problem::TooMany`].
pub fn test(field: &str, text: &str, budget: &mut Budget<'_>) -> Result<Filter, Problem> {
    let mut s = Scanner::new(Part::Filter, text);
    let filter = predicate(&mut s, field, false, budget)?;
    if s.at_end() { Ok(filter) } else { Err(s.expected("the end")) }
}

/// Reads the value of an `and` or `or` parameter, such as `(total.gt.5,not.and(id.eq.1,id.eq.2))`.
///
/// # Errors
/// [`Problem::Syntax`], [`Problem::Unsupported`] or [`Problem::TooMany`].
pub fn tree(connective: Connective, negated: bool, text: &str, budget: &mut Budget<'_>) -> Result<Filter, Problem> {
    let mut s = Scanner::new(Part::Logic, text);
    let filter = members(&mut s, connective, negated, budget, budget.limits.filter_depth)?;
    if s.at_end() { Ok(filter) } else { Err(s.expected("the end")) }
}

fn members(
    s: &mut Scanner<'_>,
    connective: Connective,
    negated: bool,
    budget: &mut Budget<'_>,
    depth_left: usize,
) -> Result<Filter, Problem> {
    budget.spend()?;
    let too_deep = Problem::TooMany { what: "levels of 'and' and 'or'", max: budget.limits.filter_depth };
    let depth_left = depth_left.checked_sub(1).ok_or(too_deep)?;
    s.expect("(", "'('")?;
    let mut list = Vec::new();
    loop {
        s.until(|c| c != ' ');
        list.push(member(s, budget, depth_left)?);
        s.until(|c| c != ' ');
        if s.eat(")") {
            break;
        }
        s.expect(",", "',' or ')'")?;
    }
    let filter = match connective {
        Connective::And => Filter::And(list),
        Connective::Or => Filter::Or(list),
    };
    Ok(negate_if(negated, filter))
}

fn member(s: &mut Scanner<'_>, budget: &mut Budget<'_>, depth_left: usize) -> Result<Filter, Problem> {
    for (word, negated, connective) in [
        ("and(", false, Connective::And),
        ("or(", false, Connective::Or),
        ("not.and(", true, Connective::And),
        ("not.or(", true, Connective::Or),
    ] {
        if s.starts_with(word) {
            s.eat(word.trim_end_matches('('));
            return members(s, connective, negated, budget, depth_left);
        }
    }
    let field = s.name("a field, 'and(' or 'or('")?;
    s.refuse_extensions()?;
    s.expect(".", "'.' and an operator")?;
    predicate(s, &field, true, budget)
}

fn negate_if(negated: bool, filter: Filter) -> Filter {
    if negated { Filter::Not(Box::new(filter)) } else { filter }
}

/// What applies a comparison to each of several values.
#[derive(Clone, Copy)]
enum Quantifier {
    Any,
    All,
}

/// How the text after the operator is read.
enum Shape {
    One(Operator),
    Pattern(Operator),
    List,
    Is,
    Distinct,
}

const OPERATOR: &str = "an operator: eq, neq, gt, gte, lt, lte, like, ilike, in, is, isdistinct, or 'not.' and one";

fn predicate(s: &mut Scanner<'_>, field: &str, nested: bool, budget: &mut Budget<'_>) -> Result<Filter, Problem> {
    budget.spend()?;
    let negated = s.eat("not.");
    let shape = operator(s)?;
    let quantifier = quantifier(s, &shape)?;
    s.expect(".", "'.' and a value")?;
    let is = |word: &str| test_of(field, Operator::Is, Literal::One(word.to_owned()));
    let filter = match (shape, quantifier) {
        (Shape::List, _) => test_of(field, Operator::In, Literal::List(list(s, '(', ')', budget)?)),
        (Shape::Is, _) => {
            let word = s.until(|c| nested && matches!(c, ',' | ')'));
            match word.trim_matches(' ').to_ascii_lowercase().as_str() {
                known @ ("null" | "true" | "false") => is(known),
                // A boolean that is neither is null.
                "unknown" => is("null"),
                "not_null" => Filter::Not(Box::new(is("null"))),
                _ => return Err(s.expected("null, not_null, true, false or unknown")),
            }
        }
        (Shape::Distinct, _) => {
            let differs = test_of(field, Operator::Neq, Literal::One(scalar(s, nested)?.into_owned()));
            Filter::Or(vec![differs, is("null")])
        }
        (Shape::One(operator) | Shape::Pattern(operator), None) => {
            test_of(field, operator, Literal::One(value_for(operator, scalar(s, nested)?)))
        }
        (Shape::One(operator) | Shape::Pattern(operator), Some(quantifier)) => {
            let mut tests = Vec::new();
            for value in list(s, '{', '}', budget)? {
                budget.spend()?;
                tests.push(test_of(field, operator, Literal::One(value_for(operator, Cow::Owned(value)))));
            }
            match quantifier {
                Quantifier::Any => Filter::Or(tests),
                Quantifier::All => Filter::And(tests),
            }
        }
    };
    Ok(negate_if(negated, filter))
}

fn test_of(field: &str, operator: Operator, literal: Literal) -> Filter {
    Filter::Test { field: field.to_owned(), operator, literal }
}

/// In patterns `*` stands for `%`, which would have to be escaped in a URL.
fn value_for(operator: Operator, value: Cow<'_, str>) -> String {
    match operator {
        Operator::Like | Operator::Ilike => value.replace('*', "%"),
        _ => value.into_owned(),
    }
}

fn operator(s: &mut Scanner<'_>) -> Result<Shape, Problem> {
    let start = s.place();
    Ok(match s.until(|c| !c.is_ascii_lowercase()) {
        "eq" => Shape::One(Operator::Eq),
        "neq" => Shape::One(Operator::Neq),
        "gt" => Shape::One(Operator::Gt),
        "gte" => Shape::One(Operator::Gte),
        "lt" => Shape::One(Operator::Lt),
        "lte" => Shape::One(Operator::Lte),
        "like" => Shape::Pattern(Operator::Like),
        "ilike" => Shape::Pattern(Operator::Ilike),
        "in" => Shape::List,
        "is" => Shape::Is,
        "isdistinct" => Shape::Distinct,
        "match" | "imatch" => return Err(Problem::Unsupported("regular expressions (match, imatch)")),
        "fts" | "plfts" | "phfts" | "wfts" => return Err(Problem::Unsupported("full-text search")),
        "cs" | "cd" | "ov" | "sl" | "sr" | "nxr" | "nxl" | "adj" => {
            return Err(Problem::Unsupported("array, range and containment operators"));
        }
        _ => return Err(s.expected_at(start, OPERATOR)),
    })
}

fn quantifier(s: &mut Scanner<'_>, shape: &Shape) -> Result<Option<Quantifier>, Problem> {
    let quantifiable =
        matches!(shape, Shape::Pattern(_) | Shape::One(_)) && !matches!(shape, Shape::One(Operator::Neq));
    if !quantifiable || !s.eat("(") {
        return Ok(None);
    }
    let quantifier = match s.until(|c| c == ')') {
        "any" => Quantifier::Any,
        "all" => Quantifier::All,
        _ => return Err(s.expected("any or all")),
    };
    s.expect(")", "')'")?;
    Ok(Some(quantifier))
}

/// One value: at the top everything that is left, in a logic tree up to `,` or `)` unless it is quoted.
fn scalar<'a>(s: &mut Scanner<'a>, nested: bool) -> Result<Cow<'a, str>, Problem> {
    match s.peek() {
        _ if !nested => Ok(Cow::Borrowed(s.take_rest())),
        Some(b'"') => s.quoted().map(Cow::Owned),
        _ => Ok(Cow::Borrowed(s.until(|c| matches!(c, ',' | ')')))),
    }
}

/// Values between brackets; none at all is the empty list.
fn list(s: &mut Scanner<'_>, open: char, close: char, budget: &Budget<'_>) -> Result<Vec<String>, Problem> {
    let (opening, closing, expected) = match open {
        '(' => ("(", ")", "'(' and a list"),
        _ => ("{", "}", "'{' and a list"),
    };
    s.expect(opening, expected)?;
    let mut values = Vec::new();
    if s.eat(closing) {
        return Ok(values);
    }
    loop {
        if values.len() >= budget.limits.list {
            return Err(Problem::TooMany { what: "values in a list", max: budget.limits.list });
        }
        let value = match s.peek() {
            Some(b'"') => s.quoted()?,
            _ => s.until(|c| c == ',' || c == close).to_owned(),
        };
        values.push(value);
        if s.eat(closing) {
            return Ok(values);
        }
        s.expect(",", "',' or the end of the list")?;
    }
}

#[cfg(test)]
mod tests;
