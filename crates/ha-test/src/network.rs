//! Three data centres and a place for clients, as network namespaces on one bridge.
//!
//! A direction is cut by giving the neighbour an address on the link that nobody has: frames go out and are taken by no one,
//! as on a cable that is broken in one direction. It needs no firewall and no module of the kernel's.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Where the clients are.
pub const CLIENTS: &str = "csha-clients";
const SWITCH: &str = "csha-switch";
/// Nobody's: locally administered, and on no machine.
const NOBODY: &str = "02:00:00:00:de:ad";

/// One end of the network.
#[derive(Debug, Clone)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// Its address.
    pub address: String,
}

impl Place {
    /// The data centre of that number, from 0.
    #[must_use]
    pub fn datacentre(index: usize, name: &str) -> Self {
        Self { namespace: format!("csha-{name}"), address: format!("10.77.0.{}", index.saturating_add(11)) }
    }

    /// A program in it, not started yet.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]).stdin(Stdio::null()).env("LC_ALL", "C");
        command
    }

    /// The same, as another account.
    #[must_use]
    pub fn command_as(&self, account: &str, program: &str) -> Command {
        let mut command = self.command("setpriv");
        command.args([&format!("--reuid={account}"), &format!("--regid={account}"), "--clear-groups", program]);
        command.env("HOME", "/").env("USER", account);
        command
    }

    /// What goes from here to `other` arrives nowhere from now on.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn cut_to(&self, other: &Self) -> Result<()> {
        let words = ["neigh", "replace", &other.address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"];
        ip_in(&self.namespace, &words)
    }

    /// It arrives again.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn heal_to(&self, other: &Self) -> Result<()> {
        ip_in(&self.namespace, &["neigh", "del", &other.address, "dev", "eth0"])
    }

    /// The processes in it.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn processes(&self) -> Result<Vec<u32>> {
        processes(&self.namespace)
    }
}

/// Makes the namespaces of these data centres, the clients' and the bridge.
///
/// # Errors
/// If this account may not.
pub fn make(places: &[Place]) -> Result<()> {
    ip(&["netns", "add", SWITCH])?;
    ip_in(SWITCH, &["link", "add", "name", "sw", "type", "bridge"])?;
    ip_in(SWITCH, &["link", "set", "sw", "up"])?;
    let clients = Place { namespace: CLIENTS.to_owned(), address: "10.77.0.1".to_owned() };
    for (index, place) in std::iter::once(&clients).chain(places).enumerate() {
        let (name, port) = (place.namespace.as_str(), format!("port{index}"));
        ip(&["netns", "add", name])?;
        ip_in(SWITCH, &["link", "add", "name", &port, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip_in(SWITCH, &["link", "set", &port, "master", "sw", "up"])?;
        ip_in(name, &["addr", "add", &format!("{}/24", place.address), "dev", "eth0"])?;
        ip_in(name, &["link", "set", "eth0", "up"])?;
        ip_in(name, &["link", "set", "lo", "up"])?;
    }
    Ok(())
}

/// Ends every process in the namespaces, by its id, and removes them. What is not there is passed over.
pub fn remove(places: &[Place]) {
    let mut names: Vec<&str> = places.iter().map(|place| place.namespace.as_str()).collect();
    names.extend([CLIENTS, SWITCH]);
    for _ in 0..20 {
        let left: Vec<u32> = names.iter().flat_map(|name| processes(name).unwrap_or_default()).collect();
        if left.is_empty() {
            break;
        }
        for process in left {
            let _ = signal("KILL", process);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for name in names {
        let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
    }
}

/// Sends a signal to one process.
///
/// # Errors
/// If there is no such process.
pub fn signal(name: &str, process: u32) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("could not send {name} to process {process}");
    }
    Ok(())
}

fn processes(namespace: &str) -> Result<Vec<u32>> {
    let output = Command::new("ip").args(["netns", "pids", namespace]).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("starting ip (Debian's package iproute2)")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn ip_in(namespace: &str, words: &[&str]) -> Result<()> {
    let mut all = vec!["-n", namespace];
    all.extend(words);
    ip(&all)
}
