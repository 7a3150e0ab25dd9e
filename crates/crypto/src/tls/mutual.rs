//! TLS between services: version 1.3 and nothing older, both ends with a certificate of the deployment's own
//! authority, known by its SPIFFE ID instead of a DNS name.
//!
//! Sessions are not resumed: a resumed one would be as good as a certificate that has expired since.
//! A connection outlives the certificates that it began with; [`Peer::expires`] says how long it should.

mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_model::{Clock, UnixMs};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, CommonState, ServerConfig, SignatureScheme};

use self::verify::{ClientVerifier, ServerVerifier, Trusted};
use super::{CertificateSlot, HTTP_2, TlsError, roots, settings};
use crate::spiffe::{self, SpiffeError, SpiffeId};
use crate::x509::AUTHORITY_ROLE;

/// Whether clients must show a certificate. One that is shown is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// No certificate, no connection.
    Required,
    /// Clients without one are let in: the authority's listener, for services that join. What they may do there is
    /// the listener's to decide, by [`peer`].
    Optional,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The service's name.
    pub id: SpiffeId,
    /// The SHA-256 digest of its certificate.
    pub sha256: [u8; 32],
    /// When that certificate expires.
    pub expires: UnixMs,
}

/// Decides about a service by its name, after its certificate was verified.
type Expected = Box<dyn Fn(&SpiffeId) -> bool + Send + Sync>;

/// A server that shows the slot's certificate to services of the authority in `ca_pem`, and admits those that
/// `admitted` says yes to. Speaks HTTP/2.
///
/// # Errors
/// [`TlsError::Authority`], [`TlsError::Settings`].
pub fn mutual_server_config(
    slot: &Arc<CertificateSlot>,
    ca_pem: &str,
    clock: &Arc<dyn Clock>,
    clients: ClientCertificates,
    admitted: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(settings());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), Arc::clone(&provider));
    let builder = match clients {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional => builder.allow_unauthenticated(),
    };
    let inner = builder.build().map_err(|_| TlsError::Settings)?;
    let verifier = Arc::new(ClientVerifier { inner, admitted: Box::new(admitted) });
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(Arc::clone(clock))))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| TlsError::Settings)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::<CertificateSlot>::clone(slot));
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client that shows the slot's certificate, and speaks only with a service of the authority in `ca_pem` whose
/// name `expected` says yes to. The name under which the server was reached does not count. Speaks HTTP/2.
///
/// # Errors
/// [`TlsError::Authority`], [`TlsError::Settings`].
pub fn mutual_client_config(
    slot: &Arc<CertificateSlot>,
    ca_pem: &str,
    clock: &Arc<dyn Clock>,
    expected: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static,
) -> Result<Arc<ClientConfig>, TlsError> {
    let trusted = Trusted::Authority(Arc::new(roots(ca_pem)?));
    client(trusted, clock, Box::new(expected), Some(Arc::<CertificateSlot>::clone(slot)))
}

/// A client without a certificate of its own, that knows only the fingerprint of the authority's: the server must
/// show that certificate too, and be a service in the role `authority`. For joining. Speaks HTTP/2.
///
/// # Errors
/// [`TlsError::Settings`].
pub fn join_client_config(ca_sha256: [u8; 32], clock: &Arc<dyn Clock>) -> Result<Arc<ClientConfig>, TlsError> {
    client(Trusted::Fingerprint(ca_sha256), clock, Box::new(|id| id.role() == AUTHORITY_ROLE), None)
}

/// Who is at the other end: `None` if it showed no certificate.
///
/// # Errors
/// [`SpiffeError`] if it showed one that is not a service's; connections made with this module's settings have none.
pub fn peer(connection: &CommonState) -> Result<Option<Peer>, SpiffeError> {
    connection.peer_certificates().map(peer_of_chain).transpose()
}

/// As [`peer`], from the certificates that the other end showed and the handshake verified.
///
/// # Errors
/// [`SpiffeError`].
pub fn peer_of_chain(chain: &[CertificateDer<'_>]) -> Result<Peer, SpiffeError> {
    let leaf = chain.first().ok_or(SpiffeError::Certificate)?;
    let (_, expires) = spiffe::validity_of_certificate(leaf)?;
    Ok(Peer { id: spiffe::of_certificate(leaf)?, sha256: certificate_sha256(leaf), expires })
}

/// The SHA-256 digest of a certificate in DER.
#[must_use]
pub fn certificate_sha256(der: &[u8]) -> [u8; 32] {
    crate::sha256(der)
}

/// The SHA-256 digest of the one certificate in a PEM text; `None` if it isn't one.
#[must_use]
pub fn pem_sha256(pem: &str) -> Option<[u8; 32]> {
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    let (Some(Ok(certificate)), None) = (certificates.next(), certificates.next()) else { return None };
    Some(certificate_sha256(&certificate))
}

fn client(
    trusted: Trusted,
    clock: &Arc<dyn Clock>,
    expected: Expected,
    own: Option<Arc<CertificateSlot>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(settings());
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Arc::new(ServerVerifier { trusted, algorithms, expected });
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(Arc::clone(clock))))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| TlsError::Settings)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own {
        Some(slot) => builder.with_client_cert_resolver(slot),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The deployment's clock, for validity.
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().0)))
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime(..)")
    }
}

impl ResolvesClientCert for CertificateSlot {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
