//! What goes wrong in and between services: lines that are held up, clocks that are wrong, files that can't be written,
//! keys that can't be had, and a gateway that somebody has a copy of.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_testkit::Client;
use serde_json::Value;

use super::parts::{Clock, Line, Part, two_ports};
use super::{Watched, new_key};
use crate::Layout;

/// How long is waited to see that nothing is told: less than what the rules wait for.
const A_WHILE: Duration = Duration::from_secs(3);

/// How often what may come to nothing is tried.
const TRIES: usize = 3;

const OLD_FACTS: &str = "A service decides by old facts";
const REFUSED: &str = "Requests are refused because facts are out of date";
const LAG: &str = "No checkpoint covers new records";
const KMS: &str = "A key management service does not answer";
const CLOCK: &str = "A service's clock is wrong";
const DISAGREE: &str = "The services do not agree about a request";

impl Watched {
    /// Nothing is told of this rule yet, nor for a while after what comes near to it.
    fn nearly(&self, titles: &[&str]) {
        std::thread::sleep(A_WHILE);
        self.untold(titles);
    }
}

/// The services, each in a process of its own.
struct World {
    watched: Watched,
    /// Between the authority and the store.
    line: Line,
    /// The key service's.
    clock: Clock,
    authority: String,
    gateway: Part,
    _others: Vec<Part>,
}

impl World {
    fn start() -> Result<Self> {
        // Keys are asked for each second.
        let watched = Watched::new(Layout::Apart, &[("keys", "max_open_ms", "16000")])?;
        let deployment = &watched.deployment;
        let any = ["--wire-listen", "127.0.0.1:0"];
        let first = two_ports()?.to_string();
        let authority = Part::start(deployment, &deployment.dir(), &["--wire-listen", &first], None)?;
        let (line, clock) = (Line::to(first.parse()?)?, Clock::right(deployment)?);
        let start = |name: &str, authority: &str, more: &[&str], clock: Option<&Clock>| {
            let folder = deployment.dir().join("apart").join(name);
            Part::start(deployment, &folder, &[&any[..], &["--authority", authority], more].concat(), clock)
        };
        let keys = start("keys", &first, &[], Some(&clock))?;
        let store = start("store", &line.address(), &[], None)?;
        let gateway = start("gateway", &first, &["--listen", "127.0.0.1:0"], None)?;
        Ok(Self { line, clock, authority: first, gateway, _others: vec![authority, keys, store], watched })
    }

    /// `countersign …` by way of the gateway.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let url = format!("https://{}", self.gateway.address);
        self.watched.deployment.run(&[&["--url", &url], arguments].concat())
    }

    fn client(&self, address: &str) -> Result<Client> {
        let ca = std::fs::read_to_string(self.watched.deployment.ca_file())?;
        Ok(Client::new(address, &ca)?.with_token(self.run(&["login", "andrew@northwind"])?.trim()))
    }

    fn folder(&self, service: &str) -> PathBuf {
        self.watched.deployment.dir().join("apart").join(service)
    }
}

/// Reads until it is as wanted.
fn reads(client: &Client, is_good: bool) -> Result<()> {
    let until = Instant::now() + super::PATIENCE;
    loop {
        let answer = client.get("/rest/v1/customer?select=id,company&limit=20")?;
        if (answer.status == 200) == is_good {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "{}: {}", answer.status, answer.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn what_happens_between_services() -> Result<()> {
    let mut world = World::start()?;
    let client = world.client(&world.gateway.address)?;
    reads(&client, true)?;
    facts(&mut world, &client)?;
    checkpoints(&mut world, &client)?;
    keys(&mut world)?;
    clocks(&mut world)?;
    copies(&mut world, &client)?;
    world.watched.mailed()
}

/// The line between the authority and the store is held up. What the store hears no more is that somebody was added.
fn facts(world: &mut World, client: &Client) -> Result<()> {
    world.line.hold(true);
    world.watched.nearly(&[OLD_FACTS, REFUSED]);
    reads(client, true)?;
    world.line.hold(false);
    std::thread::sleep(A_WHILE);
    world.watched.untold(&[OLD_FACTS, REFUSED]);

    // After ten seconds of silence the authority may take the store for gone, and then it is no longer asked how it is. On
    // a machine that does much else that can be too soon, so it is tried again.
    for number in 1..=TRIES {
        let since = Instant::now();
        world.line.hold(true);
        let seen = behind(world, client, number, since);
        world.line.hold(false);
        reads(client, true)?;
        if let Some(told) = seen? {
            assert!(told.to_string().contains("ledger=store"), "{told}");
            return world.watched.expect(REFUSED, since).map(drop);
        }
    }
    anyhow::bail!("nobody was told: {OLD_FACTS}")
}

/// The store is behind, and whoever needs it is refused. Gives what is told of it, if anything is.
fn behind(world: &mut World, client: &Client, number: usize, since: Instant) -> Result<Option<Value>> {
    let (name, key) = (format!("new{number}@northwind"), new_key(&world.watched.deployment, number)?);
    let key = key.with_extension("pub").display().to_string();
    world.run(&["--as", "andrew@northwind", "user", "add", &name, "--role", "accountant", "--ssh-key", &key])?;
    reads(client, false)?;
    while since.elapsed() < super::PATIENCE / 3 {
        if let Some(told) = world.watched.told(OLD_FACTS, since)? {
            return Ok(Some(told));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// Where a checkpoint is written before it takes the last one's place, something else lies.
fn checkpoints(world: &mut World, client: &Client) -> Result<()> {
    let fresh = world.folder("gateway").join("audit/gateway/log/checkpoint.new");
    let since = Instant::now();
    std::fs::create_dir(&fresh).with_context(|| fresh.display().to_string())?;
    reads(client, true)?;
    world.watched.nearly(&[LAG]);
    let told = world.watched.expect(LAG, since)?;
    assert!(told.to_string().contains("ledger=gateway"), "{told}");
    Ok(std::fs::remove_dir(&fresh)?)
}

/// Beside the key lies what should be a newer version of it.
fn keys(world: &mut World) -> Result<()> {
    let folder = world.folder("keys");
    std::fs::write(folder.join("kms.key.old"), "not a version of it")?;
    world.watched.nearly(&[KMS]);
    let since = Instant::now();
    std::fs::write(folder.join("kms.key.1"), "no key")?;
    world.watched.expect(KMS, since)?;
    Ok(std::fs::remove_file(folder.join("kms.key.1"))?)
}

fn clocks(world: &mut World) -> Result<()> {
    world.clock.set(2)?;
    world.watched.nearly(&[CLOCK]);
    let since = Instant::now();
    world.clock.set(9)?;
    let told = world.watched.expect(CLOCK, since)?;
    assert!(told.to_string().contains("ledger=keys"), "{told}");
    world.clock.set(0)
}

/// Somebody has a copy of the gateway, its certificate and its keys. What is read through it, the gateway knows nothing
/// of.
fn copies(world: &mut World, client: &Client) -> Result<()> {
    reads(client, true)?;
    world.watched.nearly(&[DISAGREE]);
    let second = copied(world)?;
    let elsewhere = world.client(&second.address)?;
    let since = Instant::now();
    reads(&elsewhere, true)?;
    let told = world.watched.expect(DISAGREE, since)?;
    assert!(told.to_string().contains("reason=no_fellow"), "{told}");
    Ok(())
}

/// A second process of what the gateway's folder has. What is copied while it is written to may not fit together, and then
/// the copy is not served.
fn copied(world: &World) -> Result<Part> {
    let mut refused = None;
    for _ in 0..TRIES {
        let copy = world.folder("copy");
        if copy.exists() {
            std::fs::remove_dir_all(&copy)?;
        }
        assert!(Command::new("cp").arg("-a").args([world.folder("gateway"), copy.clone()]).status()?.success());
        let arguments = ["--wire-listen", "127.0.0.1:0", "--authority", &world.authority, "--listen", "127.0.0.1:0"];
        match Part::start(&world.watched.deployment, &copy, &arguments, None) {
            Ok(part) => return Ok(part),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.context("never tried")?)
}
