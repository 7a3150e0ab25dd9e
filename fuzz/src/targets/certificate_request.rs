//! PROPERTY: a certificate request is believed only if the key that it is about signed it; and whatever it asks for,
//! what is issued is a certificate of the service that the authority had in mind, for an hour at most.

use std::sync::LazyLock;

use countersign_crypto::spiffe::{self, SpiffeId};
use countersign_crypto::x509::{CertificateAuthority, CertificateRequest, MAX_WORKLOAD_LIFETIME_MS, WorkloadKey};
use countersign_model::UnixMs;

use crate::signature;

/// Pieces of requests in DER: tags and lengths, object identifiers, names.
pub const WORDS: &[&str] = &[
    "0\u{1}",
    "\u{2}\u{1}\0",
    "0\u{13}\u{6}\u{7}*",
    "\u{3}B\0\u{4}",
    "\u{6}\u{3}U\u{4}\u{3}\u{c}",
    "\u{6}\u{3}U\u{1d}\u{11}",
    "spiffe://countersign/authority/a",
];

/// The moment at which all of this happens.
const NOW: UnixMs = UnixMs::from_seconds(1_800_000_000);

struct Fixture {
    authority: CertificateAuthority,
    id: SpiffeId,
    signed: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let request = || WorkloadKey::generate().and_then(|key| key.request()).expect("a request");
    let requests = [request(), request()];
    Fixture {
        authority: CertificateAuthority::generate("fuzz", NOW, 10).expect("an authority"),
        id: SpiffeId::new("countersign", "keys", "a").expect("a name"),
        signed: requests.iter().map(|request| request.as_der().to_vec()).collect(),
        keys: requests.iter().map(|request| request.public_key().to_vec()).collect(),
    }
});

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let fixture = &*FIXTURE;
    let (der, is_mutant) = mutant(data, &fixture.signed);
    match CertificateRequest::from_der(&der) {
        Ok(request) => {
            let is_signed = fixture.keys.iter().any(|key| key == request.public_key());
            assert!(!is_mutant || is_signed, "a request for a key that never signed it");
            let issued = fixture.authority.issue_workload(&request, &fixture.id, &[], NOW, MAX_WORKLOAD_LIFETIME_MS);
            let issued = issued.expect("a certificate for every request that is good");
            let leaf = issued.chain_der.first().map(Vec::as_slice).unwrap_or_default();
            assert_eq!(spiffe::of_certificate(leaf).as_ref(), Ok(&fixture.id), "a certificate for somebody else");
            let (begins, ends) = spiffe::validity_of_certificate(leaf).expect("a certificate with an end");
            assert!(ends.since(begins) <= MAX_WORKLOAD_LIFETIME_MS, "a certificate for more than an hour");
            1
        }
        Err(error) => {
            // The same parser reads the names of peers. Nothing that is no certificate names anybody.
            assert!(spiffe::of_certificate(&der).is_err(), "a request that is a certificate");
            signature::of(&error.to_string()) ^ u64::try_from(der.len().min(8)).unwrap_or_default()
        }
    }
}

/// As `super::mutant`, for bytes: `@`, a digit for which request, then (two bytes of place, one of difference) for each
/// change. And whether it is made of one of them.
fn mutant(data: &[u8], originals: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let [b'@', number, changes @ ..] = data else { return (data.to_vec(), false) };
    let mut bytes =
        originals.get(usize::from(number.wrapping_sub(b'0')) % originals.len()).cloned().unwrap_or_default();
    for change in changes.chunks_exact(3) {
        let [high, low, difference] = change else { continue };
        let place = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= difference;
        }
    }
    (bytes, true)
}
