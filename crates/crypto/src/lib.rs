//! Every use of cryptography in Countersign, behind types that say what each key may do.
//!
//! What it is for: sealing cells, tagging values so that they can be found, deriving and wrapping keys,
//! signing and verifying tokens, SSH signatures for login, the deployment's certificates and TLS settings.
//! What it is not: it holds no keys, stores nothing, decides nothing about who may do what.
//!
//! It is the only crate that names a cryptography library (the ninth law); all of them end in AWS-LC.
//! Formats and derivations are written down in `docs/formats.md` and pinned by vectors in `tests/vectors`.
//!
//! Secrets have no `Debug`, `Display`, `Clone` or `PartialEq`, and are wiped when dropped.
//!
//! ```
//! use countersign_crypto::{Aad, SealKey, SecretKey, SystemEntropy};
//! let key = SealKey::new(&SecretKey::generate(&SystemEntropy));
//! let aad = Aad::new("example.1").part(b"tenant a");
//! let sealed = key.seal(&SystemEntropy, &aad, b"472.38");
//! assert_eq!(key.open(&aad, &sealed).unwrap(), b"472.38");
//! assert!(key.open(&Aad::new("example.1").part(b"tenant b"), &sealed).is_err());
//! ```

mod aad;
pub mod dpop;
mod entropy;
mod fatal;
mod hierarchy;
mod json;
pub mod jws;
pub mod jwt;
pub mod note;
pub mod passphrase;
mod seal;
mod secret;
pub mod spiffe;
pub mod ssh;
mod tag;
pub mod tls;
pub mod webhook;
pub mod x509;

pub use aad::{Aad, cell_aad};
pub use entropy::SystemEntropy;
pub use hierarchy::{FieldKeys, FieldSecrets, KeyEncryptionKey, TenantKey};
pub use seal::{OpenError, SealKey, sealed_epoch};
pub use secret::SecretKey;
pub use tag::{Tag, TagKey};

/// The SHA-256 digest of `bytes` (FIPS 180-4).
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    out.copy_from_slice(digest.as_ref());
    out
}

/// The SHA-256 digest of what comes in pieces.
pub struct Sha256(aws_lc_rs::digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }
}

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// Whether `left` and `right` are the same bytes, in a time that depends on their lengths only.
#[must_use]
pub fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}
