//! From a request about records to an [`Operation`], and to the form that its answer takes.

use countersign_model::request::{Delete, Filter, History, Insert, OnConflict, Operation, Read, Select, Update};
use http::header::{ACCEPT, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, Method};

use super::accept::{self, Format};
use super::body;
use super::prefer::{self, Preferences, Resolution, Returning, Use};
use super::query::{self, Parameters};
use super::range::{self, Window};
use crate::Limits;
use crate::problem::{Part, Problem};

/// Names the tenant for reading; PostgREST's name for schemas.
pub const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
/// Names the tenant for writing.
pub const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");
/// What the data is for, in the caller's words; recorded.
pub const PURPOSE: HeaderName = HeaderName::from_static("countersign-purpose");
/// The unit of `Range`.
pub const RANGE_UNIT: HeaderName = HeaderName::from_static("range-unit");
/// RFC 7240.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The longest purpose, in bytes, as in tokens.
pub const MAX_PURPOSE_BYTES: usize = 256;

/// A request about records as it arrived.
pub struct Incoming<'a> {
    /// GET, HEAD, POST, PATCH or DELETE.
    pub method: &'a Method,
    /// The record type that the path names, which may be any text.
    pub record_type: String,
    /// The query string.
    pub query: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// A request about records, lowered.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// What is asked.
    pub operation: Operation,
    /// The tenant that was named, if one was.
    pub tenant: Option<String>,
    /// What the data is for.
    pub purpose: Option<String>,
    /// How the answer is to look.
    pub form: Form,
    /// Where to go on, still sealed.
    pub cursor: Option<String>,
}

/// How an answer is to look.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// The media type.
    pub format: Format,
    /// What the request does.
    pub kind: Kind,
    /// What was preferred.
    pub preferences: Preferences,
    /// The part of the result that was asked for.
    pub window: Window,
}

/// What a request does, as far as its answer's form goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GET
    Read,
    /// HEAD
    Head,
    /// POST
    Create,
    /// PATCH
    Update,
    /// DELETE
    Delete,
}

impl Kind {
    /// Which preferences apply.
    #[must_use]
    pub const fn prefers(self) -> Use {
        match self {
            Self::Read | Self::Head => Use::Read,
            Self::Create => Use::Create,
            Self::Update | Self::Delete => Use::Change,
        }
    }
}

impl Form {
    /// Whether the records are given.
    #[must_use]
    pub fn gives_records(&self) -> bool {
        match self.kind {
            Kind::Read => true,
            Kind::Head => false,
            _ => self.preferences.returning == Some(Returning::Representation),
        }
    }

    /// Whether exactly one record is wanted.
    #[must_use]
    pub const fn wants_one(&self) -> bool {
        matches!(self.format, Format::Object { .. })
    }
}

/// Lowers a request about records.
///
/// # Errors
/// [`Problem`]: everything that PostgREST would do and Countersign can't is refused, nothing is passed over.
pub fn lower(incoming: Incoming<'_>, limits: &Limits) -> Result<Lowered, Problem> {
    let Incoming { method, record_type, query, headers, body } = incoming;
    let kind = match *method {
        Method::GET => Kind::Read,
        Method::HEAD => Kind::Head,
        Method::POST => Kind::Create,
        Method::PATCH => Kind::Update,
        Method::DELETE => Kind::Delete,
        _ => return Err(Problem::Method { allow: ALLOW }),
    };
    let mut parameters = query::parse(query, limits)?;
    let preferences = preferences(headers)?;
    let format = accept::parse(text(headers, &ACCEPT)?)?;
    let form = Form { format, kind, preferences, window: Window::default() };
    let tenant = tenant(headers, kind)?;
    let purpose = purpose(headers)?;
    let cursor = parameters.cursor.take();
    refuse_strays(kind, &parameters)?;
    refuse_paging(kind, &parameters, cursor.as_deref())?;
    let (operation, window) = match kind {
        Kind::Read | Kind::Head => read(record_type, parameters, &form, headers)?,
        Kind::Create => {
            // Which of the new records to give back.
            let window = Window { offset: parameters.offset.unwrap_or(0), limit: parameters.limit };
            (insert(record_type, parameters, &form, headers, body, limits)?, window)
        }
        Kind::Update => (update(record_type, parameters, &form, headers, body, limits)?, Window::default()),
        Kind::Delete => (delete(record_type, parameters, &form), Window::default()),
    };
    Ok(Lowered { operation, tenant, purpose, form: Form { window, ..form }, cursor })
}

/// Lowers a request for what a record was.
///
/// # Errors
/// As [`lower`].
pub fn history(incoming: Incoming<'_>, key: String, limits: &Limits) -> Result<Lowered, Problem> {
    let Incoming { method, record_type, query, headers, .. } = incoming;
    let kind = if *method == Method::HEAD { Kind::Head } else { Kind::Read };
    let Parameters { select, filter, order, limit, offset, columns, on_conflict, cursor } =
        query::parse(query, limits)?;
    let bare = filter == Filter::default()
        && order.is_empty()
        && (offset, columns, on_conflict, cursor) == (None, None, None, None)
        && !headers.contains_key(RANGE);
    if !bare {
        return Err(Problem::Unsupported("anything but 'select' and 'limit' in a request for a record's history"));
    }
    let mut fields = Vec::with_capacity(select.len());
    for part in select {
        match part {
            Select::Field { field, alias: None } => fields.push(field),
            // Everything is what there is without a select list.
            Select::All if fields.is_empty() => {}
            _ => return Err(Problem::Unsupported("anything but fields in the 'select' of a record's history")),
        }
    }
    let format = accept::parse(text(headers, &ACCEPT)?)?;
    let form = Form { format, kind, preferences: Preferences::default(), window: Window { offset: 0, limit } };
    if form.wants_one() {
        return Err(Problem::Unsupported("one object in place of a list of a record's states"));
    }
    let operation = Operation::History(History { record_type, key, select: fields, limit });
    Ok(Lowered { operation, tenant: tenant(headers, kind)?, purpose: purpose(headers)?, form, cursor: None })
}

/// What `/rest/v1/{type}` answers to.
pub const ALLOW: &str = "GET, HEAD, POST, PATCH, DELETE";

fn read(
    record_type: String,
    parameters: Parameters,
    form: &Form,
    headers: &HeaderMap,
) -> Result<(Operation, Window), Problem> {
    let Parameters { select, filter, order, limit, offset, .. } = parameters;
    let range = if form.kind == Kind::Read { text(headers, &RANGE)? } else { None };
    let window = range::window(limit, offset, text(headers, &RANGE_UNIT)?, range)?;
    let count = form.preferences.count.is_some();
    // For one record it is enough to know whether there is a second.
    let limit =
        if form.wants_one() && !count { Some(window.limit.map_or(2, |limit| limit.min(2))) } else { window.limit };
    let read = Read { record_type, select, filter, order, limit, offset: window.offset, count, after: None };
    Ok((Operation::Read(read), window))
}

/// Parameters that mean nothing to that method are refused, as whoever sent them meant something by them.
fn refuse_strays(kind: Kind, parameters: &Parameters) -> Result<(), Problem> {
    if parameters.on_conflict.is_some() && kind != Kind::Create {
        return Err(Problem::Unsupported("'on_conflict' of anything but a POST"));
    }
    if parameters.columns.is_some() && !matches!(kind, Kind::Create | Kind::Update) {
        return Err(Problem::Unsupported("'columns' of a request without records in its body"));
    }
    Ok(())
}

/// A change of "the first ten" would change whichever ten come first: it is refused, not guessed at.
fn refuse_paging(kind: Kind, parameters: &Parameters, cursor: Option<&str>) -> Result<(), Problem> {
    let paged = parameters.limit.is_some() || parameters.offset.is_some();
    let ordered = !parameters.order.is_empty() || cursor.is_some();
    match kind {
        Kind::Read | Kind::Head => Ok(()),
        Kind::Create if ordered => Err(Problem::Unsupported("'order' and 'cursor' when making records")),
        Kind::Update | Kind::Delete if ordered || paged => Err(Problem::Unsupported(
            "'order', 'limit', 'offset' and 'cursor' of a change; 'Prefer: max-affected' bounds it",
        )),
        _ => Ok(()),
    }
}

fn insert(
    record_type: String,
    parameters: Parameters,
    form: &Form,
    headers: &HeaderMap,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Operation, Problem> {
    if parameters.filter != Filter::default() {
        return Err(Problem::Unsupported("filters when making records"));
    }
    let media = body::media(text(headers, &CONTENT_TYPE)?)?;
    let body::Rows { mut rows, .. } = body::rows(media, bytes, limits)?;
    match &parameters.columns {
        Some(columns) => body::keep_columns(&mut rows, columns, form.preferences.missing_default == Some(true)),
        None if !body::uniform(&rows) => return Err(Problem::UnevenKeys),
        None => {}
    }
    if form.wants_one() && rows.len() != 1 {
        return Err(Problem::NotOne { none: rows.is_empty() });
    }
    let on_conflict = form
        .preferences
        .resolution
        .map(|resolution| OnConflict { field: parameters.on_conflict, merge: resolution == Resolution::Merge });
    let returning = returning(form, parameters.select);
    Ok(Operation::Insert(Insert { record_type, rows, on_conflict, returning }))
}

fn update(
    record_type: String,
    parameters: Parameters,
    form: &Form,
    headers: &HeaderMap,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Operation, Problem> {
    if body::media(text(headers, &CONTENT_TYPE)?)? != body::Media::Json {
        return Err(Problem::UnsupportedMedia);
    }
    let body::Rows { mut rows, single } = body::rows(body::Media::Json, bytes, limits)?;
    if let Some(columns) = &parameters.columns {
        body::keep_columns(&mut rows, columns, true);
    }
    let set = match (rows.pop(), single) {
        (Some(set), true) => set,
        _ => {
            return Err(Problem::Syntax { part: Part::Body, line: 1, column: 1, expected: "one object of new values" });
        }
    };
    if set.is_empty() {
        return Err(Problem::NothingToDo);
    }
    let (filter, max_affected) = (parameters.filter, max_affected(form));
    let returning = returning(form, parameters.select);
    Ok(Operation::Update(Update { record_type, set, filter, max_affected, returning }))
}

fn delete(record_type: String, parameters: Parameters, form: &Form) -> Operation {
    let (filter, max_affected) = (parameters.filter, max_affected(form));
    let returning = returning(form, parameters.select);
    Operation::Delete(Delete { record_type, filter, max_affected, returning })
}

/// Who wants one record back wants no more than one changed.
fn max_affected(form: &Form) -> Option<u64> {
    let asked = form.preferences.max_affected;
    if form.wants_one() { Some(asked.map_or(1, |max| max.min(1))) } else { asked }
}

fn returning(form: &Form, select: Vec<Select>) -> Option<Vec<Select>> {
    let wanted = form.preferences.returning == Some(Returning::Representation);
    wanted.then(|| if select.is_empty() { vec![Select::All] } else { select })
}

fn preferences(headers: &HeaderMap) -> Result<Preferences, Problem> {
    let mut values = Vec::new();
    for value in headers.get_all(&PREFER) {
        values.push(value.to_str().map_err(|_| not_ascii())?);
    }
    prefer::parse(values.into_iter())
}

fn tenant(headers: &HeaderMap, kind: Kind) -> Result<Option<String>, Problem> {
    let header = if kind.prefers() == Use::Read { &ACCEPT_PROFILE } else { &CONTENT_PROFILE };
    // `public` is what PostgREST's clients send when nobody asked for anything.
    Ok(text(headers, header)?.filter(|profile| *profile != "public").map(str::to_owned))
}

pub(crate) fn purpose(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(&PURPOSE) else { return Ok(None) };
    let purpose = std::str::from_utf8(value.as_bytes()).map_err(|_| Problem::NotUtf8(Part::Header))?;
    if purpose.len() > MAX_PURPOSE_BYTES {
        return Err(Problem::TooMany { what: "bytes of Countersign-Purpose", max: MAX_PURPOSE_BYTES });
    }
    Ok(Some(purpose.to_owned()))
}

/// A header's value, given at most once.
///
/// # Errors
/// [`Problem::Syntax`] if it is given twice or is not visible ASCII.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => only.to_str().map(Some).map_err(|_| not_ascii()),
        // Media types may come in several fields; taking the first of them is allowed (RFC 9110, section 5.3
        // would join them), and everything else is ambiguous.
        (Some(first), Some(_)) if name == ACCEPT => first.to_str().map(Some).map_err(|_| not_ascii()),
        _ => Err(Problem::Syntax { part: Part::Header, line: 1, column: 1, expected: "one value" }),
    }
}

const fn not_ascii() -> Problem {
    Problem::Syntax { part: Part::Header, line: 1, column: 1, expected: "visible ASCII characters" }
}

#[cfg(test)]
mod tests;
