//! Proofs that the sender of a request holds the key that its token is bound to (DPoP, RFC 9449).
//!
//! A [`Proof`] is made for one request: its method, its URL, its token and its moment. It brings its own public key,
//! so it proves nothing by itself; the token says which key it has to be ([`Proof::jkt`]). That a proof is good only
//! once is kept by whoever verifies it, under [`Proof::digest`] and until [`PROOF_AGE_MS`] after [`Proof::issued`].
//!
//! Verified are ES256, which every client has, and EdDSA. Our own clients sign with Ed25519.
//!
//! ```
//! use countersign_crypto::{SystemEntropy, dpop::{Proof, ProofKey}};
//! use countersign_model::UnixMs;
//! let (now, url) = (UnixMs::from_seconds(1_800_000_000), "https://data.example/orders");
//! let key = ProofKey::generate(&SystemEntropy)?;
//! let proof = key.sign("GET", url, Some("the access token"), now, &SystemEntropy)?;
//! let verified = Proof::verify(&proof, "GET", url, Some("the access token"), now)?;
//! assert_eq!(verified.jkt(), key.jkt());
//! assert!(Proof::verify(&proof, "PUT", url, Some("the access token"), now).is_err());
//! # Ok::<(), countersign_crypto::dpop::DpopError>(())
//! ```

mod url;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_model::{Entropy, UnixMs};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::json;
use crate::jwt::{Algorithm, Compact, JwtError, Key, RawJwk, decode};

/// How far a proof's moment may be from ours, either way.
pub const PROOF_AGE_MS: u64 = 60 * 1000;

/// The longest proof that is read. It holds a key and a URL.
pub const MAX_BYTES: usize = 4 * 1024;

/// The longest identifier of a proof (`jti`).
pub const MAX_ID_BYTES: usize = 128;

/// A proof's media type, in its header.
pub const TYPE: &str = "dpop+jwt";

/// Why a proof proves nothing. Carries nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DpopError {
    /// Longer than [`MAX_BYTES`].
    #[error("the proof is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not three parts of canonical base64url, or claims that are no proof's.
    #[error("not a proof")]
    Malformed,
    /// The header is not exactly `typ`, `alg`, `jwk` and perhaps `kid`, with [`TYPE`], ES256 or EdDSA.
    #[error("the proof's header is not one that is accepted")]
    Header,
    /// The key is of another kind than the algorithm, malformed, or private.
    #[error("the proof's key can't be used")]
    Key,
    /// The signature is not that key's.
    #[error("the proof's signature is not valid")]
    BadSignature,
    /// For another method.
    #[error("the proof is for another method")]
    Method,
    /// For another URL, or one that is no `http` or `https` URL.
    #[error("the proof is for another URL")]
    Url,
    /// Made more than [`PROOF_AGE_MS`] ago, or that far in the future.
    #[error("the proof is not of this moment")]
    Moment,
    /// For another token, or for none though there is one.
    #[error("the proof is for another token")]
    Token,
}

impl From<JwtError> for DpopError {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::TooLong => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

/// The header of RFC 9449, section 4.2; `kid` changes nothing. A header that asks for more is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: String,
    jwk: RawJwk,
    #[serde(rename = "kid")]
    _kid: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
}

/// A proof that was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    jkt: [u8; 32],
    digest: [u8; 32],
    issued: UnixMs,
}

impl Proof {
    /// Verifies a proof for a request with this method and URL and, unless it is a request for a token, with this
    /// access token. The URL's query and fragment don't count.
    ///
    /// # Errors
    /// [`DpopError`] with the first thing that is wrong.
    pub fn verify(proof: &str, method: &str, url: &str, token: Option<&str>, now: UnixMs) -> Result<Self, DpopError> {
        let parts = Compact::split(proof, MAX_BYTES)?;
        let header: Header = json::parse(&parts.header).ok_or(DpopError::Header)?;
        let algorithm = Algorithm::named(&header.alg)
            .filter(|algorithm| matches!(algorithm, Algorithm::Es256 | Algorithm::EdDsa))
            .filter(|_| header.typ.eq_ignore_ascii_case(TYPE))
            .ok_or(DpopError::Header)?;
        let key = Key::read(&header.jwk).filter(|key| key.fits(algorithm)).ok_or(DpopError::Key)?;
        if !key.verify(algorithm, parts.message.as_bytes(), parts.signature) {
            return Err(DpopError::BadSignature);
        }
        let claims: Claims = json::parse(&decode(parts.claims)?).ok_or(DpopError::Malformed)?;
        if claims.jti.is_empty() || claims.jti.len() > MAX_ID_BYTES {
            return Err(DpopError::Malformed);
        }
        if claims.htm != method {
            return Err(DpopError::Method);
        }
        if !url::same(&claims.htu, url) {
            return Err(DpopError::Url);
        }
        let issued = UnixMs::from_seconds(claims.iat);
        if now >= expiry(issued) || issued.since(now) > PROOF_AGE_MS {
            return Err(DpopError::Moment);
        }
        if let Some(token) = token
            && claims.ath.is_none_or(|said| !crate::same_bytes(said.as_bytes(), token_hash(token).as_bytes()))
        {
            return Err(DpopError::Token);
        }
        let jkt = key.thumbprint();
        let digest = crate::sha256(&[&jkt[..], claims.jti.as_bytes()].concat());
        Ok(Self { jkt, digest, issued })
    }

    /// The SHA-256 thumbprint of the key that signed (RFC 7638): what `cnf.jkt` of the token has to say.
    #[must_use]
    pub const fn jkt(&self) -> [u8; 32] {
        self.jkt
    }

    /// The digest of key and identifier (`jti`): a second proof with the same is the first, replayed.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// When it says it was made, in whole seconds.
    #[must_use]
    pub const fn issued(&self) -> UnixMs {
        self.issued
    }

    /// The first moment at which it is refused for its age, and needs not be remembered any more.
    #[must_use]
    pub const fn expires(&self) -> UnixMs {
        expiry(self.issued)
    }
}

/// A proof says only the second in which it was made: its age counts from the end of that second.
const fn expiry(issued: UnixMs) -> UnixMs {
    issued.plus_ms(PROOF_AGE_MS).plus_ms(1000)
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("issued", &self.issued).finish_non_exhaustive()
    }
}

/// RFC 9449, section 4.2: `ath`.
fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(crate::sha256(token.as_bytes()))
}

/// A client's key for proofs: Ed25519.
pub struct ProofKey {
    pair: Ed25519KeyPair,
    header: String,
    jkt: [u8; 32],
}

impl ProofKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`DpopError::Key`] if the library refuses the key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, DpopError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        entropy.fill(seed.as_mut());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| DpopError::Key)?;
        Ok(Self::of(pair))
    }

    /// Reads what [`Self::to_pkcs8`] wrote (RFC 8410).
    ///
    /// # Errors
    /// [`DpopError::Key`] if it is not an Ed25519 private key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, DpopError> {
        Ed25519KeyPair::from_pkcs8(pkcs8).map(Self::of).map_err(|_| DpopError::Key)
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let header = format!(r#"{{"typ":"{TYPE}","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#);
        let jkt = crate::sha256(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
        Self { pair, header: URL_SAFE_NO_PAD.encode(header), jkt }
    }

    /// The private key as PKCS #8, to be stored as carefully as a token.
    ///
    /// # Errors
    /// [`DpopError::Key`] if the library can't write it.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, DpopError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| DpopError::Key)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The SHA-256 thumbprint of the public key (RFC 7638), which a token is bound to.
    #[must_use]
    pub const fn jkt(&self) -> [u8; 32] {
        self.jkt
    }

    /// A proof for one request, to be sent in its `DPoP` header.
    ///
    /// # Errors
    /// [`DpopError::Url`] if `url` is no `http` or `https` URL, [`DpopError::TooLong`] if nobody would read the proof.
    pub fn sign(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        now: UnixMs,
        entropy: &dyn Entropy,
    ) -> Result<String, DpopError> {
        let mut id = [0u8; 16];
        entropy.fill(&mut id);
        let claims = Claims {
            jti: URL_SAFE_NO_PAD.encode(id),
            htm: method.to_owned(),
            htu: url::normal(url).ok_or(DpopError::Url)?,
            iat: now.seconds(),
            ath: token.map(token_hash),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| DpopError::Malformed)?;
        let message = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(message.as_bytes());
        let proof = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        if proof.len() > MAX_BYTES { Err(DpopError::TooLong) } else { Ok(proof) }
    }
}

/// Nothing of the key.
impl std::fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofKey(..)")
    }
}

#[cfg(test)]
mod tests;
