//! Countersign's public keys, kept fresh.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use countersign_crypto::jws::VerifyingKeys;
use countersign_model::UnixMs;
use countersign_token::Verifier;
use http::StatusCode;
use tokio::sync::Mutex;

use crate::authority::Source;
use crate::builder::{ConnectError, Settings};

const KEY_SET: &str = "/v1/jwks.json";

/// The keys, and when they were got.
pub(crate) struct Keys {
    pub verifier: Verifier,
    /// When the newest keys were asked for, in milliseconds. Not when they came: they may have changed on the way.
    fetched: AtomicU64,
    last: Mutex<Last>,
}

struct Last {
    attempt: UnixMs,
    text: Bytes,
}

impl Keys {
    pub async fn fetch(
        source: &dyn Source,
        settings: &Settings,
        issuer: String,
        audience: String,
    ) -> Result<Self, ConnectError> {
        let now = settings.clock.now();
        let text = get(source, settings).await.ok_or(ConnectError::Unreachable)?;
        let keys = read(&text).ok_or(ConnectError::Keys)?;
        Ok(Self {
            verifier: Verifier::new(issuer, audience, keys, settings.tokens),
            fetched: AtomicU64::new(now.0),
            last: Mutex::new(Last { attempt: now, text }),
        })
    }

    /// Fetches again, unless that was tried a moment ago: a flood of tokens that name keys which don't exist must not
    /// become one of questions. Who comes while another one is at it waits for what that one gets.
    pub async fn refresh(&self, source: &dyn Source, settings: &Settings) {
        let mut last = self.last.lock().await;
        let now = settings.clock.now();
        if is_recent(now, last.attempt, settings.unknown_key_gap_ms) {
            return;
        }
        last.attempt = now;
        let Some(text) = get(source, settings).await else { return };
        if text != last.text {
            // Verified tokens are forgotten with the old keys, so only where there is something new.
            let Some(keys) = read(&text) else { return };
            self.verifier.replace_keys(keys);
            last.text = text;
        }
        self.fetched.store(now.0, Ordering::Release);
    }

    /// Whether the keys are young enough to be relied on. A key that was withdrawn must not work for ever where its
    /// withdrawal can't be heard of.
    pub fn are_fresh(&self, settings: &Settings) -> bool {
        let fetched = UnixMs(self.fetched.load(Ordering::Acquire));
        is_recent(settings.clock.now(), fetched, settings.keys_max_age_ms)
    }
}

/// Whether `then` is less than `ms` ago. A moment in the future is not: the clock was set back, and how long ago it was
/// is not known.
pub(crate) fn is_recent(now: UnixMs, then: UnixMs, ms: u64) -> bool {
    now >= then && now.since(then) < ms
}

async fn get(source: &dyn Source, settings: &Settings) -> Option<Bytes> {
    match tokio::time::timeout(settings.answer_within, source.get(KEY_SET, None)).await {
        Ok(Ok((StatusCode::OK, text))) => Some(text),
        _ => None,
    }
}

fn read(text: &[u8]) -> Option<VerifyingKeys> {
    VerifyingKeys::from_jwks(std::str::from_utf8(text).ok()?).ok()
}
