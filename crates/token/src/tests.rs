//! Fixtures shared by the tests: one issuer, one moment, tokens made from JSON that a test may bend.

#![allow(clippy::arithmetic_side_effects, reason = "fixtures compute with known numbers")]

mod bound;
mod cache;
mod exchange;
mod narrowing;
mod refused;

use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_crypto::jws::{SigningKey, VerifyingKeys};
use countersign_model::{Entropy, SessionId, TenantId, TokenId, UnixMs, UserId};
use serde_json::{Value, json};

use crate::{MAX_LIFETIME_MS, Minter, TOKEN_TYPE, Verified, Verifier};

pub(super) const HERE: &str = "https://127.0.0.1:8443";
pub(super) const NOW: UnixMs = UnixMs(1_800_000_000_500);
const HOUR_S: u64 = 3600;

pub(super) struct House {
    pub key: Arc<SigningKey>,
    pub minter: Minter,
    pub verifier: Verifier,
    pub user: UserId,
    pub tenant: TenantId,
    pub session: SessionId,
}

pub(super) fn signing_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(&SystemEntropy).unwrap())
}

pub(super) fn keys(of: &[&SigningKey]) -> VerifyingKeys {
    VerifyingKeys::new(of.iter().map(|key| key.public_jwk().clone()).collect()).unwrap()
}

impl House {
    pub fn new() -> Self {
        let key = signing_key();
        Self {
            minter: Minter::new(HERE, HERE, Arc::clone(&key)),
            verifier: Verifier::new(HERE, HERE, keys(&[&key]), 100),
            user: UserId::new(NOW, &SystemEntropy),
            tenant: TenantId::new(NOW, &SystemEntropy),
            session: SessionId::new(NOW, &SystemEntropy),
            key,
        }
    }

    /// A login at `at`, verified.
    pub fn login(&self, at: UnixMs) -> Arc<Verified> {
        let minted =
            self.minter.mint(self.user, self.tenant, self.session, MAX_LIFETIME_MS, at, &SystemEntropy).unwrap();
        self.verifier.verify(minted.token(), at).unwrap()
    }

    /// Claims of a good one-hour token, to be bent.
    pub fn claims(&self) -> Value {
        json!({
            "iss": HERE, "aud": HERE, "sub": self.user, "client_id": "countersign",
            "iat": NOW.seconds(), "auth_time": NOW.seconds(), "exp": NOW.seconds() + HOUR_S,
            "jti": TokenId::new(NOW, &SystemEntropy), "tenant": self.tenant, "sid": self.session,
        })
    }

    /// Claims of a good token with one of them replaced.
    pub fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[claim] = value;
        self.sign(&claims)
    }

    pub fn sign(&self, claims: &impl serde::Serialize) -> String {
        self.key.sign(TOKEN_TYPE, claims).unwrap()
    }
}

/// Random numbers that are the same at every run.
pub(super) struct Dice(pub std::sync::atomic::AtomicU64);

impl Dice {
    pub fn roll(&self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes) % sides
    }
}

impl Entropy for Dice {
    fn fill(&self, out: &mut [u8]) {
        for byte in out {
            // Knuth's MMIX generator; the upper bits are the good ones.
            let step = |x: u64| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let order = std::sync::atomic::Ordering::Relaxed;
            let before = self.0.fetch_update(order, order, |x| Some(step(x))).unwrap_or_default();
            *byte = (step(before) >> 56) as u8;
        }
    }
}
