//! `countersign schema …`

use std::path::PathBuf;

use clap::Subcommand;

use super::context::{Context, Unnamed};
use super::help;
use crate::manage;
use crate::problem::{Problem, io};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Apply a types file. Adds types and fields; refuses what would lose data, and says what.
    #[command(after_help = help::SCHEMA)]
    Apply {
        /// The types file.
        file: PathBuf,
        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the types file in force.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment schema show")]
    Show,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Apply { file, dry_run } => {
            let text = std::fs::read_to_string(&file).map_err(io("read", &file))?;
            let client = context.client(Unnamed::Operator).await?;
            let changes = manage::types_apply(&client, &text, dry_run)
                .await
                .map_err(|problem| problem.during(&file.display().to_string()))?;
            for change in &changes {
                context.terminal.line(change)?;
            }
            context.terminal.note(match (changes.is_empty(), dry_run) {
                (true, _) => "it is what is in force already",
                (false, true) => "nothing was changed: this was a dry run",
                (false, false) => "in force from the next request on",
            });
            Ok(())
        }
        Command::Show => {
            let client = context.client(Unnamed::Operator).await?;
            context.terminal.write(manage::types_text(&client).await?.as_bytes())
        }
    }
}
