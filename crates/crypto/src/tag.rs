//! Keyed tags: they make a sealed value findable by equality, and nothing else.

use std::fmt;

use aws_lc_rs::hmac;

use crate::secret::SecretKey;

/// The first 16 bytes of HMAC-SHA-256 over a value. Equal values of one field have equal tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 16]);

impl fmt::Debug for Tag {
    /// Leaves the bytes out: tags in a log would show which values are equal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// A key that makes tags for one field of one tenant.
pub struct TagKey(hmac::Key);

impl TagKey {
    /// From key material that is used for nothing else.
    #[must_use]
    pub fn new(key: &SecretKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The tag of `bytes`.
    #[must_use]
    pub fn tag(&self, bytes: &[u8]) -> Tag {
        let full = hmac::sign(&self.0, bytes);
        Tag(full.as_ref().first_chunk().copied().unwrap_or_else(|| crate::fatal::never("tag length")))
    }
}

#[cfg(test)]
mod tests;
