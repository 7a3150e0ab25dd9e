//! `countersign service …`

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use countersign_model::Name;
use http::Method;
use serde_json::{Value, json};

use super::context::{Context, Unnamed};
use super::help;
use crate::compose;
use crate::deployment::Deployment;
use crate::problem::Problem;
use crate::query::{Query, segment};
use crate::table::Table;
use crate::transport::Ask;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a join token for a new service: good once, for ten minutes.
    #[command(after_help = help::SERVICE_INVITE)]
    Invite(Invite),
    /// List the services that have joined.
    #[command(after_help = "Examples:\n  countersign --dir ./authority service list")]
    List,
    /// End a service's access: its certificate counts for nothing any more and is not renewed.
    #[command(after_help = "Examples:\n  countersign --dir ./authority service remove store/store-1")]
    Remove {
        /// The service: what it is and its name, as `service list` shows them.
        #[arg(value_name = "ROLE/NAME", value_parser = service)]
        service: (Role, Name),
    },
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// What the new service is.
    role: Role,
    /// Its name among those of its role; the authority chooses one if none is given.
    #[arg(long)]
    name: Option<Name>,
}

/// What can be invited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Gateway,
    Keys,
    Store,
    Monitor,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Keys => "keys",
            Self::Store => "store",
            Self::Monitor => "monitor",
        }
    }
}

fn service(text: &str) -> Result<(Role, Name), String> {
    let (role, name) = text.split_once('/').ok_or("expected ROLE/NAME, such as store/store-1")?;
    let role = Role::from_str(role, false).map_err(|_| "the role is gateway, keys, store or monitor")?;
    Ok((role, Name::new(name).map_err(|error| error.to_string())?))
}

/// Whether the deployment in this folder has no services apart.
fn is_one_process(dir: &Path) -> bool {
    compose::config(&Deployment::at(dir)).is_ok_and(|config| config.services.run.is_all())
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    match command {
        Command::Invite(Invite { role, name }) => {
            let mut body = json!({ "role": role.as_str() });
            if let (Some(fields), Some(name)) = (body.as_object_mut(), &name) {
                fields.insert("name".to_owned(), json!(name));
            }
            let answer = client.put(Method::POST, "/v1/services", &body).await?;
            let part = |name: &str| answer.get(name).and_then(Value::as_str);
            let token = part("join_token").ok_or_else(|| Problem::failed("the server's answer has no join token"))?;
            context.terminal.line(token)?;
            let until = part("expires").map(|expires| format!(", until {expires}")).unwrap_or_default();
            let called = part("name").map(|name| format!(" named {name}")).unwrap_or_default();
            context.terminal.note(&format!(
                "a secret: good for one {} service{called}, once, within ten minutes{until}",
                role.as_str()
            ));
            if context.dir().is_some_and(|dir| is_one_process(dir)) {
                context
                    .terminal
                    .note("but this deployment is one process that takes no calls from others: docs/apart.md");
            }
            Ok(())
        }
        Command::List => {
            let answer = client.get("/v1/services").await?;
            let services = answer.as_array().ok_or_else(|| Problem::failed("the server's answer is not a list"))?;
            Table::of(&["role", "name", "joined", "joined_by", "certified_until", "id"], services)
                .write(&context.terminal, context.output())
        }
        Command::Remove { service: (role, name) } => {
            let mut query = Query::new(format!("/v1/services/{}", segment(name.as_str())));
            query.add("role", role.as_str());
            client.json(Ask::new(Method::DELETE, query.text())).await?;
            context.terminal.note(&format!("{}/{name} is removed: its certificate is refused", role.as_str()));
            Ok(())
        }
    }
}
