//! What may be done, and the limits that a token carries.

use countersign_model::request::{self, Narrowing};
use serde::Deserialize;

/// What can be done with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
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

/// What a token leaves of what its owner may do. `None` is no limit. These are no permissions: the owner may have
/// fewer.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// The actions left.
    pub actions: Option<Vec<Action>>,
    /// The record types left.
    pub types: Option<Vec<String>>,
    /// The fields left, in whichever of those types.
    pub fields: Option<Vec<String>>,
    /// What the token is for, in its owner's words.
    pub purpose: Option<String>,
}

impl Limits {
    pub(crate) fn of(narrowing: &Narrowing) -> Self {
        let names = |list: &Vec<countersign_model::Name>| list.iter().map(ToString::to_string).collect();
        let action = |action: &request::Action| match action {
            request::Action::Read => Action::Read,
            request::Action::Create => Action::Create,
            request::Action::Update => Action::Update,
            request::Action::Delete => Action::Delete,
        };
        Self {
            actions: narrowing.actions.as_ref().map(|list| list.iter().map(action).collect()),
            types: narrowing.types.as_ref().map(names),
            fields: narrowing.fields.as_ref().map(names),
            purpose: narrowing.purpose.clone(),
        }
    }

    /// Whether the token was narrowed in what it may do. A purpose alone is no limit.
    #[must_use]
    pub const fn is_limiting(&self) -> bool {
        self.actions.is_some() || self.types.is_some() || self.fields.is_some()
    }
}

/// Without the purpose, which is a person's words.
impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { actions, types, fields, purpose: _ } = self;
        f.debug_struct("Limits")
            .field("actions", actions)
            .field("types", types)
            .field("fields", fields)
            .finish_non_exhaustive()
    }
}
