use rcgen::{BasicConstraints, Issuer, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::super::AuthorityParts;
use super::*;
use crate::spiffe::{SpiffeError, of_certificate, validity_of_certificate};

const NOW: UnixMs = UnixMs(1_785_000_000_000);
const MINUTE_MS: u64 = 60 * 1000;

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("Countersign example", NOW, 3650).unwrap()
}

fn id(role: &str) -> SpiffeId {
    SpiffeId::new("countersign", role, "a").unwrap()
}

fn issue(role: &str, names: &[String], lifetime_ms: u64) -> Result<IssuedCertificate, X509Error> {
    let request = WorkloadKey::generate().unwrap().request().unwrap();
    authority().issue_workload(&request, &id(role), names, NOW, lifetime_ms)
}

#[test]
fn a_certificate_names_the_service_and_belongs_to_its_key() {
    let key = WorkloadKey::generate().unwrap();
    let authority = authority();
    let request = CertificateRequest::from_der(key.request().unwrap().as_der()).unwrap();
    let issued = authority.issue_workload(&request, &id("keys"), &[], NOW, 10_000).unwrap();
    assert_eq!(issued.chain_der.len(), 1);
    assert_eq!(issued.expires, NOW.plus_ms(10_000));
    assert_eq!(of_certificate(&issued.chain_der[0]), Ok(id("keys")));
    let validity = validity_of_certificate(&issued.chain_der[0]).unwrap();
    assert_eq!(validity, (NOW.minus_ms(5 * MINUTE_MS), NOW.plus_ms(10_000)));
    let again = WorkloadKey::from_pkcs8(Zeroizing::new(key.expose_pkcs8().to_vec())).unwrap();
    let certificate = again.with_chain(issued.chain_der.clone()).unwrap();
    assert_eq!(certificate.expires, issued.expires);
    assert!(crate::tls::CertificateSlot::new(&certificate).is_ok());
    let other = WorkloadKey::generate().unwrap().with_chain(issued.chain_der).unwrap();
    assert!(crate::tls::CertificateSlot::new(&other).is_err());
    assert_eq!(key.with_chain(vec![]).err(), Some(X509Error::Certificate));
    assert_eq!(key.with_chain(vec![vec![1]]).err(), Some(X509Error::Certificate));
    assert_eq!(WorkloadKey::from_pkcs8(Zeroizing::new(vec![0; 40])).err(), Some(X509Error::Key));
}

#[test]
fn the_authority_s_certificate_comes_with_its_issuer_s() {
    let request = WorkloadKey::generate().unwrap().request().unwrap();
    let authority = authority();
    let issued = authority.issue_workload(&request, &id("authority"), &[], NOW, MINUTE_MS).unwrap();
    assert_eq!(issued.chain_der.len(), 2);
    assert_eq!(crate::sha256(&issued.chain_der[1]), authority.ca_sha256());
    let stored = CertificateAuthority::from_parts(AuthorityParts { ..authority.to_parts() }).unwrap();
    assert_eq!(stored.ca_sha256(), authority.ca_sha256());
    assert_eq!(of_certificate(&issued.chain_der[1]), Err(SpiffeError::Certificate));
}

#[test]
fn no_certificate_of_a_service_is_valid_for_more_than_an_hour() {
    let issued = issue("store", &[], MAX_WORKLOAD_LIFETIME_MS).unwrap();
    let (begins, expires) = validity_of_certificate(&issued.chain_der[0]).unwrap();
    assert_eq!(expires.since(begins), MAX_WORKLOAD_LIFETIME_MS);
    assert_eq!(issue("store", &[], MAX_WORKLOAD_LIFETIME_MS + 1).err(), Some(X509Error::WorkloadLifetime));
    assert_eq!(issue("store", &[], 0).err(), Some(X509Error::WorkloadLifetime));
}

#[test]
fn a_gateway_s_names_are_beside_its_own() {
    let names = ["example.org".to_owned(), "127.0.0.1".to_owned()];
    let issued = issue("gateway", &names, MINUTE_MS).unwrap();
    assert_eq!(of_certificate(&issued.chain_der[0]), Ok(id("gateway")));
    assert!(issued.chain_der[0].windows(11).any(|window| window == b"example.org"));
    assert_eq!(issue("gateway", &["Müller".to_owned()], MINUTE_MS).err(), Some(X509Error::Name));
    let many = vec!["example.org".to_owned(); NAMES_MAX + 1];
    assert_eq!(issue("gateway", &many, MINUTE_MS).err(), Some(X509Error::Name));
}

#[test]
fn what_a_request_asks_for_beside_its_key_counts_for_nothing() {
    let key = WorkloadKey::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names.push(SanType::URI("spiffe://countersign/authority/evil".try_into().unwrap()));
    let der = params.serialize_request(&key.pair).unwrap();
    let request = CertificateRequest::from_der(der.der()).unwrap();
    let issued = authority().issue_workload(&request, &id("gateway"), &[], NOW, MINUTE_MS).unwrap();
    assert_eq!(of_certificate(&issued.chain_der[0]), Ok(id("gateway")));
    assert!(!issued.chain_der[0].windows(4).any(|window| window == b"evil"));
}

#[test]
fn a_request_proves_possession_of_a_p_256_key() {
    let key = WorkloadKey::generate().unwrap();
    let signed = key.request().unwrap();
    let (good, mut accepted) = (signed.as_der().to_vec(), Vec::new());
    for end in 0..good.len() {
        assert!(CertificateRequest::from_der(&good[..end]).is_err());
    }
    assert!(CertificateRequest::from_der(&[good.as_slice(), b"x"].concat()).is_err());
    for (place, difference) in (0..good.len()).flat_map(|place| (1..=255).map(move |difference| (place, difference))) {
        let mut altered = good.clone();
        altered[place] ^= difference;
        // The parser passes over some of what is around the signed part; the key stays the one that signed.
        if let Ok(request) = CertificateRequest::from_der(&altered) {
            assert_eq!(request.public_key(), signed.public_key(), "{place} {difference:02x} {}", hex::encode(&good));
            accepted.push(place);
        }
    }
    accepted.dedup();
    let point = good.windows(POINT_BYTES).position(|window| window == signed.public_key()).unwrap();
    assert!(accepted.iter().all(|place| !(point..point + POINT_BYTES).contains(place)), "{accepted:?}");
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let other = KeyPair::generate_for(algorithm).unwrap();
        let der = CertificateParams::default().serialize_request(&other).unwrap();
        assert_eq!(CertificateRequest::from_der(der.der()).err(), Some(X509Error::Request));
    }
    assert_eq!(CertificateRequest::from_der(&vec![0x30; REQUEST_MAX_BYTES + 1]).err(), Some(X509Error::Request));
}

#[test]
fn one_key_certified_twice_has_two_serial_numbers() {
    let (authority, request) = (authority(), WorkloadKey::generate().unwrap().request().unwrap());
    let issue = || authority.issue_workload(&request, &id("keys"), &[], NOW, MINUTE_MS).unwrap();
    assert_ne!(issue(), issue());
}

#[test]
fn a_certificate_with_no_or_two_names_or_one_that_signs_names_nobody() {
    let (key, _) = new_key().unwrap();
    let of = |uris: &[&str], change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        change(&mut params);
        let issuer = Issuer::new(CertificateParams::default(), &key);
        of_certificate(params.signed_by(&key, &issuer).unwrap().der())
    };
    let (one, two) = ("spiffe://countersign/keys/a", "spiffe://countersign/keys/b");
    assert_eq!(of(&[one], |_| {}), Ok(id("keys")));
    assert_eq!(of(&[], |_| {}), Err(SpiffeError::NotOne));
    assert_eq!(of(&[one, two], |_| {}), Err(SpiffeError::NotOne));
    assert_eq!(of(&[one, one], |_| {}), Err(SpiffeError::NotOne));
    assert_eq!(of(&[one, "https://example.org/"], |_| {}), Err(SpiffeError::NotOne));
    assert_eq!(of(&["https://example.org/"], |_| {}), Err(SpiffeError::Form));
    assert_eq!(
        of(&[one], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        Err(SpiffeError::Certificate)
    );
    assert_eq!(
        of(&[one], |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
        Err(SpiffeError::Certificate)
    );
}

#[test]
fn a_key_shows_nothing() {
    let key = WorkloadKey::generate().unwrap();
    assert_eq!(format!("{key:?} {:?}", key.request().unwrap()), "WorkloadKey(..) CertificateRequest(..)");
}

/// `openssl` reads a service's certificate as others would, if this machine has it.
#[test]
fn openssl_accepts_the_chain_for_servers_and_clients_within_its_hour() {
    use std::process::Command;
    let dir = tempfile::tempdir().unwrap();
    let authority = authority();
    let request = WorkloadKey::generate().unwrap().request().unwrap();
    let names = ["example.org".to_owned()];
    let issued = authority.issue_workload(&request, &id("gateway"), &names, NOW, 10 * MINUTE_MS).unwrap();
    std::fs::write(dir.path().join("ca.pem"), authority.ca_pem()).unwrap();
    std::fs::write(dir.path().join("leaf.der"), &issued.chain_der[0]).unwrap();
    std::fs::write(dir.path().join("request.der"), request.as_der()).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").current_dir(dir.path()).args(arguments).output().ok()?;
        Some((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let verify = |purpose: &str, at_ms: UnixMs| {
        let at = at_ms.seconds().to_string();
        openssl(&["verify", "-x509_strict", "-purpose", purpose, "-attime", &at, "-CAfile", "ca.pem", "leaf.der"])
            .map(|(good, _)| good)
    };
    if verify("sslserver", NOW).is_none() {
        println!("skipped: openssl is not installed");
        return;
    }
    for purpose in ["sslserver", "sslclient"] {
        assert_eq!(verify(purpose, NOW), Some(true), "{purpose}");
        assert_eq!(verify(purpose, NOW.plus_ms(11 * MINUTE_MS)), Some(false));
        assert_eq!(verify(purpose, NOW.minus_ms(6 * MINUTE_MS)), Some(false));
    }
    assert_eq!(verify("smimesign", NOW), Some(false));
    let (_, shown) =
        openssl(&["x509", "-inform", "DER", "-in", "leaf.der", "-noout", "-ext", "subjectAltName"]).unwrap();
    assert!(shown.contains("URI:spiffe://countersign/gateway/a") && shown.contains("DNS:example.org"), "{shown}");
    let (good, _) = openssl(&["req", "-inform", "DER", "-in", "request.der", "-verify", "-noout"]).unwrap();
    assert!(good, "the request");
}
