//! `countersign login`

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use crate::login::{self, Login};
use crate::problem::Problem;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who logs in.
    #[arg(value_name = "USER@TENANT")]
    login: Login,
    /// The private SSH key, or the public half of one that ssh-agent has.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let signer = context.signer(&arguments.login, arguments.key.as_ref())?;
    let transport = context.transport().await?;
    let token = login::login(&transport, &arguments.login, &signer).await?;
    context.terminal.line(token.reveal())
}
