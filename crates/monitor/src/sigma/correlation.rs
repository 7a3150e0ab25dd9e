//! A correlation rule, compiled: what it counts, for whom, and over how long.

use super::fault::{RuleFault, Wrong};
use super::read::{Head, one_of};
use super::rule::{Heading, Rule, Source, about, group_places};
use super::yaml::{Entry, File, Node, Value};
use crate::enrich::fields::{self, View};

/// The most that a threshold of events or of different values may be.
const THRESHOLD_MAX: u64 = 10_000;
/// The longest time span: a week.
const SPAN_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// A compiled correlation rule.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// What it is called.
    pub heading: Heading,
    /// Which events it is about.
    pub source: Source,
    /// What it looks for.
    pub kind: CorrelationKind,
    /// Over how long.
    pub span_ms: u64,
    /// Whether the rules that it is made of alert themselves too.
    pub generate: bool,
    /// The places of its rules in the rule set.
    pub(super) rules: Vec<usize>,
    group_by: Vec<usize>,
}

/// What a correlation looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorrelationKind {
    /// At least so many events.
    EventCount(u64),
    /// At least so many different values of the field at that place.
    ValueCount(u64, usize),
    /// At least this sum of the field at that place.
    ValueSum(u64, usize),
    /// Each of so many rules.
    Temporal(u64),
}

impl Correlation {
    /// What the group of this event is: `None` if it lacks one of the fields that are grouped by.
    #[must_use]
    pub fn group(&self, event: &View<'_>) -> Option<String> {
        let is_whole = self.group_by.iter().all(|place| event.at(*place).is_some());
        is_whole.then(|| about(&self.group_by, event))
    }
}

/// A correlation rule whose rules have not been looked for yet: they may be in other files.
#[derive(Debug)]
pub(super) struct Draft {
    heading: Heading,
    line: usize,
    kind: String,
    threshold: Option<u64>,
    field: Option<(usize, String)>,
    span_ms: u64,
    generate: bool,
    rules: Vec<String>,
    group_by: Option<Node>,
}

impl Draft {
    pub(super) fn read(file: File<'_>, head: Head<'_>) -> Result<Self, RuleFault> {
        let Head { heading, node, correlation, logsource, detection, group_by } = head;
        if let Some(Entry { key, line, .. }) = logsource.or(detection) {
            return Err(file.unsupported(*line, "attribute of a correlation", key));
        }
        if let Some(node) = group_by {
            return Err(file.unsupported(node.line, "part of a correlation's 'countersign'", "group-by"));
        }
        let Some(Entry { node: correlation, line, .. }) = correlation else {
            return Err(file.fault(node.line, Wrong::Missing("correlation")));
        };
        let (mut kind, mut rules, mut span, mut group_by) = (None, Vec::new(), None, None);
        let (mut threshold, mut field, mut generate) = (None, None, false);
        for Entry { key, line, node } in correlation.map(file, "correlation")? {
            match key.as_str() {
                "type" => {
                    let known = ["event_count", "value_count", "value_sum", "temporal"];
                    kind = Some(one_of(file, node, "correlation type", &known)?.to_owned());
                }
                "rules" => rules = node.texts(file, key)?.into_iter().map(ToOwned::to_owned).collect(),
                "group-by" => group_by = Some(node.clone()),
                "timespan" => span = Some(timespan(file, node)?),
                "generate" => generate = node.yes_or_no(file, key)?,
                "condition" => (threshold, field) = condition(file, node)?,
                key => return Err(file.unsupported(*line, "part of 'correlation'", key)),
            }
        }
        let missing = |what| file.fault(*line, Wrong::Missing(what));
        let kind = kind.ok_or_else(|| missing("type"))?;
        if rules.is_empty() {
            return Err(missing("rules"));
        }
        if kind != "temporal" && threshold.is_none() {
            return Err(missing("condition"));
        }
        let span_ms = span.ok_or_else(|| missing("timespan"))?;
        Ok(Self { heading, line: *line, kind, threshold, field, span_ms, generate, rules, group_by })
    }

    /// The id of the rule.
    pub(super) fn id(&self) -> &str {
        &self.heading.id
    }

    /// Finds its rules.
    pub(super) fn resolve(self, all: &[Rule]) -> Result<Correlation, RuleFault> {
        let name = self.heading.file.clone();
        let file = File(&name);
        let mut rules = Vec::with_capacity(self.rules.len());
        for wanted in &self.rules {
            let is = |rule: &Rule| rule.heading.id == *wanted || rule.heading.name.as_deref() == Some(wanted);
            let place = all.iter().position(is);
            rules.push(place.ok_or_else(|| file.fault(self.line, Wrong::NoRule(wanted.clone())))?);
        }
        let mut sources = rules.iter().filter_map(|place| all.get(*place)).map(|rule| rule.source);
        let source = sources.next().unwrap_or(Source::Audit);
        if sources.any(|other| other != source) {
            return Err(file.unsupported(self.line, "correlation of", "several log sources"));
        }
        let group_by = match &self.group_by {
            Some(node) => group_places(file, node, source)?,
            None => Vec::new(),
        };
        let threshold = self.threshold.unwrap_or(u64::MAX);
        let field = || {
            let (line, name) = self.field.as_ref().ok_or_else(|| file.fault(self.line, Wrong::Missing("field")))?;
            fields::place(name, source).ok_or_else(|| file.fault(*line, Wrong::NoField(name.clone())))
        };
        let kind = match self.kind.as_str() {
            "value_count" => CorrelationKind::ValueCount(threshold, field()?),
            "value_sum" => CorrelationKind::ValueSum(threshold, field()?),
            "temporal" => CorrelationKind::Temporal(u64::try_from(rules.len()).unwrap_or(u64::MAX)),
            _ => CorrelationKind::EventCount(threshold),
        };
        let is_counted = matches!(kind, CorrelationKind::EventCount(_) | CorrelationKind::ValueCount(..));
        if is_counted && !(1..=THRESHOLD_MAX).contains(&threshold) {
            return Err(file.not(self.line, "condition", "a number from 1 to 10000"));
        }
        let Self { heading, span_ms, generate, .. } = self;
        Ok(Correlation { heading, source, kind, span_ms, generate, rules, group_by })
    }
}

/// The threshold, and the field that it is about with its line.
type Threshold = (Option<u64>, Option<(usize, String)>);

/// At least how many. Only what comes can be alerted about, so there is no "at most".
fn condition(file: File<'_>, node: &Node) -> Result<Threshold, RuleFault> {
    if matches!(node.value, Value::Scalar(_)) {
        return Err(file.unsupported(node.line, "correlation condition", "an expression"));
    }
    let (mut threshold, mut field) = (None, None);
    for Entry { key, line, node } in node.map(file, "condition")? {
        let number = || {
            let number = node.text(file, key)?.parse::<u64>();
            number.map_err(|_| file.not(*line, key.as_str(), "a whole number"))
        };
        let next = match key.as_str() {
            "gte" => number()?,
            "gt" => number()?.saturating_add(1),
            "field" => {
                field = Some((*line, node.text(file, key)?.to_owned()));
                continue;
            }
            key => return Err(file.unsupported(*line, "correlation condition", key)),
        };
        if threshold.replace(next).is_some() {
            return Err(file.not(*line, "condition", "one comparison"));
        }
    }
    Ok((threshold, field))
}

/// A number and a unit: `10s`, `5m`, `2h`, `1d`.
fn timespan(file: File<'_>, node: &Node) -> Result<u64, RuleFault> {
    let wrong = || file.not(node.line, "timespan", "a number and one of s, m, h, d, at most 7d");
    let text = node.text(file, "timespan")?;
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).filter(|ms| (1..=SPAN_MS_MAX).contains(ms)).ok_or_else(wrong)
}
