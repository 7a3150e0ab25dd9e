//! Several providers at once: the deployment's own, and those of subscribers who bring their own key.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::{Aad, SecretKey};
use countersign_model::{Entropy, Name};

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
        let wrapped = self.provider(name)?.wrap(entropy, aad, key)?;
        let Some(name) = name else { return Ok(wrapped) };
        let text = name.as_str().as_bytes();
        // A name has at most 63 bytes.
        let length = u8::try_from(text.len()).map_err(|_| KmsError::UnknownProvider(name.clone()))?;
        Ok([&[NAMED, length], text, wrapped.as_slice()].concat())
    }

    /// Unwraps by the provider that wrapped, and by no other.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`], and as [`KmsProvider::unwrap_key`].
    pub fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        let (name, wrapped) = split(wrapped).ok_or(KmsError::NotAuthentic)?;
        self.provider(name.as_ref())?.unwrap_key(aad, wrapped)
    }

    /// Whether `wrapped` was wrapped by the newest version of its provider's key.
    ///
    /// # Errors
    /// [`KmsError::UnknownProvider`], [`KmsError::NotAuthentic`] for an unknown format, and as [`KmsProvider::version`].
    pub fn is_current(&self, wrapped: &[u8]) -> Result<bool, KmsError> {
        let version = crate::kms::wrapped_version(wrapped).ok_or(KmsError::NotAuthentic)?;
        Ok(version == self.provider(wrapped_by(wrapped).as_ref())?.version()?)
    }
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

/// The name of the provider that wrapped this; `None` for the deployment's own.
#[must_use]
pub fn wrapped_by(wrapped: &[u8]) -> Option<Name> {
    split(wrapped)?.0
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
