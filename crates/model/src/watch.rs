//! Requests to the monitor.

use serde::{Deserialize, Serialize};

use crate::control::ControlAction;
use crate::id::{AlertId, SilenceId};

/// A request about what the monitor watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchControl {
    /// Alerts, newest last.
    Alerts {
        /// Also those that were acknowledged.
        all: bool,
        /// At most so many; `None` is 100.
        limit: Option<u64>,
    },
    /// Says that somebody has seen to an alert.
    Acknowledge {
        /// The alert.
        alert: AlertId,
        /// What was found: one line.
        note: String,
    },
    /// Keeps a rule from alerting for a time.
    Silence {
        /// The rule's id or name.
        rule: String,
        /// What the alerts that are kept silent are about: the words that the rule groups by; `None` is everything.
        about: Option<String>,
        /// How long, in milliseconds.
        for_ms: u64,
        /// Why: one line.
        reason: String,
    },
    /// The silences in force.
    Silences,
    /// Ends a silence.
    Unsilence {
        /// Which.
        silence: SilenceId,
    },
    /// What the deployment's services measure.
    Metrics,
    /// One alert.
    Alert {
        /// Which.
        alert: AlertId,
    },
    /// Tries every sink with a test alert.
    Test,
}

impl WatchControl {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        match self {
            Self::Alerts { .. } | Self::Alert { .. } | Self::Silences => ControlAction::ReadAlerts,
            Self::Acknowledge { .. } | Self::Silence { .. } | Self::Unsilence { .. } | Self::Test => {
                ControlAction::ManageAlerts
            }
            Self::Metrics => ControlAction::ReadMetrics,
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::Acknowledge { .. } | Self::Silence { .. } | Self::Unsilence { .. } | Self::Test)
    }
}
