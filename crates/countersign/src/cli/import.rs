//! `countersign import`

mod folder;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use countersign_model::{Name, RecordTypes};

use super::context::{Context, Unnamed};
use crate::client::Client;
use crate::deployment::new_file;
use crate::import::{self, Bad, Checked, Checker, Existing, Format, Sending, Source};
use crate::manage;
use crate::nearest::nearest;
use crate::problem::{Exit, Problem, io};
use crate::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The record type; or alone, a folder that `countersign export` made.
    #[arg(value_name = "TYPE|DIR")]
    what: PathBuf,
    /// The file; - is standard input, which is kept in memory whole.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the file is written in; its name says if not given, and - is CSV.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write rows that are not valid to this new file, and import the others.
    #[arg(long, value_name = "FILE")]
    skip_bad: Option<PathBuf>,
    /// Change records that are there already, found by the type's key, rather than refuse them.
    #[arg(long)]
    upsert: bool,
    /// Rows in a request. Each request is stored whole or not at all.
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Only check the file.
    #[arg(long)]
    dry_run: bool,
}

/// How many bad rows are shown.
const SHOWN: usize = 10;

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    match &arguments.file {
        None => folder::run(context, arguments).await,
        Some(file) => one_file(context, arguments, file).await,
    }
}

async fn one_file(context: &Context, arguments: &Arguments, file: &Path) -> Result<(), Problem> {
    let name = arguments.what.to_str().and_then(|text| Name::new(text).ok());
    let name = &name.ok_or_else(|| {
        Problem::usage(format!("{} is no name of a record type", arguments.what.display()))
            .next("name the record type first, then the file: countersign import customer customer.csv")
    })?;
    let source = source(arguments, file)?;
    let client = context.client(Unnamed::Refused).await?;
    let types = types(context, &client).await?;
    let record_type = match &types {
        Some(types) => Some(find(types, name)?),
        None => None,
    };
    let mut checker = Checker::new(record_type);
    let keep = if arguments.skip_bad.is_some() { usize::MAX } else { SHOWN };
    let mut progress = Progress::new(context.terminal, format!("checking {name}"), None);
    let checked = import::check(&source, &mut checker, keep, &mut progress);
    progress.done();
    let checked = checked?;
    report(context, arguments, &source, &checked)?;
    let terminal = &context.terminal;
    if arguments.dry_run {
        terminal.note(&format!("{} rows of {} could be imported; nothing was", checked.good, source.name()));
        return Ok(());
    }
    let existing = if arguments.upsert { Existing::Changed } else { Existing::Refused };
    let sending = Sending { batch: arguments.batch(), existing };
    let mut progress = Progress::new(*terminal, format!("importing {name}"), Some(checked.good));
    let sent = import::send(&client, name.as_str(), &source, &mut checker, sending, &mut progress).await;
    progress.done();
    terminal.note(&format!("imported {} rows of {} into {name}", sent?.rows, source.name()));
    Ok(())
}

impl Arguments {
    fn batch(&self) -> usize {
        usize::try_from(self.batch).unwrap_or(1)
    }
}

fn source(arguments: &Arguments, file: &Path) -> Result<Source, Problem> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Problem::failed(format!("can't read standard input: {error}")))?;
        return Ok(Source::memory("standard input", arguments.format.unwrap_or(Format::Csv), bytes));
    }
    let format = arguments.format.or_else(|| Format::of(file)).ok_or_else(|| {
        Problem::usage(format!("{}: its name doesn't say what it is written in", file.display()))
            .next("add --format csv or --format ndjson")
    })?;
    Ok(Source::file(file, format))
}

/// The record types, or none if this caller may not read them: then the server alone judges.
async fn types(context: &Context, client: &Client) -> Result<Option<RecordTypes>, Problem> {
    match manage::types(client).await {
        Ok(types) => Ok(Some(types)),
        Err(problem) if problem.exit == Exit::Refused => {
            context
                .terminal
                .note("this token may not read the record types: rows are judged by the server, batch by batch");
            Ok(None)
        }
        Err(problem) => Err(problem),
    }
}

fn find<'t>(types: &'t RecordTypes, name: &Name) -> Result<&'t countersign_model::RecordType, Problem> {
    types.find(name.as_str()).map(|(_, found)| found).ok_or_else(|| {
        let known = types.types.iter().map(|known| known.name.as_str());
        let problem = Problem::new(Exit::NotFound, format!("there is no record type {name}"));
        match nearest(name.as_str(), known) {
            Some(near) => problem.next(format!("did you mean {near}?")),
            None => problem.next("see what there is: countersign schema show"),
        }
    })
}

/// Says which rows are bad; they end the import unless they are to be collected.
fn report(context: &Context, arguments: &Arguments, source: &Source, checked: &Checked) -> Result<(), Problem> {
    let Some(first) = checked.bad.first() else { return Ok(()) };
    let Some(collect) = &arguments.skip_bad else {
        let next = "put it right, or import the others with --skip-bad FILE";
        if checked.bad.len() == 1 {
            return Err(Problem::input(format!("{}: {first}; nothing was imported", source.name())).next(next));
        }
        for bad in &checked.bad {
            context.terminal.note(&format!("{}: {bad}", source.name()));
        }
        let (count, least) = (checked.bad.len(), if checked.bad.len() < SHOWN { "" } else { "at least " });
        return Err(Problem::input(format!("{least}{count} rows are not valid; nothing was imported")).next(next));
    };
    for bad in checked.bad.iter().take(SHOWN) {
        context.terminal.note(&format!("{}: {bad}", source.name()));
    }
    if !arguments.dry_run {
        write_bad(collect, source, &checked.bad)?;
    }
    let count = checked.bad.len();
    context.terminal.note(&format!("{count} rows are not valid; {} has them as they came", collect.display()));
    Ok(())
}

/// For its owner alone, as it holds values.
fn write_bad(path: &Path, source: &Source, bad: &[Bad]) -> Result<(), Problem> {
    new_file(path, &source.preamble()?, true)
        .map_err(|problem| problem.or_next("name a file that is not there yet"))?;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).map_err(io("write", path))?;
    for row in bad {
        file.write_all(&row.original).map_err(io("write", path))?;
    }
    Ok(())
}
