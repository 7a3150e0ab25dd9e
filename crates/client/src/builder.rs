//! How a service gets to know its Countersign.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_model::clock::SystemClock;
use countersign_model::{Clock, UnixMs};
use serde::Deserialize;

use crate::Authority;
use crate::authority::Network;
use crate::https::{Https, HttpsError};

/// The name that tokens of a deployment are for, unless its `tokens.audience` says otherwise.
const AUDIENCE: &str = "countersign";

/// The longest that [`Builder::remember`] takes.
const REMEMBER_MAX: Duration = Duration::from_secs(60);

/// What a service may set before it connects. Made by [`Authority::builder`].
#[derive(Debug)]
pub struct Builder {
    https: Https<crate::authority::NoBody>,
    issuer: Option<String>,
    audience: String,
    settings: Settings,
}

/// Times in milliseconds.
pub(crate) struct Settings {
    pub refresh_ms: u64,
    pub keys_max_age_ms: u64,
    pub unknown_key_gap_ms: u64,
    pub remember_ms: u64,
    pub answer_within: Duration,
    pub tokens: usize,
    pub clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refresh_ms: 60_000,
            keys_max_age_ms: 600_000,
            unknown_key_gap_ms: 1_000,
            remember_ms: 5_000,
            answer_within: Duration::from_secs(5),
            tokens: 10_000,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Why Countersign could not be reached or not be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL or the certificate authority can't be used.
    #[error(transparent)]
    Settings(HttpsError),
    /// No answer.
    #[error("Countersign does not answer")]
    Unreachable,
    /// What answers doesn't describe itself as RFC 8414 says.
    #[error("what answers there is not Countersign")]
    NotCountersign,
    /// It issues tokens under another name than expected.
    #[error("Countersign there issues tokens under another name than expected")]
    OtherIssuer,
    /// Its key set can't be read.
    #[error("Countersign's key set can't be read")]
    Keys,
}

/// The part of the metadata that matters here (RFC 8414, section 2).
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub issuer: String,
}

impl Builder {
    pub(crate) fn new(url: &str, ca_pem: &str) -> Result<Self, ConnectError> {
        let https = Https::new(url, ca_pem).map_err(ConnectError::Settings)?;
        Ok(Self { https, issuer: None, audience: AUDIENCE.to_owned(), settings: Settings::default() })
    }

    /// The only `iss` that is accepted. By default it is what the server says of itself when it is first reached; the
    /// server was authenticated by its certificate then, and the keys come from the same server.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The only `aud` that is accepted: `countersign` by default.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// How long Countersign's answer about a token is used again: 5 seconds by default, at most a minute. This is how
    /// long a revoked token may still be accepted here; a longer time asks less often.
    #[must_use]
    pub fn remember(mut self, time: Duration) -> Self {
        self.settings.remember_ms = millis(time.min(REMEMBER_MAX));
        self
    }

    /// How often the keys are fetched again: every minute by default, at least every second.
    #[must_use]
    pub fn refresh_keys_every(mut self, time: Duration) -> Self {
        self.settings.refresh_ms = millis(time).max(1_000);
        self
    }

    /// How old keys may be: 10 minutes by default. With older ones every token is refused, until new ones are got.
    #[must_use]
    pub fn keys_max_age(mut self, time: Duration) -> Self {
        self.settings.keys_max_age_ms = millis(time);
        self
    }

    /// How long a caller waits for Countersign at most: 5 seconds by default. After that it is refused.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.settings.answer_within = time;
        self
    }

    /// About how many tokens are remembered: 10,000 by default. More are accepted, and asked about anew.
    #[must_use]
    pub fn remember_tokens(mut self, count: usize) -> Self {
        self.settings.tokens = count.max(1);
        self
    }

    /// Where the time comes from; the machine's clock by default. For tests.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(ClockOf(now));
        self
    }

    /// Fetches who Countersign is and its keys, and starts to keep the keys fresh. That ends when the last clone of
    /// the [`Authority`], and of everything made with it, is dropped.
    ///
    /// # Errors
    /// [`ConnectError`]. A service that starts before its Countersign tries again.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(self) -> Result<Authority, ConnectError> {
        let Self { https, issuer, audience, settings } = self;
        let authority = Authority::open(Box::new(Network(https)), issuer, audience, settings).await?;
        authority.keep_fresh();
        Ok(authority)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct ClockOf<F>(F);

impl<F: Fn() -> SystemTime + Send + Sync> Clock for ClockOf<F> {
    fn now(&self) -> UnixMs {
        UnixMs(millis((self.0)().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("remember_ms", &self.remember_ms).finish_non_exhaustive()
    }
}
