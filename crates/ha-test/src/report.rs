//! The table, and the same as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::history::{Act, Event, Judged, Kind, Moment, Told, longest_wait};

/// One fault as it came out.
pub struct Row {
    /// Its name.
    pub name: String,
    /// What happened.
    pub about: String,
    /// From when to when.
    pub window: (Moment, Moment),
    /// How long writes may stay away; `None` where no request may fail.
    pub writes_within: Option<Duration>,
}

/// What a fault came to.
pub struct Figures {
    writes: usize,
    reads: usize,
    wrong: BTreeMap<Kind, usize>,
    unknown: usize,
    failed: BTreeMap<String, usize>,
    writes_back: Duration,
    reads_back: Duration,
}

impl Row {
    /// Counts what is in its window.
    #[must_use]
    pub fn figures(&self, events: &[Event], judged: &Judged) -> Figures {
        let (from, until) = self.window;
        let within = |moment: Moment| moment >= from && moment <= until;
        let mut figures = Figures {
            writes: 0,
            reads: 0,
            wrong: BTreeMap::new(),
            unknown: 0,
            failed: BTreeMap::new(),
            writes_back: Duration::ZERO,
            reads_back: Duration::ZERO,
        };
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for event in events.iter().filter(|event| within(event.ended)) {
            match (&event.act, &event.told) {
                (Act::Write(_), Told::Done) => written.push(event.ended),
                (Act::Read, Told::Value(_)) => read.push(event.ended),
                (_, Told::Unknown(_)) => figures.unknown = figures.unknown.saturating_add(1),
                (act, Told::Refused(says)) => {
                    let what = if matches!(act, Act::Read) { "read" } else { "write" };
                    let count =
                        figures.failed.entry(format!("{what} at gateway {}: {says}", event.gateway)).or_default();
                    *count = count.saturating_add(1);
                }
                _ => {}
            }
        }
        (figures.writes, figures.reads) = (written.len(), read.len());
        let ((writes_back, writes_wait), (reads_back, reads_wait)) =
            (longest_wait(written, from, until), longest_wait(read, from, until));
        // Where nothing breaks there is no moment to count from.
        let is_broken = self.writes_within.is_some();
        figures.writes_back = if is_broken { writes_back } else { writes_wait };
        figures.reads_back = if is_broken { reads_back } else { reads_wait };
        for wrong in judged.wrong.iter().filter(|wrong| within(wrong.begun)) {
            let count = figures.wrong.entry(wrong.kind).or_default();
            *count = count.saturating_add(1);
        }
        figures
    }

    /// What it should have come to and did not; `slack` is how much more time a loaded machine may take.
    #[must_use]
    pub fn missed(&self, figures: &Figures, slack: u32) -> Vec<String> {
        let mut missed = Vec::new();
        for (kind, count) in &figures.wrong {
            missed.push(format!("{}: {count} {kind:?}", self.name));
        }
        match self.writes_within {
            Some(within) if figures.writes_back > within.saturating_mul(slack) => {
                missed
                    .push(format!("{}: writes were back after {:.1?}, not {within:?}", self.name, figures.writes_back));
            }
            None if figures.failed() > 0 || figures.unknown > 0 => {
                let (failed, unknown) = (figures.failed(), figures.unknown);
                missed.push(format!("{}: {failed} requests failed, {unknown} writes are unknown", self.name));
            }
            _ => {}
        }
        missed
    }
}

impl Figures {
    fn failed(&self) -> usize {
        self.failed.values().sum()
    }

    fn of(&self, kind: Kind) -> usize {
        self.wrong.get(&kind).copied().unwrap_or(0)
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self, row: &Row) -> Value {
        json!({
            "fault": row.name,
            "about": row.about,
            "acknowledged_writes": self.writes,
            "answered_reads": self.reads,
            "lost": self.of(Kind::Lost),
            "older_than_own": self.of(Kind::OlderThanOwn),
            "older_than_acknowledged": self.of(Kind::OlderThanAny),
            "never_written": self.of(Kind::NeverWritten),
            "unknown": self.unknown,
            "failed": self.failed(),
            "failures": self.failed,
            "writes_back_s": self.writes_back.as_secs_f64(),
            "reads_back_s": self.reads_back.as_secs_f64(),
            "lasted_s": row.window.1.saturating_sub(row.window.0).as_secs_f64(),
        })
    }
}

/// The table's head.
pub const HEAD: &str = "fault         writes   reads  lost  stale  wrong  unknown  failed  writes back  reads back";

/// One line of the table.
#[must_use]
pub fn line(row: &Row, figures: &Figures) -> String {
    let stale = figures.of(Kind::OlderThanOwn).saturating_add(figures.of(Kind::OlderThanAny));
    format!(
        "{:<12} {:>7} {:>7} {:>5} {:>6} {:>6} {:>8} {:>7} {:>10.1} s {:>9.1} s  {}",
        row.name,
        figures.writes,
        figures.reads,
        figures.of(Kind::Lost),
        stale,
        figures.of(Kind::NeverWritten),
        figures.unknown,
        figures.failed(),
        figures.writes_back.as_secs_f64(),
        figures.reads_back.as_secs_f64(),
        row.about
    )
}
