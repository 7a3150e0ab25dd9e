//! Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::{Algorithm, JwtError, MAX_SET_BYTES, MAX_SET_KEYS};
use crate::json;

/// RSA moduli in bits. Less is broken or nearly so; more is a way to keep a verifier busy.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key as published. Every member is optional, so that one strange key doesn't make the whole set unreadable.
#[derive(Deserialize)]
pub(crate) struct RawJwk {
    kty: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    const fn fits(self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Rsa, Algorithm::Rs256 | Algorithm::Ps256)
                | (Self::P256, Algorithm::Es256)
                | (Self::P384, Algorithm::Es384)
                | (Self::Ed25519, Algorithm::EdDsa)
        )
    }
}

/// A public key that can verify signatures.
pub(crate) struct Key {
    kind: Kind,
    decoding: DecodingKey,
    thumbprint: [u8; 32],
}

impl Key {
    /// The key of a JWK; `None` for one that is private, of a kind that isn't supported, or not well formed.
    pub fn read(jwk: &RawJwk) -> Option<Self> {
        // Whoever publishes a private or a shared key has none.
        if jwk.d.is_some() || jwk.k.is_some() {
            return None;
        }
        match (jwk.kty.as_deref()?, jwk.crv.as_deref()) {
            ("RSA", None) => {
                let (n, e) = (integer(jwk.n.as_deref()?)?, integer(jwk.e.as_deref()?)?);
                let unused = usize::try_from(n.first()?.leading_zeros()).ok()?;
                let bits = n.len().checked_mul(8)?.checked_sub(unused)?;
                if !RSA_BITS.contains(&bits) || e.len() > 8 {
                    return None;
                }
                let (n_text, e_text) = (URL_SAFE_NO_PAD.encode(&n), URL_SAFE_NO_PAD.encode(&e));
                let canonical = format!(r#"{{"e":"{e_text}","kty":"RSA","n":"{n_text}"}}"#);
                Some(Self::new(Kind::Rsa, DecodingKey::from_rsa_raw_components(&n, &e), &canonical))
            }
            ("EC", Some(curve @ "P-256")) => Self::elliptic(Kind::P256, curve, jwk, 32),
            ("EC", Some(curve @ "P-384")) => Self::elliptic(Kind::P384, curve, jwk, 48),
            ("OKP", Some("Ed25519")) => {
                let x = jwk.x.as_deref()?;
                let public = exactly(x, 32)?;
                let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
                Some(Self::new(Kind::Ed25519, DecodingKey::from_ed_der(&public), &canonical))
            }
            _ => None,
        }
    }

    fn elliptic(kind: Kind, curve: &str, jwk: &RawJwk, size: usize) -> Option<Self> {
        let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
        // SEC 1, uncompressed. Whether the point is on the curve is checked with every signature.
        let point = [&[4u8][..], &exactly(x, size)?, &exactly(y, size)?].concat();
        let canonical = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Some(Self::new(kind, DecodingKey::from_ec_der(&point), &canonical))
    }

    fn new(kind: Kind, decoding: DecodingKey, canonical: &str) -> Self {
        Self { kind, decoding, thumbprint: crate::sha256(canonical.as_bytes()) }
    }

    /// Whether `signature`, in base64url, is this key's over `message`. Never for an algorithm of another kind of key.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm.library()).unwrap_or(false)
    }

    /// Whether the algorithm is for this kind of key.
    pub const fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm)
    }

    /// The RFC 7638 thumbprint with SHA-256.
    pub const fn thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }
}

/// An unsigned integer without its leading zeros, of which some publishers write one.
fn integer(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes.get(first..)?.to_vec())
}

fn exactly(text: &str, size: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == size)
}

struct Named {
    kid: Option<String>,
    /// The only algorithm it may be used with, if it says so.
    alg: Option<String>,
    key: Key,
}

/// The keys that an issuer publishes (RFC 7517, section 5), as far as they can verify signatures here.
pub struct JwkSet(Vec<Named>);

impl JwkSet {
    /// Reads a published key set. Keys for encryption, of other kinds, too small or malformed are left out: the rest
    /// must go on working when an issuer adds one.
    ///
    /// # Errors
    /// [`JwtError::Set`] if the text is not a key set, repeats a JSON key anywhere, or is past the bounds. A set
    /// without a single usable key is no error; nothing verifies with it.
    pub fn parse(text: &str) -> Result<Self, JwtError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        if text.len() > MAX_SET_BYTES {
            return Err(JwtError::Set);
        }
        let set: Set = json::parse(text.as_bytes()).ok_or(JwtError::Set)?;
        if set.keys.len() > MAX_SET_KEYS {
            return Err(JwtError::Set);
        }
        Ok(Self(set.keys.into_iter().filter_map(usable).collect()))
    }

    /// How many keys of the set can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no key can be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one key that is meant; nothing is tried out, so a token costs one signature check at most.
    pub(super) fn choose(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|named| {
            named.key.fits(algorithm)
                && named.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str())
                && kid.is_none_or(|kid| named.kid.as_deref() == Some(kid))
        });
        let first = fitting.next()?;
        // Some publish a key twice, once for each of its algorithms or with each of its certificates.
        let one = fitting.all(|other| other.key.thumbprint() == first.key.thumbprint());
        one.then_some(&first.key)
    }
}

impl std::fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwkSet").field("keys", &self.0.len()).finish()
    }
}

fn usable(jwk: serde_json::Value) -> Option<Named> {
    let jwk: RawJwk = serde_json::from_value(jwk).ok()?;
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let key = Key::read(&jwk).filter(|_| for_signatures)?;
    Some(Named { kid: jwk.kid, alg: jwk.alg, key })
}
