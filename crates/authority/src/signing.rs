//! The keys that sign tokens: one at a time, replaced daily by one that everybody knows before it signs.

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

/// How long a key is published before it signs: several times what it takes until every service that verifies tokens
/// knows it, so that no token comes anywhere before its key.
pub(crate) const SETTLE_MS: u64 = 10 * 1000;

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
    /// When to look for another: it is a day old, or its successor begins.
    until: UnixMs,
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

/// The key that signs at this moment, and until when; of those that have a private half, newest first.
fn signer(keys: &[(Vec<u8>, SigningKeyFact)], now: UnixMs) -> Option<(&SigningKeyFact, UnixMs)> {
    let mut signers = keys.iter().map(|(_, key)| key).filter(|key| key.private.is_some());
    let newest = signers.next()?;
    let day = |key: &SigningKeyFact| key.created.plus_ms(ROTATION_MS);
    if newest.created <= now {
        return Some((newest, day(newest)));
    }
    // The successor is published and waits.
    Some(signers.next().map_or((newest, day(newest)), |key| (key, newest.created)))
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
        if let Some((key, until)) = signer(&keys, registry.clock().now()) {
            signing.use_key(key, until)?;
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

    fn use_key(&self, key: &SigningKeyFact, until: UnixMs) -> Result<Arc<Minter>, RegistryError> {
        let private = key.private.as_ref().ok_or(RegistryError::Crypto)?;
        let key = SigningKey::from_pkcs8(&private.0).map_err(crypto)?;
        let minter = Arc::new(Minter::new(self.issuer.clone(), self.audience.clone(), Arc::new(key)));
        self.current.store(Some(Arc::new(Current { until, minter: Arc::clone(&minter) })));
        Ok(minter)
    }

    fn fresh(&self, now: UnixMs) -> Option<Arc<Minter>> {
        let current = self.current.load();
        let current = current.as_ref()?;
        (now < current.until).then(|| Arc::clone(&current.minter))
    }

    /// What mints tokens now.
    ///
    /// INVARIANT known-before-it-signs: a key that is a day old gets a successor, which is durable and published at
    /// once and signs only after [`SETTLE_MS`]. Only then is the old one's private half dropped.
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
        match signer(&keys, now).map(|(key, until)| (key.created, until)) {
            None => keys.insert(0, new_key(registry, now, now)?),
            Some((begun, until)) if now < until => {
                for (_, key) in keys.iter_mut().filter(|(_, key)| key.created < begun) {
                    key.private = None;
                    key.retired.get_or_insert(now);
                }
            }
            Some(_) => keys.insert(0, new_key(registry, now, now.plus_ms(SETTLE_MS))?),
        }
        keys.retain(|(_, key)| is_published(key, now));
        let known = VerifyingKeys::new(published(&keys, now)).map_err(crypto)?;
        change.set_signing_keys(keys.clone())?;
        change.commit().await?;
        self.verifier.replace_keys(known);
        let (key, until) = signer(&keys, now).ok_or(RegistryError::Crypto)?;
        self.use_key(key, until)
    }
}

impl Signing {
    /// A new key in place of all that there are, at once: no token that was signed before is good any more. For the day on
    /// which the old keys are not ours alone.
    pub(crate) async fn replace(&self, registry: &Arc<Registry>) -> Result<(), RegistryError> {
        let mut change = registry.begin().await;
        let now = registry.clock().now();
        let keys = vec![new_key(registry, now, now)?];
        let known = VerifyingKeys::new(published(&keys, now)).map_err(crypto)?;
        change.set_signing_keys(keys.clone())?;
        change.commit().await?;
        self.verifier.replace_keys(known);
        let (key, until) = signer(&keys, now).ok_or(RegistryError::Crypto)?;
        self.use_key(key, until)?;
        Ok(())
    }
}

/// A new key that signs from `begins` on.
fn new_key(registry: &Registry, now: UnixMs, begins: UnixMs) -> Result<(Vec<u8>, SigningKeyFact), RegistryError> {
    let key = SigningKey::generate(registry.entropy()).map_err(crypto)?;
    let public = key.public_jwk().clone();
    let id = TokenId::new(now, registry.entropy()).as_bytes().to_vec();
    Ok((id, SigningKeyFact { created: begins, retired: None, private: Some(SecretBytes(key.to_pkcs8())), public }))
}
