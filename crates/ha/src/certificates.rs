//! The certificates of one data centre's machine.

use countersign_crypto::x509::{CertificateAuthority, MachineUse, X509Error};
use countersign_model::UnixMs;
use zeroize::Zeroizing;

use crate::inventory::Datacentre;

/// How long they last: the longest that a server's certificate may. They are renewed at half of it.
pub const LIFETIME_MS: u64 = 12 * 3600 * 1000;

/// The common name of the members of the cluster. etcd lets nobody else in among its members.
pub(crate) const MEMBER: &str = "database";
/// The database role of a standby, and the common name with which one signs in.
pub(crate) const REPLICATOR: &str = "replicator";
/// The database role with which a former primary is wound back.
pub(crate) const REWIND: &str = "rewind";

/// A certificate with its key, or what to trust.
pub struct Certificate {
    /// Below the folder `config`: who owns `postgres` or `etcd` there owns it.
    pub path: String,
    /// In PEM; a key first if there is one.
    pub pem: Zeroizing<String>,
}

/// What a data centre's PostgreSQL, Patroni and etcd show each other and what they trust, with new keys.
///
/// # Errors
/// [`X509Error::Lifetime`] for one of zero or over [`LIFETIME_MS`]; [`X509Error::Generation`].
pub fn certificates(
    authority: &CertificateAuthority,
    datacentre: &Datacentre,
    now: UnixMs,
    lifetime_ms: u64,
) -> Result<Vec<Certificate>, X509Error> {
    let node = [MEMBER.to_owned(), datacentre.address.to_string(), "127.0.0.1".to_owned(), "localhost".to_owned()];
    let client = |role: &str| [role.to_owned()];
    let mut made = Vec::new();
    for (path, names, usage) in [
        ("postgres/node.pem", node.as_slice(), MachineUse::Peer),
        ("postgres/replicator.pem", client(REPLICATOR).as_slice(), MachineUse::Client),
        ("postgres/rewind.pem", client(REWIND).as_slice(), MachineUse::Client),
        ("etcd/node.pem", node.as_slice(), MachineUse::Peer),
    ] {
        let issued = authority.issue_machine(names, usage, now, lifetime_ms)?;
        made.push(Certificate { path: path.to_owned(), pem: issued.expose_pem() });
    }
    for folder in ["postgres", "etcd"] {
        let pem = Zeroizing::new(authority.ca_pem().to_owned());
        made.push(Certificate { path: format!("{folder}/ca.pem"), pem });
    }
    Ok(made)
}
