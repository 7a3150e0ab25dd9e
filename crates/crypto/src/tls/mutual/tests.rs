use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_model::clock::ManualClock;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error, ServerConnection};

use super::super::{TlsError, client_config_http2, server_config};
use super::*;
use crate::x509::{CertificateAuthority, ServerCertificate, WorkloadKey};

const NOW: UnixMs = UnixMs(1_785_000_000_000);
const LIFETIME_MS: u64 = 10 * 60 * 1000;

struct House {
    authority: CertificateAuthority,
    manual: Arc<ManualClock>,
    clock: Arc<dyn Clock>,
}

impl House {
    fn new() -> Self {
        let manual = Arc::new(ManualClock::at(NOW));
        let authority = CertificateAuthority::generate("Countersign example", NOW, 10).unwrap();
        Self { authority, clock: Arc::<ManualClock>::clone(&manual), manual }
    }

    fn certificate(&self, id: &str) -> ServerCertificate {
        let key = WorkloadKey::generate().unwrap();
        let (request, id) = (key.request().unwrap(), id.parse().unwrap());
        let issued = self.authority.issue_workload(&request, &id, &[], self.clock.now(), LIFETIME_MS).unwrap();
        key.with_chain(issued.chain_der).unwrap()
    }

    fn slot(&self, role: &str) -> Arc<CertificateSlot> {
        CertificateSlot::new(&self.certificate(&format!("spiffe://countersign/{role}/a"))).unwrap()
    }

    fn server(&self, slot: &Arc<CertificateSlot>, clients: ClientCertificates) -> Arc<ServerConfig> {
        let ours = |id: &SpiffeId| id.trust_domain() == "countersign";
        mutual_server_config(slot, self.authority.ca_pem(), &self.clock, clients, ours).unwrap()
    }

    fn client(&self, slot: &Arc<CertificateSlot>, role: &'static str) -> Arc<ClientConfig> {
        let expected = move |id: &SpiffeId| id.trust_domain() == "countersign" && id.role() == role;
        mutual_client_config(slot, self.authority.ca_pem(), &self.clock, expected).unwrap()
    }

    /// A keys service that a gateway speaks with.
    fn pair(&self) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let server = self.server(&self.slot("keys"), ClientCertificates::Required);
        (self.client(&self.slot("gateway"), "keys"), server)
    }
}

/// Which end broke off, and why.
#[derive(Debug, PartialEq)]
enum Broken {
    Client(Error),
    Server(Error),
}

type Ends = (ClientConnection, ServerConnection);

/// A whole handshake in memory. In TLS 1.3 a server that refuses a client's certificate does so after the client
/// believes to be done, so it goes on until nobody has anything to say.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Ends, Broken> {
    let name = ServerName::try_from("any.example").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.wants_write() || server.wants_write() || client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().map_err(Broken::Server)?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().map_err(Broken::Client)?;
    }
    Ok((client, server))
}

fn says(from: &mut ClientConnection, to: &mut ServerConnection) {
    from.writer().write_all(b"hello").unwrap();
    let mut bytes = Vec::new();
    from.write_tls(&mut bytes).unwrap();
    to.read_tls(&mut bytes.as_slice()).unwrap();
    to.process_new_packets().unwrap();
    let mut said = [0u8; 5];
    to.reader().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
}

fn client_refused(result: Result<Ends, Broken>) -> CertificateError {
    match result {
        Err(Broken::Client(Error::InvalidCertificate(why))) => why,
        other => panic!("the client did not refuse: {:?}", other.map(|_| ())),
    }
}

fn server_refused(result: Result<Ends, Broken>) -> CertificateError {
    match result {
        Err(Broken::Server(Error::InvalidCertificate(why))) => why,
        other => panic!("the server did not refuse: {:?}", other.map(|_| ())),
    }
}

/// Deployments' authorities have the same name, so the signature tells them apart.
fn is_foreign(why: CertificateError) -> bool {
    matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature)
}

#[test]
fn services_know_each_other_by_name_over_version_1_3() {
    let house = House::new();
    let (client, server) = house.pair();
    let (mut client, mut server) = handshake(&client, &server).unwrap();
    says(&mut client, &mut server);
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(client.alpn_protocol(), Some(HTTP_2));
    let gateway = peer(&server).unwrap().unwrap();
    assert_eq!(gateway.id.to_string(), "spiffe://countersign/gateway/a");
    assert_eq!(gateway.expires, NOW.plus_ms(LIFETIME_MS));
    assert_eq!(gateway.sha256, certificate_sha256(&server.peer_certificates().unwrap()[0]));
    assert_eq!(peer(&client).unwrap().unwrap().id.role(), "keys");
    assert!(peer_of_chain(&[]).is_err());
}

#[test]
fn sessions_are_not_resumed() {
    let (client, server) = House::new().pair();
    for _ in 0..3 {
        let (client, server) = handshake(&client, &server).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

#[test]
fn certificates_of_another_authority_are_refused_at_both_ends() {
    let (ours, theirs) = (House::new(), House::new());
    let (client, server) = ours.pair();
    let (their_client, their_server) = theirs.pair();
    assert!(is_foreign(client_refused(handshake(&client, &their_server))));
    assert!(is_foreign(client_refused(handshake(&their_client, &server))));
    // A client that trusts the server but has its own certificate from elsewhere.
    let mixed = theirs.slot("gateway");
    assert!(is_foreign(server_refused(handshake(&ours.client(&mixed, "keys"), &server))));
    let optional = ours.server(&ours.slot("keys"), ClientCertificates::Optional);
    assert!(is_foreign(server_refused(handshake(&ours.client(&mixed, "keys"), &optional))));
}

#[test]
fn expired_certificates_are_refused_at_both_ends_by_the_clock_that_was_given() {
    let house = House::new();
    let (old_client, old_server) = house.pair();
    house.manual.advance_ms(LIFETIME_MS + 1000);
    let (new_client, new_server) = house.pair();
    assert!(handshake(&new_client, &new_server).is_ok());
    let is_expired = |why| matches!(why, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    assert!(is_expired(client_refused(handshake(&new_client, &old_server))));
    assert!(is_expired(server_refused(handshake(&old_client, &new_server))));
}

#[test]
fn a_server_of_another_role_instance_or_trust_domain_is_refused() {
    let house = House::new();
    let client = house.client(&house.slot("gateway"), "keys");
    for id in ["spiffe://countersign/store/a", "spiffe://countersign/gateway/a", "spiffe://elsewhere/keys/a"] {
        let slot = CertificateSlot::new(&house.certificate(id)).unwrap();
        let server = house.server(&slot, ClientCertificates::Required);
        assert_eq!(client_refused(handshake(&client, &server)), CertificateError::NotValidForName, "{id}");
    }
}

#[test]
fn a_server_asks_who_is_admitted_at_every_handshake() {
    let house = House::new();
    let removed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&removed);
    let admitted = move |id: &SpiffeId| id.role() == "gateway" && !seen.load(Ordering::SeqCst);
    let (ca_pem, clock) = (house.authority.ca_pem(), &house.clock);
    let server =
        mutual_server_config(&house.slot("keys"), ca_pem, clock, ClientCertificates::Required, admitted).unwrap();
    let gateway = house.client(&house.slot("gateway"), "keys");
    assert!(handshake(&gateway, &server).is_ok());
    let store = house.client(&house.slot("store"), "keys");
    assert_eq!(server_refused(handshake(&store, &server)), CertificateError::NotValidForName);
    removed.store(true, Ordering::SeqCst);
    assert_eq!(server_refused(handshake(&gateway, &server)), CertificateError::NotValidForName);
}

/// A certificate of the same authority that names no service is good for a door and for nothing else.
#[test]
fn a_door_s_certificate_is_neither_a_server_s_nor_a_client_s_between_services() {
    let house = House::new();
    let door = house.authority.issue_server(&["any.example".to_owned()], NOW, LIFETIME_MS).unwrap();
    let slot = CertificateSlot::new(&door).unwrap();
    let client = house.client(&house.slot("gateway"), "keys");
    let server = house.server(&slot, ClientCertificates::Required);
    assert_eq!(client_refused(handshake(&client, &server)), CertificateError::ApplicationVerificationFailure);
    let (_, server) = house.pair();
    let client = house.client(&slot, "keys");
    assert!(matches!(handshake(&client, &server), Err(Broken::Server(Error::InvalidCertificate(_)))));
}

#[test]
fn who_shows_no_certificate_is_let_in_only_where_that_is_said() {
    let house = House::new();
    let nobody = join_client_config(house.authority.ca_sha256(), &house.clock).unwrap();
    let slot = house.slot("authority");
    let strict = handshake(&nobody, &house.server(&slot, ClientCertificates::Required));
    assert_eq!(strict.err(), Some(Broken::Server(Error::NoCertificatesPresented)));
    let (_, server) = handshake(&nobody, &house.server(&slot, ClientCertificates::Optional)).unwrap();
    assert_eq!(peer(&server), Ok(None));
    let gateway = house.client(&house.slot("gateway"), "authority");
    let (_, server) = handshake(&gateway, &house.server(&slot, ClientCertificates::Optional)).unwrap();
    assert_eq!(peer(&server).unwrap().unwrap().id.role(), "gateway");
}

#[test]
fn a_join_speaks_with_the_authority_of_that_fingerprint_and_nobody_else() {
    let (house, other) = (House::new(), House::new());
    let join = join_client_config(house.authority.ca_sha256(), &house.clock).unwrap();
    let optional = |house: &House, role| house.server(&house.slot(role), ClientCertificates::Optional);
    assert!(handshake(&join, &optional(&house, "authority")).is_ok());
    assert!(is_foreign(client_refused(handshake(&join, &optional(&other, "authority")))));
    // A service of the deployment that isn't the authority doesn't send the authority's certificate; if it does,
    // its role gives it away.
    assert!(is_foreign(client_refused(handshake(&join, &optional(&house, "keys")))));
    let (mut keys, authority) =
        (house.certificate("spiffe://countersign/keys/a"), house.certificate("spiffe://countersign/authority/a"));
    keys.chain_der.push(authority.chain_der[1].clone());
    let slot = CertificateSlot::new(&keys).unwrap();
    let server = house.server(&slot, ClientCertificates::Optional);
    assert_eq!(client_refused(handshake(&join, &server)), CertificateError::NotValidForName);
    // The right certificate authority beside a chain that it didn't sign.
    let mut theirs = other.certificate("spiffe://countersign/authority/a");
    theirs.chain_der.push(authority.chain_der[1].clone());
    let server = other.server(&CertificateSlot::new(&theirs).unwrap(), ClientCertificates::Optional);
    assert!(is_foreign(client_refused(handshake(&join, &server))));
}

#[test]
fn version_1_2_is_refused_at_both_ends() {
    let house = House::new();
    let (client, server) = house.pair();
    let provider = || Arc::new(settings());
    let old_client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots(house.authority.ca_pem()).unwrap())
        .with_no_client_auth();
    let refused = handshake(&Arc::new(old_client), &server).err();
    assert!(matches!(refused, Some(Broken::Server(Error::PeerIncompatible(_)))), "{refused:?}");
    let old_server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(house.slot("keys"));
    let refused = handshake(&client, &Arc::new(old_server)).err();
    assert!(matches!(refused, Some(Broken::Server(Error::PeerIncompatible(_)))), "{refused:?}");
}

#[test]
fn another_protocol_than_http_2_is_refused() {
    let house = House::new();
    let (client, server) = house.pair();
    let mut other = (*client).clone();
    other.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(handshake(&Arc::new(other), &server).err(), Some(Broken::Server(Error::NoApplicationProtocol)));
}

#[test]
fn a_replaced_certificate_is_shown_from_then_on_and_what_is_open_goes_on() {
    let house = House::new();
    let (keys, gateway) = (house.slot("keys"), house.slot("gateway"));
    let (server, client) = (house.server(&keys, ClientCertificates::Required), house.client(&gateway, "keys"));
    let (mut old_client, mut old_server) = handshake(&client, &server).unwrap();
    let before = (peer(&old_client).unwrap().unwrap(), peer(&old_server).unwrap().unwrap());
    house.manual.advance_ms(LIFETIME_MS / 2);
    keys.replace(&house.certificate("spiffe://countersign/keys/a")).unwrap();
    gateway.replace(&house.certificate("spiffe://countersign/gateway/a")).unwrap();
    let (new_client, new_server) = handshake(&client, &server).unwrap();
    let after = (peer(&new_client).unwrap().unwrap(), peer(&new_server).unwrap().unwrap());
    assert_eq!((&before.0.id, &before.1.id), (&after.0.id, &after.1.id));
    assert!(before.0.sha256 != after.0.sha256 && before.1.sha256 != after.1.sha256);
    assert_eq!(after.0.expires, before.0.expires.plus_ms(LIFETIME_MS / 2));
    says(&mut old_client, &mut old_server);
}

/// The public door reads what a gateway presents, and asks no client for a certificate.
#[test]
fn a_gateway_s_certificate_serves_its_public_door() {
    let manual = UnixMs(countersign_model::clock::SystemClock.now().0);
    let authority = CertificateAuthority::generate("Countersign example", manual, 10).unwrap();
    let key = WorkloadKey::generate().unwrap();
    let id = "spiffe://countersign/gateway/a".parse().unwrap();
    let names = ["any.example".to_owned()];
    let issued = authority.issue_workload(&key.request().unwrap(), &id, &names, manual, LIFETIME_MS).unwrap();
    let slot = CertificateSlot::new(&key.with_chain(issued.chain_der).unwrap()).unwrap();
    let (client, server) = (client_config_http2(authority.ca_pem()).unwrap(), server_config(&slot).unwrap());
    let (_, server) = handshake(&client, &server).unwrap();
    assert_eq!(peer(&server), Ok(None));
}

#[test]
fn exactly_one_authority_is_trusted() {
    let house = House::new();
    let slot = house.slot("keys");
    for bad in ["", "nonsense", &house.authority.ca_pem().repeat(2)] {
        let server = mutual_server_config(&slot, bad, &house.clock, ClientCertificates::Required, |_| true);
        assert_eq!(server.err(), Some(TlsError::Authority));
        assert_eq!(mutual_client_config(&slot, bad, &house.clock, |_| true).err(), Some(TlsError::Authority));
    }
}
