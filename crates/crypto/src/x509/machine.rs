//! Certificates for what stands beside a deployment: the database's servers, and the machines that replicate them.

use std::str::FromStr as _;

use countersign_model::{Service, UnixMs};
use rcgen::ExtendedKeyUsagePurpose;

use super::{CertificateAuthority, ServerCertificate, X509Error};

/// Which ends of a connection a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineUse {
    /// The end that is called.
    Server,
    /// The end that calls. Its name is the common name, which PostgreSQL maps to a role.
    Client,
    /// Both: members of a cluster call each other.
    Peer,
}

impl MachineUse {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Peer => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

impl CertificateAuthority {
    /// A certificate with a new key for a machine with these names; the first is its common name too.
    ///
    /// INVARIANT a-machine-is-no-service: what calls can't have the name of one, which PostgreSQL would take for it, and
    /// without a SPIFFE ID no service takes its calls.
    ///
    /// # Errors
    /// [`X509Error::Name`] for a name that is none, or that of a service where it calls; [`X509Error::Lifetime`] for a
    /// lifetime of zero or over [`MAX_SERVER_LIFETIME_MS`](super::MAX_SERVER_LIFETIME_MS); [`X509Error::Generation`].
    pub fn issue_machine(
        &self,
        names: &[String],
        usage: MachineUse,
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<ServerCertificate, X509Error> {
        let is_service = |name: &String| Service::from_str(&name.to_ascii_lowercase()).is_ok();
        if usage != MachineUse::Server && names.iter().any(is_service) {
            return Err(X509Error::Name);
        }
        self.issue_named(names, usage.purposes(), now, lifetime_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_never_a_service() {
        let (now, hour) = (UnixMs(1_780_000_000_000), 3_600_000);
        let authority = CertificateAuthority::generate("Test", now, 10).unwrap();
        let issue = |name: &str, usage| authority.issue_machine(&[name.to_owned()], usage, now, hour).map(drop);
        for service in Service::ALL {
            for name in [service.to_string(), service.to_string().to_uppercase()] {
                assert_eq!(issue(&name, MachineUse::Client), Err(X509Error::Name), "{name}");
                assert_eq!(issue(&name, MachineUse::Peer), Err(X509Error::Name), "{name}");
            }
        }
        assert_eq!(issue("replicator", MachineUse::Client), Ok(()));
        assert_eq!(issue("10.0.0.1", MachineUse::Peer), Ok(()));
        assert_eq!(issue("db1.example", MachineUse::Server), Ok(()));
        let over = authority.issue_machine(&["db1".to_owned()], MachineUse::Server, now, 13 * hour).map(drop);
        assert_eq!(over, Err(X509Error::Lifetime));
    }
}
