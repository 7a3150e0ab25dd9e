//! `countersign init`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use countersign_model::Service;
use countersign_model::clock::SystemClock;

use super::context::Context;
use super::serve::can_be_found;
use crate::config::{Config, Provider, Roles, Text};
use crate::deployment::Deployment;
use crate::problem::Problem;
use crate::{commands, compose};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder to make the deployment in. Nothing that is there is overwritten.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Where the key lives that wraps every other: "file", "passphrase" (asked for now and at each start, or in
    /// COUNTERSIGN_PASSPHRASE), or "pkcs11".
    #[arg(long, value_name = "PROVIDER", value_enum, default_value = "file", help_heading = "The key that wraps")]
    kms: Provider,
    /// The PKCS#11 module: the vendor's shared library.
    #[arg(long, value_name = "FILE", required_if_eq("kms", "pkcs11"), help_heading = "The key that wraps")]
    module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", required_if_eq("kms", "pkcs11"), help_heading = "The key that wraps")]
    token: Option<String>,
    /// The label of the key in the token. It is made unless it is there.
    #[arg(long, value_name = "LABEL", default_value = "countersign", help_heading = "The key that wraps")]
    key: String,
    /// A file with the token's PIN, readable by its owner alone; or set COUNTERSIGN_PIN.
    #[arg(long, value_name = "FILE", help_heading = "The key that wraps")]
    pin_file: Option<PathBuf>,
    /// Make the folder of these services, whose authority may be elsewhere: some of authority, gateway, keys, store and
    /// monitor, with commas between.
    #[arg(long, value_name = "LIST", help_heading = "Services apart")]
    services: Option<Roles>,
    /// Where the authority takes calls from other services.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Services apart")]
    authority: Option<String>,
    /// Address and port at which these services are to take calls from others; 127.0.0.1:8444 if not given.
    #[arg(long, value_name = "ADDR", help_heading = "Services apart")]
    wire_listen: Option<SocketAddr>,
    /// The host and port under which others reach that address, where it is not the same.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Services apart")]
    advertise: Option<String>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let dir = context.one_dir(arguments.folder.as_ref())?;
    let deployment = Deployment::at(&dir);
    let config = config(arguments)?;
    let is_authority = config.services.run.has(Service::Authority);
    if is_authority {
        compose::init(&deployment, &config)?;
    } else {
        compose::init_apart(&deployment, &config)?;
    }
    let is_whole = config.services.run.is_all();
    // There was no folder to put the beginning on record in.
    let begun = commands::begin(&deployment, &SystemClock, format!("init of {}", config.services.run))?;
    begun.end(Ok(()))?;
    let (dir, terminal) = (dir.display(), &context.terminal);
    terminal.note(&format!("made a deployment in {dir}"));
    terminal.note("  countersign.toml         the configuration, every default written out");
    match arguments.kms {
        Provider::File if is_whole => terminal.note(
            "  kms.key                  the key that wraps every other; keep a copy elsewhere, without it all is lost",
        ),
        Provider::File => terminal
            .note("  kms.key                  the key that wraps every other of this folder; keep a copy elsewhere"),
        Provider::Passphrase => terminal
            .note("  kms.key                  the key that wraps every other, sealed; keep a copy, and the passphrase"),
        Provider::Pkcs11 => {}
    }
    if is_authority {
        terminal.note("  ca.pem                   what clients trust");
        terminal.note("  keys/operator@operators  the operator's SSH key");
    }
    for line in steps(&config.services.run, &dir.to_string()) {
        terminal.note(&line);
    }
    Ok(())
}

/// What to do next in a folder of these services.
fn steps(roles: &Roles, dir: &str) -> Vec<String> {
    let mut steps = vec!["next:".to_owned()];
    let mut step = |text: String| steps.push(format!("  {text}"));
    let elsewhere: Vec<Service> = Service::ALL.into_iter().filter(|service| !roles.has(*service)).collect();
    if roles.is_all() {
        step(format!("countersign --dir {dir} schema apply types.toml"));
        step(format!("countersign --dir {dir} policy apply policies/"));
        step(format!("countersign --dir {dir} tenant add NAME"));
        step(format!("countersign serve {dir}"));
    } else if roles.has(Service::Authority) {
        // Before it serves, because afterwards a gateway is needed to ask it.
        for service in elsewhere {
            step(format!("countersign --dir {dir} service invite {service} > {service}.join"));
        }
        step(format!("countersign serve {dir}"));
        step("and within ten minutes start each of the others with its file".to_owned());
    } else {
        for service in roles.iter() {
            step(format!("at the authority: countersign --dir AUTHORITY service invite {service} > {service}.join"));
        }
        let tokens: Vec<String> = roles.iter().map(|service| format!("--join-token {service}.join")).collect();
        step(format!("here, within ten minutes: countersign serve {dir} {}", tokens.join(" ")));
        step("from the second start on, without a token".to_owned());
    }
    steps
}

fn config(arguments: &Arguments) -> Result<Config, Problem> {
    let mut config = Config::default();
    let path = |path: &Option<PathBuf>| match path {
        // The server may be started from another folder.
        Some(path) => {
            let absolute = std::path::absolute(path).map_err(crate::problem::io("find", path))?;
            let text = absolute.to_str().ok_or_else(|| Problem::usage("a path in the configuration is UTF-8"))?;
            Ok(Text::of(text))
        }
        None => Ok::<_, Problem>(Text::empty()),
    };
    config.keys.provider = arguments.kms;
    config.keys.module = path(&arguments.module)?;
    config.keys.token = Text::of(arguments.token.clone().unwrap_or_default());
    config.keys.key = Text::of(&arguments.key);
    config.keys.pin_file = path(&arguments.pin_file)?;
    if let Some(roles) = &arguments.services {
        config.services.run = roles.clone();
    }
    if let Some(listen) = arguments.wire_listen {
        config.services.listen = listen;
    }
    if let Some(advertise) = &arguments.advertise {
        config.services.advertise = Text::of(advertise);
    }
    let has_authority = config.services.run.has(Service::Authority);
    match &arguments.authority {
        Some(_) if has_authority => {
            return Err(Problem::usage("the authority is among these services, so it is not elsewhere")
                .next("leave out --authority, or take authority out of --services"));
        }
        Some(authority) => config.services.authority = Text::of(authority),
        None if has_authority => {}
        None => {
            return Err(Problem::usage(format!(
                "the authority is not among {}, so it is elsewhere",
                config.services.run
            ))
            .next("say where it takes calls from other services: --authority HOST:PORT"));
        }
    }
    can_be_found(&config.services)?;
    Ok(config)
}
