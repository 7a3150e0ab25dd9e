//! `limit`, `offset`, the `Range` header, `Content-Range` and the statuses that go with them.

use http::StatusCode;

use crate::problem::{Part, Problem};

/// The part of a result that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Rows to skip.
    pub offset: u64,
    /// Rows at most.
    pub limit: Option<u64>,
}

/// Both the parameters and the header: what lies in both.
///
/// A `Range` in a unit other than `items` is passed over, as RFC 9110, section 14.2, wants it.
///
/// # Errors
/// [`Problem::Syntax`] if the header is malformed, [`Problem::EmptyRange`] if nothing lies in both.
pub fn window(
    limit: Option<u64>,
    offset: Option<u64>,
    unit: Option<&str>,
    header: Option<&str>,
) -> Result<Window, Problem> {
    let asked = Window { offset: offset.unwrap_or(0), limit };
    let Some((first, last)) = header.map(|header| parse(unit, header)).transpose()?.flatten() else {
        return Ok(asked);
    };
    if limit == Some(0) {
        return Ok(asked);
    }
    let last_asked = limit.map(|limit| asked.offset.saturating_add(limit).saturating_sub(1));
    let last = match (last, last_asked) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let offset = first.max(asked.offset);
    let limit = match last {
        None => None,
        Some(last) => Some(last.checked_sub(offset).ok_or(Problem::EmptyRange)?.saturating_add(1)),
    };
    Ok(Window { offset, limit })
}

/// `first-last` or `first-`, with or without `items=` before it.
fn parse(unit: Option<&str>, header: &str) -> Result<Option<(u64, Option<u64>)>, Problem> {
    let (unit, range) = match header.split_once('=') {
        Some((unit, range)) => (Some(unit), range),
        None => (unit, header),
    };
    if unit.is_some_and(|unit| !unit.trim().eq_ignore_ascii_case("items")) {
        return Ok(None);
    }
    let malformed = Problem::Syntax { part: Part::Range, line: 1, column: 1, expected: "first-last, such as 0-19" };
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u64>().map_err(|_| malformed.clone()),
        false => Err(malformed.clone()),
    };
    let (first, last) = range.trim().split_once('-').ok_or(malformed.clone())?;
    let first = number(first)?;
    let last = if last.is_empty() { None } else { Some(number(last)?) };
    if last.is_some_and(|last| last < first) {
        return Err(Problem::EmptyRange);
    }
    Ok(Some((first, last)))
}

/// The value of `Content-Range` for `rows` rows from `offset` on, out of `total` if that is known.
#[must_use]
pub fn content_range(offset: u64, rows: u64, total: Option<u64>) -> String {
    let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
    match rows.checked_sub(1) {
        None => format!("*/{total}"),
        Some(more) => format!("{offset}-{}/{total}", offset.saturating_add(more)),
    }
}

/// 200 if that is all there is, 206 if it is a part.
///
/// # Errors
/// [`Problem::BeyondEnd`] if the result is known to end before `offset`.
pub const fn status(offset: u64, rows: u64, total: Option<u64>) -> Result<StatusCode, Problem> {
    match total {
        Some(total) if offset > total => Err(Problem::BeyondEnd { offset, total }),
        Some(total) if rows < total => Ok(StatusCode::PARTIAL_CONTENT),
        _ => Ok(StatusCode::OK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let window_of = |offset, limit| Ok(Window { offset, limit });
        for (limit, offset, unit, header, expected) in [
            (None, None, None, None, window_of(0, None)),
            (Some(5), Some(10), None, None, window_of(10, Some(5))),
            (None, None, None, Some("0-9"), window_of(0, Some(10))),
            (None, None, Some("items"), Some("10-"), window_of(10, None)),
            (None, None, None, Some("items=3-3"), window_of(3, Some(1))),
            (Some(5), None, None, Some("0-9"), window_of(0, Some(5))),
            (Some(5), Some(8), None, Some("0-9"), window_of(8, Some(2))),
            (None, None, None, Some("bytes=0-9"), window_of(0, None)),
            (None, None, Some("bytes"), Some("0-9"), window_of(0, None)),
            (Some(0), None, None, Some("0-9"), window_of(0, Some(0))),
            (None, None, None, Some("9-3"), Err(Problem::EmptyRange)),
            (Some(2), Some(20), None, Some("0-9"), Err(Problem::EmptyRange)),
        ] {
            assert_eq!(window(limit, offset, unit, header), expected, "{limit:?} {offset:?} {header:?}");
        }
        for bad in ["", "a", "-5", "1", "0-9,20-29", "0-x", "+1-2", "99999999999999999999-"] {
            assert!(matches!(window(None, None, None, Some(bad)), Err(Problem::Syntax { .. })), "{bad}");
        }
    }

    #[test]
    fn what_is_said_of_the_part_given() {
        for (offset, rows, total, range, code) in [
            (0, 3, None, "0-2/*", 200),
            (0, 3, Some(3), "0-2/3", 200),
            (0, 3, Some(30), "0-2/30", 206),
            (10, 0, Some(10), "*/10", 206),
            (0, 0, Some(0), "*/0", 200),
            (5, 0, None, "*/*", 200),
        ] {
            assert_eq!(content_range(offset, rows, total), range);
            assert_eq!(status(offset, rows, total).unwrap().as_u16(), code);
        }
        assert_eq!(status(11, 0, Some(10)), Err(Problem::BeyondEnd { offset: 11, total: 10 }));
    }
}
