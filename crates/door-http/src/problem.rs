//! Everything that can go wrong with a request, and the one table of what callers are told about it.
//!
//! The wire form is PostgREST's: a status and `{"code", "message", "details", "hint"}`. Codes are PostgREST's own
//! (`PGRST…`) where it has one and PostgreSQL's five-character states otherwise, so that its clients know them.

mod table;

use countersign_guard::Refusal;
use countersign_model::Name;

pub use table::{Challenge, Wire};

/// Which part of a request a problem is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The query string as a whole.
    Query,
    /// A parameter's name.
    Name,
    /// The value of `select`.
    Select,
    /// The value of a filter.
    Filter,
    /// The value of `and` or `or`.
    Logic,
    /// The value of `order`.
    Order,
    /// The value of `limit`.
    Limit,
    /// The value of `offset`.
    Offset,
    /// The value of `columns`.
    Columns,
    /// The value of `on_conflict`.
    OnConflict,
    /// The `Range` header.
    Range,
    /// Another header.
    Header,
    /// The path.
    Path,
    /// The body.
    Body,
}

impl Part {
    /// What messages call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "the query string",
            Self::Name => "a parameter's name",
            Self::Select => "'select'",
            Self::Filter => "a filter",
            Self::Logic => "'and' or 'or'",
            Self::Order => "'order'",
            Self::Limit => "'limit'",
            Self::Offset => "'offset'",
            Self::Columns => "'columns'",
            Self::OnConflict => "'on_conflict'",
            Self::Range => "the Range header",
            Self::Header => "a header",
            Self::Path => "the path",
            Self::Body => "the body",
        }
    }
}

/// Why a request is not answered with what it asked for. Carries positions and names, never values.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Something else was expected at that place.
    #[error("in {} at line {line}, column {column}: expected {expected}", .part.as_str())]
    Syntax {
        /// Where.
        part: Part,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// The same, of the filter of that field.
    #[error("filter '{parameter}': {problem}")]
    In {
        /// The field, as the parameter calls it.
        parameter: Name,
        /// What is wrong with its value.
        problem: Box<Problem>,
    },
    /// PostgREST has it, Countersign doesn't.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// More than a bound.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// JSON nested beyond the bound.
    #[error("nested deeper than {max} levels at line {line}, column {column}")]
    TooDeep {
        /// The bound.
        max: usize,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A parameter that may be given once was given twice.
    #[error("parameter '{0}' is given twice")]
    Repeated(&'static str),
    /// A parameter refers to an embed that the select list doesn't have.
    #[error("a parameter refers to an embedded type that 'select' does not embed")]
    NotEmbedded,
    /// A filter on an embedded type itself rather than on one of its fields.
    #[error("an embedded type can only be filtered by 'not.is.null', its fields by anything")]
    EmbedFilter,
    /// Sorting by a field of an embedded type.
    #[error("sorting by a field of an embedded type is not supported")]
    OrderByEmbed,
    /// A limit below zero.
    #[error("'limit' is below zero")]
    NegativeLimit,
    /// The range asked for has nothing in it.
    #[error("the range asked for is empty")]
    EmptyRange,
    /// The range asked for begins after the end.
    #[error("row {offset} was asked for, there are {total}")]
    BeyondEnd {
        /// Where the range begins.
        offset: u64,
        /// How many rows there are.
        total: u64,
    },
    /// One record was asked for, and it isn't one.
    #[error("the result is not exactly one record")]
    NotOne {
        /// Whether it is none.
        none: bool,
    },
    /// A preference that can't be had.
    #[error("Prefer: {0}")]
    Preference(&'static str),
    /// None of the forms that the caller accepts.
    #[error("none of the media types in Accept is available")]
    NotAcceptable,
    /// The body is in no form that is read here.
    #[error("the body's media type is not supported")]
    UnsupportedMedia,
    /// Not UTF-8.
    #[error("{} is not UTF-8", .0.as_str())]
    NotUtf8(Part),
    /// A NUL character.
    #[error("{} has a NUL character", .part.as_str())]
    Nul {
        /// Where.
        part: Part,
        /// The record in a body of several, from 0.
        row: Option<usize>,
    },
    /// A JSON key, or a column of a CSV header, that was there before.
    #[error("a key is given twice, at line {line}, column {column}")]
    DuplicateKey {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A key that means nothing here.
    #[error("an unknown key at line {line}, column {column}")]
    UnknownKey {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is known.
        known: &'static str,
    },
    /// A key that has to be there.
    #[error("key '{0}' is missing")]
    MissingKey(&'static str),
    /// A key with a value of another form.
    #[error("key '{key}' at line {line}, column {column}: expected {expected}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What its value has to be.
        expected: &'static str,
    },
    /// Records of one body name different fields, and no `columns` says which count.
    #[error("all records of a list must have the same keys, unless 'columns' names them")]
    UnevenKeys,
    /// The request has no body, or an object without members, where there has to be something.
    #[error("there is nothing to do in the body")]
    NothingToDo,
    /// A cursor that is not one of ours, not for this caller, or not for this query.
    #[error("the cursor does not belong to this query and caller")]
    Cursor,
    /// Nothing lives at that path.
    #[error("there is nothing at that path")]
    NoSuchPath,
    /// That method does nothing there.
    #[error("that method does nothing at that path")]
    Method {
        /// What would.
        allow: &'static str,
    },
    /// The URL is too long.
    #[error("the URL is longer than {0} bytes")]
    UrlTooLong(usize),
    /// The header fields are too many or too large.
    #[error("the header fields are too many or too large")]
    HeadersTooLarge,
    /// The body is too large.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The body broke off.
    #[error("the body broke off")]
    BodyBroken,
    /// The body took too long to arrive.
    #[error("the request took too long to arrive")]
    TooSlow,
    /// The answer took too long to make.
    #[error("the answer took too long")]
    TimedOut,
    /// The guard's.
    #[error(transparent)]
    Refused(Refusal),
    /// The engine's.
    #[error(transparent)]
    Failed(countersign_engine::Failure),
    /// A control request that asks for something that is there, is not there, or can't be.
    #[error("{message}")]
    Control {
        /// What kind.
        kind: ControlProblem,
        /// Why, in the authority's words.
        message: String,
    },
    /// Something that should not be able to happen.
    #[error("internal error")]
    Internal,
}

/// The ways in which a control request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlProblem {
    /// It names what doesn't exist.
    NotFound,
    /// It makes what exists already.
    Exists,
    /// What it brings is not acceptable: a types file, a policy, a key.
    Invalid,
    /// It would lose data, or break what is in force.
    Conflict,
    /// It can't be done at present.
    Unavailable,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<countersign_engine::Failure> for Problem {
    fn from(failure: countersign_engine::Failure) -> Self {
        match failure {
            countersign_engine::Failure::Refused(refusal) => Self::Refused(refusal),
            other => Self::Failed(other),
        }
    }
}

/// A name that was sent.
///
/// # Errors
/// [`Problem::Syntax`] if it is none.
pub fn name(text: &str, part: Part) -> Result<Name, Problem> {
    Name::new(text).map_err(|_| Problem::Syntax { part, line: 1, column: 1, expected: "a name" })
}

#[cfg(test)]
mod tests;
