//! The claims that an identity token has to satisfy (RFC 7519 section 4.1, OpenID Connect Core section 3.1.3.7).

use countersign_model::UnixMs;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// How far other people's clocks may be ahead of ours. Expiry gets no such grace.
pub const CLOCK_SKEW_MS: u64 = 60 * 1000;

/// Why a token with a valid signature is refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClaimsError {
    /// From another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// For another audience.
    #[error("the token is for another audience")]
    Audience,
    /// Issued to another party than its audience (`azp`), or for several audiences without saying to which party.
    #[error("the token was issued to another party")]
    Party,
    /// Past its expiry, which is exclusive.
    #[error("the token has expired")]
    Expired,
    /// Not valid yet (`nbf`), or issued in the future (`iat`), by more than [`CLOCK_SKEW_MS`].
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Issued too long ago, or it doesn't say when.
    #[error("the token was issued too long ago")]
    TooOld,
    /// The nonce isn't the one that was sent.
    #[error("the token answers another question")]
    Nonce,
}

/// To whom a token may have been issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// A sign-on: the audience is our own client, and if the token names an authorised party it is that client too.
    Client,
    /// A platform's token: the audience is we, alone; `azp` is who holds the token and up to the caller's rules.
    Holder,
}

/// What a token has to say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `iss`, character by character.
    pub issuer: &'a str,
    /// Must be in `aud`.
    pub audience: &'a str,
    /// Whom the token may have been issued to.
    pub party: Party,
    /// The nonce that was sent; `None` if none was, and then none is looked at.
    pub nonce: Option<&'a str>,
    /// The greatest age since `iat`, in milliseconds. `None`: `iat` may be absent and any age is good that `exp` allows.
    pub age_max_ms: Option<u64>,
}

/// Registered claims, and the others for rules to look at.
#[derive(Clone, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is about; unique only together with the issuer.
    pub sub: String,
    /// For whom it is.
    #[serde(deserialize_with = "audiences")]
    pub aud: Vec<String>,
    /// The party it was issued to.
    pub azp: Option<String>,
    /// When it expires, in seconds since 1970.
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    /// From when on it is good, in seconds since 1970.
    #[serde(default, deserialize_with = "seconds_if_any")]
    pub nbf: Option<u64>,
    /// When it was issued, in seconds since 1970.
    #[serde(default, deserialize_with = "seconds_if_any")]
    pub iat: Option<u64>,
    /// What the request asked to be repeated.
    pub nonce: Option<String>,
    /// The token's own identifier.
    pub jti: Option<String>,
    /// All other claims.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Claims {
    /// Whether the token is from whom, for whom and of when it has to be.
    ///
    /// # Errors
    /// [`ClaimsError`] with the first thing that is wrong.
    pub fn check(&self, expected: &Expected<'_>, now: UnixMs) -> Result<(), ClaimsError> {
        if self.iss != expected.issuer {
            return Err(ClaimsError::Issuer);
        }
        if !self.aud.iter().any(|audience| audience == expected.audience) {
            return Err(ClaimsError::Audience);
        }
        let sole = self.aud.len() == 1;
        let party = match (expected.party, self.azp.as_deref()) {
            (Party::Client, Some(azp)) => azp == expected.audience,
            (Party::Client, None) | (Party::Holder, _) => sole,
        };
        if !party {
            return Err(ClaimsError::Party);
        }
        if now >= UnixMs::from_seconds(self.exp) {
            return Err(ClaimsError::Expired);
        }
        let latest = now.plus_ms(CLOCK_SKEW_MS);
        if [self.nbf, self.iat].into_iter().flatten().any(|begin| UnixMs::from_seconds(begin) > latest) {
            return Err(ClaimsError::NotYetValid);
        }
        if let Some(age_max_ms) = expected.age_max_ms
            && self.iat.is_none_or(|issued| now.since(UnixMs::from_seconds(issued)) > age_max_ms)
        {
            return Err(ClaimsError::TooOld);
        }
        match (expected.nonce, self.nonce.as_deref()) {
            (None, _) => Ok(()),
            (Some(sent), Some(said)) if crate::same_bytes(sent.as_bytes(), said.as_bytes()) => Ok(()),
            _ => Err(ClaimsError::Nonce),
        }
    }
}

/// Nothing of what it says.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims").finish_non_exhaustive()
    }
}

/// One text or a list of texts.
fn audiences<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// A NumericDate: a number of seconds, which may have a fraction. It is cut off, so that nothing lives longer for it.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    whole(&number).ok_or_else(|| serde::de::Error::custom("not a time"))
}

fn seconds_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    seconds(deserializer).map(Some)
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    /// The end of the year 9999. Later is a mistake, or somebody who writes milliseconds.
    const MAX: u64 = 253_402_300_799;
    let seconds = match number.as_u64() {
        Some(seconds) => seconds,
        // Whole seconds up to the bound are exact in a double.
        None => {
            let fraction = number.as_f64().filter(|seconds| (0.0..=253_402_300_799.0).contains(seconds))?;
            format!("{:.0}", fraction.trunc()).parse().ok()?
        }
    };
    (seconds <= MAX).then_some(seconds)
}
