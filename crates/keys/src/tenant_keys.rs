//! Data keys in use: unwrapped, derived, and kept within bounds of number and time.

mod destroying;
mod held;
mod live;
mod opened;
mod wrapping;

use std::sync::Arc;

use countersign_crypto::{Aad, FieldKeys, SealKey, SecretKey};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy, FieldId, TenantId, TypeId, UnixMs};
use parking_lot::RwLock;
use quick_cache::sync::Cache;

use self::held::{Held, Lease};
pub use self::live::LiveKeys;
use self::opened::Opened;
use crate::health::{Health, KmsHealth};
use crate::key_set::{KeySet, KeySetError};
use crate::kms::{KmsError, KmsProvider};
use crate::set::{KmsSet, wrapped_by};

/// How long an unwrapped key is used without asking the key management service again, unless set otherwise: 1 hour.
pub const MAX_OPEN_MS: u64 = 60 * 60 * 1000;

/// Why there is no key. Carries no key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No wrapped key is stored for the tenant.
    #[error("the tenant has no key")]
    UnknownTenant,
    /// The tenant has no key of that epoch: there is none yet, or it was destroyed.
    #[error("the tenant has no key of that epoch")]
    UnknownEpoch,
    /// The tenant's keys are not changed so.
    #[error(transparent)]
    Set(#[from] KeySetError),
    /// The key management service didn't unwrap or wrap the tenant's key.
    #[error(transparent)]
    Kms(#[from] KmsError),
}

/// Where the tenants' wrapped keys are stored.
pub trait WrappedKeys: Send + Sync {
    /// The wrapped key of `tenant` ([`KeySet`]), as [`new_tenant_key`] and [`TenantKeys`] make them; `None` for a tenant that doesn't exist any more.
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>>;
}

/// What a tenant's wrapped key is bound to: it doesn't unwrap as another tenant's.
fn tenant_key_aad(tenant: TenantId) -> Aad {
    Aad::new("tenant-key.1").part(tenant.as_bytes())
}

/// A new random key for `tenant`, wrapped by the deployment's own provider under a key that it has for this tenant alone,
/// if it has such keys; to be stored.
///
/// # Errors
/// [`KmsError`].
pub fn new_tenant_key(
    kms: &Arc<dyn KmsProvider>,
    entropy: &dyn Entropy,
    tenant: TenantId,
    now: UnixMs,
) -> Result<Vec<u8>, KmsError> {
    let key = SecretKey::generate(entropy);
    let wrapped = KmsSet::from(Arc::clone(kms)).wrap_own(None, entropy, &tenant_key_aad(tenant), &key)?;
    Ok(KeySet::first(now, wrapped).encode())
}

/// The tenants' data keys.
///
/// Keys are derived once and kept, up to a number of them; those used least make room. An unwrapped key and all that
/// was derived from it are used for a bounded time after the key management service last unwrapped it, and then asked
/// for again: while the service is not available, what is open stays usable within its bound and not beyond.
///
/// The methods that may have to unwrap block as long as the key management service takes. Whoever is on an async
/// runtime asks [`Self::is_open`] first and calls [`Self::open`] from where blocking is allowed when it says no; what
/// then follows is memory only.
pub struct TenantKeys {
    kms: KmsSet,
    wrapped: Arc<dyn WrappedKeys>,
    clock: Arc<dyn Clock>,
    max_open_ms: u64,
    health: Health,
    tenants: Cache<TenantId, Held<Opened>>,
    /// INVARIANT tenant-in-key: whatever finds a key in memory names the tenant whose key it is.
    live: Cache<(TenantId, TypeId, FieldId), Held<LiveKeys>>,
    fields: Cache<(TenantId, TypeId, FieldId, u32), Held<FieldKeys>>,
    seals: Cache<(TenantId, &'static str, u32), Held<SealKey>>,
    /// INVARIANT forget-is-final: counts how often something was forgotten. What was made from a wrapped key that was
    /// read before the last time is not kept. No lock is held while a key management service is asked, so that one
    /// that hangs stops nobody else.
    forgotten: RwLock<u64>,
}

impl TenantKeys {
    /// Keeps at most about `capacity` keys of each kind (tenants, fields, others), at least one; each for
    /// [`MAX_OPEN_MS`] by the machine's clock, unless [`Self::bounded`] says otherwise.
    #[must_use]
    pub fn new(kms: impl Into<KmsSet>, wrapped: Arc<dyn WrappedKeys>, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            kms: kms.into(),
            wrapped,
            clock: Arc::new(SystemClock),
            max_open_ms: MAX_OPEN_MS,
            health: Health::default(),
            tenants: Cache::new(capacity),
            live: Cache::new(capacity),
            fields: Cache::new(capacity),
            seals: Cache::new(capacity),
            forgotten: RwLock::new(0),
        }
    }

    /// With another clock and another bound. A bound of 0 asks the key management service at every use.
    #[must_use]
    pub fn bounded(mut self, clock: Arc<dyn Clock>, max_open_ms: u64) -> Self {
        self.clock = clock;
        self.max_open_ms = max_open_ms;
        self
    }

    /// The key management services behind this.
    #[must_use]
    pub const fn kms(&self) -> &KmsSet {
        &self.kms
    }

    /// Whether the keys of `tenant` are at hand, so that asking for one waits for no key management service.
    #[must_use]
    pub fn is_open(&self, tenant: TenantId) -> bool {
        self.tenants.get(&tenant).is_some_and(|held| self.fresh(&held.lease))
    }

    /// Has the tenant's key unwrapped, if it is not at hand. Blocks while the key management service is asked.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(&self, tenant: TenantId) -> Result<(), KeyError> {
        self.tenant(tenant).map(|_| ())
    }

    /// The tenant's keys by epoch, as they are stored. No key management service is asked.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn set(&self, tenant: TenantId) -> Result<KeySet, KeyError> {
        Ok(KeySet::decode(&self.wrapped.wrapped(tenant).ok_or(KeyError::UnknownTenant)?)?)
    }

    /// The tenant's newest epoch, of all its fields. No key management service is asked.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn newest_epoch(&self, tenant: TenantId) -> Result<u32, KeyError> {
        match self.tenants.peek(&tenant) {
            Some(held) => Ok(held.key.newest),
            None => Ok(self.set(tenant)?.newest()),
        }
    }

    /// The keys of one field in every epoch that its cells may be of.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn fields(&self, tenant: TenantId, record_type: TypeId, field: FieldId) -> Result<Arc<LiveKeys>, KeyError> {
        let place = (tenant, record_type, field);
        if let Some(held) = self.live.get(&place).filter(|held| self.fresh(&held.lease)) {
            return Ok(held.key);
        }
        let before = *self.forgotten.read();
        let from = self.tenant(tenant)?;
        let mut keys = Vec::new();
        for epoch in from.key.set.epochs(record_type, field) {
            let key = self.key_of(tenant, &from, epoch)?;
            keys.push(Arc::new(key.field_keys(tenant, record_type, field, epoch)));
        }
        let keys = Arc::new(LiveKeys::new(keys, from.key.newest).ok_or(KeyError::UnknownEpoch)?);
        self.keep(before, || self.live.insert(place, from.derived(&keys)));
        Ok(keys)
    }

    /// The keys under which one field's values are sealed and tagged now.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn field(&self, tenant: TenantId, record_type: TypeId, field: FieldId) -> Result<Arc<FieldKeys>, KeyError> {
        Ok(Arc::clone(self.fields(tenant, record_type, field)?.newest()))
    }

    /// The keys of one field in the epoch that a sealed value names, as long as the tenant's key of then is there. Blocks
    /// if that is one under which no cell is sealed any more, and that was not asked for yet.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn field_at(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        epoch: u32,
    ) -> Result<Arc<FieldKeys>, KeyError> {
        let place = (tenant, record_type, field, epoch);
        if let Some(held) = self.fields.get(&place).filter(|held| self.fresh(&held.lease)) {
            return Ok(held.key);
        }
        let before = *self.forgotten.read();
        let from = self.tenant(tenant)?;
        let key = self.key_of(tenant, &from, epoch)?;
        let keys = Arc::new(key.field_keys(tenant, record_type, field, epoch));
        self.keep(before, || self.fields.insert(place, from.derived(&keys)));
        Ok(keys)
    }

    /// A key for something else that belongs to the tenant, such as its audit records; told apart by `label`. Of the epoch
    /// in which the tenant's newest key began.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn seal_key(&self, tenant: TenantId, label: &'static str) -> Result<Arc<SealKey>, KeyError> {
        let before = *self.forgotten.read();
        let from = self.tenant(tenant)?;
        self.seal_key_of(before, &from, (tenant, label, from.key.seal_epoch))
    }

    /// The same in the epoch that a sealed value names ([`countersign_crypto::sealed_epoch`]). Blocks as
    /// [`Self::field_at`].
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn seal_key_at(&self, tenant: TenantId, label: &'static str, epoch: u32) -> Result<Arc<SealKey>, KeyError> {
        let before = *self.forgotten.read();
        let from = self.tenant(tenant)?;
        self.seal_key_of(before, &from, (tenant, label, epoch))
    }

    fn seal_key_of(
        &self,
        before: u64,
        from: &Held<Opened>,
        place: (TenantId, &'static str, u32),
    ) -> Result<Arc<SealKey>, KeyError> {
        if let Some(held) = self.seals.get(&place).filter(|held| self.fresh(&held.lease)) {
            return Ok(held.key);
        }
        let (tenant, label, epoch) = place;
        let key = Arc::new(self.key_of(tenant, from, epoch)?.seal_key(label, epoch));
        self.keep(before, || self.seals.insert(place, from.derived(&key)));
        Ok(key)
    }

    /// The bytes of the key that [`Self::seal_key`] gives and its epoch, for a service that seals under it elsewhere.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn seal_secret(&self, tenant: TenantId, label: &'static str) -> Result<(SecretKey, u32), KeyError> {
        let from = self.tenant(tenant)?;
        let epoch = from.key.seal_epoch;
        Ok((self.key_of(tenant, &from, epoch)?.seal_secret(label, epoch), epoch))
    }

    /// The same in an epoch that something names which was sealed elsewhere.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn seal_secret_at(&self, tenant: TenantId, label: &'static str, epoch: u32) -> Result<SecretKey, KeyError> {
        let from = self.tenant(tenant)?;
        Ok(self.key_of(tenant, &from, epoch)?.seal_secret(label, epoch))
    }

    /// Drops every key of `tenant` from memory. Keys that a running request holds last until it ends.
    pub fn forget(&self, tenant: TenantId) {
        let mut forgotten = self.forgotten.write();
        *forgotten = forgotten.wrapping_add(1);
        self.tenants.remove(&tenant);
        self.live.retain(|place, _| place.0 != tenant);
        self.fields.retain(|place, _| place.0 != tenant);
        self.seals.retain(|place, _| place.0 != tenant);
    }

    /// How often [`Self::tend`] should be called for the bound set: between a second and a minute.
    #[must_use]
    pub fn tend_every_ms(&self) -> u64 {
        (self.max_open_ms / 16).clamp(1_000, 60_000)
    }

    /// Keeps keys in time: those past half of their bound and in use are unwrapped again, and what is past its bound
    /// leaves memory. Also asks every provider whether it is there, for [`Self::health`].
    ///
    /// Blocks while the key management services are asked; to be called at intervals ([`Self::tend_every_ms`]) from
    /// where blocking is allowed. A provider that is not available is asked once in a round.
    pub fn tend(&self) {
        let mut down = Vec::new();
        for (name, provider) in self.kms.providers() {
            let probed = provider.probe();
            if matches!(probed, Err(KmsError::Unavailable(_))) {
                down.push(name.cloned());
            }
            self.health.note(name, &probed, self.clock.now());
        }
        let due: Vec<TenantId> =
            self.tenants.iter().filter(|(_, held)| self.due(&held.lease)).map(|(id, _)| id).collect();
        for tenant in due {
            let Some(wrapped) = self.wrapped.wrapped(tenant) else {
                self.forget(tenant);
                continue;
            };
            let provider = wrapped_by(&wrapped);
            if down.contains(&provider) {
                continue;
            }
            if let Err(KeyError::Kms(KmsError::Unavailable(_))) = self.unwrap(tenant) {
                down.push(provider);
            }
        }
        self.tenants.retain(|_, held| self.fresh_unused(&held.lease));
        self.live.retain(|_, held| self.fresh_unused(&held.lease));
        self.fields.retain(|_, held| self.fresh_unused(&held.lease));
        self.seals.retain(|_, held| self.fresh_unused(&held.lease));
    }

    /// Whether the key of `tenant` has to be asked for and its key management service did not answer last time. Who can
    /// do without need not wait for it.
    #[must_use]
    pub fn is_out_of_reach(&self, tenant: TenantId) -> bool {
        !self.is_open(tenant)
            && self.wrapped.wrapped(tenant).is_some_and(|wrapped| self.health.is_down(wrapped_by(&wrapped).as_ref()))
    }

    /// How the key management services are, as far as they were asked.
    #[must_use]
    pub fn health(&self) -> KmsHealth {
        KmsHealth { providers: self.health.of(&self.kms), tenants_open: self.tenants.len() }
    }

    /// Within its bound; and noted as used, so that it is renewed.
    fn fresh(&self, lease: &Lease) -> bool {
        lease.note_use();
        self.fresh_unused(lease)
    }

    fn fresh_unused(&self, lease: &Lease) -> bool {
        lease.age(self.clock.now()) < self.max_open_ms
    }

    /// In use and past half of its bound.
    fn due(&self, lease: &Lease) -> bool {
        lease.in_use() && lease.age(self.clock.now()) >= self.max_open_ms / 2
    }

    /// Keeps what was made from a wrapped key that was read when `forgotten` was `before`.
    fn keep(&self, before: u64, insert: impl FnOnce()) {
        let forgotten = self.forgotten.read();
        if *forgotten == before {
            insert();
        }
    }
}

#[cfg(test)]
mod tests;
