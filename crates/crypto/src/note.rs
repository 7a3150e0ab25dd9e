//! Ed25519 (RFC 8032) over a text as it stands: what signed notes and cosignatures are made with (C2SP signed-note,
//! tlog-cosignature). Formats and key names are the crate `tlog`'s.
//!
//! A service derives two such keys from its own secret ([`crate::TenantKey::note_key`]): one that signs its log's
//! checkpoints, label [`LOG_SIGN`], and one that cosigns other logs' as their witness, label [`LOG_WITNESS`]. In one
//! process that secret is the deployment's, so the label is followed by the service's name there.
//!
//! ```
//! use countersign_crypto::{SecretKey, SystemEntropy, TenantKey, note};
//! let own = TenantKey::new(SecretKey::generate(&SystemEntropy));
//! let key = own.note_key(note::LOG_SIGN, "gateway");
//! let signature = key.sign(b"a text\n");
//! assert!(note::verify(&key.public(), b"a text\n", &signature));
//! assert!(!note::verify(&own.note_key(note::LOG_WITNESS, "gateway").public(), b"a text\n", &signature));
//! ```

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::fatal::never;
use crate::secret::SecretKey;

/// The label of the key that signs a service's checkpoints.
pub const LOG_SIGN: &str = "log-sign.1";

/// The label of the key that a service cosigns other logs' checkpoints with.
pub const LOG_WITNESS: &str = "log-witness.1";

/// A key that signs texts. Can't be printed or cloned; its seed is wiped by whoever holds the [`SecretKey`].
pub struct NoteKey(Ed25519KeyPair);

impl NoteKey {
    /// The key of this seed (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &SecretKey) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed.expose()).unwrap_or_else(|_| never("note key")))
    }

    /// The public key, 32 bytes.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap_or_else(|_| never("note key"))
    }

    /// The signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap_or_else(|_| never("note signature"))
    }
}

/// Nothing of the key.
impl std::fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoteKey(..)")
    }
}

/// Whether `signature` is the one of the key `public` over `message`.
#[must_use]
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn the_published_vector() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = NoteKey::from_seed(&SecretKey::from_slice(&seed).unwrap());
        assert_eq!(hex::encode(key.public()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = key.sign(&[0x72]);
        assert_eq!(
            hex::encode(signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(verify(&key.public(), &[0x72], &signature));
        assert!(!verify(&key.public(), &[0x73], &signature));
        assert!(!verify(&key.public(), &[0x72], &signature[..63]));
        assert_eq!(format!("{key:?}"), "NoteKey(..)");
    }

    #[test]
    fn every_label_and_service_has_its_own_key() {
        let own = crate::TenantKey::new(SecretKey::from_bytes([7; 32]));
        let keys = [(LOG_SIGN, "store"), (LOG_SIGN, "keys"), (LOG_WITNESS, "store")];
        let public = keys.map(|(label, service)| own.note_key(label, service).public());
        assert!(public[0] != public[1] && public[0] != public[2] && public[1] != public[2]);
        assert_eq!(own.note_key(LOG_SIGN, "store").public(), public[0]);
    }
}
