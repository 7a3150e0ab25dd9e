//! From what services say of themselves to numbers with labels.

use std::collections::BTreeMap;

use countersign_audit::Verdict;
use countersign_model::{Name, Service, UnixMs};
use countersign_services::ServiceStatus;

use super::collect::Known;
use super::counters::{AGE_BOUNDS, DURATION_BOUNDS};
use super::family::{self, Family};
use super::samples::{Counted, Hist, Samples};
use super::words;

/// A number with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it is a number of.
    pub family: &'static Family,
    /// `service`, `instance`, and those of the family.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub data: Data,
    /// When the counting began.
    pub since: Option<UnixMs>,
}

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Counted.
    Count(u64),
    /// Measured.
    Value(f64),
    /// How many were at most so much.
    Hist {
        /// Upper bounds, in millionths.
        bounds: &'static [u64],
        /// The numbers.
        hist: Hist,
    },
}

/// The most key management services of one service that are shown.
const KMS_MAX: usize = 64;

/// All numbers of these services, by family in the order of [`FAMILIES`](super::FAMILIES). `now` is by the clock of
/// whoever asked.
///
/// A service says what it likes. Whatever it says, words that are none of ours become `other`, so that no service can
/// make series without end or put anything into a label.
#[must_use]
pub fn points(services: &[Known], now: UnixMs) -> Vec<Point> {
    let mut all = Vec::new();
    for known in services {
        of_service(known, now, &mut all);
    }
    let place = |point: &Point| super::FAMILIES.iter().position(|family| *family == point.family);
    all.sort_by_cached_key(place);
    all
}

/// Numbers of one service.
struct Of<'a> {
    service: &'static str,
    instance: &'a str,
    since: Option<UnixMs>,
    all: &'a mut Vec<Point>,
}

impl Of<'_> {
    fn add(&mut self, family: &'static Family, words: &[&str], data: Data) {
        let own = [("service", self.service.to_owned()), ("instance", self.instance.to_owned())];
        let more = family.labels.iter().zip(words).map(|(label, word)| (*label, (*word).to_owned()));
        self.all.push(Point { family, labels: own.into_iter().chain(more).collect(), data, since: self.since });
    }

    fn value(&mut self, family: &'static Family, value: f64) {
        self.add(family, &[], Data::Value(value));
    }
}

fn of_service(known: &Known, now: UnixMs, all: &mut Vec<Point>) {
    let (service, instance) = known.name.split_once('/').unwrap_or((&known.name, "first"));
    let service = words::of(Service::ALL.into_iter().map(Service::as_str), service);
    let mut of = Of { service, instance, since: None, all };
    of.value(&family::UP, yes(known.status.is_some()));
    let Some(status) = &known.status else { return };
    let samples = Samples::from_bytes(&status.measures);
    of.since = Some(status.started);
    of_status(&mut of, status, &samples.version, now);
    of_samples(&mut of, &samples);
}

fn of_status(of: &mut Of<'_>, status: &ServiceStatus, version: &str, now: UnixMs) {
    of.value(&family::READY, yes(status.is_ready));
    of.add(&family::BUILD, &[plain(version)], Data::Value(1.0));
    of.value(&family::STARTED, seconds(status.started.0));
    of.value(&family::CLOCK, seconds(status.now.since(now)) - seconds(now.since(status.now)));
    of.value(&family::EPOCH, whole(status.epoch));
    of.value(&family::FACTS_AGE, seconds(status.facts_age_ms));
    of.value(&family::RECORDS, whole(status.ledger_records));
    of.value(&family::LAG, whole(status.ledger_records.saturating_sub(status.ledger_integrated)));
    of.value(&family::COSIGNED, whole(status.ledger_cosigned));
    of.value(&family::WRITABLE, yes(status.ledger_is_writable));
    if let Some(expires) = status.certificate_expires {
        of.value(&family::CERTIFICATE, seconds(expires.0));
    }
    let named = status.kms.iter().filter(|(name, _)| Name::new(name).is_ok());
    let providers: BTreeMap<&str, bool> = named.map(|(name, is_up)| (name.as_str(), *is_up)).take(KMS_MAX).collect();
    for (provider, is_up) in providers {
        of.add(&family::KMS, &[provider], Data::Value(yes(is_up)));
    }
}

fn of_samples(of: &mut Of<'_>, samples: &Samples) {
    let verdicts = || Verdict::ALL.into_iter().map(Verdict::as_str);
    for ((door, action, verdict), count) in by_words(&samples.requests, verdicts) {
        of.add(&family::REQUESTS, &[door, action, verdict], Data::Count(count));
    }
    for ((door, action, reason), count) in by_words(&samples.refusals, words::reasons) {
        of.add(&family::REFUSALS, &[door, action, reason], Data::Count(count));
    }
    let mut durations: BTreeMap<_, Hist> = BTreeMap::new();
    for (door, action, hist) in &samples.durations {
        durations.entry(pair(door, action)).or_default().add(hist);
    }
    for ((door, action), hist) in durations {
        of.add(&family::DURATION, &[door, action], bounded(&DURATION_BOUNDS, hist));
    }
    if samples.token_age.count() > 0 {
        of.add(&family::TOKEN_AGE, &[], bounded(&AGE_BOUNDS, samples.token_age.clone()));
    }
    of.add(&family::ROWS, &[], Data::Count(samples.rows));
    of.add(&family::CELLS, &[], Data::Count(samples.cells));
    of.add(&family::APPEND, &[], bounded(&DURATION_BOUNDS, samples.append.clone()));
    of.add(&family::APPEND_FAILED, &[], Data::Count(samples.append_failed));
    if samples.spans != [0; 3] {
        for (outcome, count) in ["exported", "dropped", "failed"].into_iter().zip(samples.spans) {
            of.add(&family::SPANS, &[outcome], Data::Count(count));
        }
    }
}

fn pair(door: &str, action: &str) -> (&'static str, &'static str) {
    (words::of(words::DOORS, door), words::of(words::actions().iter().copied(), action))
}

type Words = (&'static str, &'static str, &'static str);

fn by_words<I>(counted: &[Counted], last: impl Fn() -> I) -> BTreeMap<Words, u64>
where
    I: Iterator<Item = &'static str>,
{
    let mut sums: BTreeMap<Words, u64> = BTreeMap::new();
    for (door, action, word, count) in counted {
        let (door, action) = pair(door, action);
        let sum = sums.entry((door, action, words::of(last(), word))).or_default();
        *sum = sum.saturating_add(*count);
    }
    sums
}

fn bounded(bounds: &'static [u64], mut hist: Hist) -> Data {
    hist.buckets.resize(bounds.len().saturating_add(1), 0);
    Data::Hist { bounds, hist }
}

/// A release's number, if that is what it looks like.
fn plain(version: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    if version.len() <= 32 && !version.is_empty() && version.chars().all(is_plain) { version } else { words::OTHER }
}

const fn yes(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a measure past 2^53 need not be exact")]
const fn whole(number: u64) -> f64 {
    number as f64
}

fn seconds(ms: u64) -> f64 {
    whole(ms) / 1000.0
}
