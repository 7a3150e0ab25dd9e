//! `countersign login`

use std::path::PathBuf;

use clap::Args;
use countersign_model::Name;

use super::context::Context;
use super::token::duration;
use crate::login::{self, Login};
use crate::problem::Problem;
use crate::proof::Holder;
use crate::sso;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who logs in.
    #[arg(value_name = "USER@TENANT", required_unless_present = "sso")]
    login: Option<Login>,
    /// Log in with the identity provider of this tenant, in a browser on any device.
    #[arg(long, value_name = "TENANT", conflicts_with_all = ["login", "key"])]
    sso: Option<Name>,
    /// The private SSH key, or the public half of one that ssh-agent has.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// For at most this long, such as 30s, 10m or 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lifetime_ms: Option<u64>,
    /// Bind the token to the key in this file, which is made if it isn't there. Commands then take both, the token in
    /// COUNTERSIGN_TOKEN and this file in COUNTERSIGN_PROOF_KEY.
    #[arg(long, value_name = "FILE")]
    bind: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let holder = arguments.bind.as_deref().map(Holder::kept).transpose()?;
    let token = match (&arguments.login, &arguments.sso) {
        (_, Some(tenant)) => {
            let transport = context.transport().await?;
            sso::login(&transport, tenant, arguments.lifetime_ms, &context.terminal, holder.as_ref()).await?
        }
        (Some(login), None) => {
            let signer = context.signer(login, arguments.key.as_ref())?;
            let transport = context.transport().await?;
            login::login(&transport, login, &signer, arguments.lifetime_ms, holder.as_ref()).await?
        }
        (None, None) => return Err(Problem::usage("nobody is named").next("name USER@TENANT, or --sso TENANT")),
    };
    context.print_token(&token)
}
