//! Key material.

use countersign_model::Entropy;
use zeroize::Zeroizing;

/// 32 secret bytes. Wiped when dropped; can't be printed, cloned or compared.
pub struct SecretKey(Zeroizing<[u8; SecretKey::BYTES]>);

impl SecretKey {
    /// The length of every symmetric key in Countersign.
    pub const BYTES: usize = 32;

    /// A new random key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        entropy.fill(bytes.as_mut());
        Self(bytes)
    }

    /// The key with these bytes. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// From a slice, if it has exactly [`Self::BYTES`] bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }

    /// The bytes themselves, for the one place that stores a key unwrapped (a key file of mode 0600).
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}
