//! Who watches a guard at work.

use std::time::Duration;

use countersign_audit::{Reason, Service, Verdict};
use countersign_model::request::Door;
use countersign_model::{RequestId, Tally};

/// What a guard has decided, or what came of it. Everything here but the request's id is a word of a closed list or a
/// number: nothing of it grows with tenants, people or records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The request; the same at every service that takes part in it.
    pub request: RequestId,
    /// Which service decided.
    pub service: Service,
    /// By which protocol the request came, if by any.
    pub door: Option<Door>,
    /// What was to be done: the word that policies use.
    pub action: &'static str,
    /// What was decided, or what came of it. Of a permit that was dropped unsettled, [`Verdict::Failed`] without reason.
    pub verdict: Verdict,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// Whether the request came in here, and was not passed on by another service.
    pub entry: bool,
    /// From when the guard was asked until now.
    pub elapsed: Duration,
    /// How old the token was, where it was known whose it is and the request came in here.
    pub token_age_ms: Option<u64>,
    /// How many rows of sealed cells were opened.
    pub rows: u64,
    /// How many cells.
    pub cells: u64,
}

impl Observation {
    /// With what a request came to.
    #[must_use]
    pub(crate) fn of_tally(self, tally: Option<&Tally>) -> Self {
        let Some(tally) = tally else { return self };
        let rows = tally.opened.iter().fold(0u64, |sum, one| sum.saturating_add(one.rows));
        Self { rows, cells: tally.cells(), ..self }
    }
}

/// Watches a guard. Called once or a few times for each request, on its path: it must be quick and must not wait.
pub trait Observe: Send + Sync {
    /// Takes note.
    fn observe(&self, seen: &Observation);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observe for Unobserved {
    fn observe(&self, _: &Observation) {}
}
