//! What detection rules and correlation rules have in common: everything around what is to be matched.

use super::correlation::Draft;
use super::fault::{RuleFault, Wrong};
use super::rule::{Heading, Rule};
use super::yaml::{Entry, File, Node, documents};
use crate::alert::Level;

/// A rule of a file.
#[derive(Debug)]
pub(super) enum Read {
    Rule(Rule),
    Correlation(Draft),
    /// One that is there to take the place of another and do nothing.
    Off(String),
}

/// A document, sorted.
pub(super) struct Head<'a> {
    pub(super) heading: Heading,
    pub(super) node: &'a Node,
    pub(super) logsource: Option<&'a Entry>,
    pub(super) detection: Option<&'a Entry>,
    pub(super) correlation: Option<&'a Entry>,
    /// What alerts are about, where the rule says so itself.
    pub(super) group_by: Option<&'a Node>,
}

/// The rules of a file.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Read>, RuleFault> {
    let file = File(name);
    documents(file, text)?.iter().map(|node| document(file, node)).collect()
}

fn document(file: File<'_>, node: &Node) -> Result<Read, RuleFault> {
    let entries = node.map(file, "a rule")?;
    let mut parts = Parts::default();
    for entry in entries {
        parts.take(file, entry)?;
    }
    let missing = |what| file.fault(node.line, Wrong::Missing(what));
    let id = parts.id.ok_or_else(|| missing("id"))?;
    if parts.is_off {
        return Ok(Read::Off(id));
    }
    let heading = Heading {
        id,
        name: parts.name,
        title: parts.title.ok_or_else(|| missing("title"))?,
        description: parts.description.unwrap_or_default(),
        level: parts.level.ok_or_else(|| missing("level"))?,
        tells_tenant: parts.tells_tenant,
        file: file.0.to_owned(),
    };
    let Parts { logsource, detection, correlation, group_by, .. } = parts;
    let head = Head { heading, node, logsource, detection, correlation, group_by };
    if head.correlation.is_some() {
        return Draft::read(file, head).map(Read::Correlation);
    }
    Rule::read(file, head).map(Read::Rule)
}

#[derive(Default)]
struct Parts<'a> {
    id: Option<String>,
    name: Option<String>,
    title: Option<String>,
    description: Option<String>,
    level: Option<Level>,
    is_off: bool,
    tells_tenant: bool,
    logsource: Option<&'a Entry>,
    detection: Option<&'a Entry>,
    correlation: Option<&'a Entry>,
    group_by: Option<&'a Node>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, file: File<'_>, entry: &'a Entry) -> Result<(), RuleFault> {
        let Entry { key, line, node } = entry;
        let text = || node.text(file, key).map(|text| Some(text.trim().to_owned()));
        match key.as_str() {
            "id" => {
                self.id = text()?;
                let is_uuid = |id: &String| id.parse::<countersign_model::AlertId>().is_ok();
                if !self.id.as_ref().is_some_and(is_uuid) {
                    return Err(file.not(*line, "id", "a UUID"));
                }
            }
            "name" => self.name = text()?,
            "title" => self.title = text()?,
            "description" => self.description = text()?,
            "level" => {
                let level = node.text(file, key)?.parse();
                let expected = "one of informational, low, medium, high, critical";
                self.level = Some(level.map_err(|_| file.not(*line, "level", expected))?);
            }
            "status" => {
                let known = ["stable", "test", "experimental", "deprecated", "unsupported"];
                self.is_off = matches!(one_of(file, node, "status", &known)?, "deprecated" | "unsupported");
            }
            "taxonomy" => drop(one_of(file, node, "taxonomy", &["sigma", "countersign"])?),
            "logsource" => self.logsource = Some(entry),
            "detection" => self.detection = Some(entry),
            "correlation" => self.correlation = Some(entry),
            // Ours: the standard lets rules have attributes of their own.
            "countersign" => self.ours(file, node)?,
            // For people.
            "author" | "date" | "modified" | "references" | "tags" | "falsepositives" | "fields" | "license"
            | "related" | "scope" => {}
            key => return Err(file.unsupported(*line, "attribute", key)),
        }
        Ok(())
    }

    fn ours(&mut self, file: File<'_>, node: &'a Node) -> Result<(), RuleFault> {
        for Entry { key, line, node } in node.map(file, "countersign")? {
            match key.as_str() {
                "tells-tenant" => self.tells_tenant = node.yes_or_no(file, key)?,
                "group-by" => self.group_by = Some(node),
                key => return Err(file.unsupported(*line, "part of 'countersign'", key)),
            }
        }
        Ok(())
    }
}

/// A text that must be one of these.
pub(super) fn one_of<'a>(
    file: File<'_>,
    node: &Node,
    name: &'static str,
    known: &[&'a str],
) -> Result<&'a str, RuleFault> {
    let text = node.text(file, name)?;
    let found = known.iter().find(|known| **known == text).copied();
    found.ok_or_else(|| file.unsupported(node.line, name, text))
}
