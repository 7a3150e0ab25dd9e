//! `countersign kms …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_crypto::SystemEntropy;
use countersign_model::clock::SystemClock;
use countersign_model::control::DEFAULT_KMS;
use countersign_model::{Name, UnixMs};
use serde_json::Value;

use super::context::{Context, Unnamed};
use super::help;
use crate::commands;
use crate::compose::{self, kms};
use crate::config::{Config, Provider};
use crate::deployment::Deployment;
use crate::manage;
use crate::problem::{Exit, Problem};
use crate::table::{Output, Table, plain};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the key management services of a folder, and whether they answer.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment kms status")]
    Status(Folder),
    /// Make the key of a key management service that the configuration names.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment kms create northwind-hsm")]
    Create {
        /// Its name: that of its section [kms.NAME].
        name: Name,
    },
    /// Make a new version of the key that wraps, and wrap every tenant's key by it.
    #[command(after_help = help::KMS_ROTATE)]
    Rotate {
        /// Another key management service than the deployment's own: the name of its section [kms.NAME].
        #[arg(long, value_name = "NAME")]
        kms: Option<Name>,
    },
    /// Wrap tenants' keys again, by the newest version of the key that wraps them.
    #[command(after_help = help::KMS_REWRAP)]
    Rewrap {
        /// One tenant; every tenant if none is given.
        #[arg(long)]
        tenant: Option<Name>,
    },
    /// Change the passphrase of a key management service of that kind. The keys stay the same.
    #[command(after_help = help::KMS_PASSPHRASE)]
    Passphrase {
        /// Another key management service than the deployment's own: the name of its section [kms.NAME].
        #[arg(long, value_name = "NAME")]
        kms: Option<Name>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The folder of a deployment, or of the key service.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Status(folder) => status(context, folder.folder.as_ref()),
        Command::Create { name } => {
            let (deployment, config) = here(context, None)?;
            let begun = commands::begin(&deployment, &SystemClock, format!("kms create {name}"))?;
            begun.end(kms::one(&deployment, &config, Some(&name)).and_then(|one| one.create()))?;
            context.terminal.note(&format!("the key of {name} is there; a server that runs has to be started again"));
            Ok(())
        }
        Command::Rotate { kms } => rotate(context, kms.as_ref()).await,
        Command::Rewrap { tenant } => rewrap(context, tenant.as_ref(), None).await,
        Command::Passphrase { kms } => passphrase(context, kms.as_ref()),
    }
}

fn here(context: &Context, folder: Option<&PathBuf>) -> Result<(Deployment, Config), Problem> {
    let deployment = Deployment::at(context.one_dir(folder)?);
    deployment.require()?;
    let config = compose::config(&deployment)?;
    Ok((deployment, config))
}

fn status(context: &Context, folder: Option<&PathBuf>) -> Result<(), Problem> {
    let (deployment, config) = here(context, folder)?;
    let (status, of_server) = match deployment.try_lock()? {
        Some(_lock) => (ask(&deployment, &config)?, false),
        None => {
            let text = std::fs::read(deployment.kms_json()).ok();
            let known = text.and_then(|text| serde_json::from_slice::<kms::Status>(&text).ok());
            let unknown = || {
                Problem::new(Exit::Unavailable, "the process that serves here does not say how they are")
                    .next("ask in the folder of the key service; or stop the process, and they are asked from here")
            };
            (known.ok_or_else(unknown)?, true)
        }
    };
    let mut table = Table::new(&["name", "kind", "state", "since", "why"]);
    for one in &status.providers {
        let name = one.name.as_ref().map_or(DEFAULT_KMS, Name::as_str);
        let (state, since, why) = match &one.down {
            None => ("available", Value::Null, Value::Null),
            Some((since, why)) => {
                let since = countersign_authority::rfc3339(UnixMs(*since));
                ("not available", since.into(), why.as_str().into())
            }
        };
        table.push(vec![name.into(), one.kind.as_str().into(), state.into(), since, why]);
    }
    table.write(&context.terminal, context.output())?;
    if of_server && context.output() == Output::Table {
        context.terminal.note(&format!("tenants' keys in use: {}", status.tenants_open));
    }
    if status.providers.iter().any(|one| one.down.is_some()) {
        return Err(Problem::new(Exit::Unavailable, "not every key management service is available"));
    }
    Ok(())
}

/// Nobody serves, so they are asked from here. One that can't even be opened says why like one that doesn't answer.
fn ask(deployment: &Deployment, config: &Config) -> Result<kms::Status, Problem> {
    let mut providers = Vec::new();
    for one in kms::described(deployment, config) {
        providers.push(one.status());
    }
    Ok(kms::Status { providers, tenants_open: 0 })
}

async fn rotate(context: &Context, name: Option<&Name>) -> Result<(), Problem> {
    let (deployment, config) = here(context, None)?;
    let one = kms::one(&deployment, &config, name)?;
    let lock = deployment.try_lock()?;
    if lock.is_none() && one.provider() == Provider::Passphrase {
        return Err(Problem::new(Exit::Conflict, "a process serves here, which would not see the new key")
            .next("stop it, then run this again"));
    }
    let called = name.map_or(DEFAULT_KMS, Name::as_str);
    let begun = commands::begin(&deployment, &SystemClock, format!("kms rotate {called}"))?;
    let rotated = one.open().and_then(|open| open.rotate(&SystemEntropy).map_err(|error| one.problem(&error)));
    let version = begun.end(rotated)?;
    drop(lock);
    let dir = deployment.dir().display();
    context.terminal.note(&format!("key {called} has version {version} now; older versions still unwrap"));
    if config.services.run.is_all() {
        return rewrap(context, None, None).await;
    }
    context.terminal.note("next:");
    context.terminal.note("  countersign --dir AUTHORITY --url https://GATEWAY kms rewrap");
    context.terminal.note(&format!("  (AUTHORITY is the authority's folder; {dir} is the key service's)"));
    Ok(())
}

/// Has tenants' keys wrapped again, and shows by what.
pub(super) async fn rewrap(context: &Context, tenant: Option<&Name>, to: Option<&Name>) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    let answer = manage::tenant_rewrap(&client, tenant, to).await?;
    let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut table = Table::new(&["tenant", "kms", "version"]);
    for one in list("rewrapped") {
        let cell = |name: &str| one.get(name).cloned().unwrap_or_default();
        let kms = Some(cell("kms")).filter(|kms| !kms.is_null()).unwrap_or_else(|| DEFAULT_KMS.into());
        table.push(vec![cell("tenant"), kms, cell("version")]);
    }
    table.write(&context.terminal, context.output())?;
    let failed: Vec<String> = list("failed").iter().map(plain).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("the key management services of these tenants are not available: {}", failed.join(", "));
    Err(Problem::new(Exit::Unavailable, message).next("run countersign kms rewrap again when they are"))
}

fn passphrase(context: &Context, name: Option<&Name>) -> Result<(), Problem> {
    let (deployment, config) = here(context, None)?;
    let one = kms::one(&deployment, &config, name)?;
    if one.provider() != Provider::Passphrase {
        return Err(Problem::usage("that key management service has no passphrase"));
    }
    if deployment.try_lock()?.is_none() {
        return Err(Problem::new(Exit::Conflict, "a process serves here").next("stop it, then run this again"));
    }
    let new = one.open_passphrase()?;
    let passphrase = one.new_passphrase("NEW_PASSPHRASE")?;
    let called = name.map_or(DEFAULT_KMS, Name::as_str);
    let begun = commands::begin(&deployment, &SystemClock, format!("kms passphrase {called}"))?;
    let changed = new.change_passphrase(&passphrase, &SystemEntropy);
    begun.end(changed.map_err(|error| one.problem(&error)))?;
    context.terminal.note("the passphrase is changed; the old one still opens copies of the file from before");
    Ok(())
}
