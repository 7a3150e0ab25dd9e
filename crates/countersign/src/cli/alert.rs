//! `countersign alert …`

use clap::{Args, Subcommand};
use countersign_model::{AlertId, SilenceId};
use http::Method;
use serde_json::{Value, json};

use super::context::{Context, Unnamed, identifier};
use super::help;
use crate::problem::{Exit, Problem};
use crate::query::Query;
use crate::transport::Ask;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the alerts that nobody has seen to.
    #[command(after_help = help::ALERT_LIST)]
    List {
        /// Also those that somebody has seen to, and those that are over.
        #[arg(long)]
        all: bool,
        /// At most so many, the newest.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Show one alert, with the requests that it is about.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment alert show ALERT")]
    Show {
        /// The alert, as `alert list` shows it.
        #[arg(value_parser = identifier::<AlertId>)]
        alert: AlertId,
    },
    /// Say that somebody has seen to an alert.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment alert ack ALERT --note 'a drill'")]
    Ack {
        /// The alert, as `alert list` shows it.
        #[arg(value_parser = identifier::<AlertId>)]
        alert: AlertId,
        /// What was found: one line.
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
    /// Keep a rule from alerting operators for a time.
    ///
    /// Its alerts are kept and counted. Tenants that have to be told are told all the same.
    #[command(after_help = help::ALERT_SILENCE)]
    Silence(Silence),
    /// List the rules that are kept silent.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment alert silences")]
    Silences,
    /// End a silence.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment alert unsilence SILENCE")]
    Unsilence {
        /// The silence, as `alert silences` shows it.
        #[arg(value_parser = identifier::<SilenceId>)]
        silence: SilenceId,
    },
    /// Send a test alert to every sink, and say which have it.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment alert test")]
    Test,
}

#[derive(Debug, Args)]
pub(super) struct Silence {
    /// The rule's id or title, as `alert show` shows it.
    rule: String,
    /// Only alerts about this, as they say it.
    #[arg(long, value_name = "FIELD=VALUE")]
    about: Option<String>,
    /// For how long, such as 30m, 4h, 7d; 30 days at most.
    #[arg(long = "for", value_name = "TIME", value_parser = time_ms)]
    for_ms: u64,
    /// Why: one line.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// A time such as `30m`, `4h` or `7d`, in milliseconds.
fn time_ms(text: &str) -> Result<u64, String> {
    let expected = "a number with s, m, h or d after it, such as 4h";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(expected)?;
    let unit_ms: u64 = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected.to_owned()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).ok_or_else(|| expected.to_owned())
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    match command {
        Command::List { all, limit } => {
            let mut query = Query::new("/v1/alerts".to_owned());
            query.add("limit", &limit.to_string());
            if all {
                query.add("all", "true");
            }
            list(context, &client.get(query.text()).await?)
        }
        Command::Show { alert } => context.show(&client.get(&format!("/v1/alerts/{alert}")).await?),
        Command::Ack { alert, note } => {
            let path = format!("/v1/alerts/{alert}/acknowledgement");
            let answer = client.put(Method::POST, &path, &json!({ "note": note })).await?;
            context.terminal.note("acknowledged");
            context.show(&answer)
        }
        Command::Silence(Silence { rule, about, for_ms, reason }) => {
            let body = json!({ "rule": rule, "about": about, "for_ms": for_ms, "reason": reason });
            context.show(&client.put(Method::POST, "/v1/silences", &body).await?)
        }
        Command::Silences => {
            let silences = client.get("/v1/silences").await?;
            context.rows(&["id", "rule", "about", "until", "by", "kept", "reason"], &silences, &silences)
        }
        Command::Unsilence { silence } => {
            client.json(Ask::new(Method::DELETE, format!("/v1/silences/{silence}"))).await?;
            context.terminal.note("the silence is over");
            Ok(())
        }
        Command::Test => {
            let answer = client.put(Method::POST, "/v1/alerts/test", &json!({})).await?;
            tested(context, &answer)
        }
    }
}

fn list(context: &Context, answer: &Value) -> Result<(), Problem> {
    let alerts = answer.get("alerts").unwrap_or(&Value::Null);
    context.rows(&["id", "level", "state", "title", "about", "count", "last"], alerts, answer)?;
    for sink in answer.get("sinks").and_then(Value::as_array).into_iter().flatten() {
        if let Some(since) = sink.get("failing_since").and_then(Value::as_str) {
            let name = sink.get("name").and_then(Value::as_str).unwrap_or_default();
            let waiting = sink.get("waiting").and_then(Value::as_u64).unwrap_or_default();
            context.terminal.note(&format!("{name} has not taken alerts since {since}; {waiting} wait"));
        }
    }
    Ok(())
}

fn tested(context: &Context, answer: &Value) -> Result<(), Problem> {
    let sinks = answer.get("sinks").unwrap_or(&Value::Null);
    context.rows(&["sink", "kind", "delivered", "problem"], sinks, answer)?;
    let all = sinks.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        context.terminal.note("nobody is told of alerts: add a section [alerts.NAME] to countersign.toml");
    }
    if all.iter().all(|sink| sink.get("delivered") == Some(&Value::Bool(true))) {
        return Ok(());
    }
    Err(Problem::new(Exit::Unavailable, "not every sink has the test alert"))
}
