//! The certificates of one data centre's machine.

use countersign_crypto::x509::{MachineUse, ServerCertificate, X509Error};
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

/// What a data centre's PostgreSQL, Patroni and etcd show each other and what they trust, with new keys. `issue` is the
/// deployment's authority: from names and use to a certificate, of at most [`LIFETIME_MS`].
///
/// # Errors
/// What `issue` says.
pub fn certificates(
    datacentre: &Datacentre,
    ca_pem: &str,
    issue: impl Fn(&[String], MachineUse) -> Result<ServerCertificate, X509Error>,
) -> Result<Vec<Certificate>, X509Error> {
    let node = [MEMBER.to_owned(), datacentre.address.to_string(), "127.0.0.1".to_owned(), "localhost".to_owned()];
    let client = |role: &str| [role.to_owned()];
    let mut made = Vec::new();
    // What to trust first: whoever sees a certificate sees that, too.
    for folder in ["postgres", "etcd"] {
        made.push(Certificate { path: format!("{folder}/ca.pem"), pem: Zeroizing::new(ca_pem.to_owned()) });
    }
    for (path, names, usage) in [
        ("postgres/node.pem", node.as_slice(), MachineUse::Peer),
        ("postgres/replicator.pem", client(REPLICATOR).as_slice(), MachineUse::Client),
        ("postgres/rewind.pem", client(REWIND).as_slice(), MachineUse::Client),
        ("etcd/node.pem", node.as_slice(), MachineUse::Peer),
    ] {
        made.push(Certificate { path: path.to_owned(), pem: issue(names, usage)?.expose_pem() });
    }
    Ok(made)
}
