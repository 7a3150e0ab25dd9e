//! `countersign init`

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use crate::compose;
use crate::deployment::Deployment;
use crate::problem::Problem;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder to make the deployment in. Nothing that is there is overwritten.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let dir = context.one_dir(arguments.folder.as_ref())?;
    let deployment = Deployment::at(&dir);
    compose::init(&deployment, &crate::config::Config::default())?;
    let (dir, terminal) = (dir.display(), &context.terminal);
    terminal.note(&format!("made a deployment in {dir}"));
    terminal.note("  countersign.toml         the configuration, every default written out");
    terminal.note(
        "  kms.key                  the key that wraps every other; keep a copy elsewhere, without it all is lost",
    );
    terminal.note("  ca.pem                   what clients trust");
    terminal.note("  keys/operator@operators  the operator's SSH key");
    terminal.note("next:");
    terminal.note(&format!("  countersign --dir {dir} schema apply types.toml"));
    terminal.note(&format!("  countersign --dir {dir} policy apply policies/"));
    terminal.note(&format!("  countersign --dir {dir} tenant add NAME"));
    terminal.note(&format!("  countersign serve {dir}"));
    Ok(())
}
