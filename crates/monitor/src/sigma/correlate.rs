//! What correlations have seen: a window over the newest events of each group.
//!
//! Time is the events' own. Memory is bounded twice, by groups and by what is kept of them; where it ends, the groups
//! that have been quiet the longest are forgotten.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use countersign_model::{RequestId, UnixMs};
use serde::{Deserialize, Serialize};

use super::correlation::{Correlation, CorrelationKind};
use super::set::RuleSet;
use crate::alert::REQUESTS_MAX;
use crate::enrich::fields::View;
use crate::event::{Event, FieldValue};

/// How many groups are kept, of all correlations together.
const GROUPS_MAX: usize = 50_000;
/// How much is kept of them together.
const SEEN_MAX: usize = 1_000_000;
/// How many numbers of a sum are kept apart; the oldest are put together beyond, and then pass out of it together.
const SUMMANDS_MAX: usize = 1_024;

/// A correlation's condition that is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The group.
    pub about: String,
    /// The time of the oldest event that counts.
    pub first: UnixMs,
    /// The time of the newest.
    pub last: UnixMs,
    /// How many events, values or rules it takes together.
    pub count: u64,
    /// The requests of the oldest of them.
    pub requests: Vec<RequestId>,
}

/// The state of all correlations.
#[derive(Debug)]
pub struct Windows {
    groups: HashMap<(usize, String), Group>,
    kept: usize,
    newest: UnixMs,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Group {
    seen: VecDeque<Seen>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Seen {
    time: UnixMs,
    /// A digest of the value, the number, or the rule, as it is counted.
    what: u64,
    request: RequestId,
}

/// The state as it is stored: by the rules' ids, so that it outlives a change of the rules.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredWindows(Vec<StoredGroup>);

#[derive(Debug, Serialize, Deserialize)]
struct StoredGroup {
    rule: String,
    about: String,
    group: Group,
}

impl Default for Windows {
    fn default() -> Self {
        Self { groups: HashMap::new(), kept: 0, newest: UnixMs(0) }
    }
}

impl Windows {
    /// An event matched the rule at that place, which is one of the correlation's at `place`.
    pub fn take(
        &mut self,
        place: usize,
        correlation: &Correlation,
        rule: usize,
        event: &Event,
        view: &View<'_>,
    ) -> Option<Matched> {
        let about = correlation.group(view)?;
        let time = event.entry.time;
        let what = match correlation.kind {
            CorrelationKind::EventCount(_) => 0,
            CorrelationKind::Temporal(_) => u64::try_from(rule).unwrap_or(u64::MAX),
            CorrelationKind::ValueCount(_, field) => digest(view.at(field)?),
            CorrelationKind::ValueSum(_, field) => match view.at(field)? {
                FieldValue::Number(number) => u64::try_from(*number).unwrap_or(0),
                FieldValue::Text(_) | FieldValue::Bool(_) => return None,
            },
        };
        self.newest = self.newest.max(time);
        if self.groups.len() >= GROUPS_MAX || self.kept >= SEEN_MAX {
            self.forget();
        }
        let group = self.groups.entry((place, about.clone())).or_default();
        let before = group.seen.len();
        group.add(Seen { time, what, request: event.entry.request }, correlation);
        let matched = group.matched(about, correlation.kind);
        self.kept = self.kept.saturating_add(group.seen.len()).saturating_sub(before);
        matched
    }

    /// Forgets the half of the groups that have been quiet the longest.
    fn forget(&mut self) {
        let last = |group: &Group| group.seen.back().map_or(UnixMs(0), |seen| seen.time);
        let mut times: Vec<UnixMs> = self.groups.values().map(last).collect();
        let middle = times.len().checked_div(2).unwrap_or(0);
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        let mut room = middle;
        self.groups.retain(|_, group| {
            // Many may be of the same moment.
            let stays = last(group) >= median && room > 0;
            room = room.saturating_sub(usize::from(stays));
            stays
        });
        self.kept = self.groups.values().map(|group| group.seen.len()).sum();
    }

    /// Forgets what is too old to count.
    pub fn expire(&mut self, rules: &RuleSet) {
        let newest = self.newest;
        self.groups.retain(|(place, _), group| {
            let span = rules.correlations().get(*place).map_or(0, |correlation| correlation.span_ms);
            group.seen.back().is_some_and(|seen| newest.since(seen.time) < span)
        });
        self.kept = self.groups.values().map(|group| group.seen.len()).sum();
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// To be stored.
    #[must_use]
    pub fn stored(&self, rules: &RuleSet) -> StoredWindows {
        let stored = self.groups.iter().filter_map(|((place, about), group)| {
            let rule = rules.correlations().get(*place)?.heading.id.clone();
            Some(StoredGroup { rule, about: about.clone(), group: group.clone() })
        });
        StoredWindows(stored.collect())
    }

    /// From what was stored. What was of rules that are gone is left out.
    #[must_use]
    pub fn restored(stored: StoredWindows, rules: &RuleSet) -> Self {
        let mut windows = Self::default();
        for StoredGroup { rule, about, group } in stored.0 {
            let is = |correlation: &Correlation| correlation.heading.id == rule;
            let Some(place) = rules.correlations().iter().position(is) else { continue };
            windows.newest = windows.newest.max(group.seen.back().map_or(UnixMs(0), |seen| seen.time));
            windows.kept = windows.kept.saturating_add(group.seen.len());
            windows.groups.insert((place, about), group);
        }
        windows
    }
}

impl Group {
    fn add(&mut self, new: Seen, correlation: &Correlation) {
        let is_distinct = matches!(correlation.kind, CorrelationKind::ValueCount(..) | CorrelationKind::Temporal(_));
        if is_distinct && let Some(at) = self.seen.iter().position(|seen| seen.what == new.what) {
            if self.seen.get(at).is_some_and(|seen| seen.time >= new.time) {
                return;
            }
            self.seen.remove(at);
        }
        // Nearly always at the end: ledgers are each in order, and not far from each other.
        let after = self.seen.iter().rev().take_while(|seen| seen.time > new.time).count();
        self.seen.insert(self.seen.len().saturating_sub(after), new);
        let newest = self.seen.back().map_or(new.time, |seen| seen.time);
        while self.seen.front().is_some_and(|seen| newest.since(seen.time) >= correlation.span_ms) {
            self.seen.pop_front();
        }
        match correlation.kind {
            CorrelationKind::EventCount(most) | CorrelationKind::ValueCount(most, _) => {
                while u64::try_from(self.seen.len()).unwrap_or(u64::MAX) > most {
                    self.seen.pop_front();
                }
            }
            CorrelationKind::ValueSum(..) if self.seen.len() > SUMMANDS_MAX => {
                let oldest = self.seen.pop_front().map_or(0, |seen| seen.what);
                if let Some(next) = self.seen.front_mut() {
                    next.what = next.what.saturating_add(oldest);
                }
            }
            CorrelationKind::ValueSum(..) | CorrelationKind::Temporal(_) => {}
        }
    }

    fn matched(&self, about: String, kind: CorrelationKind) -> Option<Matched> {
        let seen = u64::try_from(self.seen.len()).unwrap_or(u64::MAX);
        let reached = match kind {
            CorrelationKind::EventCount(least)
            | CorrelationKind::ValueCount(least, _)
            | CorrelationKind::Temporal(least) => seen >= least,
            CorrelationKind::ValueSum(least, _) => {
                self.seen.iter().fold(0u64, |sum, seen| sum.saturating_add(seen.what)) >= least
            }
        };
        if !reached {
            return None;
        }
        let mut requests: Vec<RequestId> = Vec::new();
        for seen in &self.seen {
            if !requests.contains(&seen.request) {
                requests.push(seen.request);
            }
            if requests.len() >= REQUESTS_MAX {
                break;
            }
        }
        let time = |seen: Option<&Seen>| seen.map_or(UnixMs(0), |seen| seen.time);
        let (first, last) = (time(self.seen.front()), time(self.seen.back()));
        Some(Matched { about, first, last, count: seen, requests })
    }
}

/// Tells two values apart. What it is for doesn't outlive the longest time span by much.
fn digest(value: &FieldValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.text().hash(&mut hasher);
    hasher.finish()
}
