//! The key that a token is bound to, so that holding the token alone is not enough (RFC 7800).

use serde::{Deserialize, Serialize};

/// Which key whoever presents the token has to prove to hold. The `cnf` claim, with exactly one member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Binding {
    /// The key with this SHA-256 thumbprint (RFC 7638), by a proof with each request (RFC 9449, section 6.1).
    #[serde(rename = "jkt", with = "digest")]
    Jkt([u8; 32]),
    /// The client certificate whose DER has this SHA-256 digest, on the same connection (RFC 8705, section 3.1).
    #[serde(rename = "x5t#S256", with = "digest")]
    Certificate([u8; 32]),
}

impl Binding {
    /// How such a token is presented: the scheme of the `Authorization` header and `token_type` of its answer.
    #[must_use]
    pub const fn scheme(binding: Option<&Self>) -> &'static str {
        match binding {
            Some(Self::Jkt(_)) => "DPoP",
            Some(Self::Certificate(_)) | None => "Bearer",
        }
    }
}

/// The kind only: a thumbprint tells one person's requests from another's.
impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Jkt(_) => "Jkt(..)",
            Self::Certificate(_) => "Certificate(..)",
        })
    }
}

/// 32 bytes in canonical base64url.
mod digest {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(digest))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| serde::de::Error::custom("not a SHA-256 digest"))
    }
}
