//! `countersign token …`

use clap::{Args, Subcommand};
use countersign_model::request::{Action, Narrowing};
use countersign_model::{Name, SessionId, TokenId};
use serde_json::Value;

use super::context::{Context, Unnamed, identifier};
use super::help;
use crate::manage;
use crate::problem::Problem;
use crate::table::{Output, Table, plain};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show whose token it is, until when, and what it is limited to.
    #[command(
        after_help = "Examples:\n  countersign token inspect\n  countersign --dir ./deployment --as nancy@northwind token inspect"
    )]
    Inspect,
    /// Print a token that may do less, or for less long. It can't be widened again.
    #[command(after_help = help::NARROW)]
    Narrow(Narrow),
    /// Refuse a token, a login or everything a user holds, from the next request on.
    #[command(after_help = help::REVOKE)]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Narrow {
    /// Reading only.
    #[arg(long, conflicts_with = "action")]
    read_only: bool,
    /// These actions only: read, create, update, delete.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', value_parser = action)]
    action: Vec<Action>,
    /// These record types only.
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',')]
    types: Vec<Name>,
    /// These fields only, in whichever of the types.
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<Name>,
    /// For at most this long, such as 30s, 10m or 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lifetime_ms: Option<u64>,
    /// What it is for; recorded in the audit log with each use.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Revoke {
    /// The whole login that this token comes from, and everything narrowed from it.
    #[arg(long)]
    session: bool,
    /// Another token of your tenant, by its id.
    #[arg(long, value_name = "ID", value_parser = identifier::<TokenId>)]
    token: Option<TokenId>,
    /// Another login of your tenant, by its id.
    #[arg(long, value_name = "ID", value_parser = identifier::<SessionId>)]
    session_of: Option<SessionId>,
    /// Everything that this user of your tenant holds now.
    #[arg(long, value_name = "USER")]
    user: Option<Name>,
}

fn action(text: &str) -> Result<Action, String> {
    let found = Action::ALL.into_iter().find(|action| action.as_str() == text);
    found.ok_or_else(|| "expected read, create, update or delete".to_owned())
}

/// A number of seconds, minutes or hours as milliseconds.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    let bad = || "expected a number and s, m or h, such as 10m".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let unit_ms: u64 = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        _ => return Err(bad()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| bad())?;
    number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(bad)
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let client = match command {
        Command::Narrow(_) => context.printing_client().await?,
        Command::Inspect | Command::Revoke(_) => context.client(Unnamed::Refused).await?,
    };
    match command {
        Command::Inspect => {
            let about = client.get("/v1/token").await?;
            if context.output() == Output::Json {
                return context.terminal.line(&about.to_string());
            }
            about_table(&about).write(&context.terminal, context.output())
        }
        Command::Narrow(narrow) => {
            let some = |list: Vec<Name>| (!list.is_empty()).then_some(list);
            let actions = if narrow.read_only { vec![Action::Read] } else { narrow.action };
            let narrowing = Narrowing {
                actions: (!actions.is_empty()).then_some(actions),
                types: some(narrow.types),
                fields: some(narrow.fields),
                purpose: narrow.purpose,
            };
            if narrowing == Narrowing::default() && narrow.lifetime_ms.is_none() {
                return Err(Problem::usage("nothing to narrow by")
                    .next("add --read-only, --action, --type, --fields, --for or --purpose"));
            }
            let token = manage::narrow(&client, &narrowing, narrow.lifetime_ms).await?;
            context.print_token(&token)
        }
        Command::Revoke(revoke) => {
            manage::revoke(&client, &target(&revoke)).await?;
            context.terminal.note("revoked: it is refused from the next request on");
            Ok(())
        }
    }
}

/// What the server says about a token: who and until when, and then what it may do, a line for each type and action.
fn about_table(about: &Value) -> Table {
    let mut table = Table::new(&["what", "value"]);
    for (name, value) in about.as_object().into_iter().flatten().filter(|(name, _)| *name != "records") {
        table.push(vec![name.as_str().into(), value.clone()]);
    }
    for (record_type, actions) in about.get("records").and_then(Value::as_object).into_iter().flatten() {
        for (action, may) in actions.as_object().into_iter().flatten() {
            let fields = may.get("fields").map(plain).unwrap_or_default();
            let some = may.get("records").and_then(Value::as_str) == Some("some");
            let told = if some { format!("{fields} (of some records)") } else { fields };
            table.push(vec![format!("{action} {record_type}").into(), told.into()]);
        }
    }
    table
}

fn target(revoke: &Revoke) -> manage::Revoked {
    match (revoke.token, revoke.session_of, &revoke.user) {
        (Some(token), _, _) => manage::Revoked::Token(token),
        (_, Some(session), _) => manage::Revoked::Session(session),
        (_, _, Some(user)) => manage::Revoked::User(user.clone()),
        _ if revoke.session => manage::Revoked::OwnSession,
        _ => manage::Revoked::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("10m"), Ok(600_000));
        assert_eq!(duration("30s"), Ok(30_000));
        assert_eq!(duration("2h"), Ok(7_200_000));
        for bad in ["", "10", "m", "0m", "-1m", "1d", "99999999999999999999h", "10mm"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
