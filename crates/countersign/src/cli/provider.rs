//! `countersign provider …`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use countersign_model::control::NewProvider;
use http::Method;
use serde_json::Value;

use super::context::{Context, Unnamed};
use super::help;
use crate::problem::{Exit, Problem, io};
use crate::table::{Output, Table};
use crate::transport::Ask;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the identity provider of your tenant, without its secret.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind provider show")]
    Show,
    /// Set the identity provider of your tenant, in place of any that it has.
    #[command(after_help = help::PROVIDER_SET)]
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
            let answer = client.get("/v1/provider").await?;
            let provider = answer.get("provider").filter(|provider| !provider.is_null());
            let provider =
                provider.ok_or_else(|| Problem::new(Exit::NotFound, "the tenant has no identity provider"))?;
            show(context, provider)
        }
        Command::Set { file } => {
            let provider = read(&file)?;
            let client = context.client(Unnamed::Refused).await?;
            client.put(Method::PUT, "/v1/provider", &provider).await?;
            context.terminal.note("the identity provider is set");
            Ok(())
        }
        Command::Remove => {
            let client = context.client(Unnamed::Refused).await?;
            client.json(Ask::new(Method::DELETE, "/v1/provider")).await?;
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
fn read(file: &Path) -> Result<Value, Problem> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(io("read the settings", file))?);
    let wrong = |at: String, what: String| Problem::input(format!("{}{at}: {what}", file.display()));
    let is_toml = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let provider: NewProvider = if is_toml {
        toml::from_str(&text).map_err(|error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count());
            let at = line.map(|line| format!(":{}", line.saturating_add(1))).unwrap_or_default();
            wrong(at, error.message().to_owned())
        })?
    } else {
        serde_json::from_str(&text).map_err(|error| wrong(format!(":{}", error.line()), said(&error)))?
    };
    serde_json::to_value(provider).map_err(|error| Problem::failed(error.to_string()))
}

/// serde_json ends its messages with the place, which is said already.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}
