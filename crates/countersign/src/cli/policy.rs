//! `countersign policy …`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use countersign_model::control::PolicyFile;

use super::context::{Context, Unnamed};
use super::help;
use crate::manage;
use crate::problem::{Problem, io};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Apply policies in place of all that are in force.
    #[command(after_help = help::POLICY)]
    Apply {
        /// A .cedar file, a budget.toml, or a folder: all of both in it. Several may be given.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only check.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the policies in force.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment policy show")]
    Show,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Apply { files, dry_run } => {
            let files = read(&files)?;
            let client = context.client(Unnamed::Operator).await?;
            let roles = manage::policies_apply(&client, &files, dry_run).await?;
            let told = if dry_run {
                "the policies are good; nothing was changed"
            } else {
                "in force from the next request on"
            };
            context.terminal.note(&format!("{told}; roles: {}", roles.join(", ")));
            Ok(())
        }
        Command::Show => {
            let client = context.client(Unnamed::Operator).await?;
            for file in manage::policies(&client).await? {
                let comment = if file.is_toml() { "#" } else { "//" };
                context.terminal.line(&format!("{comment} {}", file.name))?;
                context.terminal.line(file.text.trim_end())?;
                context.terminal.line("")?;
            }
            Ok(())
        }
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<PolicyFile>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path).map_err(io("read", path))? {
                let entry = entry.map_err(io("read", path))?.path();
                if is_policy(&entry) {
                    inside.push(entry);
                }
            }
            if inside.is_empty() {
                return Err(Problem::input(format!(
                    "{}: there is no .cedar file and no budget.toml in it",
                    path.display()
                )));
            }
            inside.sort();
            for file in inside {
                files.push(one(&file)?);
            }
        } else {
            files.push(one(path)?);
        }
    }
    Ok(files)
}

fn is_policy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cedar")
        || path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.ends_with(PolicyFile::BUDGET) || name.ends_with(PolicyFile::KEYS)
        })
}

fn one(path: &Path) -> Result<PolicyFile, Problem> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(PolicyFile { name, text })
}
