//! What issuers publish about themselves: where their endpoints are (OpenID Connect Discovery) and their keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::jwt::{self, Accepted, JwkSet, JwtError};
use countersign_crypto::sha256;
use countersign_model::UnixMs;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::address::HttpsUrl;
use super::fetch::{Ask, FetchError, Outbound};

/// How long metadata and keys are good without asking again.
const FRESH_MS: u64 = 3600 * 1000;

/// How long after a fetch, good or bad, the next one has to wait. Tokens with unknown keys can be made by anybody.
const PAUSE_MS: u64 = 30 * 1000;

/// How long after a failure the next try has to wait.
const RETRY_MS: u64 = 5 * 1000;

/// The most issuers that are remembered. Beyond it, all are forgotten and fetched again.
const KNOWN_MAX: usize = 4096;

/// Somebody who signs tokens that others believe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Issuer {
    /// The issuer identifier, exactly as in the tokens.
    pub url: String,
    /// Certificate authorities, in PEM, that are trusted for its servers besides the platform's.
    pub ca_pem: Option<Arc<str>>,
}

/// Why nothing is known of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// It can't be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It answered with something other than success.
    #[error("the issuer answered with an error")]
    Status,
    /// What it publishes is not what the specification asks, or is about another issuer.
    #[error("what the issuer publishes is not valid")]
    Invalid,
    /// It was asked a moment ago and failed.
    #[error("the issuer failed a moment ago")]
    Pause,
}

/// Why a token of an issuer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The issuer's keys can't be had.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The token is no good.
    #[error(transparent)]
    Token(#[from] JwtError),
}

/// Gives the keys with which an issuer's tokens are verified.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The issuer's keys. `unknown_in` is a set in which the key of a token was looked for in vain: it is fetched
    /// again if that is not too soon, and given again otherwise.
    ///
    /// # Errors
    /// [`IssuerError`].
    async fn keys(
        &self,
        issuer: &Issuer,
        unknown_in: Option<&Arc<JwkSet>>,
        now: UnixMs,
    ) -> Result<Arc<JwkSet>, IssuerError>;
}

/// Verifies a token's signature with its issuer's keys, fetching them again if the key is not among those known.
/// Says nothing about issuer, audience or times: [`jwt::Claims::check`] does.
///
/// # Errors
/// [`NotVerified`].
pub async fn verify<T: DeserializeOwned>(
    source: &(impl KeySource + ?Sized),
    issuer: &Issuer,
    token: &str,
    accepted: &Accepted<'_>,
    now: UnixMs,
) -> Result<T, NotVerified> {
    let keys = source.keys(issuer, None, now).await?;
    match jwt::verify(&keys, token, accepted) {
        Err(JwtError::UnknownKey) => {
            let newer = source.keys(issuer, Some(&keys), now).await?;
            Ok(jwt::verify(&newer, token, accepted)?)
        }
        outcome => Ok(outcome?),
    }
}

/// What of an issuer's metadata is used (OpenID Connect Discovery 1.0, section 3; RFC 8628, section 4; RFC 9207,
/// section 3).
#[derive(Debug)]
pub struct Metadata {
    /// Where its keys are.
    pub jwks_uri: HttpsUrl,
    /// Where people log in.
    pub authorization_endpoint: Option<HttpsUrl>,
    /// Where codes become tokens.
    pub token_endpoint: Option<HttpsUrl>,
    /// Where the device flow begins.
    pub device_authorization_endpoint: Option<HttpsUrl>,
    /// Whether it says who it is when it sends people back.
    pub names_itself: bool,
    /// Whether clients may prove themselves in the `Authorization` field; otherwise they do it in the form.
    pub takes_basic: bool,
}

#[derive(Deserialize)]
struct Published {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Metadata {
    fn read(body: &[u8], issuer: &str) -> Result<Self, IssuerError> {
        let published: Published = serde_json::from_slice(body).map_err(|_| IssuerError::Invalid)?;
        // Discovery 1.0, section 4.3: otherwise one issuer could speak for another.
        if published.issuer != issuer {
            return Err(IssuerError::Invalid);
        }
        let endpoint = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => HttpsUrl::parse(&text).map(Some).ok_or(IssuerError::Invalid),
        };
        let methods = published.token_endpoint_auth_methods_supported;
        Ok(Self {
            jwks_uri: HttpsUrl::parse(&published.jwks_uri).ok_or(IssuerError::Invalid)?,
            authorization_endpoint: endpoint(published.authorization_endpoint)?,
            token_endpoint: endpoint(published.token_endpoint)?,
            device_authorization_endpoint: endpoint(published.device_authorization_endpoint)?,
            names_itself: published.authorization_response_iss_parameter_supported,
            takes_basic: methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
        })
    }
}

/// Asks issuers and remembers their answers.
pub struct Issuers {
    http: Arc<dyn Outbound>,
    known: Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<Known>>>>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, UnixMs)>,
    keys: Option<(Arc<JwkSet>, UnixMs)>,
    failed: Option<UnixMs>,
}

impl Known {
    fn may_ask(&self, now: UnixMs) -> Result<(), IssuerError> {
        let paused = self.failed.is_some_and(|failed| now.since(failed) < RETRY_MS);
        if paused { Err(IssuerError::Pause) } else { Ok(()) }
    }
}

impl Issuers {
    /// Asks by means of `http`.
    #[must_use]
    pub fn new(http: Arc<dyn Outbound>) -> Self {
        Self { http, known: Mutex::default() }
    }

    /// What makes the calls.
    #[must_use]
    pub fn http(&self) -> &Arc<dyn Outbound> {
        &self.http
    }

    /// Where the issuer's endpoints are.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub async fn metadata(&self, issuer: &Issuer, now: UnixMs) -> Result<Arc<Metadata>, IssuerError> {
        let known = self.known(issuer);
        let mut known = known.lock().await;
        self.metadata_of(issuer, &mut known, now).await
    }

    /// What was fetched with one tenant's certificate authorities is never used for another's.
    fn known(&self, issuer: &Issuer) -> Arc<tokio::sync::Mutex<Known>> {
        let authorities = sha256(issuer.ca_pem.as_deref().unwrap_or_default().as_bytes());
        let key = sha256(&[&authorities[..], issuer.url.as_bytes()].concat());
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX && !known.contains_key(&key) {
            known.clear();
        }
        Arc::clone(known.entry(key).or_default())
    }

    async fn metadata_of(&self, issuer: &Issuer, known: &mut Known, now: UnixMs) -> Result<Arc<Metadata>, IssuerError> {
        if let Some((metadata, at)) = &known.metadata
            && now.since(*at) < FRESH_MS
        {
            return Ok(Arc::clone(metadata));
        }
        known.may_ask(now)?;
        let fetched = self.fetch_metadata(issuer).await;
        known.failed = fetched.is_err().then_some(now);
        let metadata = Arc::new(fetched?);
        known.metadata = Some((Arc::clone(&metadata), now));
        Ok(metadata)
    }

    async fn fetch_metadata(&self, issuer: &Issuer) -> Result<Metadata, IssuerError> {
        let base = issuer.url.strip_suffix('/').unwrap_or(&issuer.url);
        let url = HttpsUrl::parse(&format!("{base}/.well-known/openid-configuration")).ok_or(IssuerError::Invalid)?;
        Metadata::read(&self.get(issuer, url).await?, &issuer.url)
    }

    async fn fetch_keys(&self, issuer: &Issuer, url: HttpsUrl) -> Result<JwkSet, IssuerError> {
        let body = self.get(issuer, url).await?;
        let text = std::str::from_utf8(&body).map_err(|_| IssuerError::Invalid)?;
        JwkSet::parse(text).map_err(|_| IssuerError::Invalid)
    }

    async fn get(&self, issuer: &Issuer, url: HttpsUrl) -> Result<Vec<u8>, IssuerError> {
        let ask = Ask { ca_pem: issuer.ca_pem.clone(), ..Ask::get(url) };
        let answered = self.http.call(ask).await?;
        if answered.status == 200 { Ok(answered.body.to_vec()) } else { Err(IssuerError::Status) }
    }
}

#[async_trait]
impl KeySource for Issuers {
    async fn keys(
        &self,
        issuer: &Issuer,
        unknown_in: Option<&Arc<JwkSet>>,
        now: UnixMs,
    ) -> Result<Arc<JwkSet>, IssuerError> {
        let known = self.known(issuer);
        // Held while fetching: who comes meanwhile waits for the same answer.
        let mut known = known.lock().await;
        if let Some((keys, at)) = &known.keys {
            let age_ms = now.since(*at);
            let is_the_one = unknown_in.is_some_and(|set| Arc::ptr_eq(set, keys));
            if age_ms < PAUSE_MS || (age_ms < FRESH_MS && !is_the_one) {
                return Ok(Arc::clone(keys));
            }
        }
        let metadata = self.metadata_of(issuer, &mut known, now).await?;
        known.may_ask(now)?;
        let fetched = self.fetch_keys(issuer, metadata.jwks_uri.clone()).await;
        known.failed = fetched.is_err().then_some(now);
        let keys = Arc::new(fetched?);
        known.keys = Some((Arc::clone(&keys), now));
        Ok(keys)
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers").finish_non_exhaustive()
    }
}
