//! The processes of a demo apart, and what they listen on, as the kernel says it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use countersign_testkit::Server;

/// A process.
pub struct Process {
    pub id: u32,
    /// The service that it is.
    pub service: String,
    /// The TCP ports that it takes connections on.
    pub ports: Vec<Port>,
    /// Every other way that somebody could talk to it.
    pub others: Vec<String>,
}

/// A TCP port.
#[derive(Clone, Copy)]
pub struct Port {
    pub number: u16,
    /// Whether it is for users or for who reads measures; the others are for services.
    pub is_door: bool,
}

impl Port {
    pub fn address(self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// The service processes of a running demo: the children of its process.
pub fn services(server: &Server) -> Result<Vec<Process>> {
    let measures =
        server.story().iter().find_map(|line| line.strip_prefix("measures https://")?.strip_suffix("/metrics"));
    let doors = [Some(server.address()), measures].into_iter().flatten();
    let doors = doors.map(|address| Ok(address.rsplit_once(':').context("an address without a port")?.1.parse()?));
    let doors: Vec<u16> = doors.collect::<Result<_>>()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if parent(id) == Some(server.process_id()) {
            found.push(process(id, &doors)?);
        }
    }
    Ok(found)
}

/// What the demo's own process listens on.
pub fn own(server: &Server) -> Result<Process> {
    Ok(Process { service: "demo".to_owned(), ..process(server.process_id(), &[])? })
}

fn process(id: u32, doors: &[u16]) -> Result<Process> {
    let command = fs::read_to_string(format!("/proc/{id}/cmdline"))?;
    let folder = command.split('\0').skip_while(|word| *word != "serve").nth(1).unwrap_or_default();
    let is_apart = Path::new(folder).parent().is_some_and(|parent| parent.ends_with("apart"));
    let name = Path::new(folder).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let service = if is_apart { name } else { "authority" }.to_owned();
    let mut sockets = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{id}/fd"))? {
        // A file may have been closed since.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        sockets.extend(target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned));
    }
    let (mut ports, mut others) = (Vec::new(), Vec::new());
    for table in ["tcp", "tcp6"] {
        for line in lines(id, table) {
            // Number, local address, remote address, state, …; the tenth is the inode. State 0A is LISTEN.
            let columns: Vec<&str> = line.split_whitespace().collect();
            if columns.get(3) == Some(&"0A") && columns.get(9).is_some_and(|inode| sockets.contains(*inode)) {
                let (host, port) = columns[1].rsplit_once(':').context("a socket without a port")?;
                let number = u16::from_str_radix(port, 16)?;
                ports.push(Port { number, is_door: doors.contains(&number) });
                // 127.0.0.1, as this machine writes it.
                if !matches!(host, "0100007F" | "7F000001") {
                    others.push(format!("{table} on {host}, which others than this machine can reach"));
                }
            }
        }
    }
    for table in ["udp", "udp6", "raw", "raw6"] {
        let own = lines(id, table)
            .into_iter()
            .filter(|line| line.split_whitespace().nth(9).is_some_and(|inode| sockets.contains(inode)));
        others.extend(own.map(|line| format!("{table}: {line}")));
    }
    for line in lines(id, "unix") {
        // Address, references, protocol, flags, type, state, inode, path. The flag says that it takes connections.
        let columns: Vec<&str> = line.split_whitespace().collect();
        let flags = columns.get(3).and_then(|flags| u32::from_str_radix(flags, 16).ok()).unwrap_or_default();
        if flags & 0x0001_0000 != 0 && columns.get(6).is_some_and(|inode| sockets.contains(*inode)) {
            others.push(format!("unix: {line}"));
        }
    }
    Ok(Process { id, service, ports, others })
}

fn lines(id: u32, table: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
    text.lines().skip(1).map(str::to_owned).collect()
}

/// The second word after the name, which is in parentheses and may contain anything.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
