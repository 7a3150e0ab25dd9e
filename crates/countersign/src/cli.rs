//! The command line: what can be asked, and one module per group of commands that asks it.

mod access;
mod alert;
mod audit;
mod backup;
mod completions;
mod context;
mod erase;
mod export;
mod get;
mod ha;
mod help;
mod history;
mod import;
mod incident;
mod init;
mod keys;
mod kms;
mod login;
mod metrics;
mod notice;
mod policy;
mod postgres;
mod provider;
mod receipt;
mod relocate;
mod schema;
mod serve;
mod service;
mod tenant;
mod token;
mod user;
mod witness;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub(crate) use context::{Context, Global};

use crate::demo;
use crate::logging;
use crate::problem::Problem;
use crate::terminal::Terminal;

/// A data layer for many tenants: every request with a short-lived token, every field decided, every cell sealed,
/// every access recorded.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = help::EXIT_CODES, after_long_help = help::LONG)]
#[command(propagate_version = false, disable_help_subcommand = false, arg_required_else_help = true)]
#[command(max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a deployment with two example companies, tell its story, and serve it.
    #[command(after_help = help::DEMO)]
    Demo(demo::Arguments),
    /// Make an empty deployment in a folder: keys, certificate authority, configuration.
    #[command(after_help = help::INIT)]
    Init(init::Arguments),
    /// Carry a deployment from its folder into PostgreSQL, or back, while it is used.
    #[command(after_help = help::MOVE)]
    Move(relocate::Arguments),
    /// Serve a deployment until Ctrl-C.
    #[command(after_help = help::SERVE)]
    Serve(serve::Arguments),
    /// Add and list tenants (subscriber organisations).
    #[command(subcommand, after_help = help::TENANT)]
    Tenant(tenant::Command),
    /// Add, list and remove the users of a tenant.
    #[command(subcommand, after_help = help::USER)]
    User(user::Command),
    /// Apply and show record types.
    #[command(subcommand, after_help = help::SCHEMA)]
    Schema(schema::Command),
    /// Apply and show policies.
    #[command(subcommand, after_help = help::POLICY)]
    Policy(policy::Command),
    /// Set and show the identity provider with which a tenant's people log in.
    #[command(subcommand, after_help = help::PROVIDER)]
    Provider(provider::Command),
    /// Take your tenant's records out, as CSV and NDJSON, as far as you may see them.
    #[command(after_help = help::EXPORT_DATA)]
    Export(export::Arguments),
    /// Bring rows of a CSV or NDJSON file into a record type, or all of an export into your tenant.
    #[command(after_help = help::IMPORT)]
    Import(import::Arguments),
    /// Read records.
    #[command(after_help = help::GET)]
    Get(get::Arguments),
    /// Show what a record was, as far as it is kept and you may see it.
    #[command(after_help = help::HISTORY)]
    History(history::Arguments),
    /// Log in with an SSH key, or with the tenant's identity provider, and print the token.
    #[command(after_help = help::LOGIN)]
    Login(login::Arguments),
    /// Look at, narrow and revoke tokens.
    #[command(subcommand, after_help = help::TOKEN)]
    Token(token::Command),
    /// Look after the keys that wrap tenants' keys.
    #[command(subcommand, after_help = help::KMS)]
    Kms(kms::Command),
    /// Invite, list and remove the services of a deployment whose services run apart.
    #[command(subcommand, after_help = help::SERVICE)]
    Service(service::Command),
    /// Prepare PostgreSQL for a deployment, and check it.
    #[command(subcommand, after_help = help::POSTGRES)]
    Postgres(postgres::Command),
    /// Back a deployment up, look at backups, try and restore them. For operators.
    #[command(subcommand, after_help = help::BACKUP)]
    Backup(backup::Command),
    /// Look at keys, rotate them, and destroy old ones. For operators.
    #[command(subcommand, after_help = help::KEYS)]
    Keys(keys::Command),
    /// Erase a record, a user or a tenant for good, and prove it.
    #[command(subcommand, after_help = help::ERASE)]
    Erase(erase::Command),
    /// Render what several data centres run, and make the certificates for it.
    #[command(subcommand, after_help = help::HA)]
    Ha(ha::Command),
    /// Ask tenants for access to their records, and give it.
    #[command(subcommand, after_help = help::ACCESS)]
    Access(access::Command),
    /// Read the audit log of a tenant.
    #[command(subcommand, after_help = help::AUDIT)]
    Audit(audit::Command),
    /// Look at and see to what the monitor alerts to.
    #[command(subcommand, after_help = help::ALERT)]
    Alert(alert::Command),
    /// Follow a deployment's logs from outside of it: verify that they only grow, and cosign them.
    #[command(after_help = help::WITNESS)]
    Witness(witness::Arguments),
    /// Answer a breach: what it came to, ending it, and notices of it. For operators.
    #[command(subcommand, after_help = help::INCIDENT)]
    Incident(incident::Command),
    /// Read and acknowledge the notices of breaches that concern your tenant.
    #[command(subcommand, after_help = help::NOTICE)]
    Notice(notice::Command),
    /// Print what the services of the deployment measure, in the text format of Prometheus.
    #[command(after_help = help::METRICS)]
    Metrics,
    /// Say how each service of the deployment is.
    #[command(after_help = help::STATUS)]
    Status,
    /// Print completions for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions(completions::Arguments),
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let terminal = Terminal::detect();
    let context = Context::new(terminal, arguments.global);
    match run(&context, arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            terminal.note(&format!("countersign: {problem}"));
            ExitCode::from(problem.exit as u8)
        }
    }
}

fn run(context: &Context, command: Command) -> Result<(), Problem> {
    if !matches!(command, Command::Serve(_)) {
        // A server logs as its configuration says; a command speaks for itself.
        logging::quiet(&context.terminal);
    }
    if let Command::Completions(arguments) = command {
        return completions::run(context, &arguments, &mut Arguments::command());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Problem::failed(format!("can't start: {error}")))?;
    let done = runtime.block_on(async {
        match command {
            Command::Demo(arguments) => demo::run(context, arguments).await,
            Command::Init(arguments) => init::run(context, &arguments),
            Command::Move(arguments) => relocate::run(context, &arguments).await,
            Command::Serve(arguments) => serve::run(context, &arguments).await,
            Command::Tenant(command) => tenant::run(context, command).await,
            Command::User(command) => user::run(context, command).await,
            Command::Schema(command) => schema::run(context, command).await,
            Command::Policy(command) => policy::run(context, command).await,
            Command::Provider(command) => provider::run(context, command).await,
            Command::Export(arguments) => export::run(context, &arguments).await,
            Command::Import(arguments) => import::run(context, &arguments).await,
            Command::Get(arguments) => get::run(context, &arguments).await,
            Command::History(arguments) => history::run(context, &arguments).await,
            Command::Login(arguments) => login::run(context, &arguments).await,
            Command::Token(command) => token::run(context, command).await,
            Command::Kms(command) => kms::run(context, command).await,
            Command::Service(command) => service::run(context, command).await,
            Command::Postgres(command) => postgres::run(context, command).await,
            Command::Keys(command) => keys::run(context, command).await,
            Command::Erase(command) => erase::run(context, command).await,
            Command::Backup(command) => backup::run(context, command).await,
            Command::Ha(command) => ha::run(context, command),
            Command::Access(command) => access::run(context, command).await,
            Command::Audit(command) => audit::run(context, command).await,
            Command::Alert(command) => alert::run(context, command).await,
            Command::Witness(arguments) => witness::run(context, &arguments).await,
            Command::Incident(command) => incident::run(context, command).await,
            Command::Notice(command) => notice::run(context, command).await,
            Command::Metrics => metrics::metrics(context).await,
            Command::Status => metrics::status(context).await,
            Command::Completions(_) => Ok(()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    done
}

/// The help of every command as Markdown, for docs/cli.md.
#[must_use]
pub fn reference() -> String {
    help::reference(Arguments::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            for below in command.get_subcommands().filter(|command| command.get_name() != "help") {
                let help = below.get_after_help().map(ToString::to_string).unwrap_or_default();
                let has_one = help.contains("Examples:\n") && help.contains("countersign ");
                assert!(has_one, "{}", below.get_name());
                check(below);
            }
        }
        check(&Arguments::command());
    }
}
