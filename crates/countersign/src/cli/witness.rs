//! `countersign witness`

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_crypto::SystemEntropy;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use countersign_tlog::VerifierKey;
use serde_json::{Value, json};

use super::context::Context;
use super::token::duration;
use crate::problem::{Exit, Problem};
use crate::server::Stop;
use crate::table::{Output, Table};
use crate::terminal::harmless;
use crate::witness::{Outcome, Report, Service, StateError, Wanted, Webhook, Witness};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The one file with the witness's key and what it has seen; made at the first start.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Follow this log, such as store/first. May be repeated; without it all that the server lists are followed.
    #[arg(long, value_name = "NAME")]
    log: Vec<String>,
    /// Follow only logs with this key. May be repeated; without it a log's key is the one that it is first seen with.
    #[arg(long, value_name = "VERIFIER-KEY")]
    key: Vec<VerifierKey>,
    /// How often to look.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    every: u64,
    /// Look once and end: for cron.
    #[arg(long, conflicts_with_all = ["listen", "every"])]
    once: bool,
    /// Also take checkpoints that logs bring (C2SP tlog-witness), by plain HTTP on this address of this machine.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Post JSON there when a log is refused, and every hour while it is.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The witness's name, at the first start; otherwise one is made of its key.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print what was seen, without anything secret, for countersign audit verify --witnessed, and end.
    #[arg(long, conflicts_with_all = ["once", "listen", "log", "forget"])]
    seen: bool,
    /// Take this log out of the state, key, size and alarm, and end. It is then new to the witness.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["once", "listen", "log"])]
    forget: Option<String>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let clock = Arc::new(SystemClock);
    let witness = Witness::open(&arguments.state, arguments.name.as_deref(), clock, &SystemEntropy);
    let witness = Arc::new(witness.map_err(unusable)?);
    if arguments.seen {
        return context.terminal.write(witness.seen().to_text().as_bytes());
    }
    if let Some(name) = &arguments.forget {
        return match witness.forget(name).map_err(unusable)? {
            true => {
                context
                    .terminal
                    .note(&format!("{name} is out of the state; it is taken as it then is when it is next seen"));
                Ok(())
            }
            false => Err(Problem::new(Exit::NotFound, format!("the witness has not seen a log {name}"))),
        };
    }
    context.terminal.note(&format!("witness {}", witness.verifier()));
    let mut webhook = arguments.webhook.as_deref().map(Webhook::new).transpose()?;
    let transport = context.transport().await?;
    let wanted = Wanted { names: arguments.log.clone(), keys: arguments.key.clone() };
    let mut given = BTreeSet::new();
    if arguments.once {
        let round = witness.round(&*transport, &wanted, &mut given).await;
        tell(context, &witness, webhook.as_mut()).await;
        let reports = round?;
        table(&reports, context.output(), context)?;
        return judged(&reports);
    }
    let stop = Stop::new()?;
    if let Some(address) = arguments.listen {
        let service = Service::on(address, Arc::clone(&witness)).await?;
        context.terminal.line(&format!("ready http://{}", service.address()))?;
        tokio::spawn(service.serve());
    }
    let mut stopped = std::pin::pin!(stop.asked());
    let mut last = Vec::new();
    loop {
        match witness.round(&*transport, &wanted, &mut given).await {
            Ok(reports) => {
                let lines: Vec<String> = reports.iter().map(said).collect();
                // What is as it was needs no line; what is wrong has one every time.
                for (line, report) in lines.iter().zip(&reports) {
                    let is_wrong = matches!(report.outcome, Outcome::Refused(_) | Outcome::Trouble(_));
                    if is_wrong || report.not_taken.is_some() || !last.contains(line) {
                        context.terminal.note(line);
                    }
                }
                last = lines;
            }
            Err(problem) => context.terminal.note(&format!("not verified: {problem}")),
        }
        tell(context, &witness, webhook.as_mut()).await;
        tokio::select! {
            () = &mut stopped => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(arguments.every)) => {}
        }
    }
}

fn unusable(error: StateError) -> Problem {
    let problem = Problem::failed(error.to_string());
    match error {
        StateError::Busy(_) => problem.kind(Exit::Unavailable).next("stop the other witness, or give this one a file of its own"),
        StateError::Damaged { .. } => problem.kind(Exit::Conflict).next(
            "put back a copy, and look how it came to be damaged; with a new file the witness has another key and has seen nothing",
        ),
        StateError::Name | StateError::Full => problem.kind(Exit::Usage),
        StateError::Io { .. } => problem,
    }
}

async fn tell(context: &Context, witness: &Witness, webhook: Option<&mut Webhook>) {
    let Some(webhook) = webhook else { return };
    let name = witness.verifier().name().to_owned();
    for failed in webhook.tell(&name, &witness.alarms(), SystemClock.now()).await {
        context.terminal.note(&failed);
    }
}

/// A log in one line.
fn said(report: &Report) -> String {
    let name = harmless(&report.name);
    let size = report.size.map(|size| format!(" at {size}")).unwrap_or_default();
    let mut line = match &report.outcome {
        Outcome::Cosigned | Outcome::Unchanged => format!("cosigned {name}{size}"),
        Outcome::Empty => format!("{name} has no checkpoint yet"),
        Outcome::Refused(alarm) => format!("ALARM {name}: {} (since {}; seen{size})", alarm.kind, harmless(&alarm.at)),
        Outcome::Trouble(what) => format!("NOT VERIFIED {name}: {}", harmless(what)),
    };
    if let Some(why) = &report.not_taken {
        line = format!("{line}; the log did not take the cosignature: {}", harmless(why));
    }
    line
}

fn table(reports: &[Report], output: Output, context: &Context) -> Result<(), Problem> {
    let mut table = Table::new(&["log", "size", "state", "says"]);
    for report in reports {
        let (state, says) = match &report.outcome {
            Outcome::Cosigned => ("cosigned", String::new()),
            Outcome::Unchanged => ("unchanged", String::new()),
            Outcome::Empty => ("empty", String::new()),
            Outcome::Refused(alarm) => ("refused", format!("{}, since {}", alarm.kind, harmless(&alarm.at))),
            Outcome::Trouble(what) => ("not verified", harmless(what)),
        };
        let says = if says.is_empty() { report.not_taken.clone().unwrap_or_default() } else { says };
        let size = report.size.map_or(Value::Null, |size| json!(size));
        table.push(vec![harmless(&report.name).into(), size, state.into(), says.into()]);
    }
    table.write(&context.terminal, output)
}

/// What `--once` ends with.
fn judged(reports: &[Report]) -> Result<(), Problem> {
    let refused: Vec<String> =
        reports.iter().filter(|report| matches!(report.outcome, Outcome::Refused(_))).map(said).collect();
    if !refused.is_empty() {
        return Err(Problem::input(refused.join("\n")).next(
            "keep the state file, it has the evidence; ask the deployment's operator; then countersign witness --forget NAME",
        ));
    }
    let other: Vec<String> =
        reports.iter().filter(|report| matches!(report.outcome, Outcome::Trouble(_))).map(said).collect();
    if other.is_empty() { Ok(()) } else { Err(Problem::failed(other.join("\n"))) }
}
