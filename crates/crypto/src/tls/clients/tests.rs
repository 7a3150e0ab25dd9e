use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::tls::tests::{authority, certificate, handshake};
use crate::x509::CertificateAuthority;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Shows this certificate, and signs with this key, whatever the server asks for.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        assert!(hints.is_empty(), "no authority is named");
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn key(of: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(of).unwrap()
}

/// A certificate that its own key signed, that is good for nothing, and that has expired.
fn self_signed(key: &KeyPair) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    params.self_signed(key).unwrap().der().clone()
}

fn client(
    ca: &CertificateAuthority,
    shown: Option<(&CertificateDer<'static>, &KeyPair)>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let key = provider::sign::any_supported_type(&key).unwrap();
            let certified = CertifiedKey::new(vec![certificate.clone()], key);
            builder.with_client_cert_resolver(Arc::new(Shows(Arc::new(certified))))
        }
    })
}

fn servers(ca: &CertificateAuthority) -> (Arc<ServerConfig>, Arc<ServerConfig>) {
    let slot = CertificateSlot::new(&certificate(ca)).unwrap();
    (server_config_with_clients(&slot).unwrap(), crate::tls::server_config(&slot).unwrap())
}

fn met(client: Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<ServerConnection, Error> {
    handshake(client, Arc::clone(server), "localhost").map(|(_, server)| server)
}

#[test]
fn any_certificate_whose_key_the_client_has_is_taken_for_that_key() {
    let ca = authority();
    let (asking, not_asking) = servers(&ca);
    for version in VERSIONS {
        for of in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = key(of);
            let own = self_signed(&key);
            let server = met(client(&ca, Some((&own, &key)), version), &asking).unwrap();
            assert_eq!(server.protocol_version(), Some(version.version));
            assert_eq!(client_certificate(&server), Some(certificate_sha256(&own)));
            let server = met(client(&ca, Some((&own, &key)), version), &not_asking).unwrap();
            assert_eq!(client_certificate(&server), None, "nobody asked");
        }
    }
}

#[test]
fn a_client_without_a_certificate_is_let_in_without_one() {
    let ca = authority();
    let (asking, _) = servers(&ca);
    for version in VERSIONS {
        assert_eq!(client_certificate(&met(client(&ca, None, version), &asking).unwrap()), None);
    }
}

#[test]
fn somebody_else_s_certificate_is_refused() {
    let ca = authority();
    let (asking, _) = servers(&ca);
    for version in VERSIONS {
        let [own, other] = [key(&rcgen::PKCS_ECDSA_P256_SHA256), key(&rcgen::PKCS_ECDSA_P256_SHA256)];
        let refused = met(client(&ca, Some((&self_signed(&other), &own)), version), &asking).err();
        assert_eq!(refused, Some(Error::InvalidCertificate(CertificateError::BadSignature)));
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let ca = authority();
    let (asking, _) = servers(&ca);
    for version in VERSIONS {
        let own = key(&rcgen::PKCS_ECDSA_P256_SHA256);
        for der in [vec![], vec![0], self_signed(&own)[..100].to_vec()] {
            assert!(met(client(&ca, Some((&der.into(), &own)), version), &asking).is_err());
        }
    }
}

#[test]
fn the_key_is_proved_on_each_connection() {
    let ca = authority();
    let (asking, not_asking) = servers(&ca);
    let plain = client(&ca, None, &rustls::version::TLS12);
    met(Arc::clone(&plain), &not_asking).unwrap();
    assert_eq!(met(plain, &not_asking).unwrap().handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    for version in VERSIONS {
        let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
        let client = client(&ca, Some((&self_signed(&key), &key)), version);
        for _ in 0..3 {
            let server = met(Arc::clone(&client), &asking).unwrap();
            assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
}

#[test]
fn a_client_shows_what_its_slot_holds() {
    let ca = authority();
    let (asking, _) = servers(&ca);
    let own = certificate(&authority());
    let slot = CertificateSlot::new(&own).unwrap();
    let server = met(crate::tls::client_config_showing(ca.ca_pem(), &slot).unwrap(), &asking).unwrap();
    assert_eq!(client_certificate(&server), Some(certificate_sha256(&own.chain_der[0])));
}
