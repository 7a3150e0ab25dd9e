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
        /// The key management service that wraps its key, where that isn't the deployment's own: the name of a section
        /// [kms.NAME] of the key service's configuration.
        #[arg(long, value_name = "NAME")]
        kms: Option<Name>,
    },
    /// Have a tenant's key wrapped by another key management service. Nothing that is stored is touched.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment tenant kms northwind northwind-hsm\n  \
        countersign --dir ./deployment tenant kms northwind default")]
    Kms {
        /// The tenant.
        name: Name,
        /// The name of its section [kms.NAME], or "default" for the deployment's own.
        kms: Name,
    },
    /// List the tenants.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment tenant list --output csv")]
    List,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    if let Command::Kms { name, kms } = &command {
        return super::kms::rewrap(context, Some(name), Some(kms)).await;
    }
    let client = context.client(Unnamed::Operator).await?;
    match command {
        Command::Kms { .. } => Ok(()),
        Command::Add { name, kms } => {
            manage::tenant_add(&client, &name, kms.as_ref()).await?;
            context.terminal.note(&format!("tenant {name} is there"));
            Ok(())
        }
        Command::List => {
            let tenants = manage::tenants(&client).await?;
            Table::of(&["name", "users", "kms", "created", "id"], &tenants).write(&context.terminal, context.output())
        }
    }
}
