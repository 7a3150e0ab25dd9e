//! Signed JSON in compact form (RFC 7515), with Ed25519 (RFC 8037) and nothing else.
//!
//! A verifier here accepts less than the RFC allows: the header is exactly `alg`, `typ` and `kid`, so that no
//! token can bring its own key, ask for an extension or choose an algorithm; no JSON key occurs twice; the
//! text is at most [`MAX_BYTES`] long and in canonical base64url.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_model::Entropy;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::json;

/// The longest token that is read.
pub const MAX_BYTES: usize = 8 * 1024;

const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_CHARS: usize = 86;

/// Why a token was not accepted, or a key not read. Carries nothing of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`MAX_BYTES`].
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not three parts of canonical base64url, or a part isn't JSON with unrepeated keys.
    #[error("not a signed token in compact form")]
    Malformed,
    /// The header is not exactly `alg`, `typ` and `kid`, or the algorithm is not EdDSA.
    #[error("the token's header is not one that is accepted")]
    Header,
    /// The header's `typ` is that of another kind of token.
    #[error("the token is of another type")]
    WrongType,
    /// No key with the header's `kid`.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature is not that key's over this text.
    #[error("the token's signature is not valid")]
    BadSignature,
    /// The signature is valid but the content is not what was expected.
    #[error("the token's claims are not as expected")]
    Claims,
    /// A private key, public key or key set that can't be used.
    #[error("the signing key can't be used")]
    Key,
}

/// The public half of a signing key as a JSON Web Key (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The public key, base64url.
    pub x: String,
    /// The RFC 7638 thumbprint.
    pub kid: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
}

impl PublicJwk {
    fn of(public: &[u8; PUBLIC_KEY_BYTES]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        let kid = thumbprint(&x);
        let text = str::to_owned;
        Self { kty: text("OKP"), crv: text("Ed25519"), x, kid, alg: text("EdDSA"), usage: text("sig") }
    }

    fn public(&self) -> Result<[u8; PUBLIC_KEY_BYTES], JwsError> {
        let public = URL_SAFE_NO_PAD.decode(&self.x).map_err(|_| JwsError::Key)?;
        let public = public.try_into().map_err(|_| JwsError::Key)?;
        if Self::of(&public) == *self { Ok(public) } else { Err(JwsError::Key) }
    }
}

/// RFC 7638: the digest of the key's required members in alphabetical order.
fn thumbprint(x: &str) -> String {
    URL_SAFE_NO_PAD.encode(crate::sha256(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes()))
}

/// A key that signs tokens.
pub struct SigningKey {
    signer: EncodingKey,
    public: PublicJwk,
}

impl SigningKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`JwsError::Key`] if the library refuses the key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, JwsError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        entropy.fill(seed.as_mut());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| JwsError::Key)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| JwsError::Key)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads what [`Self::to_pkcs8`] wrote (RFC 8410).
    ///
    /// # Errors
    /// [`JwsError::Key`] if it is not an Ed25519 private key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, JwsError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| JwsError::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| JwsError::Key)?;
        Ok(Self { signer: EncodingKey::from_ed_der(pkcs8), public: PublicJwk::of(&public) })
    }

    /// The private key as PKCS #8, to be sealed and stored.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.signer.as_bytes().to_vec())
    }

    /// The key's name: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// The public half.
    #[must_use]
    pub fn public_jwk(&self) -> &PublicJwk {
        &self.public
    }

    /// Signs `claims` as a token of type `typ`.
    ///
    /// # Errors
    /// [`JwsError::Claims`] if `claims` can't be written as JSON, [`JwsError::TooLong`] if no verifier would read it.
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, JwsError> {
        let header =
            Header { typ: Some(typ.to_owned()), kid: Some(self.public.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let mut token = jsonwebtoken::encode(&header, claims, &self.signer).map_err(|_| JwsError::Claims)?;
        if token.len() > MAX_BYTES {
            token.zeroize();
            return Err(JwsError::TooLong);
        }
        Ok(token)
    }
}

/// The only header that is accepted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

struct VerifyingKey {
    kid: String,
    key: DecodingKey,
}

/// The keys that a verifier accepts, found by their `kid`.
pub struct VerifyingKeys(Vec<VerifyingKey>);

impl VerifyingKeys {
    /// From public keys.
    ///
    /// # Errors
    /// [`JwsError::Key`] if one isn't an Ed25519 signature key named by its thumbprint.
    pub fn new(keys: Vec<PublicJwk>) -> Result<Self, JwsError> {
        let read = |jwk: PublicJwk| {
            let public = jwk.public()?;
            Ok(VerifyingKey { key: DecodingKey::from_ed_der(&public), kid: jwk.kid })
        };
        Ok(Self(keys.into_iter().map(read).collect::<Result<_, JwsError>>()?))
    }

    /// From a JSON Web Key Set (RFC 7517) as [`jwks`] writes it.
    ///
    /// # Errors
    /// [`JwsError::Key`] if it is not one, or as [`Self::new`].
    pub fn from_jwks(text: &str) -> Result<Self, JwsError> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<PublicJwk>,
        }
        let set: KeySet = json::parse(text.as_bytes()).ok_or(JwsError::Key)?;
        Self::new(set.keys)
    }

    /// Verifies `token` and gives its claims. Says nothing about expiry, issuer or audience: the caller does.
    ///
    /// # Errors
    /// [`JwsError`]; nothing of the claims is looked at before the signature is valid.
    pub fn verify<T: DeserializeOwned>(&self, typ: &str, token: &str) -> Result<T, JwsError> {
        if token.len() > MAX_BYTES {
            return Err(JwsError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(JwsError::Malformed)?;
        if signature.len() != SIGNATURE_CHARS {
            return Err(JwsError::Malformed);
        }
        // Refuses padding, other alphabets and set bits after the end: one text per token.
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| JwsError::Malformed)?;
        let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).map_err(|_| JwsError::Malformed)?);
        let header: StrictHeader = json::parse(&header).ok_or(JwsError::Header)?;
        if header.alg != "EdDSA" {
            return Err(JwsError::Header);
        }
        if header.typ != typ {
            return Err(JwsError::WrongType);
        }
        let known = self.0.iter().find(|known| known.kid == header.kid).ok_or(JwsError::UnknownKey)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &known.key, Algorithm::EdDSA) {
            Ok(true) => json::parse(&claims).ok_or(JwsError::Claims),
            Ok(false) => Err(JwsError::BadSignature),
            Err(_) => Err(JwsError::Malformed),
        }
    }
}

/// The JSON Web Key Set to publish for these keys.
#[must_use]
pub fn jwks(keys: &[PublicJwk]) -> serde_json::Value {
    serde_json::json!({ "keys": keys })
}

#[cfg(test)]
mod tests;
