//! `countersign tenant …`

use clap::Subcommand;
use countersign_model::Name;

use super::context::{Context, Unnamed};
use crate::manage;
use crate::problem::Problem;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a tenant. Its key is made and its store is empty.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment tenant add northwind")]
    Add {
        /// Its name: lower-case letters, digits, '_' and '-'.
        name: Name,
    },
    /// List the tenants.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment tenant list --output csv")]
    List,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    match command {
        Command::Add { name } => {
            manage::tenant_add(&client, &name).await?;
            context.terminal.note(&format!("tenant {name} is there"));
            Ok(())
        }
        Command::List => {
            let tenants = manage::tenants(&client).await?;
            Table::of(&["name", "users", "created", "id"], &tenants).write(&context.terminal, context.output())
        }
    }
}
