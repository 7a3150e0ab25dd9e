//! The query string: decoded, sorted into parameters, and attached to the reads they belong to.

use std::borrow::Cow;

use countersign_model::Name;
use countersign_model::request::{Filter, Order, Read, Select};
use percent_encoding::percent_decode_str;

use super::filter::{self, Budget, Connective};
use super::{order, select};
use crate::Limits;
use crate::problem::{Part, Problem};

/// Everything that a query string may say about records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// `select`, embeds with their own filters, order and limits; empty if it is not there.
    pub select: Vec<Select>,
    /// All filters, connected by and.
    pub filter: Filter,
    /// `order`.
    pub order: Vec<Order>,
    /// `limit`.
    pub limit: Option<u64>,
    /// `offset`.
    pub offset: Option<u64>,
    /// `columns`.
    pub columns: Option<Vec<String>>,
    /// `on_conflict`.
    pub on_conflict: Option<String>,
    /// `cursor`, still sealed.
    pub cursor: Option<String>,
}

/// Reads a query string, without its `?`.
///
/// ```
/// use countersign_door_http::{Limits, rest::query};
/// let parameters = query::parse("select=company&country=eq.Brazil&order=company&limit=5", &Limits::default()).unwrap();
/// assert_eq!(parameters.limit, Some(5));
/// ```
///
/// # Errors
/// [`Problem`] says which parameter, where in it, and what was expected.
pub fn parse(query: &str, limits: &Limits) -> Result<Parameters, Problem> {
    let mut out = Parameters::default();
    let mut embedded = Vec::new();
    let mut tests = Vec::new();
    let mut budget = Budget::new(limits);
    let mut seen = Seen::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key)?, decode(value)?);
        match &*key {
            "select" => {
                seen.once(&mut out.select, "select", select::parse(&value, limits)?)?;
            }
            "order" if value.is_empty() => {}
            "order" => seen.once(&mut out.order, "order", order::parse(&value, limits)?)?,
            "limit" => seen.once(&mut out.limit, "limit", Some(number(Part::Limit, &value)?))?,
            "offset" => seen.once(&mut out.offset, "offset", Some(number(Part::Offset, &value)?))?,
            "columns" => {
                seen.once(&mut out.columns, "columns", Some(select::names(Part::Columns, &value, limits)?))?;
            }
            "on_conflict" => seen.once(&mut out.on_conflict, "on_conflict", Some(conflict_field(&value, limits)?))?,
            "cursor" => seen.once(&mut out.cursor, "cursor", Some(value.into_owned()))?,
            _ => match target(&key)? {
                Target { path, what } if path.is_empty() => tests.push((what, value)),
                target => embedded.push((target, value)),
            },
        }
    }
    let mut root = Read { select: std::mem::take(&mut out.select), ..Read::default() };
    for (what, value) in tests {
        apply(&mut root, what, &value, limits, &mut budget)?;
    }
    for (Target { path, what }, value) in embedded {
        let mut read = &mut root;
        for step in &path {
            read = &mut select::find_embed(&mut read.select, step).ok_or(Problem::NotEmbedded)?.read;
        }
        apply(read, what, &value, limits, &mut budget)?;
    }
    out.select = root.select;
    out.filter = root.filter;
    Ok(out)
}

/// Which parameters have been there: twice is once too often, as two readers might pick different ones.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn once<T>(&mut self, slot: &mut T, name: &'static str, value: T) -> Result<(), Problem> {
        if self.0.contains(&name) {
            return Err(Problem::Repeated(name));
        }
        self.0.push(name);
        *slot = value;
        Ok(())
    }
}

/// What a parameter's key that is not reserved refers to.
struct Target {
    /// The embeds to go through.
    path: Vec<String>,
    what: What,
}

enum What {
    Field(String),
    Logic(Connective, bool),
    Order,
    Limit,
    Offset,
}

/// Reads a key such as `country`, `not.or`, `invoice.total`, `invoice.order` or `invoice.not.and`.
fn target(key: &str) -> Result<Target, Problem> {
    let mut s = super::scan::Scanner::new(Part::Name, key);
    let mut path = Vec::new();
    let mut quoted;
    let last = loop {
        quoted = s.peek() == Some(b'"');
        let name = s.name("a field")?.into_owned();
        s.refuse_extensions()?;
        if s.at_end() {
            break name;
        }
        s.expect(".", "'.' or '='")?;
        path.push(name);
    };
    let negated = path.last().is_some_and(|step| step == "not");
    let what = match last.as_str() {
        _ if quoted => What::Field(last),
        "and" | "or" => {
            if negated {
                path.pop();
            }
            What::Logic(if last == "and" { Connective::And } else { Connective::Or }, negated)
        }
        "order" if !path.is_empty() => What::Order,
        "limit" if !path.is_empty() => What::Limit,
        "offset" if !path.is_empty() => What::Offset,
        _ => What::Field(last),
    };
    Ok(Target { path, what })
}

fn apply(read: &mut Read, what: What, value: &str, limits: &Limits, budget: &mut Budget<'_>) -> Result<(), Problem> {
    let filter = match what {
        What::Order if value.is_empty() => return Ok(()),
        What::Order if !read.order.is_empty() => return Err(Problem::Repeated("order")),
        What::Order => {
            read.order = order::parse(value, limits)?;
            return Ok(());
        }
        What::Limit if read.limit.is_some() => return Err(Problem::Repeated("limit")),
        What::Limit => {
            read.limit = Some(number(Part::Limit, value)?);
            return Ok(());
        }
        What::Offset if read.offset > 0 => return Err(Problem::Repeated("offset")),
        What::Offset => {
            read.offset = number(Part::Offset, value)?;
            return Ok(());
        }
        What::Logic(connective, negated) => filter::tree(connective, negated, value, budget)?,
        What::Field(field) => match select::find_embed(&mut read.select, &field) {
            // A condition on whether there are embedded records; PostgREST's other way to write `!inner`.
            Some(embed) if value == "not.is.null" => {
                embed.inner = true;
                return Ok(());
            }
            Some(_) if value == "is.null" => return Err(Problem::Unsupported("'is.null' on an embedded type")),
            Some(_) => return Err(Problem::EmbedFilter),
            None => filter::test(&field, value, budget).map_err(|problem| named(&field, problem))?,
        },
    };
    match &mut read.filter {
        Filter::And(all) => all.push(filter),
        other => *other = Filter::And(vec![std::mem::take(other), filter]),
    }
    Ok(())
}

/// Says whose value is wrong, if the field's name is one that may be repeated.
fn named(field: &str, problem: Problem) -> Problem {
    match Name::new(field) {
        Ok(parameter) => Problem::In { parameter, problem: Box::new(problem) },
        Err(_) => problem,
    }
}

/// Undoes form encoding. What is not UTF-8 then, or has a NUL, is refused.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+' | 0)) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| Problem::NotUtf8(Part::Query))?;
    if decoded.contains('\0') {
        return Err(Problem::Nul { part: Part::Query, row: None });
    }
    Ok(Cow::Owned(decoded.into_owned()))
}

fn number(part: Part, text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        // PostgREST answers a negative limit as a range that can't be had, which clients look for.
        _ if part == Part::Limit && text.starts_with('-') => Err(Problem::NegativeLimit),
        _ => Err(Problem::Syntax { part, line: 1, column: 1, expected: "a whole number, zero or more" }),
    }
}

fn conflict_field(text: &str, limits: &Limits) -> Result<String, Problem> {
    let mut names = select::names(Part::OnConflict, text, limits)?;
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(Problem::Unsupported("'on_conflict' with several fields")),
    }
}

#[cfg(test)]
mod tests;
