//! Authenticated encryption of values.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad as CipherAad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use countersign_model::Entropy;
use zeroize::Zeroize;

use crate::aad::Aad;
use crate::fatal::never;
use crate::secret::SecretKey;

/// The first byte of every sealed value: format version and algorithm in one. 1 is AES-256-GCM-SIV (RFC 8452),
/// which a repeated nonce doesn't break.
const AES_256_GCM_SIV_1: u8 = 1;

const EPOCH_END: usize = 5;
const HEADER_BYTES: usize = EPOCH_END + NONCE_LEN;
const TAG_BYTES: usize = 16;

/// Why a sealed value doesn't open. Says nothing about the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short, or of a format version this program doesn't know.
    #[error("not a sealed value of a known format")]
    Format,
    /// Sealed under another epoch of the key.
    #[error("sealed under another key epoch")]
    Epoch,
    /// Changed, moved to another place, or sealed under another key.
    #[error("the sealed value is not authentic")]
    NotAuthentic,
}

/// A key that seals and opens values, with the cipher's key object built once.
///
/// A sealed value is: version and algorithm (1 byte), key epoch (u32, big-endian), nonce (12 bytes),
/// ciphertext, tag (16 bytes).
pub struct SealKey {
    key: LessSafeKey,
    epoch: u32,
}

impl SealKey {
    /// Bytes that sealing adds to a value.
    pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

    /// A key that isn't rotated by epochs (epoch 0).
    #[must_use]
    pub fn new(key: &SecretKey) -> Self {
        Self::with_epoch(key, 0)
    }

    /// A key of the given epoch, which each sealed value carries.
    #[must_use]
    pub fn with_epoch(key: &SecretKey, epoch: u32) -> Self {
        let Ok(key) = UnboundKey::new(&AES_256_GCM_SIV, key.expose()) else { never("key object") };
        Self { key: LessSafeKey::new(key), epoch }
    }

    /// The key's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Seals `plain`, bound to `aad`.
    #[must_use]
    pub fn seal(&self, entropy: &dyn Entropy, aad: &Aad, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0u8; NONCE_LEN];
        entropy.fill(&mut nonce);
        self.seal_with(nonce, aad.as_bytes(), plain)
    }

    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len().saturating_add(Self::OVERHEAD_BYTES));
        out.push(AES_256_GCM_SIV_1);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&nonce);
        out.resize(plain.len().saturating_add(Self::OVERHEAD_BYTES), 0);
        let body = out.get_mut(HEADER_BYTES..).unwrap_or_default();
        let Some((body, tag)) = body.split_at_mut_checked(plain.len()) else { never("sealed layout") };
        let nonce = Nonce::assume_unique_for_key(nonce);
        if self.key.seal_out_of_place_scatter(nonce, CipherAad::from(aad), plain, body, &[], tag).is_err() {
            never("seal");
        }
        out
    }

    /// Opens what [`Self::seal`] made with the same key and the same `aad`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of the value is released.
    pub fn open(&self, aad: &Aad, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut out = Vec::new();
        self.open_into(aad, sealed, &mut out)?;
        Ok(out)
    }

    /// As [`Self::open`], into a buffer that the caller uses again. Replaces what was in it.
    ///
    /// # Errors
    /// [`OpenError`]; `out` is then empty.
    pub fn open_into(&self, aad: &Aad, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        self.open_with(aad.as_bytes(), sealed, out)
    }

    fn open_with(&self, aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        out.clear();
        if sealed_epoch(sealed).ok_or(OpenError::Format)? != self.epoch {
            return Err(OpenError::Epoch);
        }
        let (header, body) = sealed.split_at_checked(HEADER_BYTES).ok_or(OpenError::Format)?;
        let length = body.len().checked_sub(TAG_BYTES).ok_or(OpenError::Format)?;
        let (body, tag) = body.split_at_checked(length).ok_or(OpenError::Format)?;
        let nonce = header.get(EPOCH_END..).ok_or(OpenError::Format)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Format)?;
        out.resize(length, 0);
        if self.key.open_separate_gather(nonce, CipherAad::from(aad), body, tag, out).is_err() {
            out.zeroize();
            return Err(OpenError::NotAuthentic);
        }
        Ok(())
    }
}

/// The key epoch that a sealed value names, if its format is known and it is long enough to be one.
///
/// Not authenticated: it selects the key, and the wrong key doesn't open the value.
#[must_use]
pub fn sealed_epoch(sealed: &[u8]) -> Option<u32> {
    if sealed.len() < SealKey::OVERHEAD_BYTES {
        return None;
    }
    match sealed.first_chunk::<EPOCH_END>()? {
        [AES_256_GCM_SIV_1, epoch @ ..] => Some(u32::from_be_bytes(*epoch)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
