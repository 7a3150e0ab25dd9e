//! The closed lists of words that labels are made of.

use std::sync::LazyLock;

use countersign_audit::{Reason, Verdict};
use countersign_model::control::ControlAction;
use countersign_model::request::{Action, Door};

/// What is none of the known words: from a service of a newer release, or one that was taken over.
pub(super) const OTHER: &str = "other";

/// By which protocol a request came. The last is for what came by none.
pub(super) const DOORS: [&str; 4] = ["http", "sql", "mcp", "none"];

/// Actions that have records but are no action of a policy.
const BESIDES: [&str; 6] = ["login", "join_service", "renew_certificate", "seal_key", "end_access", "reconcile"];

/// What is done. The most usual first: it is searched for each request.
static ACTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let records = Action::ALL.into_iter().map(Action::as_str);
    let control = ControlAction::ALL.into_iter().map(ControlAction::as_str);
    records.chain(control).chain(BESIDES).chain([OTHER]).collect()
});

pub(super) fn actions() -> &'static [&'static str] {
    &ACTIONS
}

/// The place of an action; of one that is not known, that of [`OTHER`].
pub(super) fn action(word: &str) -> usize {
    let known = actions();
    known.iter().position(|one| *one == word).unwrap_or(known.len().saturating_sub(1))
}

pub(super) const fn door(door: Option<Door>) -> usize {
    match door {
        Some(Door::Http) => 0,
        Some(Door::Sql) => 1,
        Some(Door::Mcp) => 2,
        None => 3,
    }
}

pub(super) const fn verdict(verdict: Verdict) -> usize {
    verdict as usize
}

/// The place of a reason; 0 is for a failure without one.
pub(super) fn reason(reason: Option<Reason>) -> usize {
    reason.map_or(0, |reason| (reason as usize).saturating_add(1))
}

/// The words of reasons, by place.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    std::iter::once("none").chain(Reason::ALL.iter().map(|reason| reason.as_str()))
}

/// The word of a list that is this one.
pub(super) fn of(list: impl IntoIterator<Item = &'static str>, word: &str) -> &'static str {
    list.into_iter().find(|known| *known == word).unwrap_or(OTHER)
}
