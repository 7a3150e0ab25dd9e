//! A detection rule, compiled.

use super::condition::Condition;
use super::fault::{RuleFault, Wrong};
use super::read::{Head, one_of};
use super::test::{Compare, Pattern, Place, Test};
use super::yaml::{Entry, File, Node, Value};
use crate::alert::Level;
use crate::enrich::fields::{self, View};

/// Which events a rule is about: the `service` of its log source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Records of the services' ledgers.
    Audit,
    /// What the monitor sees of the services themselves.
    Status,
}

/// What all rules have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The id, a UUID.
    pub id: String,
    /// A short name that correlations may call it by.
    pub name: Option<String>,
    /// One line.
    pub title: String,
    /// What it means and what to do.
    pub description: String,
    /// How bad it is.
    pub level: Level,
    /// Whether the tenant is told too.
    pub tells_tenant: bool,
    /// The file that it is from.
    pub file: String,
}

/// A compiled detection rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it is called.
    pub heading: Heading,
    /// Which events it is about.
    pub source: Source,
    /// What its alerts are about: places of fields. Those that an event lacks are left out.
    pub(super) group_by: Vec<usize>,
    selections: Vec<Selection>,
    condition: Condition,
}

impl Rule {
    /// Whether an event of the rule's source matches.
    #[must_use]
    pub fn matches(&self, event: &View<'_>) -> bool {
        self.condition.holds(&|place| self.selections.get(place).is_some_and(|selection| selection.matches(event)))
    }

    /// What an alert about this event is about.
    #[must_use]
    pub fn about(&self, event: &View<'_>) -> String {
        about(&self.group_by, event)
    }

    pub(super) fn read(file: File<'_>, head: Head<'_>) -> Result<Self, RuleFault> {
        let Head { heading, node, group_by, .. } = head;
        let Some(Entry { node: logsource, .. }) = head.logsource else {
            return Err(file.fault(node.line, Wrong::Missing("logsource")));
        };
        let Some(Entry { node: detection, line, .. }) = head.detection else {
            return Err(file.fault(node.line, Wrong::Missing("detection")));
        };
        let source = source(file, logsource)?;
        let mut names = Vec::new();
        let mut selections = Vec::new();
        let mut condition = None;
        for Entry { key, line, node } in detection.map(file, "detection")? {
            match key.as_str() {
                "condition" if matches!(node.value, Value::List(_)) => {
                    return Err(file.unsupported(node.line, "form of 'condition'", "list"));
                }
                "condition" => condition = Some((node.line, node.text(file, "condition")?)),
                "timeframe" => return Err(file.unsupported(*line, "part of 'detection'", "timeframe")),
                name => {
                    names.push(name);
                    selections.push(Selection::read(file, name, node, source)?);
                }
            }
        }
        let (at, condition) = condition.ok_or_else(|| file.fault(*line, Wrong::Missing("condition")))?;
        let condition = Condition::read(condition, &names).map_err(|what| file.fault(at, what))?;
        let group_by = match group_by {
            None => usual(source),
            Some(node) => group_places(file, node, source)?,
        };
        Ok(Self { heading, source, group_by, selections, condition })
    }
}

/// What alerts are about where a rule doesn't say.
fn usual(source: Source) -> Vec<usize> {
    let names: &[&str] = match source {
        Source::Audit => &["tenant", "user"],
        Source::Status => &["ledger", "kms"],
    };
    names.iter().filter_map(|name| fields::place(name, source)).collect()
}

/// The places of the fields that a `group-by` names.
pub(super) fn group_places(file: File<'_>, node: &Node, source: Source) -> Result<Vec<usize>, RuleFault> {
    let names = node.texts(file, "group-by")?;
    let place =
        |name: &str| fields::place(name, source).ok_or_else(|| file.fault(node.line, Wrong::NoField(name.to_owned())));
    names.into_iter().map(place).collect()
}

/// How much of a value says what an alert is about.
const VALUE_MAX_CHARS: usize = 256;

/// `field=value` of those fields that the event has, with a comma between.
pub(super) fn about(group_by: &[usize], event: &View<'_>) -> String {
    let mut about = String::new();
    for place in group_by {
        if let (Some(field), Some(value)) = (fields::FIELDS.get(*place), event.at(*place)) {
            if !about.is_empty() {
                about.push(',');
            }
            about.push_str(field.name);
            about.push('=');
            // It ends up in mails and on terminals, and a service may say of itself what it likes.
            about.extend(value.text().chars().filter(|c| !c.is_control()).take(VALUE_MAX_CHARS));
        }
    }
    about
}

fn source(file: File<'_>, logsource: &Node) -> Result<Source, RuleFault> {
    let mut product = false;
    let mut service = None;
    for Entry { key, line, node } in logsource.map(file, "logsource")? {
        match key.as_str() {
            "product" => {
                one_of(file, node, "product", &["countersign"])?;
                product = true;
            }
            "service" => {
                let name = one_of(file, node, "service", &["audit", "status"])?;
                service = Some(if name == "audit" { Source::Audit } else { Source::Status });
            }
            "definition" => {}
            key => return Err(file.unsupported(*line, "part of 'logsource'", key)),
        }
    }
    if !product {
        return Err(file.fault(logsource.line, Wrong::Missing("product")));
    }
    service.ok_or_else(|| file.fault(logsource.line, Wrong::Missing("service")))
}

/// One named part of a detection: any of these, each of which is a list of things that must all hold.
#[derive(Debug, Clone)]
struct Selection(Vec<Vec<Item>>);

/// What is asked of one field.
#[derive(Debug, Clone)]
struct Item {
    place: usize,
    /// Whether all tests must pass, and not any of them.
    all: bool,
    tests: Vec<Test>,
}

impl Selection {
    fn matches(&self, event: &View<'_>) -> bool {
        self.0.iter().any(|items| items.iter().all(|item| item.matches(event)))
    }

    fn read(file: File<'_>, name: &str, node: &Node, source: Source) -> Result<Self, RuleFault> {
        let items = |entries: &[Entry]| -> Result<Vec<Item>, RuleFault> {
            if entries.is_empty() {
                return Err(file.not(node.line, name, "a map with something in it"));
            }
            entries.iter().map(|entry| Item::read(file, entry, source)).collect()
        };
        match &node.value {
            Value::Map(entries) => Ok(Self(vec![items(entries)?])),
            Value::List(nodes) if !nodes.is_empty() => nodes
                .iter()
                .map(|node| match &node.value {
                    Value::Map(entries) => items(entries),
                    _ => Err(file.unsupported(node.line, "selection by", "keywords")),
                })
                .collect::<Result<_, _>>()
                .map(Self),
            Value::Scalar(_) => Err(file.unsupported(node.line, "selection by", "keywords")),
            Value::List(_) | Value::Null => Err(file.not(node.line, name, "a map or a list of maps")),
        }
    }
}

impl Item {
    fn matches(&self, event: &View<'_>) -> bool {
        let value = event.at(self.place);
        if self.all {
            self.tests.iter().all(|test| test.passes(value))
        } else {
            self.tests.iter().any(|test| test.passes(value))
        }
    }

    fn read(file: File<'_>, entry: &Entry, source: Source) -> Result<Self, RuleFault> {
        let Entry { key, line, node } = entry;
        let mut words = key.split('|');
        let field = words.next().unwrap_or_default();
        let place = fields::place(field, source).ok_or_else(|| file.fault(*line, Wrong::NoField(field.to_owned())))?;
        let (mut all, mut is_cased, mut how) = (false, false, How::Text(Place::Whole));
        let mut is_set = false;
        for word in words {
            let next = match word {
                "all" => {
                    all = true;
                    continue;
                }
                "cased" => {
                    is_cased = true;
                    continue;
                }
                "contains" => How::Text(Place::Anywhere),
                "startswith" => How::Text(Place::Start),
                "endswith" => How::Text(Place::End),
                "gt" => How::Number(Compare::Gt),
                "gte" => How::Number(Compare::Gte),
                "lt" => How::Number(Compare::Lt),
                "lte" => How::Number(Compare::Lte),
                "exists" => How::Exists,
                other => return Err(file.unsupported(*line, "modifier", other)),
            };
            if is_set {
                return Err(file.not(*line, key, "a field with one comparison"));
            }
            (is_set, how) = (true, next);
        }
        let values: &[Node] = match &node.value {
            Value::List(nodes) if nodes.is_empty() => return Err(file.not(*line, key, "a value or several")),
            Value::List(nodes) => nodes,
            _ => std::slice::from_ref(node),
        };
        let tests = values.iter().map(|value| how.test(file, key, value, is_cased)).collect::<Result<_, _>>()?;
        Ok(Self { place, all, tests })
    }
}

/// By which modifier a value is compared.
#[derive(Clone, Copy)]
enum How {
    Text(Place),
    Number(Compare),
    Exists,
}

impl How {
    fn test(self, file: File<'_>, key: &str, node: &Node, is_cased: bool) -> Result<Test, RuleFault> {
        match (self, &node.value) {
            (Self::Exists, _) => node.yes_or_no(file, key).map(Test::Exists),
            (Self::Number(compare), Value::Scalar(text)) => {
                let number = text.parse().map_err(|_| file.not(node.line, key, "a whole number"))?;
                Ok(Test::Number(compare, number))
            }
            // The standard: a field that is null or not there.
            (Self::Text(Place::Whole), Value::Null) => Ok(Test::Exists(false)),
            (Self::Text(place), Value::Scalar(text)) => Ok(Test::Text(Pattern::new(text, place, is_cased))),
            _ => Err(file.not(node.line, key, "a plain value")),
        }
    }
}
