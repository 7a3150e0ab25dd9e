//! `countersign postgres …`

mod certificate;
mod check;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_postgres::{Settings, pg_hba, pg_ident, setup_sql};

pub(super) use self::check::slots;
use super::context::Context;
use super::help;
use crate::compose;
use crate::deployment::Deployment;
use crate::problem::Problem;

/// The database's name where nobody says another.
const DATABASE: &str = "countersign";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what the database's administrator runs once: roles that own nothing, and a schema.
    #[command(after_help = help::POSTGRES_SQL)]
    Sql,
    /// Print lines for pg_hba.conf: services sign in by certificate, and in no other way.
    #[command(after_help = help::POSTGRES_HBA)]
    Hba(Hba),
    /// Print lines for pg_ident.conf: which certificate is which role.
    #[command(after_help = help::POSTGRES_IDENT)]
    Ident,
    /// Make a certificate for the database's server, or for a machine that replicates it, of this deployment's authority.
    #[command(after_help = help::POSTGRES_CERTIFICATE)]
    Certificate(certificate::Arguments),
    /// Sign in to the database as each service of this folder, and say what is right and what is wrong with it.
    #[command(after_help = help::POSTGRES_CHECK)]
    Check(check::Arguments),
}

#[derive(Debug, Args)]
pub(super) struct Hba {
    /// A network that services come from, such as 10.0.0.0/8 or 127.0.0.1/32. May be repeated.
    #[arg(long, value_name = "CIDR", required = true, value_parser = network)]
    network: Vec<String>,
    /// The database's name; that of the configured address, or "countersign", if not given.
    #[arg(long, value_name = "NAME", value_parser = database)]
    database: Option<String>,
}

/// An address and how many of its bits count.
fn network(text: &str) -> Result<String, String> {
    let expected = || "expected a network such as 10.0.0.0/8 or ::1/128".to_owned();
    let (address, bits) = text.split_once('/').ok_or_else(expected)?;
    let address: std::net::IpAddr = address.parse().map_err(|_| expected())?;
    let bits: u8 = bits.parse().map_err(|_| expected())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then(|| format!("{address}/{bits}")).ok_or_else(expected)
}

fn database(text: &str) -> Result<String, String> {
    let parsed = Settings::parse(&format!("postgres://h/{text}"), String::new());
    parsed.map(|settings| settings.database).map_err(|_| "letters, digits, '_' and '-'".to_owned())
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Sql => context.terminal.write(setup_sql().as_bytes()),
        Command::Hba(hba) => {
            let networks: Vec<&str> = hba.network.iter().map(String::as_str).collect();
            let database = hba.database.or_else(|| configured(context)).unwrap_or_else(|| DATABASE.to_owned());
            context.terminal.write(pg_hba(&database, &networks).as_bytes())
        }
        Command::Ident => context.terminal.write(pg_ident().as_bytes()),
        Command::Certificate(arguments) => certificate::run(context, &arguments),
        Command::Check(arguments) => check::run(context, &arguments).await,
    }
}

/// The database of the folder that --dir names, if there is one.
fn configured(context: &Context) -> Option<String> {
    let config = compose::config(&Deployment::at(context.dir()?)).ok()?;
    Settings::parse(config.postgres.address.get()?, String::new()).ok().map(|settings| settings.database)
}

/// The folder that a command is about.
fn folder(context: &Context, argument: Option<&PathBuf>) -> Result<Deployment, Problem> {
    let deployment = Deployment::at(context.one_dir(argument)?);
    deployment.require()?;
    Ok(deployment)
}
