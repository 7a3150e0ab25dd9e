//! The detector: records and statuses in, alerts out.
//!
//! It takes each ledger's entries in order, makes events of them, and matches rules. What it knows is stored as a whole:
//! places in ledgers, windows, the past, and what has yet to be told. So whoever starts again where it was stored sees
//! the same events, and raises the same alerts under the same ids: none is lost, and the desk knows those it has.

mod gather;
pub mod run;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

use countersign_audit::{Position, TallyEntry};
use countersign_guard::FactsCell;
use countersign_model::facts::Facts;
use countersign_model::{RequestId, Service, UnixMs};

use self::gather::Gather;
use crate::alert::Raise;
use crate::enrich::Enricher;
use crate::enrich::fields::View;
use crate::enrich::health::{self, Gap, Health, Heard};
use crate::event::Event;
use crate::sigma::{Heading, Matched, RuleSet, Source, Windows};

pub use self::state::{Keep, StateFault};

/// How far a record may be ahead of the monitor's clock and count at its own time: as far as a clock may be wrong before
/// that is an alert of its own.
const AHEAD_MS: u64 = 5_000;

/// What a [`Detector`] is made of.
pub struct DetectorParts {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Where alerts go.
    pub raise: Arc<dyn Raise>,
    /// Types, users and roles.
    pub facts: Arc<FactsCell>,
    /// For how long what a role reads is taken for what it is there for.
    pub learning_ms: u64,
}

/// The rules at work.
pub struct Detector {
    rules: Arc<RuleSet>,
    raise: Arc<dyn Raise>,
    facts: Arc<FactsCell>,
    learning_ms: u64,
    enricher: Enricher,
    health: Health,
    windows: Windows,
    /// The position that comes next in each ledger.
    next: HashMap<String, u64>,
    gather: Gather,
    seen: u64,
}

impl Detector {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(parts: DetectorParts) -> Self {
        let DetectorParts { rules, raise, facts, learning_ms } = parts;
        Self {
            rules,
            raise,
            facts,
            learning_ms,
            enricher: Enricher::new(learning_ms),
            health: Health::default(),
            windows: Windows::default(),
            next: HashMap::new(),
            gather: Gather::default(),
            seen: 0,
        }
    }

    /// After which position of a ledger to go on; `None` if nothing of it was seen yet.
    #[must_use]
    pub fn after(&self, ledger: &str) -> Option<Position> {
        self.next.get(ledger).and_then(|next| next.checked_sub(1)).map(Position)
    }

    /// Of every ledger of which anything was seen: after which position to go on.
    #[must_use]
    pub fn places(&self) -> HashMap<String, Position> {
        self.next.keys().filter_map(|name| Some((name.clone(), self.after(name)?))).collect()
    }

    /// How many events it has seen since it began.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The next entries of a ledger. Those that were seen before are passed over, so it does no harm to give some again.
    /// What a service says is its own word: `service` counts, whatever the entries say.
    pub fn take(&mut self, ledger: &str, service: Service, entries: Vec<(Position, TallyEntry)>, now: UnixMs) {
        let facts = Arc::clone(&self.facts.load().facts);
        for (position, entry) in entries {
            match self.next.get(ledger) {
                Some(next) if position.0 < *next => continue,
                Some(next) if position.0 > *next => self.gap(ledger, service, Gap::Jumped, now),
                _ => {}
            }
            let next = position.0.saturating_add(1);
            match self.next.get_mut(ledger) {
                Some(known) => *known = next,
                None => drop(self.next.insert(ledger.to_owned(), next)),
            }
            // Time spans are the events' own, so one record of the future would push everything else out of them.
            let time = if entry.time > now.plus_ms(AHEAD_MS) { now } else { entry.time };
            self.entry(ledger, position, TallyEntry { service, time, ..entry }, &facts, now);
        }
    }

    /// What a service said of itself, or that it did not answer.
    pub fn heard(&mut self, heard: &Heard, now: UnixMs) {
        let before = self.health.records(&heard.name);
        for event in self.health.events(heard) {
            self.matched(Source::Status, &event, now);
        }
        // What is written there from now on has not been seen.
        if let (Some(before), Some(records), Some(next)) =
            (before, self.health.records(&heard.name), self.next.get_mut(&heard.name))
            && records < before
        {
            *next = (*next).min(records);
        }
    }

    /// A ledger that can't be read, or isn't whole.
    pub fn gap(&mut self, ledger: &str, service: Service, gap: Gap, now: UnixMs) {
        self.matched(Source::Status, &health::gap(ledger, service, now, gap), now);
    }

    /// A service that is no longer part of the deployment.
    pub fn gone(&mut self, name: &str) {
        self.health.gone(name);
    }

    /// Tells what has gathered, and forgets what is too old. To be called every second or so.
    pub fn tick(&mut self, now: UnixMs) {
        for alert in self.gather.due(now) {
            self.raise.raise(alert);
        }
        self.windows.expire(&self.rules);
    }

    fn entry(&mut self, ledger: &str, position: Position, entry: TallyEntry, facts: &Facts, now: UnixMs) {
        let event = self.enricher.event(ledger, position.0, entry, facts);
        self.matched(Source::Audit, &event, now);
    }

    fn matched(&mut self, source: Source, event: &Event, now: UnixMs) {
        self.seen = self.seen.saturating_add(1);
        let rules = Arc::clone(&self.rules);
        let view = View::new(&event.fields);
        for place in rules.matching(source, &view) {
            if let Some(rule) = rules.alerting(place) {
                let requests = Some(event.entry.request).filter(|request| *request != RequestId::from_u128(0));
                let matched = Matched {
                    about: rule.about(&view),
                    first: event.entry.time,
                    last: event.entry.time,
                    count: 1,
                    requests: requests.into_iter().collect(),
                };
                self.found(&rule.heading, matched, event, now);
            }
            for (number, correlation) in rules.correlations_of(place) {
                if let Some(matched) = self.windows.take(number, correlation, place, event, &view) {
                    self.found(&correlation.heading, matched, event, now);
                }
            }
        }
    }

    fn found(&mut self, heading: &Heading, matched: Matched, event: &Event, now: UnixMs) {
        if let Some(alert) = self.gather.take(heading, matched, event, now) {
            self.raise.raise(alert);
        }
    }
}

#[cfg(test)]
mod tests;
