//! A token as it was presented, before anybody verified it.

use std::fmt;
use std::sync::OnceLock;

use countersign_crypto::sha256;
use zeroize::Zeroizing;

use crate::MAX_TOKEN_BYTES;

/// A token that came with a request. It can't be printed, and is wiped when dropped.
///
/// Its digest, by which verifiers remember tokens that were good, is computed once for all of them. It is nothing
/// that a caller could supply.
pub struct Presented {
    text: Zeroizing<String>,
    digest: OnceLock<[u8; 32]>,
}

impl Presented {
    /// Takes the token out of a request.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text: Zeroizing::new(text), digest: OnceLock::new() }
    }

    /// The token itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `None` for a token that is too long to be looked at.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        let short_enough = self.text.len() <= MAX_TOKEN_BYTES;
        short_enough.then(|| *self.digest.get_or_init(|| sha256(self.text.as_bytes())))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(..)")
    }
}
