//! `countersign serve`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::context::Context;
use crate::compose;
use crate::deployment::Deployment;
use crate::logging;
use crate::problem::Problem;
use crate::server::{self, Listening};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The deployment's folder.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Address and port to serve on, in place of the configured one. Port 0 is any that is free.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let deployment = Deployment::at(context.one_dir(arguments.folder.as_ref())?);
    deployment.require()?;
    let config = compose::config(&deployment)?;
    logging::start(&config.log, &context.terminal);
    let lock = server::lock(&deployment)?;
    let listening = Listening::on(arguments.listen.unwrap_or(config.server.listen))?;
    let opened = Arc::new(compose::open(&deployment, config).await?);
    server::serve(&context.terminal, &deployment, lock, opened, listening).await
}
