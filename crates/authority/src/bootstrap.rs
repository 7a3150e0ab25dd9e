//! The one sealed file that an authority needs whose control data are in a database: with it, and with the key management
//! service, it certifies itself before it reaches the database, and the database's own servers.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::x509::{
    AuthorityParts, CertificateAuthority, MAX_WORKLOAD_LIFETIME_MS, MachineUse, ServerCertificate, WorkloadKey,
    X509Error,
};
use countersign_crypto::{Aad, SealKey, TenantKey};
use countersign_keys::KmsSet;
use countersign_model::{Service, UnixMs};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::RegistryError;
use crate::registry::fact::SecretBytes;
use crate::registry::{Registry, deployment_key_aad};

/// What the file begins with.
const FORMAT: &[u8] = b"countersign bootstrap 1\n";
/// A file of ours has about 1,500 bytes.
const BYTES_MAX: u64 = 64 * 1024;
const OTHERS: u32 = 0o077;

/// The instance in the name of a service that certifies itself for the database.
const INSTANCE: &str = "bootstrap";

/// A certificate authority that works before there is a database.
pub struct Bootstrap {
    certificates: CertificateAuthority,
    trust_domain: String,
}

/// What is in the file after [`FORMAT`].
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The deployment's key, wrapped by the key management service.
    wrapped: Vec<u8>,
    /// [`Content`], sealed under it.
    sealed: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    key: SecretBytes,
    certificate: String,
    trust_domain: String,
}

fn seal_key(deployment_key: &TenantKey) -> SealKey {
    deployment_key.seal_key("bootstrap", 1)
}

fn aad() -> Aad {
    Aad::new("bootstrap.1")
}

fn unusable(path: &Path, what: &'static str) -> RegistryError {
    RegistryError::Bootstrap { path: path.to_owned(), what }
}

impl Stored {
    fn read(path: &Path) -> Result<Self, RegistryError> {
        let io = |source| RegistryError::Io { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(io)?;
        let found = file.metadata().map_err(io)?;
        if !found.is_file() || found.len() > BYTES_MAX {
            return Err(unusable(path, "is not the file by which an authority comes to its database"));
        }
        if found.mode() & OTHERS != 0 {
            return Err(unusable(path, "can be read or changed by others: its mode must be 0600"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let stored = bytes.strip_prefix(FORMAT).and_then(|rest| postcard::from_bytes(rest).ok());
        stored.ok_or_else(|| unusable(path, "is not the file by which an authority comes to its database"))
    }
}

impl Bootstrap {
    /// Reads the file at `path`. Asks the key management service.
    ///
    /// # Errors
    /// [`RegistryError::Kms`], [`RegistryError::Bootstrap`], [`RegistryError::Io`].
    pub fn open(path: &Path, kms: &KmsSet) -> Result<Self, RegistryError> {
        let Stored { wrapped, sealed } = Stored::read(path)?;
        let key = TenantKey::new(kms.unwrap_key(&deployment_key_aad(), &wrapped)?);
        let damaged = || unusable(path, "is damaged");
        let plain = Zeroizing::new(seal_key(&key).open(&aad(), &sealed).map_err(|_| damaged())?);
        let content: Content = postcard::from_bytes(&plain).map_err(|_| damaged())?;
        let parts = AuthorityParts { key_pkcs8_der: content.key.0, certificate_pem: content.certificate };
        let certificates = CertificateAuthority::from_parts(parts).map_err(|_| damaged())?;
        Ok(Self { certificates, trust_domain: content.trust_domain })
    }

    /// A certificate, with a new key, by which a service signs in to the database: an hour at most, and its common name
    /// is the service's role.
    ///
    /// # Errors
    /// [`X509Error`].
    pub fn certificate(&self, service: Service, now: UnixMs) -> Result<ServerCertificate, X509Error> {
        let key = WorkloadKey::generate()?;
        let id = SpiffeId::new(&self.trust_domain, service.as_str(), INSTANCE).map_err(|_| X509Error::Name)?;
        let issued = self.certificates.issue_workload(&key.request()?, &id, &[], now, MAX_WORKLOAD_LIFETIME_MS)?;
        key.with_chain(issued.chain_der)
    }

    /// A certificate, with a new key, for a database server that is known by these DNS names and IP addresses.
    ///
    /// # Errors
    /// [`X509Error`] for names that are none and for lifetimes over 12 hours.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<ServerCertificate, X509Error> {
        self.certificates.issue_server(names, now, lifetime_ms)
    }

    /// A certificate, with a new key, for another machine beside the deployment.
    ///
    /// # Errors
    /// As [`Self::server_certificate`], and for the name of a service where the machine calls others.
    pub fn machine_certificate(
        &self,
        names: &[String],
        usage: MachineUse,
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<ServerCertificate, X509Error> {
        self.certificates.issue_machine(names, usage, now, lifetime_ms)
    }

    /// The certificate authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.certificates.ca_pem()
    }

    /// Writes the file for an open deployment, in place of what is there: the old one or the new one is there, whole,
    /// whatever happens meanwhile. Its owner alone may read it.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn write(registry: &Registry, path: &Path) -> Result<(), RegistryError> {
        registry.write_bootstrap(path)
    }

    /// The same, unless it is there and wrapped as the deployment's key is now.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn keep(registry: &Registry, path: &Path) -> Result<(), RegistryError> {
        registry.keep_bootstrap(path)
    }
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrap").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn write_bootstrap(&self, path: &Path) -> Result<(), RegistryError> {
        let parts = self.certificates().to_parts();
        let content = Content {
            key: SecretBytes(parts.key_pkcs8_der),
            certificate: parts.certificate_pem,
            trust_domain: self.trust_domain().as_ref().to_owned(),
        };
        let large = |_| RegistryError::Storage("a fact is too large");
        let plain = Vec::with_capacity(2048);
        let plain = Zeroizing::new(postcard::to_extend(&content, plain).map_err(large)?);
        let sealed = seal_key(self.own_key()).seal(self.entropy(), &aad(), &plain);
        let stored = Stored { wrapped: self.wrapped_own_key(), sealed };
        let bytes = postcard::to_extend(&stored, FORMAT.to_vec()).map_err(large)?;
        replace(path, &bytes).map_err(|source| RegistryError::Io { path: path.to_owned(), source })
    }

    /// Writes the file by which the authority comes to its database, unless it is there and wrapped as the deployment's
    /// key is now.
    pub(crate) fn keep_bootstrap(&self, path: &Path) -> Result<(), RegistryError> {
        match Stored::read(path) {
            Ok(stored) if stored.wrapped == self.wrapped_own_key() => Ok(()),
            _ => self.write_bootstrap(path),
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".unfinished");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
