//! What the desk knows and decides: which alerts stand, what is kept silent, who is told. No I/O, no clock.

mod kept;
mod manage;
mod tell;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Settings;
use super::limits::Limits;
use super::outbox::{After, Outbox};
use super::sink::{Cause, Notification, SinkFailure};
use crate::alert::{Alert, Level, REQUESTS_MAX};
use countersign_audit::{Reason, Verdict};
use countersign_model::{AlertId, Entropy, RequestId, UnixMs};

pub(crate) use self::kept::{Happening, Silence, Standing, Target, Who};
use self::kept::{Kept, Key, key_of, said};

/// The most alerts that are kept. Those that are over go first, the oldest before.
const ALERTS_MAX: usize = 4_000;
/// The most alerts of one rule that stand at a time. What is past it is counted in one more.
const PER_RULE_MAX: usize = 100;
/// What the alert is about that counts those past [`PER_RULE_MAX`].
const OTHERS: &str = "others";
/// The most silences at a time.
const SILENCES_MAX: usize = 500;
/// How many alerts are remembered by their id, so that the same one counts once.
const SEEN_MAX: usize = 4_096;
/// The most happenings that wait for their record.
const HAPPENINGS_MAX: usize = 10_000;
/// How often it is looked which alerts have gone quiet, in milliseconds.
const INDEX_MS: u64 = 60_000;
/// The name under which the tenants' notifications wait.
pub(crate) const TENANTS: &str = "(tenants)";

pub(crate) struct Board {
    kept: Kept,
    settings: Settings,
    targets: Vec<Target>,
    tells_tenants: bool,
    entropy: Arc<dyn Entropy>,
    by_key: HashMap<Key, AlertId>,
    per_rule: HashMap<String, usize>,
    seen: HashSet<AlertId>,
    rule_limits: Limits,
    all_limits: Limits,
    tenant_limits: Limits,
    /// Counts changes since the start, so that who writes it down knows whether it is newer.
    changes: u64,
    has_held: bool,
    /// When it was last looked which alerts stand.
    indexed: UnixMs,
}

impl Board {
    pub(crate) fn new(
        kept: Option<&[u8]>,
        settings: Settings,
        targets: Vec<Target>,
        tells_tenants: bool,
        entropy: Arc<dyn Entropy>,
        now: UnixMs,
    ) -> Result<Self, serde_json::Error> {
        let mut kept: Kept = kept.map_or_else(|| Ok(Kept::default()), serde_json::from_slice)?;
        let names = targets.iter().map(|target| target.name.as_str()).chain([TENANTS]).collect::<Vec<_>>();
        let forgotten = kept.outbox.keep_only(&names);
        if forgotten > 0 {
            tracing::warn!(forgotten, "alerts waited for sinks that are not configured any more");
        }
        let mut board = Self {
            seen: kept.seen.iter().copied().collect(),
            has_held: kept.alerts.values().any(|standing| standing.is_held),
            rule_limits: Limits::new(settings.rule_per_minute),
            all_limits: Limits::new(settings.all_per_minute),
            tenant_limits: Limits::new(settings.rule_per_minute),
            kept,
            settings,
            targets,
            tells_tenants,
            entropy,
            by_key: HashMap::new(),
            per_rule: HashMap::new(),
            changes: 0,
            indexed: now,
        };
        board.index(now);
        Ok(board)
    }

    /// Finds alerts by what they are about. Of several about the same, the newest counts.
    fn index(&mut self, now: UnixMs) {
        self.indexed = now;
        self.by_key.clear();
        self.per_rule.clear();
        for (id, standing) in &self.kept.alerts {
            let alert = &standing.alert;
            self.by_key.insert(key_of(alert), *id);
            if self.is_open(standing, now) {
                let count = self.per_rule.entry(alert.rule.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.kept).unwrap_or_default()
    }

    fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// Takes an alert that a rule raised.
    pub(crate) fn raise(&mut self, mut alert: Alert, now: UnixMs) {
        if !self.seen.insert(alert.id) {
            return;
        }
        self.kept.seen.push_back(alert.id);
        if self.kept.seen.len() > SEEN_MAX
            && let Some(oldest) = self.kept.seen.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.changed();
        alert.requests.truncate(REQUESTS_MAX);
        let is_full = self.per_rule.get(&alert.rule).is_some_and(|count| *count >= PER_RULE_MAX);
        let mut key = key_of(&alert);
        let mut standing = self.standing(&key, now);
        if standing.is_none() && is_full && !alert.tells_tenant {
            OTHERS.clone_into(&mut alert.about);
            alert.tenant = None;
            key = key_of(&alert);
            standing = self.standing(&key, now);
        }
        match standing {
            Some(id) => self.again(id, alert, now),
            None => self.open(key, alert, now),
        }
    }

    /// The alert about the same that stands, or that somebody has seen to a while ago.
    fn standing(&self, key: &Key, now: UnixMs) -> Option<AlertId> {
        let id = *self.by_key.get(key)?;
        let standing = self.kept.alerts.get(&id)?;
        let is_of_now = match &standing.acknowledged {
            None => now.since(standing.raised) < self.settings.quiet_ms,
            Some(acknowledged) => now.since(acknowledged.at) < self.settings.repeat_ms,
        };
        is_of_now.then_some(id)
    }

    fn open(&mut self, key: Key, alert: Alert, now: UnixMs) {
        let id = alert.id;
        self.make_room(now);
        self.happened(now, "alert", Verdict::Changed, &alert, said(&alert));
        if let Some(before) = self.by_key.insert(key, id)
            && self.kept.alerts.get(&before).is_some_and(|standing| standing.acknowledged.is_some())
        {
            tracing::debug!(alert = %id, "raised again after somebody saw to it");
        }
        let count = self.per_rule.entry(alert.rule.clone()).or_default();
        *count = count.saturating_add(1);
        let standing = Standing {
            alert,
            opened: now,
            raised: now,
            told: None,
            is_held: false,
            acknowledged: None,
            silenced_by: None,
        };
        self.kept.alerts.insert(id, standing);
        self.tell(id, Cause::Raised, now);
    }

    fn again(&mut self, id: AlertId, alert: Alert, now: UnixMs) {
        let Some(standing) = self.kept.alerts.get_mut(&id) else { return };
        let own = &mut standing.alert;
        let is_worse = alert.level > own.level;
        own.count = own.count.saturating_add(alert.count);
        (own.first, own.last) = (own.first.min(alert.first), own.last.max(alert.last));
        own.level = own.level.max(alert.level);
        for request in alert.requests {
            if own.requests.len() < REQUESTS_MAX && !own.requests.contains(&request) {
                own.requests.push(request);
            }
        }
        standing.raised = now;
        if let (true, Some(tenant)) = (own.tells_tenant, own.tenant)
            && !is_worse
        {
            // INVARIANT tenants-are-told: each time, whoever saw to what was before.
            let own = own.clone();
            self.tell_tenant(&own, tenant, Cause::Repeated, now);
        }
        let Some(standing) = self.kept.alerts.get(&id) else { return };
        let is_due = standing.told.is_none_or(|(at, _)| now.since(at) >= self.settings.repeat_ms);
        let is_seen_to = standing.acknowledged.is_some();
        let is_held = standing.is_held && standing.told.is_none();
        let cause = if standing.told.is_some() { Cause::Repeated } else { Cause::Raised };
        if is_worse {
            let Some(standing) = self.kept.alerts.get_mut(&id) else { return };
            let own = standing.alert.clone();
            if standing.acknowledged.take().is_some() {
                let count = self.per_rule.entry(own.rule.clone()).or_default();
                *count = count.saturating_add(1);
            }
            self.happened(now, "alert_escalation", Verdict::Changed, &own, said(&own));
            self.tell(id, Cause::Escalated, now);
        } else if is_due && !is_seen_to && !is_held {
            self.tell_operators(id, cause, now);
        }
    }

    /// A notification that tries a sink.
    pub(crate) fn test(&self, now: UnixMs) -> Notification {
        let alert = Alert {
            id: AlertId::new(now, &*self.entropy),
            rule: "test".to_owned(),
            title: "Test of the alert sinks".to_owned(),
            level: Level::Informational,
            tenant: None,
            about: String::new(),
            first: now,
            last: now,
            count: 1,
            requests: Vec::new(),
            tells_tenant: false,
        };
        let notification = self.notification(alert, Cause::Test, now);
        Notification { until: now.plus_ms(60_000), ..notification }
    }

    /// What time alone brings: ends silences, and tells of what was held back.
    pub(crate) fn tick(&mut self, now: UnixMs) {
        if now.since(self.indexed) >= INDEX_MS {
            self.index(now);
        }
        let ended = |silence: &Silence| silence.until <= now;
        if self.kept.silences.values().any(ended) {
            self.kept.silences.retain(|_, silence| !ended(silence));
            self.changed();
        }
        if !self.has_held {
            return;
        }
        let held = self.kept.alerts.values().filter(|standing| standing.is_held);
        let mut held: Vec<_> =
            held.map(|one| (std::cmp::Reverse(one.alert.level), one.alert.id, one.alert.rule.clone())).collect();
        held.sort();
        let mut rules = HashSet::new();
        held.retain(|(.., rule)| rules.insert(rule.clone()));
        for (level, id, rule) in held {
            let of_all = level.0 == Level::Critical || self.all_limits.has("", now);
            if of_all && self.rule_limits.has(&rule, now) {
                if let Some(standing) = self.kept.alerts.get_mut(&id) {
                    standing.is_held = false;
                }
                let was_told = self.kept.alerts.get(&id).is_some_and(|standing| standing.told.is_some());
                self.tell_operators(id, if was_told { Cause::Repeated } else { Cause::Raised }, now);
                self.changed();
            }
        }
    }

    /// As [`Self::tell`], where the tenant was told already.
    fn tell_operators(&mut self, id: AlertId, cause: Cause, now: UnixMs) {
        let Some(standing) = self.kept.alerts.get_mut(&id) else { return };
        let tells_tenant = std::mem::take(&mut standing.alert.tells_tenant);
        self.tell(id, cause, now);
        if let Some(standing) = self.kept.alerts.get_mut(&id) {
            standing.alert.tells_tenant = tells_tenant;
        }
    }

    fn make_room(&mut self, now: UnixMs) {
        if self.kept.alerts.len() < ALERTS_MAX {
            return;
        }
        // A tenth at a time, so that a flood of alerts doesn't look for the oldest each time.
        let mut all: Vec<_> =
            self.kept.alerts.values().map(|one| (one.acknowledged.is_none(), one.raised, one.alert.id)).collect();
        all.sort();
        for (.., id) in all.iter().take(ALERTS_MAX / 10) {
            self.kept.alerts.remove(id);
        }
        self.index(now);
    }

    /// Whether an alert stands: nobody has seen to it, and it went on a short while ago.
    pub(crate) fn is_open(&self, standing: &Standing, now: UnixMs) -> bool {
        standing.acknowledged.is_none() && now.since(standing.raised) < self.settings.quiet_ms
    }

    pub(crate) fn alerts(&self) -> impl DoubleEndedIterator<Item = &Standing> {
        self.kept.alerts.values()
    }

    pub(crate) fn alert(&self, id: AlertId) -> Option<&Standing> {
        self.kept.alerts.get(&id)
    }

    pub(crate) fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.kept.silences.values()
    }

    pub(crate) const fn outbox(&self) -> &Outbox {
        &self.kept.outbox
    }

    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(crate) fn take_due(&mut self, now: UnixMs) -> Vec<(String, Notification)> {
        self.kept.outbox.take_due(now)
    }

    /// Says what came of an attempt, and puts on record what is new in that.
    pub(crate) fn settle(
        &mut self,
        sink: &str,
        notification: &Notification,
        outcome: Result<(), SinkFailure>,
        now: UnixMs,
    ) {
        let is_final = outcome.map_err(|failure| failure.is_final());
        let after = self.kept.outbox.settle(sink, now, is_final, &*self.entropy);
        self.changed();
        let why = outcome.err().map(|failure| failure.to_string()).unwrap_or_default();
        let (verdict, what) = match after {
            Some(After::Arrived) => (Verdict::Changed, "arrived".to_owned()),
            Some(After::Failed) => (Verdict::Failed, format!("kept: {why}")),
            Some(After::GivenUp) => (Verdict::Failed, format!("given up: {why}")),
            Some(After::FailedAgain) | None => return,
        };
        if verdict == Verdict::Failed {
            tracing::warn!(sink, alert = %notification.alert.id, %what, "an alert did not arrive");
        }
        let cause = notification.cause.as_str();
        let detail = format!("{cause} to {sink}: {what}; {}", said(&notification.alert));
        let reason = (verdict == Verdict::Failed).then_some(Reason::Unavailable);
        self.push(Happening { reason, ..self.happening(now, "alert_delivery", verdict, &notification.alert, detail) });
    }

    fn happened(&mut self, now: UnixMs, action: &str, verdict: Verdict, alert: &Alert, detail: String) {
        self.push(self.happening(now, action, verdict, alert, detail));
    }

    fn happening(&self, now: UnixMs, action: &str, verdict: Verdict, alert: &Alert, detail: String) -> Happening {
        let tenant = alert.tenant.filter(|_| alert.tells_tenant);
        Happening { verdict, tenant, ..self.plain(now, action, detail) }
    }

    fn plain(&self, now: UnixMs, action: &str, detail: String) -> Happening {
        Happening {
            at: now,
            request: RequestId::new(now, &*self.entropy),
            action: action.to_owned(),
            verdict: Verdict::Changed,
            reason: None,
            tenant: None,
            user: None,
            detail,
        }
    }

    fn push(&mut self, happening: Happening) {
        if self.kept.happenings.len() >= HAPPENINGS_MAX {
            self.kept.unrecorded = self.kept.unrecorded.saturating_add(1);
            return;
        }
        self.kept.happenings.push_back(happening);
    }

    /// What waits for its record, the oldest first.
    pub(crate) fn happenings(&self) -> Vec<Happening> {
        self.kept.happenings.iter().cloned().collect()
    }

    /// Forgets so many of them, which are on record.
    pub(crate) fn recorded(&mut self, count: usize, now: UnixMs) {
        self.kept.happenings.drain(..count.min(self.kept.happenings.len()));
        self.changed();
        let unrecorded = std::mem::take(&mut self.kept.unrecorded);
        if unrecorded > 0 {
            let detail = format!("{unrecorded} happenings about alerts were too many to be put on record");
            self.push(self.plain(now, "alert", detail));
        }
    }
}

#[cfg(test)]
mod tests;
