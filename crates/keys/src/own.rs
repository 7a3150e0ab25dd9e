//! Keys that a key management service has for one purpose alone, so that they can be destroyed there.
//!
//! What is wrapped under one (format 4) is `4 ‖ id (16) ‖ what the own key wrapped`, and opens nowhere once the key is
//! destroyed: no copy of the wrapped form brings it back.

mod files;

use std::fmt;

use countersign_crypto::{Aad, KeyEncryptionKey, SecretKey, sealed_epoch};
use countersign_model::Entropy;
use serde::{Deserialize, Serialize};

pub(crate) use self::files::OwnFiles;
use crate::key_set::OwnKey;
use crate::kms::{KeyVersion, KmsError};
use crate::set::split;

/// The first byte of what an own key wrapped.
pub(crate) const BY_OWN_KEY: u8 = 4;

/// What an own key is known by in its key management service: random, and says nothing of what it is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnKeyId(pub [u8; Self::BYTES]);

impl OwnKeyId {
    /// The length of an id.
    pub const BYTES: usize = 16;

    /// A new one.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut id = [0; Self::BYTES];
        entropy.fill(&mut id);
        Self(id)
    }

    /// From its text, as `Display` makes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = u128::from_str_radix(text, 16).ok()?;
        let id = Self(number.to_be_bytes());
        (id.to_string() == text).then_some(id)
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for OwnKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for OwnKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The own key that wrapped this, if one did.
#[must_use]
pub fn own_of(wrapped: &[u8]) -> Option<OwnKey> {
    let (provider, wrapped) = split(wrapped)?;
    let (id, _) = by_own(wrapped)?;
    Some(OwnKey { provider, id })
}

/// Id and what the own key wrapped.
pub(crate) fn by_own(wrapped: &[u8]) -> Option<(OwnKeyId, &[u8])> {
    let (id, inner) = wrapped.strip_prefix(&[BY_OWN_KEY])?.split_first_chunk::<{ OwnKeyId::BYTES }>()?;
    Some((OwnKeyId(*id), inner))
}

/// What an own key wrapped, as stored.
pub(crate) fn with_id(own: OwnKeyId, inner: &[u8]) -> Vec<u8> {
    [&[BY_OWN_KEY], own.0.as_slice(), inner].concat()
}

/// What is bound besides the use: which own key it was, and which version of the provider's key was the newest.
pub(crate) fn own_aad(aad: &Aad, own: OwnKeyId, version: u32) -> Aad {
    Aad::new("own-key.1").part(aad.as_bytes()).part(&own.0).part(&version.to_be_bytes())
}

/// Wraps by an own key that is in memory.
pub(crate) fn wrap_by(
    secret: &SecretKey,
    own: OwnKeyId,
    newest: KeyVersion,
    (entropy, aad, key): (&dyn Entropy, &Aad, &SecretKey),
) -> Vec<u8> {
    let aad = own_aad(aad, own, newest.0);
    with_id(own, &KeyEncryptionKey::with_version(secret, newest.0).wrap(entropy, &aad, key))
}

/// Unwraps what [`wrap_by`] wrapped.
pub(crate) fn unwrap_by(secret: &SecretKey, own: OwnKeyId, aad: &Aad, inner: &[u8]) -> Result<SecretKey, KmsError> {
    let version = sealed_epoch(inner).ok_or(KmsError::NotAuthentic)?;
    let key = KeyEncryptionKey::with_version(secret, version);
    key.unwrap_key(&own_aad(aad, own, version), inner).map_err(|_| KmsError::NotAuthentic)
}
