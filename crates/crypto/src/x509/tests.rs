use super::*;

const NOW: UnixMs = UnixMs(1_785_000_000_000);
const HOUR_MS: u64 = 3600 * 1000;

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("Countersign example", NOW, 3650).unwrap()
}

fn names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]
}

#[test]
fn a_stored_authority_issues_as_before() {
    let one = authority();
    let again = CertificateAuthority::from_parts(one.to_parts()).unwrap();
    assert_eq!(again.ca_pem(), one.ca_pem());
    let certificate = again.issue_server(&names(), NOW, HOUR_MS).unwrap();
    // The issuer's name is written as the authority's own certificate has it.
    let subject = b"\x31\x1c\x30\x1a\x06\x03\x55\x04\x03\x0c\x13Countersign example";
    assert!(certificate.chain_der[0].windows(subject.len()).any(|window| window == subject));
}

#[test]
fn parts_that_don_t_belong_together_are_refused() {
    let (one, other) = (authority().to_parts(), authority().to_parts());
    let mixed = AuthorityParts { key_pkcs8_der: one.key_pkcs8_der, certificate_pem: other.certificate_pem };
    assert_eq!(CertificateAuthority::from_parts(mixed).err(), Some(X509Error::Authority));
    let broken = AuthorityParts { certificate_pem: "nonsense".to_owned(), ..authority().to_parts() };
    assert_eq!(CertificateAuthority::from_parts(broken).err(), Some(X509Error::Authority));
    let keyless = AuthorityParts { key_pkcs8_der: Zeroizing::new(vec![0; 8]), ..authority().to_parts() };
    assert_eq!(CertificateAuthority::from_parts(keyless).err(), Some(X509Error::Authority));
}

#[test]
fn a_server_certificate_lasts_at_most_twelve_hours() {
    let authority = authority();
    let lasts = |lifetime_ms| authority.issue_server(&names(), NOW, lifetime_ms);
    assert_eq!(
        lasts(MAX_SERVER_LIFETIME_MS).map(|certificate| certificate.expires).ok(),
        Some(NOW.plus_ms(12 * HOUR_MS))
    );
    assert_eq!(lasts(MAX_SERVER_LIFETIME_MS + 1).err(), Some(X509Error::Lifetime));
    assert_eq!(lasts(0).err(), Some(X509Error::Lifetime));
}

#[test]
fn names_are_needed_and_read() {
    let issue = |names: &[String]| authority().issue_server(names, NOW, HOUR_MS).map(|_| ()).err();
    assert_eq!(issue(&[]), Some(X509Error::Name));
    assert_eq!(issue(&["Müller".to_owned()]), Some(X509Error::Name));
    for name in ["", &"x".repeat(65)] {
        assert_eq!(CertificateAuthority::generate(name, NOW, 1).err(), Some(X509Error::Authority));
    }
    assert_eq!(CertificateAuthority::generate("x", UnixMs(u64::MAX), 1).err(), Some(X509Error::Lifetime));
    for name in ["x".to_owned(), "Ä".repeat(32), "x".repeat(64)] {
        let authority = CertificateAuthority::generate(&name, NOW, 1).unwrap();
        assert!(CertificateAuthority::from_parts(authority.to_parts()).is_ok(), "{name}");
    }
}

#[test]
fn a_subject_of_any_other_form_is_refused() {
    assert_eq!(common_name(b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x"), Some("x"));
    for bad in [
        &b""[..],
        b"\x31",
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x0a\x0c\x01x",
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x13\x01x",
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x\x00",
        b"\x31\x0b\x30\x08\x06\x03\x55\x04\x03\x0c\x01x",
        b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01\xff",
    ] {
        assert_eq!(common_name(bad), None, "{bad:?}");
    }
}

/// `openssl` reads the certificates as clients do, if this machine has it.
#[test]
fn openssl_accepts_the_chain_and_nothing_outside_it() {
    use std::process::Command;
    let dir = tempfile::tempdir().unwrap();
    let authority = authority();
    let certificate = authority.issue_server(&names(), NOW, HOUR_MS).unwrap();
    std::fs::write(dir.path().join("ca.pem"), authority.ca_pem()).unwrap();
    std::fs::write(dir.path().join("server.der"), &certificate.chain_der[0]).unwrap();
    let verify = |extra: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(dir.path()).args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem"]);
        command.args(extra).arg("server.der").output().ok().map(|output| output.status.success())
    };
    let (now, then) = (NOW.seconds().to_string(), (NOW.seconds() + 3601).to_string());
    if verify(&["-attime", &now]).is_none() {
        println!("skipped: openssl is not installed");
        return;
    }
    assert_eq!(verify(&["-attime", &now, "-verify_hostname", "localhost"]), Some(true));
    assert_eq!(verify(&["-attime", &now, "-verify_ip", "127.0.0.1"]), Some(true));
    assert_eq!(verify(&["-attime", &now, "-verify_ip", "::1"]), Some(true));
    assert_eq!(verify(&["-attime", &now, "-verify_hostname", "example.org"]), Some(false));
    assert_eq!(verify(&["-attime", &then, "-verify_hostname", "localhost"]), Some(false));
}
