//! Calls to servers on the public internet, which are vouched for by authorities that the platform trusts.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{HTTP_1_1, TlsError, settings};

/// The certificate authorities that this machine trusts.
#[derive(Clone)]
pub struct Roots(RootCertStore);

impl Roots {
    /// Reads them from where the platform keeps them. What can't be read is left out: a server that none of the
    /// rest vouches for is refused.
    #[must_use]
    pub fn of_platform() -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self(store)
    }
}

/// Whether the text is one or more certificates in PEM that can be trusted.
#[must_use]
pub fn are_authorities(pem: &str) -> bool {
    let mut roots = RootCertStore::empty();
    add(&mut roots, pem).is_ok()
}

fn add(roots: &mut RootCertStore, pem: &str) -> Result<(), TlsError> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| TlsError::Authority)?).map_err(|_| TlsError::Authority)?;
    }
    if roots.len() > before { Ok(()) } else { Err(TlsError::Authority) }
}

/// A client that trusts `roots` and besides them the authorities in `extra_ca_pem`, and speaks HTTP/1.1.
///
/// Unlike our own servers, others may have RSA certificates.
///
/// # Errors
/// [`TlsError::Authority`] if the text isn't certificates; [`TlsError::Settings`].
pub fn public_client_config(roots: &Roots, extra_ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = roots.0.clone();
    if let Some(pem) = extra_ca_pem {
        add(&mut roots, pem)?;
    }
    let mut settings: CryptoProvider = settings();
    settings.cipher_suites.extend([
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]);
    let mut config = ClientConfig::builder_with_provider(Arc::new(settings))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| TlsError::Settings)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}
