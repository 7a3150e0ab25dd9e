//! Several providers at once: the deployment's own, and those of subscribers who bring their own key.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::{Aad, SecretKey};
use countersign_model::{Entropy, Name};

use crate::key_set::{KeySet, OwnKey};
use crate::kms::{KmsError, KmsProvider};

/// The first byte of a key wrapped by a named provider: then the name's length, the name, and what it wrapped.
const NAMED: u8 = 3;

/// The deployment's provider, and others by name.
///
/// What a named provider wraps carries the provider's name, so that a tenant's wrapped key says where it is unwrapped
/// and no other provider is ever asked. What the default provider wraps carries none.
#[derive(Clone)]
pub struct KmsSet {
    default: Arc<dyn KmsProvider>,
    named: Arc<HashMap<Name, Arc<dyn KmsProvider>>>,
}

impl KmsSet {
    /// One provider for all, and those that `named` tenants bring.
    #[must_use]
    pub fn new(default: Arc<dyn KmsProvider>, named: HashMap<Name, Arc<dyn KmsProvider>>) -> Self {
        Self { default, named: Arc::new(named) }
    }

    /// The deployment's own provider.
    #[must_use]
    pub fn default_provider(&self) -> &Arc<dyn KmsProvider> {
        &self.default
    }

    /// The provider of that name; the deployment's own for `None`.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`].
    pub fn provider(&self, name: Option<&Name>) -> Result<&Arc<dyn KmsProvider>, KmsError> {
        match name {
            None => Ok(&self.default),
            Some(name) => self.named.get(name).ok_or_else(|| KmsError::UnknownProvider(name.clone())),
        }
    }

    /// All providers, the deployment's own first.
    pub fn providers(&self) -> impl Iterator<Item = (Option<&Name>, &Arc<dyn KmsProvider>)> {
        std::iter::once((None, &self.default)).chain(self.named.iter().map(|(name, kms)| (Some(name), kms)))
    }

    /// Wraps `key`, bound to `aad`, by the provider of that name.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`], and as [`KmsProvider::wrap`].
    pub fn wrap(
        &self,
        name: Option<&Name>,
        entropy: &dyn Entropy,
        aad: &Aad,
        key: &SecretKey,
    ) -> Result<Vec<u8>, KmsError> {
        named(name, self.provider(name)?.wrap(entropy, aad, key)?)
    }

    /// As [`Self::wrap`], by a new key that the provider has for this alone; by the provider's own key where it has no such
    /// keys. One that is made and then not used is destroyed again, as far as that goes.
    ///
    /// # Errors
    /// As [`Self::wrap`], and as [`KmsProvider::make_own`].
    pub fn wrap_own(
        &self,
        name: Option<&Name>,
        entropy: &dyn Entropy,
        aad: &Aad,
        key: &SecretKey,
    ) -> Result<Vec<u8>, KmsError> {
        let provider = self.provider(name)?;
        let own = match provider.make_own(entropy) {
            Ok(own) => own,
            Err(KmsError::NoOwnKeys) => return self.wrap(name, entropy, aad, key),
            Err(error) => return Err(error),
        };
        match provider.wrap_own(own, entropy, aad, key) {
            Ok(wrapped) => named(name, wrapped),
            Err(error) => {
                let _ = provider.destroy_own(own);
                Err(error)
            }
        }
    }

    /// Destroys an own key where it is.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`], and as [`KmsProvider::destroy_own`].
    pub fn destroy_own(&self, own: &OwnKey) -> Result<(), KmsError> {
        self.provider(own.provider.as_ref())?.destroy_own(own.id)
    }

    /// Unwraps by the provider that wrapped, and by no other.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`], and as [`KmsProvider::unwrap_key`].
    pub fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        let (name, wrapped) = split(wrapped).ok_or(KmsError::NotAuthentic)?;
        self.provider(name.as_ref())?.unwrap_key(aad, wrapped)
    }

    /// Whether all of `wrapped` was wrapped under the newest version of its provider's key: a wrapped key, or every key of
    /// a tenant's set that is not destroyed.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`], [`KmsError::NotAuthentic`] for an unknown format, and as [`KmsProvider::version`].
    pub fn is_current(&self, wrapped: &[u8]) -> Result<bool, KmsError> {
        let set = KeySet::decode(wrapped)?;
        for one in set.generations().iter().filter(|one| !one.is_destroyed()) {
            let version = crate::kms::wrapped_version(&one.wrapped).ok_or(KmsError::NotAuthentic)?;
            if version != self.provider(wrapped_by(&one.wrapped).as_ref())?.version()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// With the provider's name before it.
fn named(name: Option<&Name>, wrapped: Vec<u8>) -> Result<Vec<u8>, KmsError> {
    let Some(name) = name else { return Ok(wrapped) };
    let text = name.as_str().as_bytes();
    // A name has at most 63 bytes.
    let length = u8::try_from(text.len()).map_err(|_| KmsError::UnknownProvider(name.clone()))?;
    Ok([&[NAMED, length], text, wrapped.as_slice()].concat())
}

impl<P: KmsProvider + 'static> From<Arc<P>> for KmsSet {
    fn from(default: Arc<P>) -> Self {
        Self::new(default, HashMap::new())
    }
}

impl From<Arc<dyn KmsProvider>> for KmsSet {
    fn from(default: Arc<dyn KmsProvider>) -> Self {
        Self::new(default, HashMap::new())
    }
}

/// The name of the provider that wrapped this; `None` for the deployment's own. Of a tenant's key set, that of the newest
/// key.
#[must_use]
pub fn wrapped_by(wrapped: &[u8]) -> Option<Name> {
    let set = KeySet::decode(wrapped).ok()?;
    split(&set.generations().last()?.wrapped)?.0
}

/// The provider's name and what it wrapped; `None` if it is neither.
pub(crate) fn split(wrapped: &[u8]) -> Option<(Option<Name>, &[u8])> {
    let Some(([NAMED, length], rest)) = wrapped.split_first_chunk::<2>() else { return Some((None, wrapped)) };
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let name = Name::new(std::str::from_utf8(name).ok()?).ok()?;
    Some((Some(name), rest))
}

#[cfg(test)]
mod tests;
