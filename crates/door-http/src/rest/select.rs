//! The `select` parameter: fields, aliases and embeds.

use countersign_model::request::{Embed, Read, Select};

use super::scan::Scanner;
use crate::Limits;
use crate::problem::{Part, Problem};

/// Reads a select list, embeds included.
///
/// ```
/// use countersign_door_http::{Limits, rest::select};
/// let list = select::parse("name:company,invoice!inner(total,invoice_line(quantity))", &Limits::default()).unwrap();
/// assert_eq!(list.len(), 2);
/// ```
///
/// # Errors
/// [`Problem::Syntax`], [`Problem::Unsupported`] or [`Problem::TooMany`].
pub fn parse(text: &str, limits: &Limits) -> Result<Vec<Select>, Problem> {
    let mut scanner = Scanner::new(Part::Select, text);
    let mut items_left = limits.items;
    let list = list(&mut scanner, limits, limits.embed_depth, &mut items_left)?;
    if scanner.at_end() { Ok(list) } else { Err(scanner.expected("',' or the end")) }
}

fn list(
    s: &mut Scanner<'_>,
    limits: &Limits,
    depth_left: usize,
    items_left: &mut usize,
) -> Result<Vec<Select>, Problem> {
    let mut items = Vec::with_capacity(4);
    loop {
        *items_left = items_left
            .checked_sub(1)
            .ok_or(Problem::TooMany { what: "items in the select lists", max: limits.items })?;
        items.push(item(s, limits, depth_left, items_left)?);
        if !s.eat(",") {
            return Ok(items);
        }
    }
}

fn item(s: &mut Scanner<'_>, limits: &Limits, depth_left: usize, items_left: &mut usize) -> Result<Select, Problem> {
    if s.starts_with("...") {
        return Err(Problem::Unsupported("spread embeds (...)"));
    }
    if s.eat("*") {
        return Ok(Select::All);
    }
    const NAME: &str = "'*', a field, an alias or an embedded type";
    let first = s.name(NAME)?;
    let aliased = !s.starts_with("::") && s.eat(":");
    if aliased && s.starts_with("...") {
        return Err(Problem::Unsupported("spread embeds (...)"));
    }
    let (alias, name) = if aliased { (Some(first), s.name("a field or an embedded type")?) } else { (None, first) };
    let alias = alias.map(std::borrow::Cow::into_owned);
    s.refuse_extensions()?;
    if s.starts_with(".") {
        return Err(Problem::Unsupported("aggregate functions"));
    }
    let (mut hint, mut inner, mut marked) = (None, false, false);
    while s.eat("!") {
        marked = true;
        match &*s.name("'inner', 'left' or a reference field")? {
            "inner" => inner = true,
            "left" => inner = false,
            word if hint.is_none() => hint = Some(word.to_owned()),
            _ => return Err(s.expected("one reference field at most")),
        }
    }
    if !s.eat("(") {
        if marked {
            return Err(s.expected("'(' and the fields to embed"));
        }
        return Ok(Select::Field { field: name.into_owned(), alias });
    }
    if s.starts_with(")") {
        let aggregate = matches!(&*name, "count" | "sum" | "avg" | "min" | "max");
        return Err(if aggregate {
            Problem::Unsupported("aggregate functions")
        } else {
            s.expected("fields to embed")
        });
    }
    let depth_left =
        depth_left.checked_sub(1).ok_or(Problem::TooMany { what: "levels of embedding", max: limits.embed_depth })?;
    let select = list(s, limits, depth_left, items_left)?;
    s.expect(")", "',' or ')'")?;
    s.refuse_extensions()?;
    let read = Read { record_type: name.into_owned(), select, ..Read::default() };
    Ok(Select::Embed(Embed { alias, hint, inner, read }))
}

/// What the answer calls an embed, which is also how other parameters refer to it.
#[must_use]
pub fn label(embed: &Embed) -> &str {
    embed.alias.as_deref().unwrap_or(&embed.read.record_type)
}

/// The embed of that label in a select list.
pub fn find_embed<'a>(select: &'a mut [Select], wanted: &str) -> Option<&'a mut Embed> {
    select.iter_mut().find_map(|item| match item {
        Select::Embed(embed) if label(embed) == wanted => Some(embed),
        _ => None,
    })
}

/// A list of field names (`columns`, and `on_conflict` with its one).
///
/// # Errors
/// [`Problem::Syntax`] or [`Problem::TooMany`].
pub fn names(part: Part, text: &str, limits: &Limits) -> Result<Vec<String>, Problem> {
    let mut scanner = Scanner::new(part, text);
    let mut names = Vec::new();
    loop {
        if names.len() >= limits.fields {
            return Err(Problem::TooMany { what: "field names in a list", max: limits.fields });
        }
        names.push(scanner.name("a field")?.into_owned());
        scanner.refuse_extensions()?;
        if scanner.at_end() {
            return Ok(names);
        }
        scanner.expect(",", "',' or the end")?;
    }
}

#[cfg(test)]
mod tests;
