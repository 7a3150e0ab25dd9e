//! PROPERTY: whatever another service sends as a request is either refused or read as a request that is written and
//! read as the same again; it never nests deeper than the bound.

use countersign_model::Request;
use countersign_model::request::{Filter, Operation, Read, Select};
use countersign_wire::{NESTING_MAX, read_request, write_request};

/// Pieces of messages: tags with lengths, names, ids.
pub const WORDS: &[&str] = &[
    "\n\u{10}0123456789abcdef",
    "\u{10}\u{1}",
    "\u{10}\u{2}",
    "\u{1a}\u{3}own",
    "\"\u{1}p",
    "*\u{a}\n\u{8}customer",
    "2\u{a}\n\u{8}customer",
    ":\u{a}\n\u{8}customer",
    "B\u{a}\n\u{8}customer",
    "J\u{8}\"WhoAmI\"",
    "\u{1a}\u{2}\u{1a}\u{0}",
    "\u{1a}\u{4}\u{1a}\u{2}\u{1a}\u{0}",
    "\"\u{a}\n\u{2}id\u{10}\u{1}\u{1a}\u{2}17",
    "\u{12}\u{2}\n\u{0}",
    "\u{12}\u{6}\u{1a}\u{4}\"\u{2}\n\u{0}",
];

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let Some(request) = read_request(data) else { return 0 };
    let written = write_request(&request).expect("what was read within the bound is written within it");
    let again = read_request(&written).expect("what we write is read");
    assert!(again == request, "the request changed");
    let depth = depth(&request);
    assert!(depth <= NESTING_MAX, "deeper than the bound");
    let kind = match request.operation {
        Operation::Read(_) => 1,
        Operation::Insert(_) => 2,
        Operation::Update(_) => 3,
        Operation::Delete(_) => 4,
        Operation::Control(_) => 5,
        Operation::History(_) => 6,
    };
    kind << 8 | depth as u64
}

fn depth(request: &Request) -> usize {
    match &request.operation {
        Operation::Read(read) => of_read(read),
        Operation::Insert(insert) => insert.returning.as_deref().map_or(0, of_selects),
        Operation::Update(update) => of_filter(&update.filter).max(update.returning.as_deref().map_or(0, of_selects)),
        Operation::Delete(delete) => of_filter(&delete.filter).max(delete.returning.as_deref().map_or(0, of_selects)),
        Operation::Control(_) | Operation::History(_) => 0,
    }
}

fn of_read(read: &Read) -> usize {
    of_filter(&read.filter).max(of_selects(&read.select))
}

fn of_selects(selects: &[Select]) -> usize {
    let embeds = selects.iter().map(|select| match select {
        Select::Embed(embed) => of_read(&embed.read).saturating_add(1),
        Select::All | Select::Field { .. } => 0,
    });
    embeds.max().unwrap_or(0)
}

fn of_filter(filter: &Filter) -> usize {
    match filter {
        // What lets everything through is left out, so it is no level.
        Filter::And(all) if all.is_empty() => 0,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(of_filter).max().unwrap_or(0).saturating_add(1),
        Filter::Not(inner) => of_filter(inner).saturating_add(1),
        Filter::Test { .. } => 0,
    }
}
