//! Join tokens: what an operator hands to a new service, so that the authority knows the service and the service
//! the authority at first contact.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_model::Entropy;
use zeroize::Zeroizing;

use super::X509Error;
use crate::SecretKey;

/// How every join token begins, so that it can be found where it should not be.
pub const JOIN_TOKEN_PREFIX: &str = "csj1.";

const ID_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
const TOKEN_BYTES: usize = ID_BYTES + SecretKey::BYTES + DIGEST_BYTES;
const ENCODED_CHARS: usize = (TOKEN_BYTES * 4).div_ceil(3);

/// An invitation: `csj1.` and the base64url form of 16 bytes that name it, 32 that are secret and the SHA-256 digest
/// of the certificate authority's certificate. Has no `Clone`; `Debug` shows which one it is.
pub struct JoinToken {
    id: [u8; ID_BYTES],
    secret: SecretKey,
    ca_sha256: [u8; DIGEST_BYTES],
}

impl JoinToken {
    /// A new token to the authority with this certificate.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy, ca_sha256: [u8; 32]) -> Self {
        let mut id = [0; ID_BYTES];
        entropy.fill(&mut id);
        Self { id, secret: SecretKey::generate(entropy), ca_sha256 }
    }

    /// Names the token; not secret.
    #[must_use]
    pub const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The certificate authority that the token is good with.
    #[must_use]
    pub const fn ca_sha256(&self) -> [u8; 32] {
        self.ca_sha256
    }

    /// What the authority keeps of it: nobody can make the token of that.
    #[must_use]
    pub fn secret_sha256(&self) -> [u8; 32] {
        crate::sha256(self.secret.expose())
    }

    /// The token itself, for the operator who asked and for the authority.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0u8; TOKEN_BYTES]);
        let parts = self.id.iter().chain(self.secret.expose()).chain(&self.ca_sha256);
        for (place, byte) in bytes.iter_mut().zip(parts) {
            *place = *byte;
        }
        // Room at once, so that no copy is left behind where the text was before it grew.
        let mut text = Zeroizing::new(String::with_capacity(JOIN_TOKEN_PREFIX.len().saturating_add(ENCODED_CHARS)));
        text.push_str(JOIN_TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }
}

impl FromStr for JoinToken {
    type Err = X509Error;

    fn from_str(text: &str) -> Result<Self, X509Error> {
        let encoded = text.strip_prefix(JOIN_TOKEN_PREFIX).ok_or(X509Error::JoinToken)?;
        if encoded.len() != ENCODED_CHARS {
            return Err(X509Error::JoinToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map(Zeroizing::new).map_err(|_| X509Error::JoinToken)?;
        let parts = bytes.split_first_chunk::<ID_BYTES>();
        let parts = parts.and_then(|(id, rest)| Some((id, rest.split_first_chunk::<{ SecretKey::BYTES }>()?)));
        let (id, (secret, ca_sha256)) = parts.ok_or(X509Error::JoinToken)?;
        let secret = SecretKey::from_slice(secret).ok_or(X509Error::JoinToken)?;
        Ok(Self { id: *id, secret, ca_sha256: ca_sha256.try_into().map_err(|_| X509Error::JoinToken)? })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({:032x}, ..)", u128::from_be_bytes(self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn a_token_is_read_as_it_was_written_and_shows_its_name_only() {
        let token = JoinToken::generate(&SystemEntropy, [7; 32]);
        let text = token.expose();
        assert!(text.starts_with(JOIN_TOKEN_PREFIX));
        assert_eq!(text.capacity(), text.len());
        let again: JoinToken = text.parse().unwrap();
        assert_eq!((again.id(), again.secret_sha256()), (token.id(), token.secret_sha256()));
        assert_eq!(again.ca_sha256(), [7; 32]);
        let shown = format!("{again:?}");
        assert_eq!(shown, format!("JoinToken({}, ..)", hex::encode(token.id())));
        assert_ne!(JoinToken::generate(&SystemEntropy, [7; 32]).secret_sha256(), token.secret_sha256());
    }

    #[test]
    fn nothing_else_is_a_token() {
        let text = JoinToken::generate(&SystemEntropy, [7; 32]).expose();
        let encoded = text.strip_prefix(JOIN_TOKEN_PREFIX).unwrap();
        let others = [
            String::new(),
            encoded.to_owned(),
            format!("csj2.{encoded}"),
            format!("{}=", text.as_str()),
            format!("{} ", text.as_str()),
            text[..text.len() - 1].to_owned(),
            text.replace('.', ".A"),
            format!("{JOIN_TOKEN_PREFIX}{}", "/".repeat(ENCODED_CHARS)),
        ];
        for other in others {
            assert_eq!(other.parse::<JoinToken>().err(), Some(X509Error::JoinToken));
        }
    }
}
