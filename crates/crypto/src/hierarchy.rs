//! Which key is made from which.
//!
//! ```text
//! key encryption key (KMS)
//!   └ wraps ─ tenant key (random, one per tenant)
//!               ├ HKDF ─ cell key (tenant, type, field, epoch)
//!               ├ HKDF ─ tag key  (tenant, type, field, epoch)
//!               ├ HKDF ─ seal key (label, epoch)      audit, cursors, facts
//!               └ HKDF ─ note key (label, service)    checkpoints of logs, cosignatures
//! ```
//!
//! Derivation is HKDF-Expand (RFC 5869, section 2.3) with SHA-256: the keys above are uniformly random, so the
//! extract step is left out as its section 3.3 allows.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use countersign_model::{Entropy, FieldId, TenantId, TypeId};
use zeroize::Zeroizing;

use crate::aad::Aad;
use crate::fatal::never;
use crate::note::NoteKey;
use crate::seal::{OpenError, SealKey};
use crate::secret::SecretKey;
use crate::tag::TagKey;

struct ThirtyTwo;

impl KeyType for ThirtyTwo {
    fn len(&self) -> usize {
        SecretKey::BYTES
    }
}

fn expand(from: &SecretKey, context: &Aad) -> SecretKey {
    expand_bytes(from, context.as_bytes())
}

fn expand_bytes(from: &SecretKey, context: &[u8]) -> SecretKey {
    let prk = Prk::new_less_safe(HKDF_SHA256, from.expose());
    let mut out = Zeroizing::new([0u8; SecretKey::BYTES]);
    let context = [context];
    if prk.expand(&context, ThirtyTwo).and_then(|okm| okm.fill(out.as_mut())).is_err() {
        never("derive");
    }
    SecretKey::from_bytes(*out)
}

/// The keys of one field of one tenant in one epoch.
pub struct FieldKeys {
    /// Seals and opens the field's cells.
    pub cell: SealKey,
    /// Tags the field's values.
    pub tag: TagKey,
    secrets: FieldSecrets,
}

/// The keys of one field as bytes, for the key service to hand them to whoever it releases them to.
pub struct FieldSecrets {
    /// Of the key that seals and opens cells.
    pub cell: SecretKey,
    /// Of the key that tags values.
    pub tag: SecretKey,
    /// The epoch of both.
    pub epoch: u32,
}

impl FieldKeys {
    /// The keys with these bytes.
    #[must_use]
    pub fn from_secrets(secrets: FieldSecrets) -> Self {
        Self { cell: SealKey::with_epoch(&secrets.cell, secrets.epoch), tag: TagKey::new(&secrets.tag), secrets }
    }

    /// Their bytes.
    #[must_use]
    pub const fn secrets(&self) -> &FieldSecrets {
        &self.secrets
    }
}

/// A tenant's key, from which all keys for the tenant's data come.
pub struct TenantKey(SecretKey);

impl TenantKey {
    /// From the key that was unwrapped or generated.
    #[must_use]
    pub fn new(key: SecretKey) -> Self {
        Self(key)
    }

    /// The key material, to be wrapped.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.0
    }

    /// The keys of one field. Costs two derivations and two key objects: cache them.
    #[must_use]
    pub fn field_keys(&self, tenant: TenantId, record_type: TypeId, field: FieldId, epoch: u32) -> FieldKeys {
        let derive = |label| {
            let context = Aad::new(label)
                .part(tenant.as_bytes())
                .part(&record_type.0.to_be_bytes())
                .part(&[field.0])
                .part(&epoch.to_be_bytes());
            expand(&self.0, &context)
        };
        FieldKeys::from_secrets(FieldSecrets { cell: derive("cell-key.1"), tag: derive("tag-key.1"), epoch })
    }

    /// A key for something else that belongs to the tenant, told apart by `label`.
    #[must_use]
    pub fn seal_key(&self, label: &'static str, epoch: u32) -> SealKey {
        SealKey::with_epoch(&self.seal_secret(label, epoch), epoch)
    }

    /// The bytes of [`Self::seal_key`], for the key service to hand out.
    #[must_use]
    pub fn seal_secret(&self, label: &'static str, epoch: u32) -> SecretKey {
        let context = Aad::new("seal-key.1").part(label.as_bytes()).part(&epoch.to_be_bytes());
        expand(&self.0, &context)
    }

    /// A key that signs texts for a service: [`crate::note::LOG_SIGN`] or [`crate::note::LOG_WITNESS`]. This key is then
    /// the service's own secret or the deployment's, not a tenant's.
    #[must_use]
    pub fn note_key(&self, label: &'static str, service: &str) -> NoteKey {
        let context = Aad::new("note-key.1").part(label.as_bytes()).part(service.as_bytes());
        NoteKey::from_seed(&expand(&self.0, &context))
    }
}

/// A key that wraps other keys and does nothing else.
pub struct KeyEncryptionKey(SealKey);

impl KeyEncryptionKey {
    /// From the key that the key management service holds, as its version 0.
    #[must_use]
    pub fn new(key: &SecretKey) -> Self {
        Self::with_version(key, 0)
    }

    /// From one version of the key that the key management service holds. What it wraps names the version.
    #[must_use]
    pub fn with_version(key: &SecretKey, version: u32) -> Self {
        Self(SealKey::with_epoch(&expand(key, &Aad::new("wrap-key.1")), version))
    }

    /// Wraps `key`, bound to `aad`.
    #[must_use]
    pub fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Vec<u8> {
        self.0.seal(entropy, aad, key.expose())
    }

    /// Unwraps what [`Self::wrap`] made with the same `aad`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, OpenError> {
        let bytes = Zeroizing::new(self.0.open(aad, wrapped)?);
        SecretKey::from_slice(&bytes).ok_or(OpenError::Format)
    }
}

#[cfg(test)]
mod tests;
