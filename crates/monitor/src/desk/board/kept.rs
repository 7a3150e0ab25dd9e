//! What the desk writes down.

use std::collections::{BTreeMap, VecDeque};

use countersign_audit::{Reason, Verdict};
use countersign_model::{AlertId, RequestId, SilenceId, TenantId, UnixMs, UserId};
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Level};
use crate::desk::outbox::Outbox;

/// An alert at the desk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) alert: Alert,
    /// When it was raised first, and last, by this clock.
    pub(crate) opened: UnixMs,
    pub(crate) raised: UnixMs,
    /// When it was last told of, and as how bad.
    pub(crate) told: Option<(UnixMs, Level)>,
    /// Whether it was to be told of when too many were.
    pub(super) is_held: bool,
    pub(crate) acknowledged: Option<Acknowledgement>,
    pub(crate) silenced_by: Option<SilenceId>,
}

/// Who has seen to an alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Acknowledgement {
    pub(crate) at: UnixMs,
    pub(crate) by: String,
    pub(crate) note: String,
}

/// A rule that is kept silent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Silence {
    pub(crate) id: SilenceId,
    pub(crate) rule: String,
    pub(crate) about: Option<String>,
    pub(crate) since: UnixMs,
    pub(crate) until: UnixMs,
    pub(crate) reason: String,
    pub(crate) by: String,
    /// How often it kept something silent.
    pub(crate) kept: u64,
}

impl Silence {
    /// A rule's title does as well as its id; of what an alert is about, each part named has to be there.
    pub(super) fn covers(&self, alert: &Alert) -> bool {
        let parts = || alert.about.split(',').map(str::trim);
        let is_about = |about: &String| about.split(',').all(|part| parts().any(|of| of == part.trim()));
        (self.rule == alert.rule || self.rule == alert.title) && self.about.as_ref().is_none_or(is_about)
    }
}

/// Who manages alerts.
pub(crate) struct Who {
    pub(crate) request: RequestId,
    pub(crate) user: UserId,
    pub(crate) name: String,
}

/// Something to be put on record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Happening {
    pub(crate) at: UnixMs,
    pub(crate) request: RequestId,
    pub(crate) action: String,
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<Reason>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) user: Option<(UserId, String)>,
    pub(crate) detail: String,
}

/// A sink as the board knows it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) level: Level,
    pub(crate) wants_resolved: bool,
}

/// All of it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) alerts: BTreeMap<AlertId, Standing>,
    pub(super) silences: BTreeMap<SilenceId, Silence>,
    pub(super) seen: VecDeque<AlertId>,
    pub(super) outbox: Outbox,
    pub(super) happenings: VecDeque<Happening>,
    /// How many happenings were too many to be put on record.
    pub(super) unrecorded: u64,
}

pub(super) fn of(happening: Happening, who: &Who) -> Happening {
    Happening { request: who.request, user: Some((who.user, who.name.clone())), ..happening }
}

/// What makes two alerts one: rule, tenant and what they are about.
pub(super) type Key = (String, Option<TenantId>, String);

pub(super) fn key_of(alert: &Alert) -> Key {
    (alert.rule.clone(), alert.tenant, alert.about.clone())
}

/// An alert in the words of a record.
pub(super) fn said(alert: &Alert) -> String {
    let Alert { id, rule, level, about, count, .. } = alert;
    let tenant = alert.tenant.map(|tenant| format!("; tenant {tenant}")).unwrap_or_default();
    format!("{id}: {level}; rule {rule}; about {about}{tenant}; {count} events")
}
