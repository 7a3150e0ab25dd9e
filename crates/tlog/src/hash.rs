//! Hashes of the tree (RFC 6962, section 2.1) and their text form.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_crypto::sha256;

/// A hash of the tree: of a leaf, a node, or a root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; Hash::BYTES]);

impl Hash {
    /// The length of a hash.
    pub const BYTES: usize = 32;

    /// The hash of a leaf: SHA-256 of a zero byte and the entry.
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(entry.len().saturating_add(1));
        bytes.push(0);
        bytes.extend_from_slice(entry);
        Self(sha256(&bytes))
    }

    /// The hash of a node: SHA-256 of a one byte and its two halves.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut bytes = [1u8; 1 + 2 * Self::BYTES];
        let (_, halves) = bytes.split_at_mut(1);
        let (first, second) = halves.split_at_mut(Self::BYTES);
        first.copy_from_slice(&left.0);
        second.copy_from_slice(&right.0);
        Self(sha256(&bytes))
    }

    /// The root of a tree without leaves: SHA-256 of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self(sha256(&[]))
    }

    /// Reads the text form: exactly 32 bytes in canonical, padded base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Longer text would be decoded in vain.
        if text.len() != 44 {
            return None;
        }
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// From a slice, if it has exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The hashes of a tile's bytes, or of a level file's; nothing if it doesn't end with a whole one.
    #[must_use]
    pub fn many(bytes: &[u8]) -> Option<Vec<Self>> {
        let (hashes, rest) = bytes.as_chunks::<{ Self::BYTES }>();
        rest.is_empty().then(|| hashes.iter().map(|bytes| Self(*bytes)).collect())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
