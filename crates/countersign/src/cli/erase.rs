//! `countersign erase …`

use clap::Subcommand;
use countersign_model::{Name, RequestId};
use http::Method;
use serde_json::{Value, json};

use super::context::{Context, Unnamed, identifier};
use super::help;
use crate::login::Login;
use crate::problem::Problem;
use crate::table::{Output, Table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Erase one record of your tenant with its whole history.
    #[command(after_help = help::ERASE_RECORD)]
    Record {
        /// The record type and the record's key; of a deleted record, its id does too.
        #[arg(value_name = "TYPE/KEY", value_parser = type_and_key)]
        record: (String, String),
    },
    /// Erase everything that is known of a user but the id.
    #[command(
        after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind erase principal nancy@northwind"
    )]
    Principal {
        /// The user.
        #[arg(value_name = "USER@TENANT")]
        user: Login,
    },
    /// Destroy a tenant's keys and everything that is stored of it. For operators.
    #[command(after_help = help::ERASE_TENANT)]
    Tenant {
        /// The tenant.
        name: Name,
        /// The same name again.
        #[arg(long, value_name = "NAME")]
        confirm: Name,
    },
    /// List the receipts of what was erased.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment erase list")]
    List,
    /// Look for what was erased, in the deployment and in its backups. Fails if anything is found.
    #[command(after_help = help::ERASE_PROVE)]
    Prove {
        /// The receipt, as `erase list` shows it.
        #[arg(value_parser = identifier::<RequestId>)]
        receipt: RequestId,
    },
}

fn type_and_key(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(of, key)| !of.is_empty() && !key.is_empty());
    let (of, key) = parts.ok_or("expected TYPE/KEY, such as customer/17")?;
    Ok((of.to_owned(), key.to_owned()))
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let body = match &command {
        Command::Record { record: (record_type, key) } => json!({ "type": record_type, "key": key }),
        Command::Principal { user } => json!({ "user": user.user, "tenant": user.tenant }),
        Command::Tenant { name, confirm } => {
            if name != confirm {
                return Err(Problem::usage(format!("--confirm is {confirm}, and the tenant is {name}"))
                    .next("give the tenant's name twice: what is erased does not come back"));
            }
            json!({ "tenant": name, "confirm": confirm })
        }
        Command::List => return list(context).await,
        Command::Prove { receipt } => return prove(context, *receipt).await,
    };
    let unnamed = if matches!(command, Command::Tenant { .. }) { Unnamed::Operator } else { Unnamed::Refused };
    let client = context.client(unnamed).await?;
    let receipt = client.put(Method::POST, "/v1/erasures", &body).await?;
    if context.output() == Output::Json {
        context.terminal.line(&receipt.to_string())?;
    } else {
        receipts(std::slice::from_ref(&receipt)).write(&context.terminal, context.output())?;
    }
    for copy in receipt.get("copies").and_then(Value::as_array).into_iter().flatten() {
        if let Some(why) = copy.get("failed").and_then(Value::as_str) {
            let repository = copy.get("repository").and_then(Value::as_str).unwrap_or_default();
            context.terminal.note(&format!("the repository {repository} has no copy of the receipt: {why}"));
        }
    }
    let id = receipt.get("receipt").and_then(Value::as_str).unwrap_or_default();
    if receipt.get("finished").is_none_or(Value::is_null) {
        context.terminal.note(
            "nobody can read it any more, but something still reads the files as they were, such as a backup: it goes from \
             the files once that is over, and the receipt says `finished` then",
        );
    }
    context.terminal.note(&format!("erased; see what is left of it: countersign erase prove {id}"));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    let all = client.get("/v1/erasures").await?;
    if context.output() == Output::Json {
        return context.terminal.line(&all.to_string());
    }
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    receipts(all).write(&context.terminal, context.output())
}

fn receipts(all: &[Value]) -> Table {
    let mut table = Table::new(&["receipt", "erased", "what", "finished", "by"]);
    for receipt in all {
        let part = |name: &str| receipt.get(name).cloned().unwrap_or_default();
        let what = match receipt.get("erased").and_then(Value::as_str) {
            Some("tenant") => part("tenant"),
            Some("principal") => part("principal"),
            _ => {
                let records = part("records");
                let records = records.as_array().into_iter().flatten().filter_map(Value::as_str);
                let record_type = receipt.get("record_type").and_then(Value::as_str).unwrap_or_default();
                records.map(|record| format!("{record_type}/{record}")).collect::<Vec<_>>().join(" ").into()
            }
        };
        table.push(vec![part("receipt"), part("erased"), what, part("finished"), part("by")]);
    }
    table
}

async fn prove(context: &Context, receipt: RequestId) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    let proof = client.put(Method::POST, &format!("/v1/erasures/{receipt}/proof"), &json!({})).await?;
    if context.output() == Output::Json {
        context.terminal.line(&proof.to_string())?;
    } else {
        let findings = proof.get("findings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Table::of(&["place", "clean", "found", "says"], findings).write(&context.terminal, context.output())?;
    }
    if proof.get("proved") == Some(&Value::Bool(true)) {
        context.terminal.note("nothing of it can be read anywhere that this deployment knows of");
        return Ok(());
    }
    Err(Problem::failed("something of it can still be read, or could not be looked at")
        .next("see `says` of each place that is not clean"))
}
