//! `countersign access …`

use clap::{Args, Subcommand};
use countersign_model::{GrantId, Name};
use http::Method;
use serde_json::{Value, json};

use super::context::{Context, Unnamed, identifier};
use super::help;
use crate::problem::Problem;
use crate::query::Query;
use crate::table::{Output, Table, plain};
use crate::transport::Ask;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask a tenant for access to its records, for a time. For operators.
    ///
    /// Nobody who runs the deployment sees a tenant's records. Once the tenant approves, the operator logs in as the user
    /// that is then printed, with the operator's own key, and may do what the role may until the time is over.
    #[command(after_help = help::ACCESS_REQUEST)]
    Request(Request),
    /// Confirm that another operator breaks the glass: access to a tenant that can't be asked. For operators.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as second@operators access confirm GRANT")]
    Confirm {
        /// The grant, as `access list` shows it.
        #[arg(value_parser = identifier::<GrantId>)]
        grant: GrantId,
    },
    /// List who asked for access, and what came of it.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind access list")]
    List,
    /// Give an operator access to your tenant.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind access approve GRANT")]
    Approve {
        /// The grant, as `access list` shows it.
        #[arg(value_parser = identifier::<GrantId>)]
        grant: GrantId,
        /// Another role than the one asked for.
        #[arg(long, value_name = "ROLE")]
        role: Option<Name>,
    },
    /// Refuse an operator access to your tenant.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind access refuse GRANT")]
    Refuse {
        /// The grant, as `access list` shows it.
        #[arg(value_parser = identifier::<GrantId>)]
        grant: GrantId,
    },
    /// End an operator's access before its time. By the operator, or by the tenant with --as-tenant.
    #[command(
        after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind access close GRANT --as-tenant"
    )]
    Close {
        /// The grant, as `access list` shows it.
        #[arg(value_parser = identifier::<GrantId>)]
        grant: GrantId,
        /// The access is to your own tenant.
        #[arg(long)]
        as_tenant: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Request {
    /// The tenant.
    tenant: Name,
    /// The tenant's role to act in.
    #[arg(long, value_name = "ROLE")]
    role: Name,
    /// What it is for: one line, which the tenant reads.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, from the moment it is given: such as 30m, 1h; twelve hours at most.
    #[arg(long = "for", value_name = "TIME", value_parser = lifetime)]
    lifetime_ms: u64,
    /// The tenant can't be asked. Another operator has to confirm within 15 minutes, and the tenant is told at once.
    #[arg(long)]
    break_glass: bool,
}

/// A time such as `90s`, `30m` or `1h`, in milliseconds.
fn lifetime(text: &str) -> Result<u64, String> {
    let expected = "a number with s, m or h after it, such as 30m";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(expected)?;
    let unit_ms: u64 = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected.to_owned()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).ok_or_else(|| expected.to_owned())
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let (unnamed, ask) = match command {
        Command::List => return list(context).await,
        Command::Request(request) => {
            let body = json!({
                "tenant": request.tenant, "role": request.role, "reason": request.reason,
                "lifetime_ms": request.lifetime_ms, "break_glass": request.break_glass,
            });
            (Unnamed::Operator, sent("/v1/access".to_owned(), &body))
        }
        Command::Confirm { grant } => (Unnamed::Refused, sent(format!("/v1/access/{grant}/confirmation"), &json!({}))),
        Command::Approve { grant, role } => {
            let mut body = json!({ "approve": true });
            if let (Some(fields), Some(role)) = (body.as_object_mut(), role) {
                fields.insert("role".to_owned(), json!(role));
            }
            (Unnamed::Refused, sent(format!("/v1/access/{grant}/decision"), &body))
        }
        Command::Refuse { grant } => {
            (Unnamed::Refused, sent(format!("/v1/access/{grant}/decision"), &json!({ "approve": false })))
        }
        Command::Close { grant, as_tenant } => {
            let mut query = Query::new(format!("/v1/access/{grant}"));
            query.add("as", if as_tenant { "tenant" } else { "operator" });
            (Unnamed::Operator, Ask::new(Method::DELETE, query.text()))
        }
    };
    let grant = context.client(unnamed).await?.json(ask).await?;
    show(context, &grant)
}

fn sent(path: String, body: &Value) -> Ask {
    Ask::new(Method::POST, path).body("application/json", body.to_string())
}

async fn list(context: &Context) -> Result<(), Problem> {
    let grants = context.client(Unnamed::Operator).await?.get("/v1/access").await?;
    if context.output() == Output::Json {
        return context.terminal.line(&grants.to_string());
    }
    let columns = ["id", "operator", "tenant", "role", "state", "by", "until", "login", "break_glass", "reason"];
    let mut table = Table::new(&columns);
    for grant in grants.as_array().into_iter().flatten() {
        table.push(columns.iter().map(|name| grant.get(*name).cloned().unwrap_or_default()).collect());
    }
    table.write(&context.terminal, context.output())
}

/// What is the case now, and what to do next.
fn show(context: &Context, grant: &Value) -> Result<(), Problem> {
    if context.output() == Output::Json {
        return context.terminal.line(&grant.to_string());
    }
    let text = |name: &str| grant.get(name).map(plain).unwrap_or_default();
    let (id, tenant, broken) = (text("id"), text("tenant"), grant.get("break_glass") == Some(&Value::Bool(true)));
    let said = match text("state").as_str() {
        "asked" if broken => format!("{id}: another operator has to confirm it within 15 minutes: access confirm {id}"),
        "asked" => format!("{id}: {tenant} has to approve it: access approve {id}"),
        "given" => {
            format!("{id}: given until {}; log in as {} with the operator's own key", text("until"), text("login"))
        }
        state => format!("{id}: {state}"),
    };
    context.terminal.line(&said)
}

#[cfg(test)]
mod tests {
    use super::lifetime;

    #[test]
    fn times_are_read() {
        assert_eq!(lifetime("90s"), Ok(90_000));
        assert_eq!(lifetime("30m"), Ok(1_800_000));
        assert_eq!(lifetime("1h"), Ok(3_600_000));
        for wrong in ["", "h", "1", "1d", "-1h", "1.5h", "99999999999999999999h", "1ｈ"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
