//! `countersign login`

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::token::duration;
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
    /// For at most this long, such as 30s, 10m or 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lifetime_ms: Option<u64>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let signer = context.signer(&arguments.login, arguments.key.as_ref())?;
    let transport = context.transport().await?;
    let token = login::login(&transport, &arguments.login, &signer, arguments.lifetime_ms).await?;
    context.terminal.line(token.reveal())
}
