//! `countersign user …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_crypto::ssh::PublicKey;
use countersign_model::Name;
use countersign_model::control::NewUser;
use countersign_model::facts::UserKind;
use serde_json::Value;

use super::context::{Context, Unnamed};
use super::help;
use crate::login::Login;
use crate::manage;
use crate::problem::{Exit, Problem, io};
use crate::table::{Output, Table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user, or replace roles, attributes and keys of one that is there.
    ///
    /// The operator adds the first user of a tenant. From then on the tenant's own people look after it.
    #[command(after_help = help::USER_ADD)]
    Add(Add),
    /// List the users of a tenant.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment user list --tenant northwind")]
    List {
        /// The tenant; your own if none is given.
        #[arg(long)]
        tenant: Option<Name>,
    },
    /// End a user's access, from the next request on.
    #[command(
        after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind user remove nancy@northwind"
    )]
    Remove {
        /// The user.
        #[arg(value_name = "USER@TENANT")]
        user: Login,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The user.
    #[arg(value_name = "USER@TENANT")]
    user: Login,
    /// A file with the user's public SSH key (also several, one a line). May be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    ssh_key: Vec<PathBuf>,
    /// A role that policies name. May be repeated.
    #[arg(long, value_name = "ROLE")]
    role: Vec<Name>,
    /// A fact that policies compare with, as the types file declares it. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    attribute: Vec<(Name, String)>,
    /// What it is: a person, a service (a program that works for itself), or an agent (one that acts for people).
    #[arg(long, value_name = "person|service|agent", default_value = "person")]
    kind: UserKind,
}

fn attribute(text: &str) -> Result<(Name, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as employee=3")?;
    Ok((Name::new(name).map_err(|error| error.to_string())?, value.to_owned()))
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Add(add) => {
            let ssh_keys = public_keys(&add.ssh_key)?;
            let attributes = add.attribute.into_iter().collect();
            let user = NewUser { name: add.user.user.clone(), roles: add.role, attributes, ssh_keys, kind: add.kind };
            let client = context.client(Unnamed::Operator).await?;
            let by_admin = format!(
                "the operator adds the first user of a tenant only; the others are added by one of its own: \
                 --as ADMIN@{}",
                add.user.tenant
            );
            let refused =
                |problem: Problem| if problem.exit == Exit::Refused { problem.next(by_admin) } else { problem };
            let unknown = manage::user_put(&client, &add.user.tenant, &user).await.map_err(refused)?;
            context.terminal.note(&format!("user {} is there", add.user));
            if !unknown.is_empty() {
                let unknown = unknown.join(", ");
                context.terminal.note(&format!("no policy names these roles, so they permit nothing: {unknown}"));
            }
            Ok(())
        }
        Command::List { tenant } => {
            let client = context.client(Unnamed::Operator).await?;
            let users = manage::users(&client, tenant.as_ref()).await?;
            if context.output() == Output::Json {
                return context.terminal.line(&Value::from(users).to_string());
            }
            let mut table = Table::new(&["name", "roles", "attributes", "ssh_keys", "changed"]);
            for user in &users {
                let part = |name: &str| user.get(name).cloned().unwrap_or_default();
                let keys = part("ssh_keys");
                let keys = keys.as_array().into_iter().flatten().filter_map(|key| key.get("fingerprint")).cloned();
                table.push(vec![part("name"), part("roles"), part("attributes"), keys.collect(), part("changed")]);
            }
            table.write(&context.terminal, context.output())
        }
        Command::Remove { user } => {
            let client = context.client(Unnamed::Refused).await?;
            manage::user_remove(&client, &user).await?;
            context.terminal.note(&format!("user {user} is gone, and every token of theirs is refused"));
            Ok(())
        }
    }
}

/// The keys in the files, checked here so that the message can name the file and the line.
fn public_keys(files: &[PathBuf]) -> Result<Vec<String>, Problem> {
    let mut keys = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(io("read the SSH key", file))?;
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = format!("{}:{}", file.display(), place.saturating_add(1));
            let key = PublicKey::parse(line).map_err(|error| {
                let private = text.contains("PRIVATE KEY");
                let next =
                    if private { "name the public half, usually FILE.pub" } else { "make one: ssh-keygen -t ed25519" };
                Problem::input(format!("{at}: {error}")).next(next)
            })?;
            keys.push(key.to_line());
        }
        if keys.is_empty() {
            return Err(Problem::input(format!("{}: there is no SSH key in it", file.display())));
        }
    }
    Ok(keys)
}
