//! Verifying other people's signed tokens (RFC 7519): OpenID Connect id tokens, and the tokens by which a platform
//! such as Kubernetes or a CI system says which workload is calling.
//!
//! For tokens of our own see [`jws`](crate::jws), which accepts less. Here the issuer chooses among five algorithms and
//! the header may say more than it has to, so this follows RFC 8725: the algorithm has to be one that the caller
//! accepts *and* the only kind of algorithm that the chosen key is for; keys come from the caller's [`JwkSet`] and
//! never from the token; a header that brings a key, names an extension or asks for another reading is refused; no
//! JSON key occurs twice; everything is bounded.
//!
//! A signature says who wrote the token, not for whom or for how long: [`Claims::check`] does.
//!
//! ```no_run
//! # use countersign_crypto::jwt::{Accepted, Claims, Expected, JwkSet, Party, verify};
//! # use countersign_model::UnixMs;
//! # let (published, token, nonce, now) = ("{}", "", "n", UnixMs(0));
//! let keys = JwkSet::parse(published)?;
//! let claims: Claims = verify(&keys, token, &Accepted::ID_TOKEN)?;
//! let expected = Expected {
//!     issuer: "https://login.example.org",
//!     audience: "countersign",
//!     party: Party::Client,
//!     nonce: Some(nonce),
//!     age_max_ms: Some(10 * 60 * 1000),
//! };
//! claims.check(&expected, now)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod compact;
mod half_hash;
mod jwk;

pub use claims::{CLOCK_SKEW_MS, Claims, ClaimsError, Expected, Party};
pub use half_hash::is_half_hash;
pub use jwk::JwkSet;

pub(crate) use compact::{Compact, decode};
pub(crate) use jwk::{Key, RawJwk};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::json;

/// The longest token that is read. Providers write groups into id tokens, so it is more than for our own.
pub const MAX_BYTES: usize = 16 * 1024;

/// The longest key set that is read.
pub const MAX_SET_BYTES: usize = 256 * 1024;

/// The most keys in a set, whether they can be used or not.
pub const MAX_SET_KEYS: usize = 128;

/// Why a token was not accepted, or a key set not read. Carries nothing of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JwtError {
    /// Longer than [`MAX_BYTES`].
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not three parts of canonical base64url.
    #[error("not a signed token in compact form")]
    Malformed,
    /// The header isn't JSON with unrepeated keys, or has a member that is not accepted.
    #[error("the token's header is not one that is accepted")]
    Header,
    /// `alg` is not among those accepted. HMAC and `none` never are.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// `typ` is that of another kind of token.
    #[error("the token is of another type")]
    WrongType,
    /// No key in the set has that name and is for that algorithm; or, if the token names none, not exactly one is.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature is not that key's over this text.
    #[error("the token's signature is not valid")]
    BadSignature,
    /// The signature is valid but the claims are not what was expected, or repeat a key.
    #[error("the token's claims are not as expected")]
    Claims,
    /// The text is not a JSON Web Key Set, is longer than [`MAX_SET_BYTES`] or has more than [`MAX_SET_KEYS`].
    #[error("not a set of keys that can be read")]
    Set,
}

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// The name in a header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that very name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    pub(crate) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// What a header may say of the token's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typ<'a> {
    /// `JWT` in any case, or nothing: what id tokens and platforms' tokens have. Other types, such as `at+jwt` and
    /// `logout+jwt`, are other kinds of token and refused.
    JwtOrAbsent,
    /// Exactly this media type without `application/`, in any case.
    Exactly(&'a str),
}

impl Typ<'_> {
    fn fits(self, typ: Option<&str>) -> bool {
        match self {
            Self::JwtOrAbsent => typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT")),
            Self::Exactly(name) => typ.is_some_and(|typ| typ.eq_ignore_ascii_case(name)),
        }
    }
}

/// What a caller accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted<'a> {
    /// The algorithms.
    pub algorithms: &'a [Algorithm],
    /// The types.
    pub typ: Typ<'a>,
}

impl Accepted<'static> {
    /// Id tokens and platforms' identity tokens, with any algorithm of [`Algorithm::ALL`].
    pub const ID_TOKEN: Self = Self { algorithms: &Algorithm::ALL, typ: Typ::JwtOrAbsent };
}

/// What is read of a header. Members that only describe the key again (`x5t`, `x5t#S256`) and unknown ones are
/// passed over, as RFC 7515 asks; those that would change how the token is read or whose key verifies it are not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    cty: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
    jku: Option<serde::de::IgnoredAny>,
    jwk: Option<serde::de::IgnoredAny>,
    x5u: Option<serde::de::IgnoredAny>,
    x5c: Option<serde::de::IgnoredAny>,
    b64: Option<serde::de::IgnoredAny>,
    zip: Option<serde::de::IgnoredAny>,
    enc: Option<serde::de::IgnoredAny>,
}

impl Header {
    fn is_plain(&self) -> bool {
        let refused = [&self.crit, &self.jku, &self.jwk, &self.x5u, &self.x5c, &self.b64, &self.zip, &self.enc];
        self.cty.is_none() && refused.iter().all(|member| member.is_none())
    }
}

/// Verifies `token` with a key of `keys` and gives its claims. Says nothing about issuer, audience or times.
///
/// # Errors
/// [`JwtError`]; nothing of the claims is looked at before the signature is valid.
pub fn verify<T: DeserializeOwned>(keys: &JwkSet, token: &str, accepted: &Accepted<'_>) -> Result<T, JwtError> {
    let parts = Compact::split(token, MAX_BYTES)?;
    let header: Header = json::parse(&parts.header).ok_or(JwtError::Header)?;
    if !header.is_plain() {
        return Err(JwtError::Header);
    }
    let algorithm = Algorithm::named(&header.alg)
        .filter(|algorithm| accepted.algorithms.contains(algorithm))
        .ok_or(JwtError::Algorithm)?;
    if !accepted.typ.fits(header.typ.as_deref()) {
        return Err(JwtError::WrongType);
    }
    let key = keys.choose(algorithm, header.kid.as_deref()).ok_or(JwtError::UnknownKey)?;
    if !key.verify(algorithm, parts.message.as_bytes(), parts.signature) {
        return Err(JwtError::BadSignature);
    }
    json::parse(&decode(parts.claims)?).ok_or(JwtError::Claims)
}

/// The issuer that a token names, to choose whose keys to verify it with. Nothing was checked.
///
/// # Errors
/// [`JwtError::TooLong`], [`JwtError::Malformed`], or [`JwtError::Claims`] if it names none.
pub fn unverified_issuer(token: &str) -> Result<String, JwtError> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let parts = Compact::split(token, MAX_BYTES)?;
    let claims: Issuer = json::parse(&decode(parts.claims)?).ok_or(JwtError::Claims)?;
    Ok(claims.iss)
}

#[cfg(test)]
mod tests;
