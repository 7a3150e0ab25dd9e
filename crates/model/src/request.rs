//! What is asked, exactly as asked: names and literals that nobody has judged yet.
//!
//! Every door lowers its protocol into a [`Request`]; what can't be lowered is refused at the door. The same
//! request travels to the key service and the store, and each resolves and judges it again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::id::RequestId;
use crate::name::Name;

/// The protocol by which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// HTTPS.
    Http,
    /// SQL over the PostgreSQL protocol.
    Sql,
    /// Model Context Protocol.
    Mcp,
}

/// What a caller does with records. The words of policies, narrowed tokens and audit records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// See, filter by, sort by, count by.
    Read,
    /// Make new records.
    Create,
    /// Change records.
    Update,
    /// Remove records.
    Delete,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Made by the door; names the request in logs, audit records and answers.
    pub id: RequestId,
    /// How it arrived.
    pub door: Door,
    /// The tenant that the caller says it means; `None` is the token's own. Any other is refused.
    pub tenant: Option<String>,
    /// What the data is for, in the caller's words; recorded.
    pub purpose: Option<String>,
    /// What is to be done.
    pub operation: Operation,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// Read records.
    Read(Read),
    /// Make records.
    Insert(Insert),
    /// Change records.
    Update(Update),
    /// Remove records.
    Delete(Delete),
    /// Read what a record was.
    History(History),
    /// Manage the deployment or a tenant.
    Control(Control),
}

/// Reading records of one type, and of others embedded in them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Read {
    /// The record type's name.
    pub record_type: String,
    /// What to give of each record; empty is [`Select::All`].
    pub select: Vec<Select>,
    /// Which records.
    pub filter: Filter,
    /// In which order; after these by the record's id.
    pub order: Vec<Order>,
    /// How many at most; `None` is the server's own limit.
    pub limit: Option<u64>,
    /// How many to skip.
    pub offset: u64,
    /// Whether to count all matching records.
    pub count: bool,
    /// Where to go on, as an earlier answer gave it (opened by the door, so plain here).
    pub after: Option<After>,
}

/// A place in an ordered result that the caller was given before.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct After {
    /// The order keys of the last row, in text form; `None` is null.
    pub keys: Vec<Option<String>>,
    /// The last row.
    pub record: crate::id::RecordId,
}

impl fmt::Debug for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("After").field("record", &self.record).finish_non_exhaustive()
    }
}

/// One part of a select list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "select lists are short, and embeds nest through it")]
pub enum Select {
    /// Every field that the caller may see.
    All,
    /// One field.
    Field {
        /// The field's name.
        field: String,
        /// What the answer calls it, if not that.
        alias: Option<String>,
    },
    /// Records of another type that this one refers to, or that refer to it.
    Embed(Embed),
}

/// Records embedded in a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embed {
    /// What the answer calls it, if not the type's name.
    pub alias: Option<String>,
    /// The reference field to follow, where there is more than one.
    pub hint: Option<String>,
    /// Whether a record without any is left out.
    pub inner: bool,
    /// What to read of the embedded records; its `record_type` is the embedded type (or the reference field's name).
    pub read: Read,
}

/// A filter as asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// All of these; the empty one lets everything through.
    And(Vec<Filter>),
    /// At least one of these.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A comparison of a field with a literal.
    Test {
        /// The field's name.
        field: String,
        /// How to compare.
        operator: Operator,
        /// With what.
        literal: Literal,
    },
}

impl Default for Filter {
    fn default() -> Self {
        Self::And(Vec::new())
    }
}

/// A comparison as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Pattern with `%` and `_`.
    Like,
    /// The same, case folded.
    Ilike,
    /// Equal to one of a list.
    In,
    /// Is null, true or false.
    Is,
}

/// What a field is compared with, in text form. Its debug form shows no value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Literal {
    /// One value.
    One(String),
    /// A list, for [`Operator::In`].
    List(Vec<String>),
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(_) => f.write_str("literal"),
            Self::List(list) => write!(f, "{} literals", list.len()),
        }
    }
}

/// One sort key as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The field's name.
    pub field: String,
    /// Largest first.
    pub descending: bool,
    /// Where nulls go; `None` is last when ascending and first when descending, as in PostgreSQL.
    pub nulls_first: Option<bool>,
}

/// Making records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Insert {
    /// The record type's name.
    pub record_type: String,
    /// The new records.
    pub rows: Vec<InputRow>,
    /// What to do about a record that is already there; `None` refuses.
    pub on_conflict: Option<OnConflict>,
    /// What to give of the records made; `None` gives none.
    pub returning: Option<Vec<Select>>,
}

/// A record as supplied: field names and values, each name once.
pub type InputRow = Vec<(String, Input)>;

/// A value as supplied. Its debug form shows none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// No value.
    Null,
    /// The text form, from CSV.
    Text(String),
    /// A JSON text.
    Json(String),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("input")
    }
}

/// What to do about records that are already there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnConflict {
    /// The unique field that decides what "already there" means; `None` is the type's key.
    pub field: Option<String>,
    /// Change the old record (true) or leave it (false).
    pub merge: bool,
}

/// Changing records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The record type's name.
    pub record_type: String,
    /// The new values.
    pub set: InputRow,
    /// Which records.
    pub filter: Filter,
    /// Refuse, and change nothing, if more records than this match.
    pub max_affected: Option<u64>,
    /// What to give of the records changed.
    pub returning: Option<Vec<Select>>,
}

/// Removing records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delete {
    /// The record type's name.
    pub record_type: String,
    /// Which records.
    pub filter: Filter,
    /// Refuse, and remove nothing, if more records than this match.
    pub max_affected: Option<u64>,
    /// What to give of the records removed.
    pub returning: Option<Vec<Select>>,
}

/// Reading what a record was, as far as it is kept, and what it is.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// The record type's name.
    pub record_type: String,
    /// The record's key, in text form. States in which the record had another key are not asked for.
    pub key: String,
    /// The fields to give of each state; empty is every field that the caller may see.
    pub select: Vec<String>,
    /// At most this many states, the newest; `None` is the server's own limit.
    pub limit: Option<u64>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("record_type", &self.record_type).finish_non_exhaustive()
    }
}

impl Operation {
    /// The word for what is done, for audit records and metrics.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Read(_) | Self::History(_) => Action::Read.as_str(),
            Self::Insert(_) => Action::Create.as_str(),
            Self::Update(_) => Action::Update.as_str(),
            Self::Delete(_) => Action::Delete.as_str(),
            Self::Control(control) => control.action().as_str(),
        }
    }
}

/// A role, purpose and limits that a narrowed token carries (RFC 9396 `authorization_details`).
///
/// `None` is "not narrowed in this respect". Narrowing twice intersects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Narrowing {
    /// The actions left.
    pub actions: Option<Vec<Action>>,
    /// The record types left.
    pub types: Option<Vec<Name>>,
    /// The fields left, in whichever of those types.
    pub fields: Option<Vec<Name>>,
    /// What the token is for; recorded with each use.
    pub purpose: Option<String>,
}

impl Narrowing {
    /// Both limits at once: never wider than either. The newer purpose, if there is one, replaces the older.
    #[must_use]
    pub fn intersect(&self, newer: &Self) -> Self {
        fn both<T: Clone + PartialEq>(a: &Option<Vec<T>>, b: &Option<Vec<T>>) -> Option<Vec<T>> {
            match (a, b) {
                (None, None) => None,
                (Some(only), None) | (None, Some(only)) => Some(only.clone()),
                (Some(a), Some(b)) => Some(a.iter().filter(|one| b.contains(one)).cloned().collect()),
            }
        }
        Self {
            actions: both(&self.actions, &newer.actions),
            types: both(&self.types, &newer.types),
            fields: both(&self.fields, &newer.fields),
            purpose: newer.purpose.clone().or_else(|| self.purpose.clone()),
        }
    }

    /// Whether an action on a record type is left.
    #[must_use]
    pub fn admits(&self, action: Action, record_type: &Name) -> bool {
        self.actions.as_ref().is_none_or(|actions| actions.contains(&action))
            && self.types.as_ref().is_none_or(|types| types.contains(record_type))
    }

    /// Whether the token was narrowed in what it may do (a purpose alone is no limit).
    #[must_use]
    pub const fn is_limiting(&self) -> bool {
        self.actions.is_some() || self.types.is_some() || self.fields.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_again_never_widens() {
        let name = |text: &str| Name::new(text).unwrap();
        let first =
            Narrowing { actions: Some(vec![Action::Read]), types: Some(vec![name("customer")]), ..Default::default() };
        let wider = Narrowing {
            actions: Some(vec![Action::Read, Action::Delete]),
            fields: Some(vec![name("company")]),
            purpose: Some("call back".into()),
            ..Default::default()
        };
        let both = first.intersect(&wider);
        assert_eq!(both.actions, Some(vec![Action::Read]));
        assert_eq!(both.types, Some(vec![name("customer")]));
        assert_eq!(both.fields, Some(vec![name("company")]));
        assert!(both.admits(Action::Read, &name("customer")));
        assert!(!both.admits(Action::Delete, &name("customer")));
        assert!(!both.admits(Action::Read, &name("invoice")));
    }
}
