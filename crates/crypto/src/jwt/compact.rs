//! The three parts of a signed token in compact form (RFC 7515, section 7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::JwtError;

/// A token taken apart, nothing of it checked but that it has three parts.
pub(crate) struct Compact<'a> {
    /// What is signed: header, dot, claims.
    pub message: &'a str,
    /// The header, decoded.
    pub header: Vec<u8>,
    /// The claims, encoded. To be looked at after the signature.
    pub claims: &'a str,
    /// The signature, encoded.
    pub signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes `token` apart if it is no longer than `bytes_max`.
    pub fn split(token: &'a str, bytes_max: usize) -> Result<Self, JwtError> {
        if token.len() > bytes_max {
            return Err(JwtError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(JwtError::Malformed)?;
        // Refuses padding, other alphabets and set bits after the end: one text per token.
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| JwtError::Malformed)?;
        if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(JwtError::Malformed);
        }
        Ok(Self { message, header, claims, signature })
    }
}

/// Decodes a token's claims.
pub(crate) fn decode(part: &str) -> Result<Zeroizing<Vec<u8>>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map(Zeroizing::new).map_err(|_| JwtError::Malformed)
}
