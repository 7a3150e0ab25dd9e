//! From an answer of the engine to a response.

use bytes::BytesMut;
use countersign_model::query::Column;
use countersign_model::row::Row;
use countersign_model::{RowSet, TenantId, UserId};
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::accept::Format;
use super::lower::{Form, Kind};
use super::once::IDEMPOTENCY_REPLAYED;
use super::{range, render};
use crate::problem::Problem;

/// Where the next page begins.
pub const CURSOR: HeaderName = HeaderName::from_static("countersign-cursor");
/// RFC 7240.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// An answer about records, as a backend gives it.
#[derive(Debug)]
pub struct Answer {
    /// The tenant that answered.
    pub tenant: TenantId,
    /// Who asked.
    pub user: UserId,
    /// What the cells of each row are.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: RowSet,
    /// How many records were made, changed or removed.
    pub affected: Option<u64>,
    /// How many of those were made.
    pub created: Option<u64>,
    /// It was given before; nothing was changed now.
    pub replayed: bool,
}

/// A response's body.
pub type Body = Full<bytes::Bytes>;

/// Makes the response. `cursor` is the next page's, sealed.
///
/// # Errors
/// [`Problem::NotOne`] or [`Problem::BeyondEnd`] if the answer is not what was asked for.
pub fn response(form: &Form, answer: &Answer, cursor: Option<String>) -> Result<Response<Body>, Problem> {
    let count = answer.rows.rows.len() as u64;
    let (status, content_range) = match form.kind {
        Kind::Read | Kind::Head => {
            let (offset, total) = (form.window.offset, answer.rows.total);
            if form.wants_one() && count != 1 {
                return Err(Problem::NotOne { none: count == 0 });
            }
            (range::status(offset, count, total)?, range::content_range(offset, count, total))
        }
        kind => changed(kind, form, answer)?,
    };
    let body = if form.gives_records() { body(form, answer) } else { BytesMut::new() };
    let described = form.gives_records() || form.kind == Kind::Head;
    let mut response = Response::new(Body::new(body.freeze()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if described {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.format.content_type()));
    }
    if let Ok(value) = HeaderValue::try_from(content_range) {
        headers.insert(CONTENT_RANGE, value);
    }
    let applied = form.preferences.applied(form.kind.prefers());
    if !applied.is_empty()
        && let Ok(value) = HeaderValue::try_from(applied)
    {
        headers.insert(PREFERENCE_APPLIED, value);
    }
    if answer.replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(value) = cursor.and_then(|cursor| HeaderValue::try_from(cursor).ok()) {
        headers.insert(CURSOR, value);
    }
    Ok(response)
}

/// Status and content range of a change.
fn changed(kind: Kind, form: &Form, answer: &Answer) -> Result<(StatusCode, String), Problem> {
    let affected = answer.affected.unwrap_or(0);
    if form.wants_one() && affected != 1 {
        return Err(Problem::NotOne { none: affected == 0 });
    }
    // It has been changed; by now it is gone, or not the caller's to read.
    if answer.replayed && form.wants_one() && form.gives_records() && answer.rows.rows.is_empty() {
        return Err(Problem::NotOne { none: true });
    }
    let total = form.preferences.count.map(|_| affected);
    let content_range = match kind {
        Kind::Update => range::content_range(0, affected, total),
        _ => range::content_range(0, 0, total),
    };
    let nothing_made = answer.created == Some(0) && form.preferences.resolution.is_some();
    let status = match kind {
        Kind::Create if nothing_made => StatusCode::OK,
        Kind::Create => StatusCode::CREATED,
        _ if form.gives_records() => StatusCode::OK,
        _ => StatusCode::NO_CONTENT,
    };
    Ok((status, content_range))
}

/// All rows there are; of new records those that were asked for.
fn rows<'a>(form: &Form, answer: &'a Answer) -> &'a [Row] {
    let rows = answer.rows.rows.as_slice();
    if form.kind != Kind::Create {
        return rows;
    }
    let (offset, limit) = (form.window.offset, form.window.limit.unwrap_or(u64::MAX));
    let bound = |rows: &'a [Row], number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(rows.len());
    let rows = rows.get(bound(rows, offset)..).unwrap_or_default();
    rows.get(..bound(rows, limit)).unwrap_or_default()
}

fn body(form: &Form, answer: &Answer) -> BytesMut {
    const BYTES_PER_CELL: usize = 24;
    let (columns, rows) = (answer.columns.as_slice(), rows(form, answer));
    let cells = rows.len().saturating_mul(columns.len());
    let mut out = BytesMut::with_capacity(cells.saturating_mul(BYTES_PER_CELL).saturating_add(64));
    match form.format {
        Format::Array { strip_nulls } => render::json_array(&mut out, columns, rows, strip_nulls),
        Format::Object { strip_nulls } => {
            if let Some(row) = rows.first() {
                render::json_object(&mut out, columns, row, strip_nulls);
            }
        }
        Format::Csv => render::csv(&mut out, columns, rows),
    }
    out
}

#[cfg(test)]
mod tests;
