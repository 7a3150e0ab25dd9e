//! What a key management service does for Countersign.

use std::path::PathBuf;

use countersign_crypto::{Aad, SecretKey};
use countersign_model::Entropy;

use crate::file_kms::FileFault;

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
    /// The wrapped key was changed, was wrapped for something else, or by another service's key.
    #[error("the wrapped key is not authentic for this use")]
    NotAuthentic,
    /// The service can't be reached or refuses to answer.
    #[error("the key management service is not available")]
    Unavailable,
}

/// A service that holds one key encryption key and never gives it away.
///
/// An implementation binds each wrapped key to the associated data and refuses to unwrap it under any other;
/// `conformance::check` (feature `conformance`) holds it to that.
pub trait KmsProvider: Send + Sync {
    /// Wraps `key`, bound to `aad`.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`].
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError>;

    /// Unwraps what [`Self::wrap`] made with the same `aad`.
    ///
    /// # Errors
    /// [`KmsError::NotAuthentic`] or [`KmsError::Unavailable`].
    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError>;

    /// The provider's name in configuration, such as `file`.
    fn name(&self) -> &'static str;
}
