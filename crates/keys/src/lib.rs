//! The keys of tenants: who holds the key that wraps them, and where unwrapped ones are kept while in use.
//!
//! What it is for: the [`KmsProvider`] trait and its implementations [`FileKms`], [`PassphraseKms`] and
//! `Pkcs11Kms` (feature `pkcs11`), of which a [`KmsSet`] has one for the deployment and others for single tenants;
//! [`TenantKeys`], which gives the data keys of one field of one tenant and keeps a bounded number of them for a
//! bounded time; [`budget`], which counts what was released in plain text.
//! What it is not: it decides nothing about who may use a key, and stores no wrapped keys ([`WrappedKeys`]
//! is implemented by whoever does).
//!
//! ```
//! use std::sync::Arc;
//! use countersign_crypto::{SystemEntropy, cell_aad};
//! use countersign_keys::{FileKms, KmsProvider, TenantKeys, WrappedKeys};
//! use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};
//!
//! struct One(TenantId, Arc<[u8]>);
//! impl WrappedKeys for One {
//!     fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
//!         (tenant == self.0).then(|| Arc::clone(&self.1))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let kms: Arc<dyn KmsProvider> = Arc::new(FileKms::create(&dir.path().join("kms.key"), &SystemEntropy)?);
//! let tenant = TenantId::from_u128(7);
//! let wrapped = countersign_keys::new_tenant_key(&kms, &SystemEntropy, tenant, UnixMs(1_800_000_000_000))?;
//! let keys = TenantKeys::new(kms, Arc::new(One(tenant, wrapped.into())), 1000);
//! let field = keys.field(tenant, TypeId(0), FieldId(2))?;
//! let aad = cell_aad(tenant, TypeId(0), FieldId(2), RecordId::from_u128(1));
//! let sealed = field.cell.seal(&SystemEntropy, &aad, b"Luis");
//! assert_eq!(field.cell.open(&aad, &sealed)?, b"Luis");
//! # Ok(())
//! # }
//! ```

pub mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod file_kms;
mod guarded_file;
mod health;
mod key_set;
mod kms;
mod outage;
mod own;
mod passphrase_kms;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod set;
mod tenant_keys;

pub use file_kms::FileKms;
pub use guarded_file::FileFault;
pub use health::{Down, KmsHealth, ProviderHealth};
pub use key_set::{FieldRotation, Generation, KeySet, KeySetError, OwnKey};
pub use kms::{KeyVersion, KmsError, KmsProvider, wrapped_version};
pub use outage::Outage;
pub use own::{OwnKeyId, own_of};
pub use passphrase_kms::{PASSPHRASE_BYTES_MIN, PassphraseFault, PassphraseKms};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{PinSource, Pkcs11Config, Pkcs11Kms};
pub use set::{KmsSet, wrapped_by};
pub use tenant_keys::{KeyError, LiveKeys, MAX_OPEN_MS, TenantKeys, WrappedKeys, new_tenant_key};
