//! `countersign audit …`

mod ask;
mod check;
mod export;
mod prove;
mod verify;

pub(super) use self::ask::moment;
use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_model::RequestId;
use serde_json::Value;

use super::context::{Context, Unnamed, identifier};
use super::{help, receipt};
use crate::client::Client;
use crate::ledger::{self, Entry};
use crate::problem::Problem;
use crate::table::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The newest records of your tenant, oldest first.
    #[command(after_help = help::TAIL)]
    Tail(Tail),
    /// Who saw or changed one record.
    #[command(after_help = help::WHO_SAW)]
    WhoSaw(ask::WhoSaw),
    /// What a principal did, or others on its behalf.
    #[command(after_help = help::BY)]
    By(ask::By),
    /// What was done with one login.
    #[command(after_help = help::AUDIT_SESSION)]
    Session(ask::Session),
    /// What each service recorded of one request, side by side.
    #[command(after_help = help::RECEIPT)]
    Receipt {
        /// The request's id.
        #[arg(value_name = "REQUEST-ID", value_parser = identifier::<RequestId>)]
        request: RequestId,
    },
    /// One request's stored records, each with the proof that it is in its service's log.
    #[command(after_help = help::PROVE)]
    Prove(prove::Prove),
    /// Give records to another system, as OCSF events, each at least once.
    ///
    /// Without --follow it ends when there are no more. The state is saved after each batch was taken: a file has it
    /// when it is on the disk, an address when it answers 2xx. Killed at any moment, an export that is started again
    /// with the same state leaves nothing out; some records may come twice, with the same `metadata.uid`.
    #[command(after_help = help::EXPORT)]
    Export(export::Export),
    /// What a file of proofs proves: without a deployment, a token or a network.
    #[command(after_help = help::CHECK)]
    Check(check::Check),
    /// Whether the ledgers are as they were written: from their files alone, without keys, also while they are written to.
    #[command(after_help = help::VERIFY)]
    Verify(verify::Verify),
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

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Receipt { request } => receipt::run(context, request).await,
        Command::WhoSaw(asked) => ask::who_saw(context, asked).await,
        Command::By(asked) => ask::by(context, asked).await,
        Command::Session(asked) => ask::session(context, asked).await,
        Command::Check(asked) => check::run(context, &asked),
        Command::Prove(asked) => prove::run(context, asked).await,
        Command::Export(asked) => export::run(context, asked).await,
        Command::Verify(asked) => verify::run(context, asked),
        Command::Tail(asked) => tail(context, &asked).await,
    }
}

async fn tail(context: &Context, tail: &Tail) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let asked = if tail.all_services { tail.limit } else { tail.limit.saturating_mul(ALL_OF_ONE) };
    let page = ledger::newest(&client, asked).await?;
    let entries = tail.shown(page.entries);
    if !tail.follow {
        return show(context, &entries);
    }
    say(context, &entries)?;
    follow(context, &client, tail, page.next).await
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
