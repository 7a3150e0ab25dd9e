//! Which keys are accepted, and whether a signature is theirs.

use aws_lc_rs::signature as raw;
use ssh_key::public::{EcdsaPublicKey, KeyData, RsaPublicKey};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, Signature};

use super::wire;

const RSA_MIN_BITS: usize = 2048;
const RSA_MAX_BITS: usize = 8192;

/// Flags and counter at the end of a security key's signature.
const SECURITY_KEY_TRAILER: usize = 5;
const USER_WAS_PRESENT: u8 = 1;

pub(super) fn is_accepted(key: &KeyData) -> bool {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => true,
        KeyData::Rsa(key) => {
            let bytes = key.n.as_positive_bytes().map_or(0, <[u8]>::len);
            (RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bytes.saturating_mul(8))
        }
        _ => false,
    }
}

pub(super) fn is_signed_by(key: &KeyData, data: &[u8], signature: &Signature) -> bool {
    let bytes = signature.as_bytes();
    match (key, signature.algorithm()) {
        (KeyData::Ed25519(key), Algorithm::Ed25519) => ed25519(key.as_ref(), data, bytes),
        (KeyData::Ecdsa(key), Algorithm::Ecdsa { curve }) if curve == key.curve() => ecdsa(key, data, bytes),
        (KeyData::Rsa(key), Algorithm::Rsa { hash: Some(hash) }) => rsa(key, hash, data, bytes),
        (KeyData::SkEd25519(key), Algorithm::SkEd25519) => by_security_key(key.application(), data, bytes)
            .is_some_and(|(data, bytes)| ed25519(key.public_key().as_ref(), &data, bytes)),
        (KeyData::SkEcdsaSha2NistP256(key), Algorithm::SkEcdsaSha2NistP256) => {
            let point = EcdsaPublicKey::NistP256(*key.ec_point());
            by_security_key(key.application(), data, bytes).is_some_and(|(data, bytes)| ecdsa(&point, &data, bytes))
        }
        _ => false,
    }
}

pub(super) fn ed25519(key: &[u8], data: &[u8], signature: &[u8]) -> bool {
    raw::UnparsedPublicKey::new(&raw::ED25519, key).verify(data, signature).is_ok()
}

pub(super) fn ecdsa(key: &EcdsaPublicKey, data: &[u8], signature: &[u8]) -> bool {
    let (method, size) = match key.curve() {
        EcdsaCurve::NistP256 => (&raw::ECDSA_P256_SHA256_FIXED, 32),
        EcdsaCurve::NistP384 => (&raw::ECDSA_P384_SHA384_FIXED, 48),
        EcdsaCurve::NistP521 => (&raw::ECDSA_P521_SHA512_FIXED, 66),
    };
    wire::fixed_numbers(signature, size)
        .is_some_and(|fixed| raw::UnparsedPublicKey::new(method, key.as_sec1_bytes()).verify(data, &fixed).is_ok())
}

pub(super) fn rsa(key: &RsaPublicKey, hash: HashAlg, data: &[u8], signature: &[u8]) -> bool {
    let method = match hash {
        HashAlg::Sha256 => &raw::RSA_PKCS1_2048_8192_SHA256,
        HashAlg::Sha512 => &raw::RSA_PKCS1_2048_8192_SHA512,
        _ => return false,
    };
    let (Some(n), Some(e)) = (key.n.as_positive_bytes(), key.e.as_positive_bytes()) else { return false };
    raw::RsaPublicKeyComponents { n, e }.verify(method, data, signature).is_ok()
}

/// What a security key signs (OpenSSH's PROTOCOL.u2f): digests of the application and the data around its
/// flags and counter. A signature made without the holder's touch is not one.
fn by_security_key<'a>(application: &str, data: &[u8], signature: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let length = signature.len().checked_sub(SECURITY_KEY_TRAILER)?;
    let (signature, trailer) = signature.split_at_checked(length)?;
    if trailer.first()? & USER_WAS_PRESENT == 0 {
        return None;
    }
    let mut signed = crate::sha256(application.as_bytes()).to_vec();
    signed.extend_from_slice(trailer);
    signed.extend_from_slice(&crate::sha256(data));
    Some((signed, signature))
}
