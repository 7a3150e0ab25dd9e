//! `countersign serve`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::context::Context;
use crate::compose::{self, Opening};
use crate::config::{Roles, Text};
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
    /// Which services this process is, in place of the configured ones: "all", or some of authority, gateway, keys and
    /// store, with commas between.
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
        config.services.run = roles.clone();
    }
    if let Some(authority) = &arguments.authority {
        config.services.authority = Text::of(authority);
    }
    if let Some(listen) = arguments.wire_listen {
        config.services.listen = listen;
    }
    logging::start(&config.log, &context.terminal);
    let lock = server::lock(&deployment)?;
    let is_gateway = config.services.run.has(countersign_model::Service::Gateway);
    let door = is_gateway.then(|| Listening::on(arguments.listen.unwrap_or(config.server.listen))).transpose()?;
    let opening = Opening { join_tokens: join_tokens(&arguments.join_token)?, serves: true, ..Opening::default() };
    let opened = compose::open_as(&deployment, config, opening).await?;
    server::serve(&context.terminal, &deployment, lock, opened, door, arguments.with_parent).await
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
