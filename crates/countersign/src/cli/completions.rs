//! `countersign completions`

use clap::Args;
use clap_complete::Shell;

use super::context::Context;
use crate::problem::Problem;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(context: &Context, arguments: &Arguments, command: &mut clap::Command) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "countersign", &mut script);
    context.terminal.write(&script)
}
