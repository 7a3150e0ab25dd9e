//! `countersign import DIR`: all of an export.

use super::{Arguments, SHOWN};
use crate::cli::context::{Context, Unnamed};
use crate::client::Client;
use crate::export::Records;
use crate::import::{self, Checker, Existing, Folder, Planned, Sending};
use crate::manage;
use crate::problem::{Exit, Problem};
use crate::progress::Progress;
use countersign_model::RecordTypes;

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    if !arguments.what.is_dir() {
        return Err(Problem::usage(format!("{} is no folder, and no file is named", arguments.what.display()))
            .next("name a folder that countersign export made, or a record type and a file"));
    }
    if arguments.skip_bad.is_some() {
        return Err(Problem::usage("--skip-bad is for files: of an export, all rows fit or none is imported"));
    }
    let client = context.client(Unnamed::Refused).await?;
    let terminal = context.terminal;
    let folder = Folder::open(&arguments.what)?;
    let mut progress = Progress::new(terminal, "comparing files, in bytes", Some(folder.bytes()));
    let compared = folder.compare(|bytes| progress.reached(bytes));
    progress.done();
    compared?;
    let types = manage::types(&client).await.map_err(|problem| match problem.exit {
        Exit::Refused => problem.during("the record types can't be compared"),
        _ => problem,
    })?;
    let planned = folder.plan(&types, arguments.format)?;
    let manifest = folder.manifest();
    let about = client.get("/v1/token").await?;
    let into = about.get("tenant").and_then(serde_json::Value::as_str).unwrap_or_default();
    terminal.note(&format!(
        "taken out of {} at {} by {}, from {} to {}; into {into}",
        manifest.tenant,
        crate::terminal::harmless(&manifest.issuer),
        manifest.user,
        crate::terminal::harmless(&manifest.began),
        crate::terminal::harmless(manifest.ended.as_deref().unwrap_or("an unknown time")),
    ));
    let some: Vec<&str> =
        manifest.types.iter().filter(|one| one.records == Records::Some).map(|one| one.name.as_str()).collect();
    if !some.is_empty() {
        let some = some.join(", ");
        terminal.note(&format!(
            "{some}: records may be missing, and a null may stand for a value that {} could not see",
            manifest.user
        ));
    }
    for one in &planned {
        check(context, &types, one)?;
    }
    if arguments.dry_run {
        let rows = planned.iter().fold(0u64, |sum, one| sum.saturating_add(one.rows));
        terminal.note(&format!("{rows} records of {} types could be imported; nothing was", planned.len()));
        return Ok(());
    }
    let existing = if arguments.upsert { Existing::Changed } else { Existing::Left };
    let sending = Sending { batch: arguments.batch(), existing };
    for one in &planned {
        records(context, &client, &types, one, sending).await?;
    }
    for one in planned.iter().filter(|one| !one.late.is_empty()) {
        let mut checker = checker(&types, one);
        let mut progress = Progress::new(terminal, format!("linking {}", one.record_type), Some(one.rows));
        let (of, key) = (one.record_type.as_str(), one.key.as_str());
        let linked =
            import::link(&client, of, (key, &one.late), &one.source, &mut checker, existing, &mut progress).await;
        progress.done();
        linked?;
    }
    terminal.note(&format!("all of {} is imported", arguments.what.display()));
    Ok(())
}

fn checker<'t>(types: &'t RecordTypes, one: &Planned) -> Checker<'t> {
    let record_type = types.find(one.record_type.as_str()).map(|(_, found)| found);
    Checker::new(record_type).known_unique()
}

/// Every row, before the first is sent.
fn check(context: &Context, types: &RecordTypes, one: &Planned) -> Result<(), Problem> {
    let mut progress = Progress::new(context.terminal, format!("checking {}", one.record_type), Some(one.rows));
    let checked = import::check(&one.source, &mut checker(types, one), SHOWN, &mut progress);
    progress.done();
    let checked = checked?;
    for bad in &checked.bad {
        context.terminal.note(&format!("{}: {bad}", one.source.name()));
    }
    if !checked.bad.is_empty() {
        return Err(Problem::input(format!("rows of {} don't fit its type; nothing was imported", one.record_type)));
    }
    if checked.good != one.rows {
        let (has, said) = (checked.good, one.rows);
        return Err(Problem::input(format!(
            "{} has {has} rows, the manifest says {said}; nothing was imported",
            one.source.name()
        )));
    }
    Ok(())
}

async fn records(
    context: &Context,
    client: &Client,
    types: &RecordTypes,
    one: &Planned,
    sending: Sending,
) -> Result<(), Problem> {
    let mut checker = checker(types, one).leaving_out(one.late.clone());
    let mut progress = Progress::new(context.terminal, format!("importing {}", one.record_type), Some(one.rows));
    let sent = import::send(client, one.record_type.as_str(), &one.source, &mut checker, sending, &mut progress).await;
    progress.done();
    let sent = sent?;
    let left = sent.rows.saturating_sub(sent.stored);
    let left = if left > 0 { format!("; {left} were there already and were left as they are") } else { String::new() };
    context.terminal.note(&format!("{}: {} records{left}", one.record_type, sent.stored));
    Ok(())
}
