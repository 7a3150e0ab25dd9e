//! `countersign postgres certificate`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countersign_crypto::x509::{MAX_SERVER_LIFETIME_MS, MachineUse, ServerCertificate, X509Error};
use countersign_model::clock::SystemClock;

use crate::cli::Context;
use crate::commands;
use crate::compose;
use crate::compose::database::Certificates;
use crate::deployment::{new_file, private_folder};
use crate::problem::{Problem, io};

const HOUR_MS: u64 = 3_600_000;
const MAX_HOURS: u64 = MAX_SERVER_LIFETIME_MS / HOUR_MS;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The host names and IP addresses by which the machine is called; with --for client, the role that PostgreSQL is to
    /// take it for.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// The folder to write to: key.pem (for its owner alone), cert.pem and ca.pem. What an earlier run wrote is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What it is for: "server" is called, "client" calls (replication), "peer" does both (members of a cluster).
    #[arg(long = "for", value_name = "USE", value_enum, default_value = "server")]
    usage: Usage,
    /// For how many hours it is good: 12 at most.
    #[arg(long, value_name = "HOURS", default_value_t = MAX_HOURS, value_parser = clap::value_parser!(u64).range(1..=MAX_HOURS))]
    hours: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Usage {
    Server,
    Client,
    Peer,
}

impl From<Usage> for MachineUse {
    fn from(usage: Usage) -> Self {
        match usage {
            Usage::Server => Self::Server,
            Usage::Client => Self::Client,
            Usage::Peer => Self::Peer,
        }
    }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let deployment = super::folder(context, None)?;
    let config = compose::config(&deployment)?;
    let names = arguments.names.join(" ");
    let begun = commands::begin(&deployment, &SystemClock, format!("postgres certificate {names}"))?;
    let made = Certificates::open(&deployment, &config).and_then(|authority| {
        let lifetime_ms = arguments.hours.saturating_mul(HOUR_MS);
        let made = authority.machine(&arguments.names, arguments.usage.into(), lifetime_ms);
        let made = made.map_err(|error| refused(error, &names))?;
        write(arguments, &made, authority.ca_pem())
    });
    begun.end(made)?;
    let out = arguments.out.display();
    context.terminal.note(&format!("{out}/key.pem, {out}/cert.pem and {out}/ca.pem, good for {} h", arguments.hours));
    context
        .terminal
        .note("they belong to the account that the database runs as; renew them at half of that, then reload it");
    Ok(())
}

fn refused(error: X509Error, names: &str) -> Problem {
    match error {
        X509Error::Name => Problem::usage(format!("no such certificate can be made for {names}"))
            .next("give host names or IP addresses; what calls can't have the name of one of Countersign's services"),
        error => Problem::failed(error.to_string()),
    }
}

fn write(arguments: &Arguments, made: &ServerCertificate, ca_pem: &str) -> Result<(), Problem> {
    if !arguments.out.is_dir() {
        private_folder(&arguments.out)?;
    }
    let (key, certificate) = (made.expose_key_pem(), made.certificate_pem());
    // The key last: whoever sees a new key sees its certificate too.
    for (name, text, secret) in
        [("ca.pem", ca_pem, false), ("cert.pem", certificate.as_str(), false), ("key.pem", key.as_str(), true)]
    {
        let (path, beside) = (arguments.out.join(name), arguments.out.join(format!("{name}.new")));
        drop(std::fs::remove_file(&beside));
        new_file(&beside, text.as_bytes(), secret)?;
        std::fs::rename(&beside, &path).map_err(io("write", &path))?;
    }
    Ok(())
}
