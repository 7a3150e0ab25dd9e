//! `countersign ha …`

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_ha::{Certificate, Inventory, LIFETIME_MS, certificates, render};
use countersign_model::clock::SystemClock;

use super::context::Context;
use crate::commands;
use crate::compose;
use crate::compose::database::Certificates;
use crate::deployment::Deployment;
use crate::problem::{Problem, io};

const HOUR_MS: u64 = 3_600_000;
const MAX_HOURS: u64 = LIFETIME_MS / HOUR_MS;
/// What the copy of the inventory is called that lies beside what was rendered.
const INVENTORY: &str = "inventory.toml";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print an inventory to begin with.
    #[command(after_help = "Examples:\n  countersign ha example > inventory.toml")]
    Example,
    /// Write what each data centre of an inventory runs: a folder for each.
    #[command(after_help = "Examples:\n  countersign ha render inventory.toml --to ./cluster")]
    Render(Render),
    /// Make the certificates of one data centre's PostgreSQL, Patroni and etcd, of this deployment's authority.
    #[command(
        after_help = "Examples:\n  countersign --dir ./authority ha certificates inventory.toml frankfurt --to /etc/countersign-ha"
    )]
    Certificates(Make),
}

#[derive(Debug, Args)]
pub(super) struct Render {
    /// The inventory.
    #[arg(value_name = "FILE")]
    inventory: PathBuf,
    /// The folder to write to. What an earlier run wrote is replaced.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Make {
    /// The inventory.
    #[arg(value_name = "FILE")]
    inventory: PathBuf,
    /// The data centre, as the inventory names it.
    #[arg(value_name = "NAME")]
    datacentre: String,
    /// The folder that has the folders "postgres" and "etcd". Each file is for whoever owns the folder that it is in.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// For how many hours they are good: 12 at most.
    #[arg(long, value_name = "HOURS", default_value_t = MAX_HOURS, value_parser = clap::value_parser!(u64).range(1..=MAX_HOURS))]
    hours: u64,
}

pub(super) fn run(context: &Context, command: Command) -> Result<(), Problem> {
    match command {
        Command::Example => context.terminal.write(countersign_ha::EXAMPLE.as_bytes()),
        Command::Render(arguments) => write_all(context, &arguments),
        Command::Certificates(arguments) => make(context, &arguments),
    }
}

fn read(path: &Path) -> Result<(String, Inventory), Problem> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let inventory = Inventory::parse(&text).map_err(|error| Problem::usage(format!("{}: {error}", path.display())))?;
    Ok((text, inventory))
}

fn write_all(context: &Context, arguments: &Render) -> Result<(), Problem> {
    let (text, inventory) = read(&arguments.inventory)?;
    let folder = |path: &Path| std::fs::create_dir_all(path).map_err(io("make", path));
    folder(&arguments.to)?;
    for file in render(&inventory) {
        let path = arguments.to.join(&file.path);
        path.parent().map_or(Ok(()), folder)?;
        std::fs::write(&path, &file.content).map_err(io("write", &path))?;
        let mode = if file.is_program { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(io("write", &path))?;
    }
    let copy = arguments.to.join(INVENTORY);
    std::fs::write(&copy, text).map_err(io("write", &copy))?;
    let to = arguments.to.display();
    for datacentre in inventory.datacentres() {
        context.terminal.note(&format!("{to}/{}: for the machine {}", datacentre.name, datacentre.address));
    }
    context.terminal.note(
        "bring each folder and inventory.toml to its machine, and run install.sh there: docs/high-availability.md",
    );
    Ok(())
}

fn make(context: &Context, arguments: &Make) -> Result<(), Problem> {
    let (_, inventory) = read(&arguments.inventory)?;
    let name = &arguments.datacentre;
    let datacentre = inventory.datacentre(name).ok_or_else(|| {
        let names: Vec<String> = inventory.datacentres().into_iter().map(|one| one.name).collect();
        Problem::usage(format!("no data centre {name:?}: the inventory has {}", names.join(", ")))
    })?;
    let deployment = Deployment::at(context.one_dir(None)?);
    deployment.require()?;
    let config = compose::config(&deployment)?;
    let begun = commands::begin(&deployment, &SystemClock, format!("ha certificates {name}"))?;
    let made = Certificates::open(&deployment, &config).and_then(|authority| {
        let lifetime_ms = arguments.hours.saturating_mul(HOUR_MS);
        let issue = |names: &[String], usage| authority.machine(names, usage, lifetime_ms);
        let made = certificates(&datacentre, authority.ca_pem(), issue);
        let made = made.map_err(|error| Problem::failed(error.to_string()))?;
        made.iter().try_for_each(|certificate| put(&arguments.to, certificate))
    });
    begun.end(made)?;
    let to = arguments.to.display();
    context
        .terminal
        .note(&format!("{to}/postgres and {to}/etcd, good for {} h; renew them at half of that", arguments.hours));
    Ok(())
}

/// Replaces a file at once, for the account that owns the folder.
fn put(to: &Path, certificate: &Certificate) -> Result<(), Problem> {
    let path = to.join(&certificate.path);
    let folder = path.parent().unwrap_or(to);
    let owner = std::fs::metadata(folder).map_err(io("find", folder))?;
    let beside = path.with_extension("pem.new");
    drop(std::fs::remove_file(&beside));
    let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let mut file = new.map_err(io("write", &beside))?;
    file.write_all(certificate.pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write", &beside))?;
    if owner.uid() != rustix::process::getuid().as_raw() {
        // The very file: whoever owns the folder may have put a link in its place meanwhile, to what is not theirs.
        fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(io("hand over", &beside))?;
    }
    std::fs::rename(&beside, &path).map_err(io("write", &path))
}
