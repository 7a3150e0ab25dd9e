//! `countersign audit verify`: ledgers, from their files alone, wherever those are.

mod places;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use countersign_audit::ledger::log::Witnessed;
use countersign_audit::verify::{self, Against, Report, Seen};
use countersign_model::Service;
use countersign_tlog::VerifierKey;
use serde_json::{Value, json};

use self::places::Place;
use crate::cli::context::Context;
use crate::problem::{Problem, io};
use crate::progress::Progress;
use crate::table::{Output, Table};

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// A deployment's folder, its audit folder, or the folder of one service's ledger; --dir if none is named. Of a
    /// deployment whose ledgers are in a database those there are read.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Only this service's ledger.
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,
    /// A log's verifier key as you know it: the log of that name must have it.
    #[arg(long = "key", value_name = "VKEY")]
    keys: Vec<VerifierKey>,
    /// What a witness or a service elsewhere has seen: its state file, or the file `witnessed` of its ledger.
    #[arg(long = "witnessed", value_name = "FILE")]
    witnessed: Vec<PathBuf>,
}

pub(super) fn run(context: &Context, asked: Verify) -> Result<(), Problem> {
    let dir = asked.folder.as_ref().or(context.dir());
    let dir = dir.ok_or_else(|| Problem::usage("whose ledgers? Name a folder, or --dir"))?;
    let mut places = places::find(dir)?;
    // What others have seen comes first: a log that grows meanwhile is never behind it then.
    let against = Against { keys: asked.keys.clone(), seen: seen(&asked, &places)?, at_rest: false };
    if let Some(service) = asked.service {
        places.retain(|place| place.is_of(service));
    }
    if places.is_empty() {
        return Err(Problem::input(format!("there is no ledger in {}", dir.display())));
    }
    let (mut table, mut objects, mut faults) = (Table::new(&COLUMNS), Vec::new(), Vec::new());
    for Place { name, storage } in &places {
        let began = Instant::now();
        let mut progress: Option<Progress> = None;
        let mut told = |done: u64, total: u64| {
            let new = || Progress::new(context.terminal, format!("verifying {name}"), Some(total));
            progress.get_or_insert_with(new).reached(done);
        };
        let report = verify::storage(Arc::clone(storage), &against, &mut told).map_err(|error| unread(name, &error))?;
        if let Some(progress) = progress {
            progress.done();
        }
        let seconds = began.elapsed().as_secs_f64();
        table.push(row(name, &report, seconds));
        objects.push(object(name, &report, seconds));
        faults.extend(report.findings.iter().map(|finding| format!("{name}: {finding}")));
    }
    match context.output() {
        Output::Json => context.terminal.line(&Value::from(objects).to_string())?,
        output => table.write(&context.terminal, output)?,
    }
    for fault in &faults {
        context.terminal.note(fault);
    }
    match faults.first() {
        None => Ok(()),
        Some(first) => Err(Problem::failed(format!("the audit log is not as it was written: {first}"))),
    }
}

fn unread(name: &str, error: &std::io::Error) -> Problem {
    Problem::failed(format!("the ledger of {name} can't be read: {error}"))
}

const COLUMNS: [&str; 9] =
    ["service", "records", "kept from", "covered", "cosigned", "confirmed", "up to", "seconds", "result"];

fn result(report: &Report) -> String {
    match report.findings.len() {
        0 => "good".to_owned(),
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    }
}

fn row(name: &str, report: &Report, seconds: f64) -> Vec<Value> {
    vec![
        name.into(),
        report.records.into(),
        report.first.into(),
        report.covered.into(),
        report.cosigned.into(),
        report.confirmed.into(),
        report.confirmed_to.into(),
        format!("{seconds:.2}").into(),
        result(report).into(),
    ]
}

fn object(name: &str, report: &Report, seconds: f64) -> Value {
    let finding = |finding: &verify::Finding| {
        json!({
            "record": finding.record,
            "file": finding.file,
            "byte": finding.offset,
            "fault": finding.fault.to_string(),
        })
    };
    json!({
        "service": name,
        "log": report.origin,
        "records": report.records,
        "kept_from": report.first,
        "covered": report.covered,
        "root": report.root.map(|root| root.to_string()),
        "cosigned": report.cosigned,
        "confirmed": report.confirmed,
        "confirmed_up_to": report.confirmed_to,
        "bytes": report.bytes,
        "seconds": seconds,
        "faults": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// What the services of this folder have seen of each other, and whoever wrote the files that are named.
fn seen(asked: &Verify, places: &[Place]) -> Result<Vec<Seen>, Problem> {
    let mut seen = Vec::new();
    for Place { name, storage } in places {
        seen.extend(verify::seen_by(&**storage, name.clone()).map_err(|error| unread(name, &error))?);
    }
    for file in &asked.witnessed {
        let bytes = std::fs::read(file).map_err(io("read", file))?;
        let by = file.display().to_string();
        let damaged = || Problem::input(format!("{by} is not what a witness writes, or it was changed"));
        let what = Witnessed::parse(&bytes).or_else(|| of_witness(&bytes)).ok_or_else(damaged)?;
        seen.push(Seen { by, what });
    }
    Ok(seen)
}

/// What `countersign witness` has in its file. Believed as far as the logs have signed it.
fn of_witness(bytes: &[u8]) -> Option<Witnessed> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let logs = file.get("logs")?.as_object()?.values().map(|log| {
        let text = |name: &str| log.get(name).and_then(Value::as_str);
        Some((text("key")?.parse().ok()?, text("checkpoint")?.to_owned()))
    });
    Witnessed::from_notes(logs.collect::<Option<Vec<_>>>()?)
}
