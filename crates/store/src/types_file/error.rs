//! What is wrong with a types file. Its text is no secret, so messages quote it.

use std::fmt;

/// Something in a types file is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}{}", Suggestion(.nearest.as_deref()))]
pub struct TypesError {
    line: usize,
    column: usize,
    problem: Problem,
    nearest: Option<String>,
}

impl TypesError {
    /// The line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// The known word that is most like the unknown one.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        self.nearest.as_deref()
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{}{}", self.problem, Suggestion(self.nearest.as_deref()))
    }

    pub(super) fn at(text: &str, offset: usize, problem: Problem) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let in_line = before.get(line_start..).unwrap_or_default();
        Self {
            line: before.matches('\n').count().saturating_add(1),
            column: in_line.chars().count().saturating_add(1),
            problem,
            nearest: None,
        }
    }

    /// Adds the known word that is like `word`, if one is.
    pub(super) fn suggest<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        // One slip in a short word is a great part of it, so it counts whatever the likeness of the rest.
        let likeness = |candidate: &str| match strsim::damerau_levenshtein(word, candidate) {
            0 | 1 => 1.0,
            _ => strsim::jaro_winkler(word, candidate),
        };
        // Nothing is like a word that is longer than every name.
        let known = known.into_iter().filter(|_| word.len() <= 2 * countersign_model::Name::MAX_BYTES);
        let scored = known.map(|candidate| (likeness(candidate), candidate));
        let best = scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
        self.nearest = best.map(|(_, candidate)| candidate.to_owned());
        self
    }
}

struct Suggestion<'a>(Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |nearest| write!(f, "; did you mean `{nearest}`?"))
    }
}

/// A word of the file in a message: shortened, and without anything that could disturb a terminal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Quoted(String);

impl Quoted {
    pub(super) fn new(word: &str) -> Self {
        const LONGEST: usize = 70;
        let mut shown: String = word.chars().take(LONGEST).flat_map(char::escape_debug).collect();
        if word.chars().nth(LONGEST).is_some() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("the file is longer than {} bytes", super::MAX_BYTES)]
    TooLong,
    #[error("this is not TOML: {0}")]
    Syntax(String),
    #[error("{0} is declared twice")]
    Twice(Quoted),
    #[error("unknown key {key} in {place}")]
    UnknownKey { key: Quoted, place: &'static str },
    #[error("expected {expected}")]
    Expected { expected: &'static str },
    #[error("{name} is not a name: {rule}", rule = countersign_model::name::NotAName)]
    NotAName { name: Quoted },
    #[error("a type can't be called {0}: policies use that name for managing the deployment")]
    ReservedType(Quoted),
    #[error("a field can't be called {0}: it is a word of the query language")]
    QueryWord(Quoted),
    #[error("a field can't be called {0}: policies use that name for {1}")]
    PolicyWord(Quoted, &'static str),
    #[error("types {0} and {1} differ only in `-` and `_`, which policies can't tell apart")]
    SameInPolicies(Quoted, Quoted),
    #[error("field {field} would be taken for the record that {reference} refers to; policies call that {field}")]
    ReferenceName { field: Quoted, reference: Quoted },
    #[error("more than {} types", super::MAX_TYPES)]
    TooManyTypes,
    #[error("type {0} has more than {max} fields", max = countersign_model::FieldSet::MAX)]
    TooManyFields(Quoted),
    #[error("type {0} has no fields: add a table `[types.{1}.fields]`")]
    NoFields(Quoted, String),
    #[error("type {0} has no field `id`: add one, or say which field identifies a record with `key = \"…\"`")]
    NoId(Quoted),
    #[error("type {record_type} has no field {field}")]
    UnknownField { record_type: Quoted, field: Quoted },
    #[error("field {0} does not say what it holds: add `kind = \"…\"`")]
    NoKind(Quoted),
    #[error("field {0} does not say how sensitive it is: add `class = \"…\"`")]
    NoClass(Quoted),
    #[error("unknown kind {0}; the kinds are {known}", known = super::words::list(super::words::KINDS.map(|kind| kind.as_str())))]
    UnknownKind(Quoted),
    #[error("unknown class {0}; the classes are {known}", known = super::words::list(countersign_model::Sensitivity::ALL.map(|class| class.as_str())))]
    UnknownClass(Quoted),
    #[error("unknown index {0}; the one there is, is `exact`")]
    UnknownIndex(Quoted),
    #[error("no type is called {0}")]
    UnknownType(Quoted),
    #[error("field {field} is of kind {kind}, but the key of {target}, to which it refers, is of kind {target_kind}")]
    KindMismatch { field: Quoted, kind: &'static str, target: Quoted, target_kind: &'static str },
    #[error("the key of type {0} refers to itself, directly or through other types")]
    CircularKey(Quoted),
    #[error("field {field} identifies a record, so it can't have `{attribute} = false`")]
    KeyIsOptional { field: Quoted, attribute: &'static str },
    #[error("field {0} is of kind json, which can't be a key, unique, indexed or a reference")]
    JsonNotFindable(Quoted),
    #[error("a principal's attribute can't be called {0}: every principal has one")]
    ReservedAttribute(Quoted),
    #[error("a principal's attribute is text, integer or boolean, so that policies can compare with it, not {0}")]
    AttributeKind(&'static str),
}
