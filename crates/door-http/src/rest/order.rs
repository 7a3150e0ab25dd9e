//! The `order` parameter.

use countersign_model::request::Order;

use super::scan::Scanner;
use crate::Limits;
use crate::problem::{Part, Problem};

/// Reads sort keys such as `country.desc.nullslast,company`.
///
/// # Errors
/// [`Problem::Syntax`], [`Problem::Unsupported`] or [`Problem::TooMany`].
pub fn parse(text: &str, limits: &Limits) -> Result<Vec<Order>, Problem> {
    let mut s = Scanner::new(Part::Order, text);
    let mut keys = Vec::new();
    loop {
        if keys.len() >= limits.items {
            return Err(Problem::TooMany { what: "sort keys", max: limits.items });
        }
        keys.push(key(&mut s)?);
        if s.at_end() {
            return Ok(keys);
        }
        s.expect(",", "'.', ',' or the end")?;
    }
}

fn key(s: &mut Scanner<'_>) -> Result<Order, Problem> {
    let field = s.name("a field")?.into_owned();
    s.refuse_extensions()?;
    if s.starts_with("(") {
        return Err(Problem::OrderByEmbed);
    }
    let (mut descending, mut directed, mut nulls_first) = (false, false, None);
    while s.eat(".") {
        match s.until(|c| matches!(c, '.' | ',')) {
            word @ ("asc" | "desc") if !directed && nulls_first.is_none() => {
                directed = true;
                descending = word == "desc";
            }
            word @ ("nullsfirst" | "nullslast") if nulls_first.is_none() => nulls_first = Some(word == "nullsfirst"),
            _ => return Err(s.expected("'asc' or 'desc', then 'nullsfirst' or 'nullslast'")),
        }
    }
    Ok(Order { field, descending, nulls_first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_order() {
        let key = |field: &str, descending, nulls_first| Order { field: field.into(), descending, nulls_first };
        for (text, keys) in [
            ("company", vec![key("company", false, None)]),
            ("company.asc", vec![key("company", false, None)]),
            ("total.desc.nullslast,id", vec![key("total", true, Some(false)), key("id", false, None)]),
            ("total.nullsfirst", vec![key("total", false, Some(true))]),
            ("\"odd.name\".desc", vec![key("odd.name", true, None)]),
        ] {
            assert_eq!(parse(text, &Limits::default()), Ok(keys), "{text}");
        }
    }

    #[test]
    fn refused() {
        for (text, column) in
            [("", 1), (",", 1), ("a,", 3), ("a.up", 5), ("a.asc.desc", 11), ("a.nullsfirst.asc", 17), ("a)", 2)]
        {
            let problem = parse(text, &Limits::default()).unwrap_err();
            assert!(matches!(problem, Problem::Syntax { column: at, .. } if at == column), "{text}: {problem:?}");
        }
        assert_eq!(parse("invoice(total)", &Limits::default()), Err(Problem::OrderByEmbed));
        assert!(matches!(parse("a->b", &Limits::default()), Err(Problem::Unsupported(_))));
        let two = Limits { items: 2, ..Limits::default() };
        assert!(matches!(parse("a,b,c", &two), Err(Problem::TooMany { max: 2, .. })));
    }
}
