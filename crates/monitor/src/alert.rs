//! What a rule found, for people.

use std::fmt;
use std::str::FromStr;

use countersign_model::{AlertId, RequestId, TenantId, UnixMs};
use serde::{Deserialize, Serialize};

/// Something that somebody should look at. Identifiers and numbers; no name of a person, no record and no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same whenever the same events are seen again, so that an alert that was raised before a restart is known
    /// after it. Ordered by the time of the first event.
    pub id: AlertId,
    /// The rule's id, as its Sigma file has it.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    /// How bad it is.
    pub level: Level,
    /// Whose data it is about, if it is about one tenant's.
    pub tenant: Option<TenantId>,
    /// What the rule groups by, as `field=value` with a comma between: identifiers only. Empty where it groups by
    /// nothing.
    pub about: String,
    /// The time of the first event that it is about, by the clock of the service that recorded it.
    pub first: UnixMs,
    /// The time of the last.
    pub last: UnixMs,
    /// How many events.
    pub count: u64,
    /// Their requests: the first [`REQUESTS_MAX`], each once.
    pub requests: Vec<RequestId>,
    /// Whether the tenant is told too, at once.
    pub tells_tenant: bool,
}

/// How many requests an alert names.
pub const REQUESTS_MAX: usize = 10;

/// How bad something is, by the levels of Sigma rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Informational,
    /// To be looked at some day.
    Low,
    /// To be looked at today.
    Medium,
    /// To be looked at now.
    High,
    /// Somebody is to be woken.
    Critical,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Self; 5] = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word that rules use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a level is one of informational, low, medium, high, critical")]
pub struct NotALevel;

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Self, NotALevel> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(NotALevel)
    }
}

/// Takes alerts: keeps each once, and sees to it that it arrives.
pub trait Raise: Send + Sync {
    /// Takes an alert. The same one may come again, with the same id, when events are seen again after a restart.
    fn raise(&self, alert: Alert);
}
