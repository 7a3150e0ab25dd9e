//! What a witness refuses for good.

use std::fmt;

use countersign_model::UnixMs;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a log did that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It has signed two histories.
    Fork,
    /// It shows fewer records than it has shown: the newest were taken away, or an old copy was put in place.
    Rollback,
    /// It comes with another key than the one pinned.
    ChangedKey,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fork => "it has signed two different histories (a fork)",
            Self::Rollback => "it shows fewer records than it has shown before (a rollback)",
            Self::ChangedKey => "it comes with another key than the one seen first",
        })
    }
}

/// A log that is refused until somebody takes it out of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// What it did.
    pub kind: Kind,
    /// When that was seen first, RFC 3339.
    pub at: String,
    /// What was shown: the checkpoint or the verifier key. Beside the checkpoint that was cosigned it is evidence.
    pub evidence: String,
}

impl Alarm {
    pub(super) fn new(now: UnixMs, kind: Kind, evidence: &str) -> Self {
        let at = i64::try_from(now.seconds()).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        let at = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
        Self { kind, at, evidence: evidence.to_owned() }
    }
}
