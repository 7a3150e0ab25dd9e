//! Where the database is, and as whom it is spoken to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::CertificateSlot;
use countersign_model::Service;

/// The schema that all tables are in.
pub const SCHEMA: &str = "countersign";

const PORT: u16 = 5432;
/// As many servers as anybody would write into one address.
const HOSTS_MAX: usize = 16;

/// Where the database is and how patient to be with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Servers, of which the one that takes writes is used: a primary and its standbys.
    pub hosts: Vec<(String, u16)>,
    /// The database's name.
    pub database: String,
    /// The certificate authority that the servers' certificates are of, in PEM.
    pub server_ca_pem: String,
    /// Connections at a time. Default 16.
    pub connections: usize,
    /// How long connecting to one server may take. Default 2 s.
    pub connect_timeout: Duration,
    /// How long one statement may take at the server. Default 10 s.
    pub statement_timeout: Duration,
    /// How long one statement may wait for a lock. Default 2 s.
    pub lock_timeout: Duration,
    /// How long to wait for an answer before a connection is given up. Default 5 s.
    pub answer_timeout: Duration,
    /// How long to wait for a connection while all are in use. Default 5 s.
    pub wait_max: Duration,
    /// How long to try again what was not done: longer than it takes another server to be made the primary. Default 25 s.
    pub patience: Duration,
    /// How long a server that has proved to be the primary is believed to be it. A proof is a commit that its
    /// synchronous standbys have confirmed. Must be well below the time after which another server may be made the
    /// primary (Patroni's `ttl`). Default 3 s.
    pub proof_max: Duration,
}

impl Settings {
    /// The database at `address`, otherwise as by default.
    ///
    /// An address is `postgres://HOST[:PORT][,HOST[:PORT]]…/DATABASE`. It has no user and no password: a service is
    /// who its certificate says it is.
    ///
    /// # Errors
    /// [`NotAnAddress`].
    pub fn parse(address: &str, server_ca_pem: String) -> Result<Self, NotAnAddress> {
        let rest = address.strip_prefix("postgres://").or_else(|| address.strip_prefix("postgresql://"));
        let (hosts, database) = rest.and_then(|rest| rest.split_once('/')).ok_or(NotAnAddress)?;
        let hosts = hosts.split(',').map(host).collect::<Option<Vec<_>>>().ok_or(NotAnAddress)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if hosts.len() > HOSTS_MAX || database.is_empty() || !database.bytes().all(is_name) {
            return Err(NotAnAddress);
        }
        Ok(Self {
            hosts,
            database: database.to_owned(),
            server_ca_pem,
            connections: 16,
            connect_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(5),
            wait_max: Duration::from_secs(5),
            patience: Duration::from_secs(25),
            proof_max: Duration::from_secs(3),
        })
    }
}

fn host(text: &str) -> Option<(String, u16)> {
    let (name, port) = match text.rsplit_once(':') {
        // An IPv6 address has its own colons, and stands in brackets.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()?),
        _ => (text, PORT),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
    (!name.is_empty() && port > 0 && name.bytes().all(is_host)).then(|| (name.to_owned(), port))
}

/// The text is not the address of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected postgres://HOST[:PORT][,HOST[:PORT]]/DATABASE, without user, password or options")]
pub struct NotAnAddress;

/// Who speaks.
#[derive(Clone)]
pub struct Identity {
    /// The database role: [`role_of`] a service, or `countersign_schema`, which owns the tables.
    pub role: String,
    /// Its certificate, which is renewed while connections are made.
    pub slot: Arc<CertificateSlot>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The database role of a service. It owns nothing and can't bypass row security.
#[must_use]
pub fn role_of(service: Service) -> String {
    format!("countersign_{service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse =
            |text: &str| Settings::parse(text, String::new()).map(|settings| (settings.hosts, settings.database));
        let hosts =
            |list: &[(&str, u16)]| list.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect::<Vec<_>>();
        assert_eq!(parse("postgres://db/app"), Ok((hosts(&[("db", 5432)]), "app".into())));
        let three = parse("postgresql://10.0.0.1:5433,db.example,[::1]:1/c_1").unwrap();
        assert_eq!(three.0, hosts(&[("10.0.0.1", 5433), ("db.example", 5432), ("::1", 1)]));
        for wrong in [
            "",
            "postgres://db",
            "postgres:///app",
            "postgres://db/",
            "postgres://u@db/app",
            "postgres://db/a?b=c",
            "postgres://db:0/a",
            "postgres://db:x/a",
            "mysql://db/a",
            "postgres://a,,b/c",
        ] {
            assert_eq!(parse(wrong), Err(NotAnAddress), "{wrong}");
        }
    }
}
