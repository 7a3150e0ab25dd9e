//! The keys of a tenant that were unwrapped.

use std::sync::{Arc, OnceLock};

use countersign_crypto::{SecretKey, TenantKey, same_bytes};
use countersign_model::TenantId;

use super::{Held, KeyError, TenantKeys, tenant_key_aad};
use crate::key_set::KeySet;
use crate::kms::KmsError;
use crate::set::wrapped_by;

/// A tenant's key set, and its keys as far as they were needed.
pub(super) struct Opened {
    /// As it was stored.
    blob: Arc<[u8]>,
    pub(super) set: KeySet,
    pub(super) newest: u32,
    pub(super) seal_epoch: u32,
    /// By the places of the generations. Those under which cells are sealed are there from the start.
    keys: Vec<OnceLock<TenantKey>>,
}

impl Opened {
    fn same(&self, place: usize, secret: &SecretKey) -> bool {
        let held = self.keys.get(place).and_then(OnceLock::get);
        held.is_some_and(|held| same_bytes(held.secret().expose(), secret.expose()))
    }
}

impl TenantKeys {
    pub(super) fn tenant(&self, tenant: TenantId) -> Result<Held<Opened>, KeyError> {
        match self.tenants.get(&tenant).filter(|held| self.fresh(&held.lease)) {
            Some(held) => Ok(held),
            None => self.unwrap(tenant),
        }
    }

    /// The tenant's key of an epoch, unwrapped now if it wasn't yet. It lives no longer than the others.
    pub(super) fn key_of<'h>(
        &self,
        tenant: TenantId,
        from: &'h Held<Opened>,
        epoch: u32,
    ) -> Result<&'h TenantKey, KeyError> {
        let opened = &from.key;
        let generation = opened.set.generation_of(epoch).filter(|one| !one.is_destroyed());
        let generation = generation.ok_or(KeyError::UnknownEpoch)?;
        let place = opened.set.generations().iter().position(|one| one.first_epoch == generation.first_epoch);
        let slot = place.and_then(|place| opened.keys.get(place)).ok_or(KeyError::UnknownEpoch)?;
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let secret = self.unwrap_one(tenant, &generation.wrapped)?;
        Ok(slot.get_or_init(|| TenantKey::new(secret)))
    }

    /// Asks the key management service, and notes how it is.
    pub(super) fn unwrap_one(&self, tenant: TenantId, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        let asked = self.clock.now();
        let unwrapped = self.kms.unwrap_key(&tenant_key_aad(tenant), wrapped);
        self.health.note(wrapped_by(wrapped).as_ref(), &unwrapped, asked);
        unwrapped
    }

    /// Asks the key management service for every key that cells may be sealed under, and for what was needed besides;
    /// and begins the bound anew.
    pub(super) fn unwrap(&self, tenant: TenantId) -> Result<Held<Opened>, KeyError> {
        let before = *self.forgotten.read();
        let asked = self.clock.now();
        let blob = self.wrapped.wrapped(tenant).ok_or(KeyError::UnknownTenant)?;
        let held = self.tenants.peek(&tenant);
        let opened = match self.open_all(tenant, blob, held.as_ref()) {
            Ok(opened) => opened,
            Err(error) => {
                if held.is_some_and(|held| !self.fresh_unused(&held.lease)) {
                    self.forget(tenant);
                }
                return Err(error);
            }
        };
        match (opened, held) {
            (None, Some(held)) => {
                held.lease.renew(asked);
                Ok(held)
            }
            (Some(opened), Some(_)) => {
                self.forget(tenant);
                Ok(Held::new(opened, asked))
            }
            (Some(opened), None) => {
                let held = Held::new(opened, asked);
                self.keep(before, || self.tenants.insert(tenant, held.clone()));
                Ok(held)
            }
            (None, None) => Err(KeyError::UnknownTenant),
        }
    }

    /// The keys that are needed, or `None` if they are those that are held.
    fn open_all(
        &self,
        tenant: TenantId,
        blob: Arc<[u8]>,
        held: Option<&Held<Opened>>,
    ) -> Result<Option<Opened>, KeyError> {
        let set = KeySet::decode(&blob)?;
        let held = held.filter(|held| held.key.blob == blob);
        let mut unchanged = held.is_some();
        let mut keys = Vec::new();
        for (place, generation) in set.generations().iter().enumerate() {
            let key = OnceLock::new();
            let is_live = set.live().any(|live| live.first_epoch == generation.first_epoch);
            let is_held = held.is_some_and(|held| held.key.keys.get(place).is_some_and(|key| key.get().is_some()));
            if is_live || is_held {
                match self.unwrap_one(tenant, &generation.wrapped) {
                    Ok(secret) => {
                        unchanged &= held.is_some_and(|held| held.key.same(place, &secret));
                        let _ = key.set(TenantKey::new(secret));
                    }
                    // Nothing that is in use needs it.
                    Err(_) if !is_live => unchanged = false,
                    Err(error) => return Err(error.into()),
                }
            }
            keys.push(key);
        }
        let (newest, seal_epoch) = (set.newest(), set.seal_epoch());
        Ok((!unchanged).then_some(Opened { blob, set, newest, seal_epoch, keys }))
    }
}
