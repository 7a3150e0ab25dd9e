//! What still has to arrive, sink by sink: kept over restarts, bounded, and tried again ever more rarely.

use std::collections::{BTreeMap, VecDeque};

use countersign_model::{AlertId, Entropy, UnixMs};
use serde::{Deserialize, Serialize};

use super::sink::{Cause, Notification};

/// The most notifications that wait for one sink. The least of them give way.
pub(crate) const WAITING_MAX: usize = 1_000;

/// How long a notification is tried, in milliseconds: a week.
const KEPT_MS: u64 = 7 * 86_400_000;

/// How often a receiver may refuse one for good.
const REFUSALS_MAX: u32 = 5;

/// The first and the longest pause after failures, in milliseconds.
const PAUSE_MS: (u64, u64) = (1_000, 300_000);

/// What waits for every sink, by its name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outbox {
    lines: BTreeMap<String, Line>,
}

/// What waits for one sink.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Line {
    waiting: VecDeque<Waiting>,
    /// How many were given up since the last that arrived.
    lost: u64,
    /// Failures in a row.
    failures: u32,
    /// Since when it fails.
    failing_since: Option<UnixMs>,
    /// Not before.
    due: Option<UnixMs>,
    /// Whether one is on its way.
    #[serde(skip)]
    is_busy: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    notification: Notification,
    refusals: u32,
    /// Whether a failure is on record.
    has_failed: bool,
}

/// What came of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It arrived.
    Arrived,
    /// It failed for the first time and is kept.
    Failed,
    /// It failed again and is kept.
    FailedAgain,
    /// It is given up.
    GivenUp,
}

impl Outbox {
    /// Forgets what waits for sinks that are not there any more. Returns how many that were.
    pub(crate) fn keep_only(&mut self, names: &[&str]) -> usize {
        let gone = |(name, line): (&String, &Line)| if names.contains(&name.as_str()) { 0 } else { line.waiting.len() };
        let lost = self.lines.iter().map(gone).fold(0, usize::saturating_add);
        self.lines.retain(|name, _| names.contains(&name.as_str()));
        lost
    }

    /// Queues a notification, in place of one about the same alert that has not arrived yet.
    pub(crate) fn push(&mut self, sink: &str, mut notification: Notification) {
        let line = self.lines.entry(sink.to_owned()).or_default();
        let same = |waiting: &&mut Waiting| waiting.notification.alert.id == notification.alert.id;
        if let Some(before) = line.waiting.iter_mut().skip(usize::from(line.is_busy)).find(same) {
            if notification.cause == Cause::Repeated {
                notification.cause = before.notification.cause;
            }
            notification.level_before = notification.level_before.or(before.notification.level_before);
            notification.suppressed = notification.suppressed.saturating_add(before.notification.suppressed);
            before.notification = notification;
            return;
        }
        if line.waiting.len() >= WAITING_MAX {
            let level = |at: &usize| line.waiting.get(*at).map(|waiting| waiting.notification.alert.level);
            let least = (usize::from(line.is_busy)..line.waiting.len()).min_by_key(level);
            line.lost = line.lost.saturating_add(1);
            match least {
                Some(at) if level(&at) <= Some(notification.alert.level) => drop(line.waiting.remove(at)),
                _ => return,
            }
        }
        line.waiting.push_back(Waiting { notification, refusals: 0, has_failed: false });
    }

    /// Takes back what waits about an alert that somebody has seen to. Returns whether anything did.
    pub(crate) fn withdraw(&mut self, sink: &str, alert: AlertId) -> bool {
        let Some(line) = self.lines.get_mut(sink) else { return false };
        let (before, mut at) = (line.waiting.len(), 0usize);
        let busy = line.is_busy;
        line.waiting.retain(|waiting| {
            let is_on_its_way = busy && at == 0;
            at = at.saturating_add(1);
            is_on_its_way || waiting.notification.alert.id != alert
        });
        line.waiting.len() < before
    }

    /// The next for each sink that is due, each of which is then on its way until [`Self::settle`].
    pub(crate) fn take_due(&mut self, now: UnixMs) -> Vec<(String, Notification)> {
        let mut due = Vec::new();
        for (name, line) in &mut self.lines {
            if line.is_busy || line.due.is_some_and(|due| due > now) {
                continue;
            }
            if let Some(first) = line.waiting.front() {
                line.is_busy = true;
                due.push((name.clone(), Notification { lost: line.lost, ..first.notification.clone() }));
            }
        }
        due
    }

    /// Says what came of the one that was on its way.
    pub(crate) fn settle(
        &mut self,
        sink: &str,
        now: UnixMs,
        outcome: Result<(), bool>,
        entropy: &dyn Entropy,
    ) -> Option<After> {
        let line = self.lines.get_mut(sink)?;
        line.is_busy = false;
        let mut first = line.waiting.pop_front()?;
        let Err(is_final) = outcome else {
            (line.lost, line.failures, line.failing_since, line.due) = (0, 0, None, None);
            return Some(After::Arrived);
        };
        line.failing_since = line.failing_since.or(Some(now));
        line.due = Some(now.plus_ms(pause_ms(line.failures, entropy)));
        line.failures = line.failures.saturating_add(1);
        first.refusals = first.refusals.saturating_add(u32::from(is_final));
        if first.refusals >= REFUSALS_MAX || now.since(first.notification.queued) > KEPT_MS {
            line.lost = line.lost.saturating_add(1);
            return Some(After::GivenUp);
        }
        let after = if first.has_failed { After::FailedAgain } else { After::Failed };
        first.has_failed = true;
        // One that is refused doesn't stand in the way of the others.
        if is_final {
            line.waiting.push_back(first)
        } else {
            line.waiting.push_front(first)
        }
        Some(after)
    }

    /// How it stands with a sink: how many wait, how many were given up, since when it fails.
    pub(crate) fn standing(&self, sink: &str) -> (usize, u64, Option<UnixMs>) {
        self.lines.get(sink).map_or((0, 0, None), |line| (line.waiting.len(), line.lost, line.failing_since))
    }

    /// The sinks that an alert waits for.
    pub(crate) fn waiting_for(&self, alert: AlertId) -> Vec<&str> {
        let has = |line: &Line| line.waiting.iter().any(|waiting| waiting.notification.alert.id == alert);
        self.lines.iter().filter(|(_, line)| has(line)).map(|(name, _)| name.as_str()).collect()
    }
}

/// Twice as long after each failure, and somewhere in the upper half of that, so that not all come back at once.
fn pause_ms(failures: u32, entropy: &dyn Entropy) -> u64 {
    let (first, longest) = PAUSE_MS;
    let whole = first.saturating_mul(1 << failures.min(20)).min(longest);
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let half = whole / 2;
    half.saturating_add(u64::from_le_bytes(random).checked_rem(half.saturating_add(1)).unwrap_or(0))
}
