//! `countersign provider …`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use countersign_model::control::{ClientSecret, NewProvider};
use serde_json::Value;

use super::context::{Context, Unnamed};
use super::help;
use crate::environment;
use crate::manage;
use crate::problem::{Exit, Problem, io};
use crate::table::{Output, Table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the identity provider of your tenant, without its secret.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind provider show")]
    Show,
    /// Set the identity provider of your tenant, in place of any that it has.
    ///
    /// The deployment's secret at the provider stands in COUNTERSIGN_CLIENT_SECRET, or in the file.
    #[command(after_help = help::PROVIDER)]
    Set {
        /// Its settings, as docs/sign-on.md describes them: JSON, or TOML if the name ends so.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove the identity provider of your tenant. Whoever it let in is logged out.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind provider remove")]
    Remove,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Show => {
            let client = context.client(Unnamed::Refused).await?;
            let provider = manage::provider(&client).await?;
            if provider.is_null() {
                return Err(Problem::new(Exit::NotFound, "the tenant has no identity provider"));
            }
            show(context, &provider)
        }
        Command::Set { file } => {
            let mut provider = read(&file)?;
            if let Some(secret) = environment::text("COUNTERSIGN_CLIENT_SECRET") {
                provider.client_secret = Some(ClientSecret::new(secret));
            }
            let client = context.client(Unnamed::Refused).await?;
            manage::provider_put(&client, &provider).await?;
            context.terminal.note("the identity provider is set");
            Ok(())
        }
        Command::Remove => {
            let client = context.client(Unnamed::Refused).await?;
            manage::provider_remove(&client).await?;
            context.terminal.note("the identity provider is removed, and whoever it let in is logged out");
            Ok(())
        }
    }
}

fn show(context: &Context, provider: &Value) -> Result<(), Problem> {
    if context.output() == Output::Json {
        return context.terminal.line(&provider.to_string());
    }
    let mut table = Table::new(&["setting", "value"]);
    for (name, value) in provider.as_object().into_iter().flatten() {
        table.push(vec![name.as_str().into(), value.clone()]);
    }
    table.write(&context.terminal, context.output())
}

/// The settings in a file, checked here so that the message can name the line.
fn read(file: &Path) -> Result<NewProvider, Problem> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(io("read the settings", file))?);
    let wrong = |at: String, what: String| Problem::input(format!("{}{at}: {what}", file.display()));
    let is_toml = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    if is_toml {
        toml::from_str(&text).map_err(|error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count());
            let at = line.map(|line| format!(":{}", line.saturating_add(1))).unwrap_or_default();
            wrong(at, error.message().to_owned())
        })
    } else {
        serde_json::from_str(&text).map_err(|error| wrong(format!(":{}", error.line()), said(&error)))
    }
}

/// serde_json ends its messages with the place, which is said already.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}
