//! What is kept of a breach.

use std::collections::{BTreeMap, BTreeSet};

use countersign_incident::Radius;
use countersign_model::incident::Culprit;
use countersign_model::{SessionId, TenantId, TokenId, UnixMs, UserId};
use serde::{Deserialize, Serialize};

/// A breach, what it came to, and what was done about it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct IncidentFact {
    pub culprit: Culprit,
    pub since: UnixMs,
    pub until: UnixMs,
    /// Whether nobody said until when: then containing it looks again.
    pub open_end: bool,
    /// When it became known.
    pub opened: UnixMs,
    pub by: String,
    pub radius: Radius,
    /// What was used, by tenant: what containing ends.
    pub hands: BTreeMap<TenantId, Hands>,
    /// For each tenant exactly which records, sealed under its key; absent where that was not at hand.
    pub sealed: BTreeMap<TenantId, Vec<u8>>,
    pub steps: Vec<StepFact>,
    pub contained: Option<UnixMs>,
    pub notices: BTreeMap<TenantId, NoticeFact>,
    /// The clocks that somebody was reminded of.
    pub reminded: BTreeSet<String>,
}

/// The tokens, logins and users of one tenant that a breach used.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hands {
    pub tokens: BTreeSet<TokenId>,
    pub sessions: BTreeSet<SessionId>,
    pub users: BTreeSet<UserId>,
}

/// What was done to contain it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepFact {
    pub kind: StepKind,
    pub tenant: Option<TenantId>,
    /// What it was done to.
    pub subject: String,
    pub at: UnixMs,
    /// What came of it; `None` is that it was done.
    pub failed: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum StepKind {
    RevokedToken,
    EndedSession,
    StoppedPrincipal,
    RemovedService,
    RewrappedKey,
    NewSigningKey,
}

impl StepKind {
    /// The word in answers and templates.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RevokedToken => "revoked_token",
            Self::EndedSession => "ended_session",
            Self::StoppedPrincipal => "stopped_principal",
            Self::RemovedService => "removed_service",
            Self::RewrappedKey => "rewrapped_key",
            Self::NewSigningKey => "new_signing_key",
        }
    }
}

/// A notice to one tenant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticeFact {
    pub language: String,
    pub text: String,
    pub drafted: UnixMs,
    /// When it was given out: from then on the tenant can read it.
    pub given: Option<UnixMs>,
    pub mails: Vec<MailFact>,
    pub delivered: Option<(UnixMs, String)>,
    pub acknowledged: Option<(UnixMs, String)>,
}

/// One attempt to say by mail that there is a notice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailFact {
    pub at: UnixMs,
    /// To how many addresses.
    pub addresses: u64,
    /// Why not; `None` if the mail server took it.
    pub failed: Option<String>,
}
