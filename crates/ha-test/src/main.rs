//! Faults of whole data centres, on one machine, while a checker keeps every acknowledged write and every answer.
//!
//! `cargo xtask ha-test` builds and runs it, as root. It makes a network namespace for each data centre and one for the
//! clients; in each data centre run etcd, Patroni and PostgreSQL as `deploy/ha` renders them, in two of them Countersign's
//! services. When it ends, however it ends, every process in the namespaces is ended by its id and all is removed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to a terminal")]

mod cluster;
mod faults;
mod history;
mod load;
mod network;
mod report;
mod services;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_ha::Inventory;
use serde_json::json;

use self::cluster::{Cluster, inventory_text};
use self::faults::{FAULTS, Fault, Scene};
use self::load::{Doors, Load, everything, make_registers};
use self::network::Place;
use self::report::Row;
use self::services::Deployment;

const NAMES: [&str; 3] = ["frankfurt", "amsterdam", "paris"];
/// How many of the data centres have gateways and an authority.
const WITH_SERVICES: usize = 2;
/// How much longer than the target the shorter form lets writes be away: it runs beside other things on slow machines.
const QUICK_SLACK: u32 = 3;

/// How long the last look is tried.
const END_WITHIN: Duration = Duration::from_secs(90);

const USAGE: &str =
    "countersign-ha-test --program FILE --patroni FILE --out FILE [--quick] [--only FAULT[,…]] [--keep]";

#[derive(Debug, Clone, Default)]
struct Arguments {
    program: PathBuf,
    patroni: PathBuf,
    out: PathBuf,
    is_quick: bool,
    keep: bool,
    only: Vec<String>,
    /// Where everything is: given to the process in the clients' namespace.
    inside: Option<PathBuf>,
    /// As they were.
    words: Vec<String>,
}

fn main() -> ExitCode {
    let done = arguments().and_then(|arguments| match arguments.inside.clone() {
        Some(base) => inside(&arguments, &base),
        None => outside(&arguments),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut found = Arguments { words: words.clone(), ..Arguments::default() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--program" => found.program = std::path::absolute(value()?)?,
            "--patroni" => found.patroni = std::path::absolute(value()?)?,
            "--out" => found.out = std::path::absolute(value()?)?,
            "--only" => found.only = value()?.split(',').map(str::to_owned).collect(),
            "--inside" => found.inside = Some(value()?.into()),
            "--quick" => found.is_quick = true,
            "--keep" => found.keep = true,
            _ => bail!("unknown argument {word:?}\n{USAGE}"),
        }
    }
    if let Some(unknown) = found.only.iter().find(|name| !FAULTS.iter().any(|fault| fault.name == **name)) {
        let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        bail!("no fault {unknown:?}: {}", names.join(", "));
    }
    Ok(found)
}

fn places() -> Vec<Place> {
    NAMES.iter().enumerate().map(|(index, name)| Place::datacentre(index, name)).collect()
}

/// Makes the network, runs [`inside`] in the clients' part of it, and removes everything, also after Ctrl-C.
fn outside(arguments: &Arguments) -> Result<bool> {
    let places = places();
    // What an earlier run that was killed left behind.
    network::remove(&places);
    let base = tempfile::Builder::new().prefix("countersign-ha-").tempdir_in("/tmp")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(base.path(), mode)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = network::make(&places).and_then(|()| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", network::CLIENTS]).arg(std::env::current_exe()?);
        command.args(&arguments.words).arg("--inside").arg(base.path());
        let mut child = command.spawn()?;
        runtime.block_on(async {
            // From here on Ctrl-C ends the child, and this only stops waiting for it.
            let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
            loop {
                if let Some(status) = child.try_wait()? {
                    return Ok(status.success());
                }
                tokio::select! {
                    _ = &mut interrupted => bail!("interrupted"),
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
            }
        })
    });
    network::remove(&places);
    if arguments.keep || !matches!(made, Ok(true)) {
        let kept = base.keep();
        println!("logs are kept in {}", kept.join("logs").display());
    }
    made
}

fn inside(arguments: &Arguments, base: &Path) -> Result<bool> {
    let begun = Instant::now();
    let postgres = postgres_programs()?;
    let text = inventory_text(base, &NAMES, (&arguments.program, &arguments.patroni, &postgres));
    let file = base.join("inventory.toml");
    std::fs::write(&file, &text)?;
    let inventory = Inventory::parse(&text)?;
    let with_services = NAMES.iter().zip(places()).take(WITH_SERVICES);
    let with_services = with_services.map(|(name, place)| ((*name).to_owned(), place)).collect();
    let deployment = Deployment::new(base, &arguments.program, with_services);
    deployment.begin()?;
    let mut cluster = Cluster::lay_out(base, &inventory, &arguments.patroni)?;
    for site in &cluster.sites {
        deployment.certify(&file, site)?;
    }
    cluster.start()?;
    println!("PostgreSQL in {} data centres after {:.1?}", NAMES.len(), begun.elapsed());
    let services = deployment.start(&inventory)?;
    println!("Countersign in {WITH_SERVICES} of them after {:.1?}", begun.elapsed());
    let doors = deployment.doors()?;
    let mut events = make_registers(&doors)?;
    let load = Load::start(&doors, Instant::now())?;
    let mut scene = Scene { cluster, deployment, services, load, inventory: file };
    let (rows, stopped) = happen(arguments, &mut scene);
    if stopped.is_none() {
        scene.cluster.settle()?;
    }
    events.extend(scene.load.end());
    if let Some(error) = &stopped {
        println!("STOPPED {error:#}");
    }
    let end = at_the_end(&doors)?;
    let judged = history::judge(&events, &end);
    let is_well = told(arguments, &rows, &events, &judged)?;
    println!("{} records at the end, {:.0?} in all", end.len(), begun.elapsed());
    Ok(is_well && stopped.is_none())
}

/// Everything that is there, through whichever gateway says so first.
fn at_the_end(doors: &Doors) -> Result<history::End> {
    let begun = Instant::now();
    loop {
        let end = everything(doors, 0).or_else(|_| everything(doors, 1));
        if end.is_ok() || begun.elapsed() > END_WITHIN {
            return end.context("reading everything at the end");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Lets the chosen faults happen, until one is not got over.
fn happen(arguments: &Arguments, scene: &mut Scene) -> (Vec<Row>, Option<anyhow::Error>) {
    let is_chosen = |fault: &&Fault| {
        if arguments.only.is_empty() {
            fault.is_quick || !arguments.is_quick
        } else {
            arguments.only.iter().any(|name| name == fault.name)
        }
    };
    let mut rows = Vec::new();
    for fault in FAULTS.iter().filter(is_chosen) {
        println!("{:>7.1?}  {}: {}", scene.load.now(), fault.name, fault.about);
        let from = scene.load.now();
        let happened = fault.happen(scene);
        let window = happened.as_ref().map_or((from, scene.load.now()), |window| *window);
        let (name, about) = (fault.name.to_owned(), fault.about.to_owned());
        rows.push(Row { name, about, window, writes_within: fault.writes_within });
        if let Err(error) = happened {
            return (rows, Some(error.context(format!("in {}", fault.name))));
        }
    }
    (rows, None)
}

/// Prints the table, writes the file, and says whether all is as it should be.
fn told(arguments: &Arguments, rows: &[Row], events: &[history::Event], judged: &history::Judged) -> Result<bool> {
    println!("\n{}", report::HEAD);
    let slack = if arguments.is_quick { QUICK_SLACK } else { 1 };
    let (mut missed, mut all) = (Vec::new(), Vec::new());
    for row in rows {
        let figures = row.figures(events, judged);
        println!("{}", report::line(row, &figures));
        missed.extend(row.missed(&figures, slack));
        all.push(figures.json(row));
    }
    let writes = events.iter().filter(|event| event.told == history::Told::Done).count();
    println!(
        "\n{writes} writes acknowledged; of those with unknown outcome {} were done and {} were not, or were written over",
        judged.unknown_done, judged.unknown_else
    );
    for wrong in judged.wrong.iter().take(20) {
        println!("WRONG {:?} {}", wrong.kind, wrong.says);
    }
    let outside = judged.wrong.len();
    if outside > 0 {
        missed.push(format!("{outside} answers that should not have been"));
    }
    for text in &missed {
        println!("MISSED {text}");
    }
    let report = json!({
        "quick": arguments.is_quick,
        "faults": all,
        "acknowledged_writes": writes,
        "wrong_answers": judged.wrong.len(),
        "unknown_done": judged.unknown_done,
        "unknown_not_done_or_written_over": judged.unknown_else,
        "missed": missed,
    });
    std::fs::write(&arguments.out, format!("{report:#}\n"))?;
    Ok(missed.is_empty())
}

/// Where PostgreSQL's programs are: the newest of Debian's.
fn postgres_programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("Debian's package postgresql is not installed")?;
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.pop().map(|(_, path)| path).context("no PostgreSQL below /usr/lib/postgresql")
}
