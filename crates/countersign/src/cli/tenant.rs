//! `countersign tenant …`

use clap::Subcommand;
use countersign_model::Name;
use http::Method;
use serde_json::json;

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
    /// Show or set whom your tenant is told by, when something has happened to its data.
    #[command(after_help = super::help::TENANT_CONTACTS)]
    Contacts {
        /// An e-mail address; all that are given take the place of those that there are.
        #[arg(long, value_name = "ADDRESS")]
        email: Vec<String>,
        /// The language of notices, such as en or pt-BR.
        #[arg(long, value_name = "TAG")]
        language: Option<String>,
        /// No addresses any more.
        #[arg(long, conflicts_with = "email")]
        none: bool,
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
        Command::Contacts { email, language, none } => {
            let mut contacts = client.get("/v1/contacts").await?;
            let sets = none || !email.is_empty() || language.is_some();
            if let Some(fields) = contacts.as_object_mut().filter(|_| sets) {
                if none || !email.is_empty() {
                    fields.insert("emails".to_owned(), json!(email));
                }
                if let Some(language) = language {
                    fields.insert("language".to_owned(), json!(language));
                }
                contacts = client.put(Method::PUT, "/v1/contacts", &contacts).await?;
            }
            Table::of(&["emails", "language"], std::slice::from_ref(&contacts))
                .write(&context.terminal, context.output())
        }
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
