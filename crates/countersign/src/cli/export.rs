//! `countersign export`

use std::path::PathBuf;

use clap::Args;
use countersign_model::Name;

use super::context::{Context, Unnamed};
use crate::export::{self, Form, MANIFEST, Manifest, Wish};
use crate::problem::Problem;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder to write to: a new or an empty one, or one with an interrupted export of the same.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// These record types only; all that you may read if not given.
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<Name>,
    /// What each type is written in: ndjson, csv or both.
    #[arg(long, value_name = "FORMAT", default_value = "both")]
    format: Format,
    /// Records asked for at a time; as many as the server gives if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page: Option<u32>,
    /// What it is for; recorded in the audit log with every page.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header row.
    Csv,
    /// A file of each.
    Both,
}

impl Format {
    fn forms(self) -> Vec<Form> {
        match self {
            Self::Ndjson => vec![Form::Ndjson],
            Self::Csv => vec![Form::Csv],
            Self::Both => vec![Form::Ndjson, Form::Csv],
        }
    }
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let mut types = arguments.types.clone();
    types.sort();
    types.dedup();
    let wish =
        Wish { types, forms: arguments.format.forms(), page: arguments.page, purpose: arguments.purpose.clone() };
    let terminal = context.terminal;
    let exported = export::export(&client, &arguments.to, &wish, terminal).await?;
    let manifest = &exported.manifest;
    if exported.kept > 0 {
        terminal.note(&format!("{} types were complete already and are as they were", exported.kept));
    }
    for entry in &manifest.types {
        let some = if entry.records == export::Records::Some { ", as far as policies let you see them" } else { "" };
        terminal.note(&format!("{}: {} records of {} fields{some}", entry.name, entry.rows, entry.fields.len()));
    }
    for left_out in left_out(manifest) {
        terminal.note(&format!("not permitted, so not there: {left_out}"));
    }
    let (folder, digest) = (arguments.to.display(), &exported.digest);
    terminal.note(&format!("{folder} is complete; {MANIFEST} has SHA-256 {digest}"));
    terminal.note("the files are not sealed: whoever has them can read them");
    Ok(())
}

fn left_out(manifest: &Manifest) -> Vec<String> {
    let fields = manifest.types.iter().flat_map(|entry| entry.withheld.iter().map(move |field| (entry, field)));
    let fields = fields.map(|(entry, field)| format!("{}.{field}", entry.name));
    manifest.withheld.iter().map(ToString::to_string).chain(fields).collect()
}
