//! `countersign audit …`

use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_model::{Name, RequestId};
use serde_json::Value;

use super::context::{Context, Unnamed};
use super::{help, receipt};
use crate::client::Client;
use crate::ledger::{self, Entry};
use crate::problem::{Exit, Problem};
use crate::table::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The newest records of your tenant, oldest first.
    #[command(after_help = help::TAIL)]
    Tail(Tail),
    /// Who saw or changed one record.
    #[command(
        after_help = "Examples:\n  countersign --dir ./deployment --as robert@northwind audit who-saw customer/ALFKI"
    )]
    WhoSaw {
        /// The record: its type and its key.
        #[arg(value_name = "TYPE/ID", value_parser = record)]
        record: (Name, String),
        /// At most this many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
    },
    /// What each service recorded of one request, side by side.
    #[command(after_help = help::RECEIPT)]
    Receipt {
        /// The request's id.
        #[arg(value_name = "REQUEST-ID")]
        request: RequestId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// At most this many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Go on until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Also what the key service and the store recorded of requests that were answered.
    #[arg(long)]
    all_services: bool,
}

/// How many records there are of a request in all ledgers, for each that the gateway or the authority has: enough to
/// ask for.
const ALL_OF_ONE: u64 = 5;

impl Tail {
    /// What is shown of these records: the newest of them.
    fn shown(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut shown = self.chosen(entries);
        let more = shown.len().saturating_sub(usize::try_from(self.limit).unwrap_or(usize::MAX));
        shown.drain(..more);
        shown
    }

    fn chosen(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.retain(|entry| self.all_services || entry.is_told_first());
        entries
    }
}

fn record(text: &str) -> Result<(Name, String), String> {
    let (name, key) = text.split_once('/').ok_or("expected TYPE/ID, such as customer/ALFKI")?;
    if key.is_empty() {
        return Err("expected a key after the /".to_owned());
    }
    Ok((Name::new(name).map_err(|error| error.to_string())?, key.to_owned()))
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    if let Command::Receipt { request } = command {
        return receipt::run(context, request).await;
    }
    let client = context.client(Unnamed::Refused).await?;
    match command {
        Command::Receipt { .. } => Ok(()),
        Command::WhoSaw { record: (record_type, key), limit } => {
            // A key that no record has is not there to be asked about.
            let page =
                ledger::who_saw(&client, &record_type, &key, limit).await.map_err(|problem| match problem.exit {
                    Exit::Conflict => problem.kind(Exit::NotFound),
                    _ => problem,
                })?;
            if page.entries.is_empty() {
                return Err(Problem::new(Exit::NotFound, format!("nobody on record has seen {record_type}/{key}")));
            }
            show(context, &page.entries)
        }
        Command::Tail(tail) => {
            let asked = if tail.all_services { tail.limit } else { tail.limit.saturating_mul(ALL_OF_ONE) };
            let page = ledger::newest(&client, asked).await?;
            let entries = tail.shown(page.entries);
            if !tail.follow {
                return show(context, &entries);
            }
            say(context, &entries)?;
            follow(context, &client, &tail, page.next).await
        }
    }
}

async fn follow(context: &Context, client: &Client, tail: &Tail, mut next: Option<String>) -> Result<(), Problem> {
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = &mut stop => return Ok(()),
        }
        let Some(place) = &next else { return Ok(()) };
        let page = ledger::after(client, place).await?;
        say(context, &tail.chosen(page.entries))?;
        next = page.next.or(next);
    }
}

/// One line a record: a table would have to know them all first.
fn say(context: &Context, entries: &[Entry]) -> Result<(), Problem> {
    for entry in entries {
        match context.output() {
            Output::Table | Output::Csv => context.terminal.line(&entry.line())?,
            Output::Json => context.terminal.line(&entry.json().to_string())?,
        }
    }
    Ok(())
}

fn show(context: &Context, entries: &[Entry]) -> Result<(), Problem> {
    if context.output() == Output::Json {
        let all: Vec<Value> = entries.iter().map(|entry| entry.json().clone()).collect();
        return context.terminal.line(&Value::from(all).to_string());
    }
    ledger::table(entries).write(&context.terminal, context.output())
}
