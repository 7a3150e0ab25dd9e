//! `countersign serve`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_model::Service;
use zeroize::Zeroizing;

use super::context::Context;
use crate::compose::{self, OnStandby, Opening};
use crate::config::{Roles, Services, Text};
use crate::deployment::Deployment;
use crate::environment;
use crate::logging;
use crate::problem::{Problem, io};
use crate::server::{self, Listening};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The deployment's folder.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Address and port for users' requests, in place of the configured one. Port 0 is any that is free.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Which services this process is, in place of the configured ones: "all", or some of authority, gateway, keys,
    /// store and monitor, with commas between.
    #[arg(long, value_name = "LIST", help_heading = "Services apart")]
    services: Option<Roles>,
    /// Where the authority takes calls from other services, in place of the configured address.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Services apart")]
    authority: Option<String>,
    /// Address and port for other services' calls, in place of the configured one.
    #[arg(long, value_name = "ADDR", help_heading = "Services apart")]
    wire_listen: Option<SocketAddr>,
    /// A file with the join token of `countersign service invite`, for the first start; "-" is
    /// the first line of standard input. May be repeated, one for each
    /// service; or set COUNTERSIGN_JOIN_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = "Services apart")]
    join_token: Vec<PathBuf>,
    /// Stop when standard input closes.
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let deployment = Deployment::at(context.one_dir(arguments.folder.as_ref())?);
    deployment.require()?;
    let mut config = compose::config(&deployment)?;
    if let Some(roles) = &arguments.services {
        made_for(&deployment, &config.services.run, roles)?;
        config.services.run = roles.clone();
    }
    has_what_it_needs(&deployment, &config.services.run)?;
    if let Some(authority) = &arguments.authority {
        config.services.authority = Text::of(authority);
    }
    if let Some(listen) = arguments.wire_listen {
        config.services.listen = listen;
    }
    can_be_found(&config.services)?;
    logging::start(&config.log, &context.terminal);
    let lock = server::lock(&deployment)?;
    let is_gateway = config.services.run.has(Service::Gateway);
    let listen = arguments.listen.unwrap_or(config.server.listen);
    let listening = || is_gateway.then(|| Listening::on(listen)).transpose();
    // A process that may have to wait for its turn to be the authority listens nowhere meanwhile.
    let may_wait = config.postgres.address.get().is_some() && config.services.run.has(Service::Authority);
    let early = if may_wait { None } else { listening()? };
    let terminal = context.terminal;
    let on_standby: OnStandby = Arc::new(move || drop(terminal.line("standby")));
    let opening = Opening {
        join_tokens: join_tokens(&arguments.join_token)?,
        serves: true,
        on_standby: Some(on_standby),
        ..Opening::default()
    };
    let opened = compose::open_as(&deployment, config, opening).await?;
    let door = if may_wait { listening()? } else { early };
    server::serve(&context.terminal, &deployment, lock, opened, door, arguments.with_parent).await
}

/// Fails if the folder was made for other services than those asked for.
fn made_for(deployment: &Deployment, configured: &Roles, asked: &Roles) -> Result<(), Problem> {
    if asked.iter().all(|service| configured.has(service)) {
        return Ok(());
    }
    let dir = deployment.dir().display();
    Err(Problem::usage(format!("{dir} was made for {configured}, not for {asked}")).next(format!(
        "make a folder for it: countersign init DIR --services {asked}; or say in {dir}/countersign.toml what it is now: \
         [services] run"
    )))
}

/// An authority needs the folder of one, and services apart from it each need a folder of their own.
fn has_what_it_needs(deployment: &Deployment, roles: &Roles) -> Result<(), Problem> {
    let dir = deployment.dir().display();
    let is_there = deployment.control_db().exists() || deployment.bootstrap().exists();
    match (roles.has(Service::Authority), is_there) {
        (true, false) => Err(Problem::usage(format!("{dir} has no control database, so no authority can be served from it"))
            .next("make an authority's folder: countersign init DIR --services authority")),
        (false, true) => Err(Problem::usage(format!(
            "{dir} is the folder of an authority, which is not among {roles}: what runs apart from it has a folder of its own"
        ))
        .next(format!("make one: countersign init DIR --services {roles} --authority HOST:PORT"))),
        _ => Ok(()),
    }
}

/// What others call has to be at an address that they can be told.
pub(super) fn can_be_found(services: &Services) -> Result<(), Problem> {
    let is_called = !services.run.is_all() && services.run.iter().any(|service| service != Service::Authority);
    if !is_called || !services.listen.ip().is_unspecified() || services.advertise.get().is_some() {
        return Ok(());
    }
    Err(Problem::usage(format!(
        "others can't be told to call {}, which is every address of this machine",
        services.listen
    ))
    .next(
        "say by what they reach it, with init --advertise HOST:PORT or [services] advertise in countersign.toml; or give \
         --wire-listen one address",
    ))
}

/// The join tokens in these files and in the environment.
fn join_tokens(files: &[PathBuf]) -> Result<Vec<Zeroizing<String>>, Problem> {
    let mut tokens = Vec::new();
    let mut take = |text: &str| tokens.extend(text.split_whitespace().map(|token| Zeroizing::new(token.to_owned())));
    for file in files {
        if file.as_os_str() == "-" {
            // One line; what follows is not for this.
            let mut line = Zeroizing::new(String::new());
            std::io::stdin().read_line(&mut line).map_err(io("read", file))?;
            take(&line);
            continue;
        }
        take(&Zeroizing::new(std::fs::read_to_string(file).map_err(io("read", file))?));
    }
    if let Some(text) = environment::text("COUNTERSIGN_JOIN_TOKEN") {
        take(&Zeroizing::new(text));
    }
    Ok(tokens)
}
