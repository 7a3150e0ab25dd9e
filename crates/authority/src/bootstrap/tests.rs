//! The file: private, whole, useless without its key; what it certifies.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::peer_of_chain;
use countersign_keys::{FileKms, KmsSet};
use countersign_model::Service;

use super::Bootstrap;
use crate::RegistryError;
use crate::tests::{House, NOW, kms};

#[tokio::test]
async fn it_is_its_owners_alone_and_opens_with_its_key_alone() {
    let house = House::new().await;
    let set: KmsSet = kms(house.dir.path()).into();
    let path = house.dir.path().join("bootstrap");
    Bootstrap::write(&house.registry, &path).unwrap();
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let opened = Bootstrap::open(&path, &set).unwrap();
    assert_eq!(opened.ca_pem(), house.registry.ca_pem());

    let bytes = std::fs::read(&path).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!holds(b"BEGIN CERTIFICATE") && !holds(b"Countersign deployment"));

    let other = tempfile::tempdir().unwrap();
    let stranger = FileKms::create(&other.path().join("kms.key"), &SystemEntropy).unwrap();
    let error = Bootstrap::open(&path, &Arc::new(stranger).into()).unwrap_err();
    assert!(matches!(error, RegistryError::Kms(_)), "{error}");

    // Each byte counts.
    for at in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert!(Bootstrap::open(&path, &set).is_err(), "byte {at}");
    }
    for length in [0, 5, 30, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(Bootstrap::open(&path, &set).is_err(), "{length} bytes");
    }
    std::fs::write(&path, &bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Bootstrap::open(&path, &set).unwrap_err().to_string();
    assert!(error.contains("mode must be 0600"), "{error}");
    // It is written anew, privately, whatever lay there.
    std::fs::write(house.dir.path().join("bootstrap.unfinished"), b"half").unwrap();
    Bootstrap::write(&house.registry, &path).unwrap();
    assert_eq!(mode(), 0o600);
    assert!(Bootstrap::open(&path, &set).is_ok());
    assert!(!house.dir.path().join("bootstrap.unfinished").exists());
    let error = Bootstrap::open(&house.dir.path().join("nowhere"), &set).unwrap_err();
    assert!(matches!(error, RegistryError::Io { .. }), "{error}");
}

#[tokio::test]
async fn what_it_certifies_lasts_an_hour_at_most() {
    let house = House::new().await;
    let path = house.dir.path().join("bootstrap");
    Bootstrap::write(&house.registry, &path).unwrap();
    let opened = Bootstrap::open(&path, &kms(house.dir.path()).into()).unwrap();
    for service in Service::ALL {
        let certificate = opened.certificate(service, NOW).unwrap();
        assert!(certificate.expires.since(NOW) <= 3_600_000);
        let chain: Vec<_> = certificate.chain_der.iter().cloned().map(Into::into).collect();
        let peer = peer_of_chain(&chain).unwrap();
        let domain = house.registry.trust_domain();
        assert_eq!(peer.id, SpiffeId::new(&domain, service.as_str(), "bootstrap").unwrap());
    }
    let names = ["db1.internal".to_owned(), "10.0.0.1".to_owned()];
    let server = opened.server_certificate(&names, NOW, 12 * 3_600_000).unwrap();
    assert_eq!(server.expires.since(NOW) / 1000, 12 * 3_600 - 1);
    assert!(opened.server_certificate(&names, NOW, 12 * 3_600_000 + 1).is_err());
    assert!(opened.server_certificate(&[], NOW, 1_000).is_err());
}
