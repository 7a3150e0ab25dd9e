//! The files that an inventory comes to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use countersign_postgres::{pg_hba, pg_ident, setup_sql};

use crate::certificates::{MEMBER, REPLICATOR, REWIND};
use crate::inventory::{Datacentre, Inventory, bracketed};

/// Templates, by the name of what becomes of them in each data centre's folder. A word in double braces is filled in.
const TEMPLATES: &[(&str, &str)] = &[
    ("patroni.yml", include_str!("../../../deploy/ha/patroni.yml")),
    ("etcd.sh", include_str!("../../../deploy/ha/etcd.sh")),
    ("disk.sh", include_str!("../../../deploy/ha/disk.sh")),
    ("after-init.sh", include_str!("../../../deploy/ha/after-init.sh")),
    ("renew.sh", include_str!("../../../deploy/ha/renew.sh")),
    ("install.sh", include_str!("../../../deploy/ha/install.sh")),
    ("units/countersign-etcd.service", include_str!("../../../deploy/ha/units/countersign-etcd.service")),
    ("units/countersign-patroni.service", include_str!("../../../deploy/ha/units/countersign-patroni.service")),
    ("units/countersign-disk.service", include_str!("../../../deploy/ha/units/countersign-disk.service")),
    ("units/countersign-services.service", include_str!("../../../deploy/ha/units/countersign-services.service")),
    ("units/countersign-authority.service", include_str!("../../../deploy/ha/units/countersign-authority.service")),
    (
        "units/countersign-certificates.service",
        include_str!("../../../deploy/ha/units/countersign-certificates.service"),
    ),
    ("units/countersign-certificates.timer", include_str!("../../../deploy/ha/units/countersign-certificates.timer")),
];

/// Connections of PostgreSQL's: of each data centre, a process with every service has five pools of 16.
const CONNECTIONS: u32 = 400;

/// A rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Below the folder that all is rendered to: the data centre's name, and the file's.
    pub path: String,
    /// What is in it. Nothing of it is secret.
    pub content: String,
    /// Whether it is run.
    pub is_program: bool,
}

/// Renders everything.
#[must_use]
pub fn render(inventory: &Inventory) -> Vec<File> {
    let mut files = Vec::new();
    for datacentre in inventory.datacentres() {
        let words = words(inventory, &datacentre);
        for (name, template) in TEMPLATES {
            let is_program = name.ends_with(".sh");
            files.push(File {
                path: format!("{}/{name}", datacentre.name),
                content: filled(template, &words),
                is_program,
            });
        }
        files.push(File { path: format!("{}/setup.sql", datacentre.name), content: setup_sql(), is_program: false });
    }
    files
}

fn words(inventory: &Inventory, own: &Datacentre) -> BTreeMap<&'static str, String> {
    let all = inventory.datacentres();
    let (ports, paths) = (&inventory.ports, &inventory.paths);
    let (heartbeat, election) = inventory.etcd_times();
    let networks: Vec<&str> = all.iter().flat_map(|one| one.services.iter().map(String::as_str)).collect();
    let mut hba = String::new();
    for one in &all {
        let bits = if one.address.is_ipv4() { 32 } else { 128 };
        let _ = writeln!(hba, "hostssl replication {REPLICATOR} {}/{bits} cert", one.address);
        let _ = writeln!(hba, "hostssl postgres {REWIND} {}/{bits} cert", one.address);
    }
    hba.push_str(&pg_hba(inventory.database(), &networks));
    let members =
        all.iter().map(|one| format!("{}=https://{}:{}", one.name, bracketed(one.address), ports.etcd_members));
    let settings = inventory.settings().map(|(name, value)| format!("{name}: '{value}'"));
    let quorum = all.len().saturating_sub(1) / 2;
    BTreeMap::from([
        ("name", own.name.clone()),
        ("cluster", inventory.cluster().to_owned()),
        ("database", inventory.database().to_owned()),
        ("address", bracketed(own.address)),
        ("addresses", all.iter().map(|one| one.address.to_string()).collect::<Vec<_>>().join(", ")),
        ("postgres_address", inventory.address_for(own)),
        ("postgres_port", ports.postgres.to_string()),
        ("patroni_port", ports.patroni.to_string()),
        ("etcd_client_port", ports.etcd_clients.to_string()),
        ("etcd_peer_port", ports.etcd_members.to_string()),
        ("etcd_cluster", members.collect::<Vec<_>>().join(",")),
        ("heartbeat_ms", heartbeat.to_string()),
        ("election_ms", election.to_string()),
        ("member", MEMBER.to_owned()),
        ("replicator", REPLICATOR.to_owned()),
        ("rewind", REWIND.to_owned()),
        ("quorum", quorum.to_string()),
        ("connections", CONNECTIONS.to_string()),
        ("config", inventory.folder(&paths.config, own)),
        ("data", inventory.folder(&paths.data, own)),
        ("authority", inventory.folder(&paths.authority, own)),
        ("services", inventory.folder(&paths.services, own)),
        ("countersign_program", paths.countersign.clone()),
        ("patroni_program", paths.patroni.clone()),
        ("etcd_program", paths.etcd.clone()),
        ("postgres_programs", paths.postgres.clone()),
        ("postgres_settings", settings.collect::<Vec<_>>().join("\n")),
        ("pg_hba", listed(&hba)),
        ("pg_ident", listed(&pg_ident())),
    ])
}

/// Lines as entries of a YAML list. What stands in them is ours or was checked: no quote, colon or `#`.
fn listed(lines: &str) -> String {
    lines.lines().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")
}

/// Fills a template. Where a word stands for several lines, each is indented like it.
fn filled(template: &str, words: &BTreeMap<&'static str, String>) -> String {
    let mut text = String::new();
    for line in template.lines() {
        let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
        let alone =
            line.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).and_then(|word| words.get(word));
        if let Some(lines) = alone {
            lines.lines().for_each(|line| {
                let _ = writeln!(text, "{indent}{line}");
            });
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let (word, after) = after.split_once("}}").unwrap_or((after, ""));
            text.push_str(before);
            text.push_str(words.get(word).map_or("", String::as_str));
            rest = after;
        }
        text.push_str(rest);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
