//! YAML as a tree that knows its lines. Stricter than YAML: no anchors, no tags, no key twice, no depth without end.

use std::iter::Peekable;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::fault::{RuleFault, Wrong};

/// How deep a rule may be nested; the deepest of the standard's is 5.
const DEPTH_MAX: usize = 10;
/// How long a file may be.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// A node of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and what it leads to.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// A file that is being read.
#[derive(Clone, Copy)]
pub(super) struct File<'a>(pub(super) &'a str);

impl File<'_> {
    pub(super) fn fault(self, line: usize, what: Wrong) -> RuleFault {
        RuleFault { file: self.0.to_owned(), line, what }
    }

    pub(super) fn unsupported(self, line: usize, what: &'static str, name: impl Into<String>) -> RuleFault {
        self.fault(line, Wrong::Unsupported { what, name: name.into() })
    }

    pub(super) fn not(self, line: usize, name: impl Into<String>, expected: &'static str) -> RuleFault {
        self.fault(line, Wrong::Not { name: name.into(), expected })
    }
}

impl Node {
    pub(super) fn map(&self, file: File<'_>, name: &str) -> Result<&[Entry], RuleFault> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(file.not(self.line, name, "a map")),
        }
    }

    pub(super) fn text(&self, file: File<'_>, name: &str) -> Result<&str, RuleFault> {
        match &self.value {
            Value::Scalar(text) => Ok(text),
            _ => Err(file.not(self.line, name, "text")),
        }
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self, file: File<'_>, name: &str) -> Result<Vec<&str>, RuleFault> {
        match &self.value {
            Value::List(nodes) => nodes.iter().map(|node| node.text(file, name)).collect(),
            _ => Ok(vec![self.text(file, name)?]),
        }
    }

    pub(super) fn yes_or_no(&self, file: File<'_>, name: &str) -> Result<bool, RuleFault> {
        match self.text(file, name)? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(file.not(self.line, name, "true or false")),
        }
    }
}

/// The documents of a file.
pub(super) fn documents(file: File<'_>, text: &str) -> Result<Vec<Node>, RuleFault> {
    if text.len() > FILE_BYTES_MAX {
        return Err(file.fault(1, Wrong::Yaml("longer than 256 KiB".to_owned())));
    }
    let mut reading = Reading { file, events: Parser::new_from_str(text).peekable(), line: 1 };
    let mut documents = Vec::new();
    loop {
        match reading.next()? {
            Event::StreamEnd => return Ok(documents),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => {
                let node = reading.node(event, 0)?;
                if !matches!(node.value, Value::Null) {
                    documents.push(node);
                }
            }
        }
    }
}

struct Reading<'a> {
    file: File<'a>,
    events: Peekable<Parser<'a, StrInput<'a>>>,
    line: usize,
}

impl<'a> Reading<'a> {
    fn next(&mut self) -> Result<Event<'a>, RuleFault> {
        let fault = |line, what: &str| self.file.fault(line, Wrong::Yaml(format!("not YAML: {what}")));
        match self.events.next() {
            Some(Ok((event, Span { start, .. }))) => {
                self.line = start.line().max(1);
                Ok(event)
            }
            Some(Err(error)) => Err(fault(error.marker().line().max(1), error.info())),
            None => Err(fault(self.line, "it ends too early")),
        }
    }

    fn refused(&self, what: &str) -> RuleFault {
        self.file.fault(self.line, Wrong::Yaml(format!("YAML's {what} are not supported in rules")))
    }

    fn plain(&self, anchor: usize, is_tagged: bool) -> Result<(), RuleFault> {
        match (anchor, is_tagged) {
            (0, false) => Ok(()),
            (0, true) => Err(self.refused("tags")),
            _ => Err(self.refused("anchors")),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, RuleFault> {
        if depth > DEPTH_MAX {
            return Err(self.file.fault(self.line, Wrong::Yaml("nested too deep".to_owned())));
        }
        let line = self.line;
        let deeper = depth.saturating_add(1);
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(anchor, tag.is_some())?;
                match (style, &*text) {
                    (ScalarStyle::Plain, "" | "~" | "null") => Value::Null,
                    _ => Value::Scalar(text.into_owned()),
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(anchor, tag.is_some())?;
                let mut nodes = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break Value::List(nodes),
                        event => nodes.push(self.node(event, deeper)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(anchor, tag.is_some())?;
                let mut entries: Vec<Entry> = Vec::new();
                loop {
                    let event = self.next()?;
                    if matches!(event, Event::MappingEnd) {
                        break Value::Map(entries);
                    }
                    let line = self.line;
                    let Node { value: Value::Scalar(key), .. } = self.node(event, deeper)? else {
                        return Err(self.file.fault(line, Wrong::Yaml("a key is not text".to_owned())));
                    };
                    if entries.iter().any(|entry| entry.key == key) {
                        return Err(self.file.fault(line, Wrong::Twice(key)));
                    }
                    let event = self.next()?;
                    let node = self.node(event, deeper)?;
                    entries.push(Entry { key, line, node });
                }
            }
            Event::Alias(_) => return Err(self.refused("aliases")),
            _ => return Err(self.file.fault(line, Wrong::Yaml("not YAML: something is missing".to_owned()))),
        };
        Ok(Node { line, value })
    }
}
