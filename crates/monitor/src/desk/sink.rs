//! Where alerts are delivered.

use async_trait::async_trait;
use countersign_model::{AlertId, TenantId, UnixMs};
use countersign_outbound::fetch::FetchError;
use countersign_services::MailFailure;
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Level};

/// Why somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is new.
    Raised,
    /// It goes on.
    Repeated,
    /// It is worse than it was.
    Escalated,
    /// Somebody has seen to it.
    Resolved,
    /// Nothing happened: somebody tries whether alerts arrive.
    Test,
}

impl Cause {
    /// The word used in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Repeated => "repeated",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// What one sink is told. Identifiers, the rule's title, numbers and a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The same at every attempt, so that a receiver knows what it has.
    pub id: AlertId,
    /// Why.
    pub cause: Cause,
    /// The alert as it was when this was queued.
    pub alert: Alert,
    /// The level that the last notification of the alert had, if it is another.
    pub level_before: Option<Level>,
    /// How many alerts of the same rule were not told of for themselves since the last that was, because too many came.
    pub suppressed: u64,
    /// How many notifications of this sink were given up since the last that arrived.
    pub lost: u64,
    /// When it was queued.
    pub queued: UnixMs,
    /// Until when the alert counts as going on, unless somebody sees to it.
    pub until: UnixMs,
    /// Where to look.
    pub link: String,
}

impl Notification {
    /// The tenant to be told.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        self.alert.tenant.filter(|_| self.alert.tells_tenant)
    }
}

/// Takes notifications.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What it is: a word.
    fn kind(&self) -> &'static str;

    /// Whether it wants to know that somebody has seen to an alert.
    fn wants_resolved(&self) -> bool;

    /// Returns when the receiver has it.
    ///
    /// # Errors
    /// [`SinkFailure`].
    async fn deliver(&self, notification: &Notification, now: UnixMs) -> Result<(), SinkFailure>;
}

/// Why a notification did not arrive. Says nothing that the other side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SinkFailure {
    /// The receiver can't be called.
    #[error(transparent)]
    Call(#[from] FetchError),
    /// The receiver answers that it doesn't take it now.
    #[error("the receiver answers with status {0}")]
    Busy(u16),
    /// The receiver answers that it won't take it.
    #[error("the receiver refuses it with status {0}")]
    Status(u16),
    /// The mail server doesn't take it.
    #[error(transparent)]
    Mail(#[from] MailFailure),
    /// Nobody is to be told: the tenant has no contacts.
    #[error("there is nobody to tell")]
    Nobody,
}

impl SinkFailure {
    /// The failure that an HTTP status other than 2xx is.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            408 | 425 | 429 | 500..=599 => Self::Busy(status),
            _ => Self::Status(status),
        }
    }

    /// Whether the same would hardly be taken later: the notification is tried a few times and given up.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Mail(MailFailure::Address | MailFailure::Refused) | Self::Nobody)
    }
}

/// Says whom of a tenant to tell.
pub trait Contacts: Send + Sync {
    /// E-mail addresses; empty if there are none.
    fn of(&self, tenant: TenantId) -> Vec<String>;
}

impl<F: Fn(TenantId) -> Vec<String> + Send + Sync> Contacts for F {
    fn of(&self, tenant: TenantId) -> Vec<String> {
        self(tenant)
    }
}
