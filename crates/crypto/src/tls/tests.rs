use std::io::{Read, Write};

use countersign_model::{Clock, clock::SystemClock};
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::x509::{CertificateAuthority, MAX_SERVER_LIFETIME_MS};

pub(super) fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("Countersign example", SystemClock.now(), 10).unwrap()
}

pub(super) fn certificate(authority: &CertificateAuthority) -> ServerCertificate {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    authority.issue_server(&names, SystemClock.now(), MAX_SERVER_LIFETIME_MS).unwrap()
}

/// A whole handshake in memory: the two ends, or why the client or server broke off.
pub(super) fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from(name.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok((client, server))
}

fn narrowed(
    ca_pem: &str,
    narrow: impl FnOnce(&mut CryptoProvider),
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut provider = provider::default_provider();
    narrow(&mut provider);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn a_client_that_trusts_the_authority_speaks_tls_1_3_with_the_server() {
    let authority = authority();
    let server = server_config(&CertificateSlot::new(&certificate(&authority)).unwrap()).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let (mut client, mut server) =
            handshake(client_config(authority.ca_pem()).unwrap(), Arc::clone(&server), name).unwrap();
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(client.alpn_protocol(), Some(HTTP_1_1));
        client.writer().write_all(b"hello").unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut said = [0u8; 5];
        server.reader().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello");
    }
    let (client, _) = handshake(client_config_http2(authority.ca_pem()).unwrap(), server, "localhost").unwrap();
    assert_eq!(client.alpn_protocol(), Some(HTTP_2));
}

#[test]
fn another_authority_or_another_name_is_refused() {
    let (one, other) = (authority(), authority());
    let server = server_config(&CertificateSlot::new(&certificate(&one)).unwrap()).unwrap();
    let refused = |ca: &CertificateAuthority, name| {
        let result = handshake(client_config(ca.ca_pem()).unwrap(), Arc::clone(&server), name);
        matches!(result, Err(rustls::Error::InvalidCertificate(_)))
    };
    assert!(refused(&other, "localhost"));
    assert!(refused(&one, "example.org"));
}

#[test]
fn version_1_2_is_spoken_with_authenticated_forward_secret_suites_only() {
    let authority = authority();
    let server = server_config(&CertificateSlot::new(&certificate(&authority)).unwrap()).unwrap();
    let tls12 = &[&rustls::version::TLS12][..];
    let client = narrowed(authority.ca_pem(), |_| {}, tls12);
    let (client, _) = handshake(client, server, "localhost").unwrap();
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    for suite in settings().cipher_suites {
        let name = format!("{:?}", suite.suite());
        assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
        assert!(name.contains("_GCM_") || name.contains("_POLY1305_"), "{name}");
    }
}

#[test]
fn a_replaced_certificate_is_presented_to_the_next_connection() {
    let authority = authority();
    let (first, second) = (certificate(&authority), certificate(&authority));
    let slot = CertificateSlot::new(&first).unwrap();
    let server = server_config(&slot).unwrap();
    let presented = || {
        let client = client_config(authority.ca_pem()).unwrap();
        let (client, _) = handshake(client, Arc::clone(&server), "localhost").unwrap();
        client.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(presented(), first.chain_der[0]);
    slot.replace(&second).unwrap();
    assert_eq!(presented(), second.chain_der[0]);
    let mixed = ServerCertificate { chain_der: first.chain_der.clone(), ..certificate(&authority) };
    assert_eq!(slot.replace(&mixed).err(), Some(TlsError::Certificate));
    assert_eq!(presented(), second.chain_der[0]);
}

#[test]
fn exactly_one_authority_is_trusted() {
    let pem = authority().ca_pem().to_owned();
    assert!(client_config(&pem).is_ok());
    for bad in [String::new(), "nonsense".to_owned(), format!("{pem}{pem}")] {
        assert_eq!(client_config(&bad).err(), Some(TlsError::Authority));
    }
}

#[test]
fn a_slot_shows_nothing() {
    let slot = CertificateSlot::new(&certificate(&authority())).unwrap();
    assert_eq!(format!("{slot:?}"), "CertificateSlot(..)");
}
