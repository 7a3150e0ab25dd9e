//! TLS settings: at doors version 1.3, and 1.2 with forward-secret authenticated encryption only; between services
//! version 1.3 only, with certificates at both ends.

mod clients;
mod mutual;
pub mod public;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_model::UnixMs;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use rustls::pki_types::ServerName;
pub use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use self::clients::{client_certificate, server_config_with_clients};
pub use self::mutual::{
    ClientCertificates, Peer, certificate_sha256, join_client_config, mutual_client_config, mutual_server_config, peer,
    peer_of_chain, pem_sha256,
};
use crate::x509::ServerCertificate;

const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
/// Registered for PostgreSQL's protocol.
const POSTGRESQL: &[u8] = b"postgresql";

/// Why TLS settings could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate and key can't be used together.
    #[error("the server's certificate and key can't be used")]
    Certificate,
    /// The text is not exactly one certificate in PEM that can be trusted.
    #[error("expected one certificate authority in PEM")]
    Authority,
    /// The library refused the settings.
    #[error("the TLS settings were refused")]
    Settings,
}

/// The certificate that a server, or a service as a client, presents, which can be replaced while it runs: connections made after
/// [`Self::replace`] see the new one.
pub struct CertificateSlot(ArcSwap<CertifiedKey>);

impl CertificateSlot {
    /// A slot holding `certificate`.
    ///
    /// # Errors
    /// [`TlsError::Certificate`].
    pub fn new(certificate: &ServerCertificate) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::new(Arc::new(certified(certificate)?)))))
    }

    /// Presents `certificate` from now on.
    ///
    /// # Errors
    /// [`TlsError::Certificate`]; the old one stays.
    pub fn replace(&self, certificate: &ServerCertificate) -> Result<(), TlsError> {
        self.0.store(Arc::new(certified(certificate)?));
        Ok(())
    }

    /// When the certificate that is presented now expires; the beginning of time if that can't be read.
    #[must_use]
    pub fn expires(&self) -> UnixMs {
        let current = self.current();
        let leaf = current.cert.first();
        let validity = leaf.and_then(|leaf| crate::spiffe::validity_of_certificate(leaf).ok());
        validity.map_or(UnixMs(0), |(_, expires)| expires)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }
}

impl fmt::Debug for CertificateSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateSlot(..)")
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn certified(certificate: &ServerCertificate) -> Result<CertifiedKey, TlsError> {
    let chain = certificate.chain_der.iter().map(|der| CertificateDer::from(der.clone())).collect();
    // Borrowed, so that no copy of the key stays behind that nobody wipes.
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key_pkcs8_der.as_slice()));
    let key = provider::sign::any_ecdsa_type(&key).map_err(|_| TlsError::Certificate)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| TlsError::Certificate)?;
    Ok(certified)
}

/// Named one by one, so that a new release of the library can't add to them.
fn settings() -> CryptoProvider {
    use provider::cipher_suite as suite;
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        ..provider::default_provider()
    }
}

/// A server that presents the slot's certificate and speaks HTTP/2 and HTTP/1.1.
///
/// # Errors
/// [`TlsError::Settings`].
pub fn server_config(slot: &Arc<CertificateSlot>) -> Result<Arc<ServerConfig>, TlsError> {
    door(slot, WebPkiClientVerifier::no_client_auth()).map(Arc::new)
}

fn door(slot: &Arc<CertificateSlot>, clients: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(settings()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| TlsError::Settings)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::<CertificateSlot>::clone(slot));
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    // All of them are good; that the server chooses is what scanners want to see.
    config.ignore_client_order = true;
    Ok(config)
}

/// A client that trusts exactly the authority in `ca_pem` and speaks HTTP/1.1.
///
/// # Errors
/// [`TlsError::Authority`] if the text isn't one certificate; [`TlsError::Settings`].
pub fn client_config(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    client(ca_pem, HTTP_1_1, None)
}

/// As [`client_config`], for a client that shows the slot's certificate to servers that ask for one.
///
/// # Errors
/// As [`client_config`].
pub fn client_config_showing(ca_pem: &str, own: &Arc<CertificateSlot>) -> Result<Arc<ClientConfig>, TlsError> {
    client(ca_pem, HTTP_1_1, Some(own))
}

/// A client of a PostgreSQL server that trusts exactly the authority in `ca_pem` and shows the slot's certificate.
///
/// # Errors
/// As [`client_config`].
pub fn postgres_client_config(ca_pem: &str, own: &Arc<CertificateSlot>) -> Result<Arc<ClientConfig>, TlsError> {
    client(ca_pem, POSTGRESQL, Some(own))
}

/// As [`client_config`], for a client that speaks HTTP/2.
///
/// # Errors
/// As [`client_config`].
pub fn client_config_http2(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    client(ca_pem, HTTP_2, None)
}

fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut certificates = CertificateDer::pem_slice_iter(ca_pem.as_bytes());
    let (Some(Ok(authority)), None) = (certificates.next(), certificates.next()) else {
        return Err(TlsError::Authority);
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(|_| TlsError::Authority)?;
    Ok(roots)
}

fn client(ca_pem: &str, protocol: &[u8], own: Option<&Arc<CertificateSlot>>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(ca_pem)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(settings()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| TlsError::Settings)?
        .with_root_certificates(roots);
    let mut config = match own {
        Some(slot) => builder.with_client_cert_resolver(Arc::<CertificateSlot>::clone(slot)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
