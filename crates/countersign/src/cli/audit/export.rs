//! `countersign audit export`: records for another system, as they come, each at least once.
//!
//! INVARIANT taken-before-forgotten: the place to go on from is saved only after the sink has taken everything before
//! it for good. Killed at any moment, it gives some records again and leaves none out.

mod place;
mod sink;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use self::place::Place;
use self::sink::Sink;
use crate::cli::context::{Context, Unnamed};
use crate::client::Client;
use crate::ledger;
use crate::ocsf;
use crate::problem::Problem;
use crate::query::Query;

/// How often it looks for more.
const LOOKS: Duration = Duration::from_secs(2);

/// What each record becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An OCSF 1.5 event.
    Ocsf,
    /// The record as the HTTP interface gives it.
    Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// What each record becomes; one line of JSON in any case.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "ocsf")]
    format: Format,
    /// Where to begin: `beginning`, `now`, or a place that an earlier export printed. A state file goes before it.
    #[arg(long, value_name = "PLACE", default_value = "beginning")]
    from: String,
    /// Where to: `-` is standard output, a file is added to, an https address is posted to as NDJSON.
    #[arg(long, value_name = "WHERE", default_value = "-")]
    to: String,
    /// The environment variable with the bearer token of the address that is posted to.
    #[arg(long, value_name = "NAME", default_value = "COUNTERSIGN_EXPORT_TOKEN")]
    bearer_from: String,
    /// A file with certificate authorities, PEM, to trust for that address besides the platform's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Where to keep the place to go on from, so that the next export goes on there.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Go on until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// How many records are given at a time.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
}

pub(super) async fn run(context: &Context, asked: Export) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let whoami = client.get("/v1/token").await?;
    let tenant = whoami.get("tenant").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let mut sink = Sink::open(&asked.to, &asked.bearer_from, asked.ca_file.as_deref())?;
    let mut place = Place::open(asked.state.clone(), &asked.from)?;
    if place.is_now() {
        place.set(newest(&client).await?)?;
    }
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    let exporting = async {
        loop {
            let given = batch(&client, &asked, &tenant, &mut sink, &mut place).await?;
            if given < asked.batch {
                if !asked.follow {
                    return Ok(());
                }
                tokio::time::sleep(LOOKS).await;
            }
        }
    };
    let done: Result<(), Problem> = tokio::select! {
        done = exporting => done,
        _ = &mut stop => Ok(()),
    };
    done?;
    if asked.state.is_none() {
        context.terminal.note(&format!("go on with: --from {}", place.text()));
    }
    Ok(())
}

/// Gives the next records to the sink and goes on to the place after them. Says how many they were.
async fn batch(
    client: &Client,
    asked: &Export,
    tenant: &str,
    sink: &mut Sink,
    place: &mut Place,
) -> Result<u64, Problem> {
    let mut query = Query::new(ledger::PATH.to_owned());
    query.add("after", place.text());
    query.add("limit", &asked.batch.to_string());
    let page = ledger::read(client, &query).await?;
    let mut lines = String::new();
    for entry in &page.entries {
        let line = match asked.format {
            Format::Ocsf => ocsf::event(entry.json(), tenant).to_string(),
            Format::Json => entry.json().to_string(),
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    if !lines.is_empty() {
        sink.take(lines, asked.follow).await?;
    }
    if let Some(next) = page.next {
        place.set(next)?;
    }
    Ok(page.entries.len() as u64)
}

/// The place after everything that is on record now.
async fn newest(client: &Client) -> Result<String, Problem> {
    let page = ledger::newest(client, 0).await?;
    page.next.ok_or_else(|| Problem::failed("the server's answer has no place to go on from"))
}
