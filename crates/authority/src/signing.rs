//! The keys that sign tokens: one at a time, replaced daily.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use countersign_crypto::jws::{JwsError, PublicJwk, SigningKey, VerifyingKeys};
use countersign_model::{TokenId, UnixMs};
use countersign_token::{CLOCK_SKEW_MS, MAX_LIFETIME_MS, Minter, Verifier};

use crate::error::RegistryError;
use crate::registry::Registry;
use crate::registry::fact::{SecretBytes, SigningKeyFact};

/// How long one key signs.
pub(crate) const ROTATION_MS: u64 = 24 * 3600 * 1000;

/// How long a replaced key's public half is still published: as long as a token that it signed may live.
pub(crate) const RETIREMENT_MS: u64 = MAX_LIFETIME_MS.saturating_add(CLOCK_SKEW_MS);

/// The signing key in use, its replacement, and the verifier that knows all that are still good.
pub struct Signing {
    issuer: String,
    audience: String,
    current: ArcSwapOption<Current>,
    verifier: Arc<Verifier>,
}

struct Current {
    created: UnixMs,
    minter: Arc<Minter>,
}

fn crypto(_: JwsError) -> RegistryError {
    RegistryError::Crypto
}

fn is_published(key: &SigningKeyFact, now: UnixMs) -> bool {
    key.retired.is_none_or(|retired| now.since(retired) <= RETIREMENT_MS)
}

pub(crate) fn published(keys: &[(Vec<u8>, SigningKeyFact)], now: UnixMs) -> Vec<PublicJwk> {
    keys.iter().filter(|(_, key)| is_published(key, now)).map(|(_, key)| key.public.clone()).collect()
}

impl Signing {
    /// The registry's signing keys. Makes one if there is none or the last one is a day old. `issuer` is the URL
    /// under which the deployment is known, `audience` for whom its tokens are; `token_capacity` is how many
    /// verified tokens to remember.
    ///
    /// # Errors
    /// [`RegistryError::Crypto`] if a stored key can't be used, and what a change of the registry may meet.
    pub async fn open(
        registry: &Arc<Registry>,
        issuer: String,
        audience: String,
        token_capacity: usize,
    ) -> Result<Self, RegistryError> {
        let signing = Self::new(registry, issuer, audience, token_capacity)?;
        signing.minter(registry).await?;
        Ok(signing)
    }

    fn new(
        registry: &Registry,
        issuer: String,
        audience: String,
        token_capacity: usize,
    ) -> Result<Self, RegistryError> {
        let keys = registry.signing_keys();
        let known = VerifyingKeys::new(published(&keys, registry.clock().now())).map_err(crypto)?;
        let verifier = Arc::new(Verifier::new(issuer.clone(), audience.clone(), known, token_capacity));
        let signing = Self { issuer, audience, current: ArcSwapOption::empty(), verifier };
        let newest = keys.first().and_then(|(_, key)| Some((key.created, key.private.as_ref()?)));
        if let Some((created, private)) = newest {
            let key = SigningKey::from_pkcs8(&private.0).map_err(crypto)?;
            signing.use_key(created, key);
        }
        Ok(signing)
    }

    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Verifies the tokens that these keys sign; always knows the newest.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.verifier)
    }

    /// The public keys by which tokens can be verified now.
    pub(crate) fn published(&self, registry: &Registry) -> Vec<PublicJwk> {
        published(&registry.signing_keys(), registry.clock().now())
    }

    fn use_key(&self, created: UnixMs, key: SigningKey) {
        let minter = Arc::new(Minter::new(self.issuer.clone(), self.audience.clone(), Arc::new(key)));
        self.current.store(Some(Arc::new(Current { created, minter })));
    }

    fn fresh(&self, now: UnixMs) -> Option<Arc<Minter>> {
        let current = self.current.load();
        let current = current.as_ref()?;
        (now.since(current.created) < ROTATION_MS).then(|| Arc::clone(&current.minter))
    }

    /// What mints tokens now. Replaces the key first if it is a day old: the new one is durable and known to the
    /// verifier before it signs, and the old one's private half is dropped.
    pub(crate) async fn minter(&self, registry: &Arc<Registry>) -> Result<Arc<Minter>, RegistryError> {
        if let Some(minter) = self.fresh(registry.clock().now()) {
            return Ok(minter);
        }
        let mut change = registry.begin().await;
        let now = registry.clock().now();
        if let Some(minter) = self.fresh(now) {
            return Ok(minter);
        }
        let mut keys = registry.signing_keys();
        for (_, key) in &mut keys {
            key.private = None;
            key.retired.get_or_insert(now);
        }
        keys.retain(|(_, key)| is_published(key, now));
        let key = SigningKey::generate(registry.entropy()).map_err(crypto)?;
        let public = key.public_jwk().clone();
        let stored = SigningKeyFact { created: now, retired: None, private: Some(SecretBytes(key.to_pkcs8())), public };
        let id = TokenId::new(now, registry.entropy()).as_bytes().to_vec();
        keys.insert(0, (id, stored));
        let known = VerifyingKeys::new(published(&keys, now)).map_err(crypto)?;
        change.set_signing_keys(keys)?;
        change.commit().await?;
        self.verifier.replace_keys(known);
        self.use_key(now, key);
        self.fresh(now).ok_or(RegistryError::Crypto)
    }
}
