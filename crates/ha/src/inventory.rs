//! The inventory file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use countersign_model::Service;
use serde::Deserialize;
use toml::Spanned;

/// What can be three or five: a majority of four is three, so a fourth makes nothing safer.
const COUNTS: [usize; 2] = [3, 5];
const NAME_MAX: usize = 32;

/// Settings that the safety of acknowledged writes, or who may sign in, rests on.
const OURS: &[&str] = &[
    "archive_cleanup_command",
    "fsync",
    "full_page_writes",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "password_encryption",
    "port",
    "primary_conninfo",
    "restart_after_crash",
    "ssl",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
];

/// Data centres, and where things are in them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The cluster's name.
    cluster: Spanned<String>,
    /// The database's name.
    database: Spanned<String>,
    /// Whether all data centres are on one machine, as in a test: each then has folders of its own there.
    #[serde(default)]
    pub one_machine: bool,
    /// Data centres, by name.
    #[serde(rename = "datacentre", default)]
    datacentres: Vec<Spanned<Written>>,
    /// Ports, the same in each data centre.
    #[serde(default)]
    pub ports: Ports,
    /// Folders and programs, the same in each data centre.
    #[serde(default)]
    pub paths: Paths,
    /// How patient etcd's members are.
    #[serde(default)]
    etcd: Etcd,
    /// Further settings of PostgreSQL.
    #[serde(default)]
    postgresql: BTreeMap<Spanned<String>, String>,
}

/// A data centre as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    address: Spanned<String>,
    #[serde(default)]
    services: Vec<Spanned<String>>,
}

/// A data centre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datacentre {
    /// Its name: a label of a domain name.
    pub name: String,
    /// The machine of PostgreSQL, Patroni and etcd.
    pub address: IpAddr,
    /// The networks that its services connect from, in CIDR.
    pub services: Vec<String>,
}

/// Ports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// PostgreSQL's. Default 5432.
    pub postgres: u16,
    /// Patroni's, for its own members. Default 8008.
    pub patroni: u16,
    /// etcd's for Patroni, on the loopback address. Default 2379.
    pub etcd_clients: u16,
    /// etcd's for its own members. Default 2380.
    pub etcd_members: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { postgres: 5432, patroni: 8008, etcd_clients: 2379, etcd_members: 2380 }
    }
}

/// Folders and programs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Where the rendered files and the certificates are. Default `/etc/countersign-ha`.
    pub config: String,
    /// Where PostgreSQL and etcd keep their data. Default `/var/lib/countersign-ha`.
    pub data: String,
    /// The authority's folder. Default `/var/lib/countersign/authority`.
    pub authority: String,
    /// The folder of gateway, key service and store. Default `/var/lib/countersign/services`.
    pub services: String,
    /// The program. Default `/usr/local/bin/countersign`.
    pub countersign: String,
    /// Patroni, 4 or later. Default `/opt/patroni/bin/patroni`.
    pub patroni: String,
    /// etcd, 3.4 or later. Default `/usr/bin/etcd`.
    pub etcd: String,
    /// The folder of PostgreSQL's programs. Default `/usr/lib/postgresql/15/bin`.
    pub postgres: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            config: "/etc/countersign-ha".into(),
            data: "/var/lib/countersign-ha".into(),
            authority: "/var/lib/countersign/authority".into(),
            services: "/var/lib/countersign/services".into(),
            countersign: "/usr/local/bin/countersign".into(),
            patroni: "/opt/patroni/bin/patroni".into(),
            etcd: "/usr/bin/etcd".into(),
            postgres: "/usr/lib/postgresql/15/bin".into(),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Etcd {
    heartbeat_ms: u32,
    election_ms: u32,
}

impl Default for Etcd {
    fn default() -> Self {
        Self { heartbeat_ms: 100, election_ms: 1000 }
    }
}

/// The inventory makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Refused {
    /// Where, from 1.
    pub line: usize,
    /// Why.
    pub reason: Reason,
}

/// Why an inventory makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is no TOML, or has a key that there is none of, or a value of another kind.
    #[error("{0}")]
    Text(String),
    /// Not three or five.
    #[error(
        "{0} data centres: it takes three, or five. With two, neither could tell the other's end from its own \
         isolation; an even number is safe against no more than one less"
    )]
    Count(usize),
    /// A name that can't be one.
    #[error(
        "a name has up to {NAME_MAX} lowercase letters, digits and hyphens, begins with a letter, and is no service's"
    )]
    Name,
    /// A database name that can't be one.
    #[error("a database's name has up to 63 lowercase letters, digits and underscores, and begins with a letter")]
    Database,
    /// Two data centres of one name.
    #[error("another data centre has this name")]
    NameTaken,
    /// No address of a machine.
    #[error("expected the IP address of one machine, such as 10.1.0.10")]
    Address,
    /// An address of this machine alone.
    #[error("{0} is this machine itself, so the data centres would be one: say one_machine = true if they are to be")]
    OneMachine(IpAddr),
    /// Two data centres on one machine.
    #[error("another data centre is at this address: when that machine ends, both end")]
    AddressTaken,
    /// Not a network.
    #[error("expected a network such as 10.1.1.0/24, or an IP address; not everything there is")]
    Network,
    /// A port that two would listen on.
    #[error("ports are 1 to 65535, each for one")]
    Ports,
    /// A path that is none, or could mean something to a shell.
    #[error("{0} is an absolute path of letters, digits, '.', '_', '-' and '/'")]
    Path(&'static str),
    /// etcd's times don't go together.
    #[error("election_ms is at least five times heartbeat_ms, and at most 5000: a primary's lease is 20 seconds")]
    Etcd,
    /// A setting that is not the inventory's.
    #[error("{0} is set as it has to be for nothing to be lost, or nobody to be let in")]
    Setting(String),
}

impl Inventory {
    /// Reads an inventory.
    ///
    /// # Errors
    /// [`Refused`], with the line.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let at = |span: Option<Range<usize>>, reason| Refused { line: line_of(text, span), reason };
        let read: Self =
            toml::from_str(text).map_err(|error| at(error.span(), Reason::Text(error.message().to_owned())))?;
        read.check().map_err(|(span, reason)| at(span, reason))?;
        Ok(read)
    }

    fn check(&self) -> Result<(), (Option<Range<usize>>, Reason)> {
        if !is_name(self.cluster.as_ref()) {
            return Err((Some(self.cluster.span()), Reason::Name));
        }
        if !is_database(self.database.as_ref()) {
            return Err((Some(self.database.span()), Reason::Database));
        }
        if !COUNTS.contains(&self.datacentres.len()) {
            return Err((self.datacentres.last().map(Spanned::span), Reason::Count(self.datacentres.len())));
        }
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for written in &self.datacentres {
            let Written { name, address, services } = written.as_ref();
            if !is_name(name.as_ref()) {
                return Err((Some(name.span()), Reason::Name));
            }
            if names.contains(&name.as_ref()) {
                return Err((Some(name.span()), Reason::NameTaken));
            }
            names.push(name.as_ref());
            let span = Some(address.span());
            let ip: IpAddr = address.as_ref().parse().map_err(|_| (span.clone(), Reason::Address))?;
            if ip.is_unspecified() || ip.is_multicast() {
                return Err((span, Reason::Address));
            }
            if ip.is_loopback() && !self.one_machine {
                return Err((span, Reason::OneMachine(ip)));
            }
            if addresses.contains(&ip) {
                return Err((span, Reason::AddressTaken));
            }
            addresses.push(ip);
            if let Some(wrong) = services.iter().find(|network| network_of(network.as_ref()).is_none()) {
                return Err((Some(wrong.span()), Reason::Network));
            }
        }
        self.check_rest()
    }

    fn check_rest(&self) -> Result<(), (Option<Range<usize>>, Reason)> {
        let Ports { postgres, patroni, etcd_clients, etcd_members } = self.ports;
        let mut ports = vec![postgres, patroni, etcd_clients, etcd_members];
        ports.sort_unstable();
        ports.dedup();
        if ports.len() < 4 || ports.contains(&0) {
            return Err((None, Reason::Ports));
        }
        let paths = &self.paths;
        for (name, path) in [
            ("config", &paths.config),
            ("data", &paths.data),
            ("authority", &paths.authority),
            ("services", &paths.services),
            ("countersign", &paths.countersign),
            ("patroni", &paths.patroni),
            ("etcd", &paths.etcd),
            ("postgres", &paths.postgres),
        ] {
            if !is_path(path) {
                return Err((None, Reason::Path(name)));
            }
        }
        let Etcd { heartbeat_ms, election_ms } = self.etcd;
        if heartbeat_ms == 0 || election_ms < heartbeat_ms.saturating_mul(5) || election_ms > 5000 {
            return Err((None, Reason::Etcd));
        }
        for (name, value) in &self.postgresql {
            let word = name.as_ref().to_ascii_lowercase();
            let is_ours = OURS.contains(&word.as_str()) || word.starts_with("ssl_");
            let is_one =
                word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte));
            if is_ours || !is_one || value.contains(['\n', '\r', '\'', '\\']) {
                return Err((Some(name.span()), Reason::Setting(word)));
            }
        }
        Ok(())
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.cluster.as_ref()
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        self.database.as_ref()
    }

    /// The data centres.
    #[must_use]
    pub fn datacentres(&self) -> Vec<Datacentre> {
        let one = |written: &Written| {
            let address: IpAddr = written.address.as_ref().parse().ok()?;
            let mut services: Vec<String> =
                written.services.iter().filter_map(|network| network_of(network.as_ref())).collect();
            if services.is_empty() {
                services.extend(network_of(written.address.as_ref()));
            }
            Some(Datacentre { name: written.name.as_ref().clone(), address, services })
        };
        // Each was read before: none is left out.
        self.datacentres.iter().filter_map(|written| one(written.as_ref())).collect()
    }

    /// The data centre of that name.
    #[must_use]
    pub fn datacentre(&self, name: &str) -> Option<Datacentre> {
        self.datacentres().into_iter().find(|datacentre| datacentre.name == name)
    }

    /// Where the services find the database: the data centre's own server first, which spares a round trip whenever it
    /// is the primary.
    #[must_use]
    pub fn address_for(&self, datacentre: &Datacentre) -> String {
        let mut hosts = vec![datacentre.address];
        hosts.extend(self.datacentres().iter().map(|other| other.address).filter(|other| *other != datacentre.address));
        let hosts: Vec<String> =
            hosts.into_iter().map(|host| format!("{}:{}", bracketed(host), self.ports.postgres)).collect();
        format!("postgres://{}/{}", hosts.join(","), self.database())
    }

    /// A folder of this data centre's.
    #[must_use]
    pub fn folder(&self, path: &str, datacentre: &Datacentre) -> String {
        if self.one_machine { format!("{path}/{}", datacentre.name) } else { path.to_owned() }
    }

    pub(crate) const fn etcd_times(&self) -> (u32, u32) {
        (self.etcd.heartbeat_ms, self.etcd.election_ms)
    }

    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.postgresql.iter().map(|(name, value)| (name.as_ref().as_str(), value.as_str()))
    }
}

pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count().saturating_add(1)
}

fn is_name(text: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    begins
        && text.len() <= NAME_MAX
        && text.bytes().all(is_in)
        && !text.ends_with('-')
        && text.parse::<Service>().is_err()
}

fn is_database(text: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) && text.len() <= 63 && text.bytes().all(is_in)
}

fn is_path(text: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b"./_-".contains(&byte);
    text.starts_with('/') && text.bytes().all(is_in) && !text.contains("//") && !text.ends_with('/')
}

/// A network in CIDR. Everything there is, is none.
fn network_of(text: &str) -> Option<String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits > 0 && bits <= all).then(|| format!("{address}/{bits}"))
}
