//! What a key management service does for Countersign.

use std::fmt;
use std::path::PathBuf;

use countersign_crypto::{Aad, SecretKey};
use countersign_model::{Entropy, Name};

use crate::guarded_file::FileFault;
use crate::key_set::KeySet;
use crate::outage::Outage;
use crate::own::{OwnKeyId, by_own};
use crate::passphrase_kms::PassphraseFault;
use crate::set::split;

/// Which of a provider's keys wrapped something. Counts up with each rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(pub u32);

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a key management service didn't wrap or unwrap a key. Carries no key material.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// The key file can't be used.
    #[error("key file {}: {fault}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        fault: FileFault,
    },
    /// The passphrase or its file can't be used.
    #[error("{}: {fault}", path.display())]
    Passphrase {
        /// The file with the salt.
        path: PathBuf,
        /// What is wrong.
        #[source]
        fault: PassphraseFault,
    },
    /// The wrapped key was changed, was wrapped for something else, or by another service's key.
    #[error("the wrapped key is not authentic for this use")]
    NotAuthentic,
    /// The provider doesn't have the version of its key that wrapped this.
    #[error("the key management service has no version {0} of its key")]
    UnknownVersion(KeyVersion),
    /// The wrapped key names a provider that is not configured here.
    #[error("wrapped by the key management service {0:?}, which is not configured here")]
    UnknownProvider(Name),
    /// The provider has one key for ever.
    #[error("this key management service can't rotate its key")]
    CannotRotate,
    /// The key of the provider that wrapped this, and nothing else, was destroyed there.
    #[error("the key that this was wrapped by was destroyed in its key management service")]
    Destroyed,
    /// The provider has no keys for single purposes.
    #[error("this key management service can't keep keys that are destroyed one by one")]
    NoOwnKeys,
    /// The service can't be reached or refuses to answer.
    #[error("the key management service is not available: {0}")]
    Unavailable(#[source] Outage),
}

/// A service that holds key encryption keys and never gives them away.
///
/// An implementation binds each wrapped key to the associated data and refuses to unwrap it under any other;
/// `conformance::check` (feature `conformance`) holds it to that. What it wraps names the version of the key
/// that did ([`wrapped_version`]).
///
/// Calls block, for as long as the service takes: microseconds for a key in memory, milliseconds for a hardware
/// token. Whoever is on an async runtime calls from where blocking is allowed; see
/// [`TenantKeys::is_open`](crate::TenantKeys::is_open).
pub trait KmsProvider: Send + Sync {
    /// Wraps `key`, bound to `aad`, under the newest version of the provider's key.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`].
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError>;

    /// Unwraps what [`Self::wrap`] made with the same `aad`, under whichever version of the provider's key.
    ///
    /// # Errors
    /// [`KmsError::NotAuthentic`], [`KmsError::UnknownVersion`], [`KmsError::Unavailable`], or [`KmsError::Destroyed`]
    /// for what a key of [`Self::make_own`] wrapped that is there no more.
    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError>;

    /// The provider's name in configuration, such as `file`.
    fn name(&self) -> &'static str;

    /// The newest version of the provider's key, under which it wraps.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`].
    fn version(&self) -> Result<KeyVersion, KmsError> {
        Ok(KeyVersion(0))
    }

    /// Makes a new version of the provider's key. What is wrapped from now on is wrapped under it; what older
    /// versions wrapped still unwraps, until the operator removes them from where the provider keeps them.
    ///
    /// # Errors
    /// [`KmsError::CannotRotate`], [`KmsError::Unavailable`], [`KmsError::File`].
    fn rotate(&self, entropy: &dyn Entropy) -> Result<KeyVersion, KmsError> {
        let _ = entropy;
        Err(KmsError::CannotRotate)
    }

    /// Makes a key for one purpose alone, with which [`Self::wrap_own`] wraps and which [`Self::destroy_own`] destroys.
    /// A crash leaves it made or not made; one that nothing was wrapped by does no harm.
    ///
    /// # Errors
    /// [`KmsError::NoOwnKeys`] if the provider has no such keys, [`KmsError::Unavailable`], [`KmsError::File`].
    fn make_own(&self, entropy: &dyn Entropy) -> Result<OwnKeyId, KmsError> {
        let _ = entropy;
        Err(KmsError::NoOwnKeys)
    }

    /// As [`Self::wrap`], by an own key. [`Self::unwrap_key`] unwraps it as long as the own key is there.
    ///
    /// # Errors
    /// [`KmsError::Destroyed`] if there is no such key, and as [`Self::wrap`].
    fn wrap_own(&self, own: OwnKeyId, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        let _ = (own, entropy, aad, key);
        Err(KmsError::NoOwnKeys)
    }

    /// Destroys an own key for good, also where nothing is left of it to be destroyed. What it wrapped is
    /// [`KmsError::Destroyed`] from now on.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`], [`KmsError::File`]; then it may be there still.
    fn destroy_own(&self, own: OwnKeyId) -> Result<(), KmsError> {
        let _ = own;
        Ok(())
    }

    /// The own keys that there are, in no order.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`], [`KmsError::File`].
    fn own(&self) -> Result<Vec<OwnKeyId>, KmsError> {
        Ok(Vec::new())
    }

    /// Whether the service answers, without using a key for anything. Notices versions that another process made.
    ///
    /// # Errors
    /// Whatever [`Self::unwrap_key`] would fail with now.
    fn probe(&self) -> Result<(), KmsError> {
        Ok(())
    }

    /// Unwraps and wraps again under the newest version.
    ///
    /// # Errors
    /// As [`Self::unwrap_key`] and [`Self::wrap`].
    fn rewrap(&self, entropy: &dyn Entropy, aad: &Aad, wrapped: &[u8]) -> Result<Vec<u8>, KmsError> {
        self.wrap(entropy, aad, &self.unwrap_key(aad, wrapped)?)
    }
}

/// Wrapped by a key in this process's memory: a sealed value whose epoch is the version of the key.
pub(crate) const IN_MEMORY: u8 = 1;
/// Wrapped inside a PKCS#11 token by `CKM_AES_GCM`: version (u32), nonce, ciphertext, tag.
pub(crate) const PKCS11_AES_GCM: u8 = 2;

/// The version of the key that wrapped this, as its header says; for an own key, the version that was the newest then.
/// `None` if the format is unknown. Of a tenant's key set, it is that of the newest key.
///
/// Not authenticated: it selects the key, and the wrong key doesn't unwrap.
#[must_use]
pub fn wrapped_version(wrapped: &[u8]) -> Option<KeyVersion> {
    let set = KeySet::decode(wrapped).ok()?;
    let (_, wrapped) = split(&set.generations().last()?.wrapped)?;
    let wrapped = by_own(wrapped).map_or(wrapped, |(_, inner)| inner);
    match wrapped.first_chunk::<5>()? {
        [IN_MEMORY | PKCS11_AES_GCM, version @ ..] => Some(KeyVersion(u32::from_be_bytes(*version))),
        _ => None,
    }
}
