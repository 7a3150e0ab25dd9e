//! Doors that ask their clients for a certificate, to which tokens can be bound (RFC 8705).
//!
//! A client's certificate says nothing here but which key it has: any is taken, also one that the client signed itself
//! and one that has expired (RFC 8705, section 2.2). The handshake proves that the client holds the key. Who the client
//! is, its token says.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CommonState, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use super::{CertificateSlot, TlsError, certificate_sha256, door, settings};

/// As [`server_config`](super::server_config), for a door that asks clients for a certificate and goes on without one.
///
/// Sessions are not resumed, so that the key is proved on each connection.
///
/// # Errors
/// [`TlsError::Settings`].
pub fn server_config_with_clients(slot: &Arc<CertificateSlot>) -> Result<Arc<ServerConfig>, TlsError> {
    let algorithms = settings().signature_verification_algorithms;
    let mut config = door(slot, Arc::new(AnyKey(algorithms)))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The SHA-256 digest of the certificate whose key the client at the other end proved to hold; `None` if it showed none.
#[must_use]
pub fn client_certificate(connection: &CommonState) -> Option<[u8; 32]> {
    connection.peer_certificates()?.first().map(|leaf| certificate_sha256(leaf))
}

/// Takes a certificate as a key, and decides nothing but whether the handshake is signed with it.
struct AnyKey(WebPkiSupportedAlgorithms);

impl fmt::Debug for AnyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyKey(..)")
    }
}

impl ClientCertVerifier for AnyKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No authority's certificates are wanted more than another's.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
