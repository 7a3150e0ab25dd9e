//! Texts with places for values: as much of the Mustache language as notices need.
//!
//! `{{name}}` is a value. `{{#name}}…{{/name}}` is there once for each entry of a list, with that entry's values, or once
//! if `name` is a value that isn't empty. `{{^name}}…{{/name}}` is there if there is none. A tag that stands alone on a
//! line takes the line with it. Anything else of that language is refused by name.

use std::collections::BTreeMap;

/// The longest template.
const TEMPLATE_MAX_BYTES: usize = 256 * 1024;

/// Sections within sections.
const DEPTH_MAX: usize = 8;

/// Why a text is no template, or can't be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Over the limit.
    #[error("a template has at most 256 KiB")]
    TooLong,
    /// A tag can't be.
    #[error("line {line}: {expected}")]
    Tag {
        /// Where.
        line: usize,
        /// What would be right.
        expected: &'static str,
    },
    /// It names something that notices don't have.
    #[error("there is no '{0}' to fill in")]
    Unknown(String),
}

/// A text with places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Value(String),
    Section { name: String, inverted: bool, nodes: Vec<Node> },
}

/// What is filled in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    texts: BTreeMap<&'static str, String>,
    lists: BTreeMap<&'static str, Vec<Values>>,
}

impl Values {
    pub(crate) fn set(&mut self, name: &'static str, value: impl ToString) {
        self.texts.insert(name, value.to_string());
    }

    pub(crate) fn list(&mut self, name: &'static str, entries: Vec<Self>) {
        self.lists.insert(name, entries);
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] with the line.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_MAX_BYTES {
            return Err(TemplateError::TooLong);
        }
        let text = text.replace("\r\n", "\n");
        let mut parser = Parser { rest: &text, line: 1 };
        let nodes = parser.nodes(None, 0)?;
        Ok(Self { nodes })
    }

    pub(crate) fn fill(&self, values: &Values) -> Result<String, TemplateError> {
        let mut out = String::new();
        fill(&self.nodes, &[values], &mut out)?;
        // A paragraph that is left out leaves one empty line and not two.
        while out.contains("\n\n\n") {
            out = out.replace("\n\n\n", "\n\n");
        }
        Ok(out)
    }
}

struct Parser<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Parser<'t> {
    fn wrong<T>(&self, expected: &'static str) -> Result<T, TemplateError> {
        Err(TemplateError::Tag { line: self.line, expected })
    }

    fn pass(&mut self, bytes: usize) -> &'t str {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line = self.line.saturating_add(passed.matches('\n').count());
        self.rest = rest;
        passed
    }

    /// Until the end of the section of that name, or of the text.
    fn nodes(&mut self, within: Option<&str>, depth: usize) -> Result<Vec<Node>, TemplateError> {
        if depth > DEPTH_MAX {
            return self.wrong("fewer sections within sections");
        }
        let mut nodes = Vec::new();
        let mut at_line_start = true;
        loop {
            let Some(start) = self.rest.find("{{") else {
                if within.is_some() {
                    return self.wrong("the end of a section: {{/name}}");
                }
                let text = self.pass(self.rest.len());
                push(&mut nodes, text);
                return Ok(nodes);
            };
            let before = self.pass(start);
            let Some(end) = self.rest.find("}}") else { return self.wrong("}} after {{") };
            let tag = self.rest.get(2..end).unwrap_or_default().trim();
            let (kind, name) = match tag.split_at_checked(1) {
                Some((kind @ ("#" | "^" | "/"), name)) => (kind, name.trim()),
                _ => ("", tag),
            };
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_name) {
                return self.wrong("a name of lower-case letters and '_' between {{ and }}");
            }
            let name = name.to_owned();
            self.pass(end.saturating_add(2));
            let mut before = before;
            if !kind.is_empty() {
                // A tag of a section that stands alone takes its line with it.
                let indent = before.rsplit_once('\n').map_or((at_line_start, before), |(_, indent)| (true, indent));
                let alone_after = self.rest.starts_with('\n') || self.rest.is_empty();
                if indent.0 && indent.1.chars().all(|c| c == ' ') && alone_after {
                    before = before.strip_suffix(indent.1).unwrap_or(before);
                    self.pass(usize::from(!self.rest.is_empty()));
                    at_line_start = true;
                } else {
                    at_line_start = false;
                }
            } else {
                at_line_start = false;
            }
            push(&mut nodes, before);
            match kind {
                "/" if within == Some(name.as_str()) => return Ok(nodes),
                "/" => return self.wrong("the end of the section that was begun last"),
                "" => nodes.push(Node::Value(name)),
                kind => {
                    let inner = self.nodes(Some(&name), depth.saturating_add(1))?;
                    at_line_start = true;
                    nodes.push(Node::Section { name, inverted: kind == "^", nodes: inner });
                }
            }
        }
    }
}

fn push(nodes: &mut Vec<Node>, text: &str) {
    if !text.is_empty() {
        nodes.push(Node::Text(text.to_owned()));
    }
}

/// The innermost values that have the name.
fn fill(nodes: &[Node], scopes: &[&Values], out: &mut String) -> Result<(), TemplateError> {
    let text = |name: &str| scopes.iter().rev().find_map(|values| values.texts.get(name));
    let list = |name: &str| scopes.iter().rev().find_map(|values| values.lists.get(name));
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value(name) => out.push_str(text(name).ok_or_else(|| TemplateError::Unknown(name.clone()))?),
            Node::Section { name, inverted, nodes } => match (list(name), text(name)) {
                (Some(entries), _) if *inverted => {
                    if entries.is_empty() {
                        fill(nodes, scopes, out)?;
                    }
                }
                (Some(entries), _) => {
                    for entry in entries {
                        let mut inner = scopes.to_vec();
                        inner.push(entry);
                        fill(nodes, &inner, out)?;
                    }
                }
                (None, Some(value)) => {
                    if value.is_empty() == *inverted {
                        fill(nodes, scopes, out)?;
                    }
                }
                (None, None) => return Err(TemplateError::Unknown(name.clone())),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> String {
        let mut values = Values::default();
        values.set("who", "northwind");
        values.set("none", "");
        let entry = |name: &str, count: u64| {
            let mut entry = Values::default();
            entry.set("name", name);
            entry.set("count", count);
            entry
        };
        values.list("types", vec![entry("customer", 3), entry("invoice", 1)]);
        values.list("empty", vec![]);
        match Template::parse(template).and_then(|template| template.fill(&values)) {
            Ok(text) => text,
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn values_sections_and_their_opposites() {
        assert_eq!(filled("To {{who}}: {{ who }}."), "To northwind: northwind.");
        assert_eq!(filled("{{#types}}{{name}}={{count}};{{/types}}"), "customer=3;invoice=1;");
        assert_eq!(
            filled("{{#types}}\n- {{name}} of {{who}}\n{{/types}}\nend"),
            "- customer of northwind\n- invoice of northwind\nend"
        );
        assert_eq!(filled("a\n{{#who}}\nb\n{{/who}}\n{{^who}}\nc\n{{/who}}\nd"), "a\nb\nd");
        assert_eq!(filled("{{#none}}x{{/none}}{{^none}}y{{/none}}{{^empty}}z{{/empty}}{{#empty}}w{{/empty}}"), "yz");
        assert_eq!(filled("{{#types}}\n  {{#who}}\n  {{name}}\n  {{/who}}\n{{/types}}\n"), "  customer\n  invoice\n");
    }

    #[test]
    fn what_is_not_of_the_language_is_refused() {
        assert_eq!(filled("a\nb {{> partial}}"), "! line 2: a name of lower-case letters and '_' between {{ and }}");
        assert_eq!(filled("{{#who}}"), "! line 1: the end of a section: {{/name}}");
        assert_eq!(filled("{{#who}}{{/types}}"), "! line 1: the end of the section that was begun last");
        assert_eq!(filled("{{/who}}"), "! line 1: the end of the section that was begun last");
        assert_eq!(filled("{{who"), "! line 1: }} after {{");
        assert_eq!(filled("{{nobody}}"), "! there is no 'nobody' to fill in");
        assert_eq!(filled("{{#nobody}}x{{/nobody}}"), "! there is no 'nobody' to fill in");
        let deep = "{{#who}}".repeat(40);
        assert!(filled(&deep).contains("fewer sections"));
        assert!(filled(&"x".repeat(300_000)).contains("256 KiB"));
    }
}
