//! `countersign keys …`

use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_model::Name;
use http::Method;
use serde_json::{Value, json};

use super::context::{Context, Unnamed};
use super::help;
use crate::client::Client;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::table::{Output, Table};

const COLUMNS: [&str; 9] = ["tenant", "key", "epoch", "state", "made", "age_days", "left_days", "sealed", "limit"];
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List keys with their ages, what is left of their cryptoperiods, and what they have sealed.
    #[command(after_help = help::KEYS_LIST)]
    List(Of),
    /// Show what is not as it was long ago: keys that records are sealed from, keys that are retired, keys that are due.
    #[command(after_help = help::KEYS_STATUS)]
    Status(Of),
    /// Put a new key in the place of a tenant's, of one field's, or wrap the deployment's own anew.
    #[command(after_help = help::KEYS_ROTATE)]
    Rotate(Rotate),
    /// Destroy a key of a tenant that was rotated away.
    #[command(after_help = help::KEYS_DESTROY)]
    Destroy {
        /// The tenant.
        tenant: Name,
        /// The key's first epoch, as `keys list` shows it.
        #[arg(long)]
        epoch: u32,
        /// The tenant's name again.
        #[arg(long, value_name = "NAME")]
        confirm: Name,
    },
}

#[derive(Debug, Args)]
pub(super) struct Of {
    /// One tenant; the deployment and every tenant if none is given.
    #[arg(long)]
    tenant: Option<Name>,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The tenant whose key it is.
    #[arg(required_unless_present = "deployment", conflicts_with = "deployment")]
    tenant: Option<Name>,
    /// The keys of one field alone.
    #[arg(long, value_name = "TYPE.FIELD", value_parser = type_and_field, requires = "tenant")]
    field: Option<(String, String)>,
    /// The deployment's own key, which is wrapped anew.
    #[arg(long)]
    deployment: bool,
    /// Wait until everything is sealed under the new key.
    #[arg(long, requires = "tenant")]
    wait: bool,
}

fn type_and_field(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('.').filter(|(of, field)| !of.is_empty() && !field.is_empty());
    let (of, field) = parts.ok_or("expected TYPE.FIELD, such as customer.email")?;
    Ok((of.to_owned(), field.to_owned()))
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    match command {
        Command::List(of) => show(context, &all(&client, of.tenant.as_ref()).await?),
        Command::Status(of) => status(context, &all(&client, of.tenant.as_ref()).await?),
        Command::Rotate(rotate) => begin(context, &client, &rotate).await,
        Command::Destroy { tenant, epoch, confirm } => {
            if tenant != confirm {
                return Err(Problem::usage(format!("--confirm is {confirm}, and the tenant is {tenant}"))
                    .next("give the tenant's name twice: what is sealed under a destroyed key never opens again"));
            }
            let body = json!({ "tenant": tenant, "epoch": epoch });
            let gone = client.put(Method::POST, "/v1/keys/destruction", &body).await?;
            show(context, std::slice::from_ref(&gone))?;
            let lost = gone.get("lost").and_then(Value::as_str).unwrap_or_default();
            context.terminal.note(&format!("can't be opened any more: {lost}"));
            Ok(())
        }
    }
}

async fn all(client: &Client, tenant: Option<&Name>) -> Result<Vec<Value>, Problem> {
    let path = tenant.map_or_else(|| "/v1/keys".to_owned(), |tenant| format!("/v1/keys?tenant={tenant}"));
    match client.get(&path).await? {
        Value::Array(rows) => Ok(rows),
        _ => Err(Problem::failed("the gateway's answer is not a list of keys")),
    }
}

fn show(context: &Context, rows: &[Value]) -> Result<(), Problem> {
    if context.output() == Output::Json {
        return context.terminal.line(&Value::from(rows.to_vec()).to_string());
    }
    Table::of(&COLUMNS, rows).write(&context.terminal, context.output())
}

/// Keys within this many days of the end of their cryptoperiods are shown.
const DUE_DAYS: i64 = 30;

fn status(context: &Context, rows: &[Value]) -> Result<(), Problem> {
    let matters = |row: &&Value| {
        let is_due = row.get("left_days").and_then(Value::as_i64).is_some_and(|left| left <= DUE_DAYS);
        is_due || row.get("state").and_then(Value::as_str) != Some("current")
    };
    let rows: Vec<Value> = rows.iter().filter(matters).cloned().collect();
    if context.output() == Output::Json {
        return context.terminal.line(&Value::from(rows).to_string());
    }
    if rows.is_empty() {
        context.terminal.note("every key is current, and none is due within 30 days");
        return Ok(());
    }
    let columns = ["tenant", "key", "epoch", "state", "left_days", "seen", "resealed", "unopened"];
    Table::of(&columns, &rows).write(&context.terminal, context.output())
}

async fn begin(context: &Context, client: &Client, rotate: &Rotate) -> Result<(), Problem> {
    let body = match (&rotate.tenant, &rotate.field) {
        (Some(tenant), Some((record_type, field))) => json!({ "tenant": tenant, "type": record_type, "field": field }),
        (Some(tenant), None) => json!({ "tenant": tenant }),
        (None, _) => json!({}),
    };
    let begun = client.put(Method::POST, "/v1/keys/rotation", &body).await?;
    if let (Some(tenant), true) = (&rotate.tenant, rotate.wait) {
        wait(context, client, tenant).await?;
    }
    if context.output() == Output::Json {
        context.terminal.line(&begun.to_string())?;
    } else {
        let row = std::slice::from_ref(&begun);
        Table::of(&["tenant", "key", "epoch", "version"], row).write(&context.terminal, context.output())?;
    }
    match &rotate.tenant {
        Some(_) if rotate.wait => context.terminal.note("everything is sealed under the new keys"),
        Some(tenant) => context.terminal.note(&format!(
            "new values are sealed under it from now on, older ones in the background: countersign keys status --tenant {tenant}"
        )),
        None => context.terminal.note("wrapped anew; what is sealed under it stays as it is"),
    }
    Ok(())
}

async fn wait(context: &Context, client: &Client, tenant: &Name) -> Result<(), Problem> {
    let mut progress = Progress::new(context.terminal, "sealing again, in records", None);
    loop {
        let rows = all(client, Some(tenant)).await?;
        let resealing = |row: &&Value| row.get("state").and_then(Value::as_str) == Some("resealing");
        let mut left = rows.iter().filter(resealing).peekable();
        if left.peek().is_none() {
            progress.done();
            return Ok(());
        }
        if let Some(unopened) = left.peek().and_then(|row| row.get("unopened")).and_then(Value::as_u64) {
            progress.done();
            let message = format!("{unopened} records have values that do not open, and are as they were");
            return Err(Problem::failed(message).next(format!(
                "the older key stays in use for them; see what the audit log of {tenant} says, and restore them from a backup"
            )));
        }
        let seen = left.filter_map(|row| row.get("seen").and_then(Value::as_u64)).max();
        progress.reached(seen.unwrap_or_default());
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
