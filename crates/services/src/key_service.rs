//! The key service: releases data keys for what a request may use, and counts what is opened with them.

mod anew;

use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{Access, RecordSet, Verdict};
use countersign_crypto::SecretKey;
use countersign_guard::{Bearer, Guard, Judgement, Refusal};
use countersign_keys::budget::{BudgetError, Budgets, Charge};
use countersign_keys::{KeyError, KmsError, TenantKeys};
use countersign_model::control::Control;
use countersign_model::facts::User;
use countersign_model::query::Judged;
use countersign_model::{Entropy, FieldSet, Opened, RequestId, Service, TenantId, UserId};

use self::anew::{Anew, named};
use crate::call::{BEYOND, Call, KmsFailure, ServiceFailure};
use crate::keyring::Keyring;
use crate::reach::Reach;
use crate::store_service::is_to_be_erased;

/// Releases data keys.
#[async_trait]
pub trait KeyRelease: Send + Sync {
    /// The keys of the fields that the request may use, in the token's tenant, and no others.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure>;

    /// The tenant's newest key epoch, where that is known without asking anybody: whoever has older keys releases them
    /// again. `None` where it isn't.
    fn newest_epoch(&self, tenant: TenantId) -> Option<u32> {
        let _ = tenant;
        None
    }

    /// The newest key epoch that was issued for the token's tenant. For the store alone, which takes nothing of a later one.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn issued_epoch(&self, call: &Call<'_>) -> Result<u32, ServiceFailure> {
        let _ = call;
        Err(ServiceFailure::Unavailable)
    }

    /// Counts cells that the store is about to hand out for the request against the plaintext budgets of its token
    /// and principals. For the store alone, which does not hand them out unless this succeeds.
    ///
    /// # Errors
    /// [`Refusal::Budget`] past a limit; otherwise [`ServiceFailure`].
    async fn count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), ServiceFailure>;

    /// A key that belongs to the tenant of a good token as such, for the service `caller`.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn seal_key(
        &self,
        bearer: &Bearer,
        caller: Service,
        purpose: SealPurpose,
    ) -> Result<SealGrant, ServiceFailure>;

    /// A new key for a tenant that the request adds, wrapped, to be stored with the tenant. For the authority alone.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure>;

    /// A tenant's key, wrapped again as the request asks, to be stored in place of the old one. For the authority alone.
    ///
    /// # Errors
    /// [`ServiceFailure`]; [`KmsFailure`] if the old or the new key management service can't be asked.
    async fn rewrap_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure>;

    /// Destroys all keys of a tenant that the request erases, and gives how many there were. For the authority alone.
    ///
    /// # Errors
    /// [`ServiceFailure`]; [`KmsFailure`] if a key management service can't be asked.
    async fn destroy_tenant_keys(&self, call: &Call<'_>, tenant: TenantId) -> Result<u64, ServiceFailure> {
        let _ = (call, tenant);
        Err(ServiceFailure::Unavailable)
    }
}

/// What a tenant's key that is not of a field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealPurpose {
    /// The cursors that the doors give out.
    Cursor,
    /// The audit records of the service that asks.
    Audit,
}

/// A key that was released for its purpose.
pub struct SealGrant {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its bytes.
    pub secret: SecretKey,
    /// Its epoch.
    pub epoch: u32,
}

/// What a [`KeyService`] is made of.
pub struct KeyServiceParts {
    /// Its own guard.
    pub guard: Arc<Guard>,
    /// The tenants' keys.
    pub keys: Arc<TenantKeys>,
    /// What has been opened, by token and principal.
    pub budgets: Arc<Budgets>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The key service, behind its own guard.
pub struct KeyService {
    parts: KeyServiceParts,
}

impl KeyService {
    /// A key service made of these parts.
    #[must_use]
    pub const fn new(parts: KeyServiceParts) -> Self {
        Self { parts }
    }

    async fn judge(&self, call: &Call<'_>, callers: &[Service]) -> Result<Judgement, ServiceFailure> {
        let guard = &self.parts.guard;
        if !callers.contains(&call.caller) {
            guard.note_refusal(&Refusal::Forbidden, call.request, call.epoch).await?;
            return Err(BEYOND);
        }
        Ok(guard.judge_again(call.bearer, call.request, call.epoch).await?)
    }

    /// Has the tenant's key unwrapped, if it isn't: that may take as long as a key management service takes.
    async fn open(&self, tenant: TenantId) -> Result<(), ServiceFailure> {
        if self.parts.keys.is_open(tenant) {
            return Ok(());
        }
        let keys = Arc::clone(&self.parts.keys);
        let opened = tokio::task::spawn_blocking(move || keys.open(tenant)).await;
        opened.map_err(|_| ServiceFailure::Unavailable)?.map_err(|error| no_key(&error))
    }

    /// The keys of all that the request touches, of one moment.
    async fn ring(&self, tenant: TenantId, reach: &Reach) -> Result<Keyring, ServiceFailure> {
        for _ in 0..RELEASE_ATTEMPTS {
            if reach.types().next().is_none() {
                return Ok(Keyring::new(tenant, 0));
            }
            self.open(tenant).await?;
            let mut ring: Option<Keyring> = None;
            let mut together = true;
            for (type_id, field, uses) in reach.iter() {
                let keys = self.parts.keys.fields(tenant, type_id, field).map_err(|error| no_key(&error))?;
                let ring = ring.get_or_insert_with(|| Keyring::new(tenant, keys.tenant_epoch()));
                together &= ring.epoch() == keys.tenant_epoch();
                ring.add(type_id, field, keys, uses);
            }
            match ring {
                Some(ring) if together => return Ok(ring),
                // Every field of the types is out of reach.
                None => return Ok(Keyring::new(tenant, 0)),
                // A rotation came in between: what is sealed under one of them must not say that it is of the other.
                Some(_) => {}
            }
        }
        Err(ServiceFailure::Unavailable)
    }

    /// Wraps where blocking is allowed.
    async fn wrap(
        &self,
        wrap: impl FnOnce(&TenantKeys, &dyn Entropy) -> Result<Vec<u8>, KeyError> + Send + 'static,
    ) -> Result<Vec<u8>, ServiceFailure> {
        let (keys, entropy) = (Arc::clone(&self.parts.keys), Arc::clone(&self.parts.entropy));
        let wrapped = tokio::task::spawn_blocking(move || wrap(&keys, &*entropy)).await;
        wrapped.map_err(|_| ServiceFailure::Unavailable)?.map_err(|error| no_key(&error))
    }

    /// Charges these cells to the token, to its user and to whoever acts for the user.
    async fn charge(&self, call: &Call<'_>, judgement: &Judgement, cells: u64) -> Result<(), ServiceFailure> {
        let principal = &judgement.principal;
        // The newest limits, under whatever epoch the caller decided: one that was lowered holds at once.
        let newest = self.parts.guard.facts().load();
        let charge = |principal: UserId, facts: &User| {
            let facts = newest.facts.users.get(&principal).map_or(facts, |newest| newest);
            Charge { principal, limits: newest.policies.budget_of(facts) }
        };
        let actor = principal.actor.as_ref().map(|actor| charge(actor.user, &actor.facts));
        let own = charge(principal.user, &principal.facts);
        let charges: Vec<Charge> = [Some(own), actor].into_iter().flatten().collect();
        let (token, now) = (principal.token, self.parts.guard.clock().now());
        let spent = match self.parts.budgets.spend_now(token, &charges, cells, now) {
            Some(spent) => spent.map_err(BudgetError::Spent),
            None => {
                let budgets = Arc::clone(&self.parts.budgets);
                let spending = tokio::task::spawn_blocking(move || budgets.spend(token, &charges, cells, now));
                spending.await.map_err(|_| ServiceFailure::Unavailable)?
            }
        };
        match spent {
            Ok(()) => Ok(()),
            Err(BudgetError::Spent(_)) => Err(self.refuse(call, judgement, Refusal::Budget).await),
            Err(BudgetError::Journal(_) | BudgetError::Database(_)) => Err(ServiceFailure::Unavailable),
        }
    }

    async fn refuse(&self, call: &Call<'_>, judgement: &Judgement, refusal: Refusal) -> ServiceFailure {
        let noted = self.parts.guard.note_refusal_of(&refusal, judgement, call.request).await;
        ServiceFailure::Refused(noted.err().unwrap_or(refusal))
    }
}

#[async_trait]
impl KeyRelease for KeyService {
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        let judgement = self.judge(call, &[Service::Gateway, Service::Authority]).await?;
        let tenant = judgement.principal.tenant;
        let reach = Reach::of(&judgement.judged, &judgement.state.facts.types);
        let ring = self.ring(tenant, &reach).await?;
        let access = |record_type| Access {
            record_type,
            fields: reach.opened(record_type).union(reach.sealed(record_type)),
            filter_fields: reach.tagged(record_type),
            records: RecordSet::default(),
            rows: 0,
        };
        let accesses = reach.types().map(access).collect();
        let tally = judgement.tally();
        self.parts.guard.countersign(&judgement, call.request, Verdict::Intent, accesses, tally).await?;
        Ok(ring)
    }

    fn newest_epoch(&self, tenant: TenantId) -> Option<u32> {
        self.parts.keys.newest_epoch(tenant).ok()
    }

    async fn issued_epoch(&self, call: &Call<'_>) -> Result<u32, ServiceFailure> {
        let judgement = self.judge(call, &[Service::Store]).await?;
        // As it is stored: what is at hand may be of before a rotation.
        let issued = self.parts.keys.set(judgement.principal.tenant).map_err(|error| no_key(&error))?;
        Ok(issued.newest())
    }

    async fn count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), ServiceFailure> {
        let judgement = self.judge(call, &[Service::Store]).await?;
        let reach = Reach::of(&judgement.judged, &judgement.state.facts.types);
        let within = |one: &Opened| one.fields.is_subset(reach.opened(one.record_type));
        if !opened.iter().all(within) {
            return Err(self.refuse(call, &judgement, Refusal::Forbidden).await);
        }
        let mut tally = judgement.tally();
        for one in opened {
            tally.open(one.record_type, one.fields, one.rows);
        }
        self.charge(call, &judgement, tally.cells()).await?;
        let access = |one: &Opened| Access {
            record_type: one.record_type,
            fields: one.fields,
            filter_fields: FieldSet::EMPTY,
            records: RecordSet::default(),
            rows: one.rows,
        };
        let accesses = opened.iter().map(access).collect();
        self.parts.guard.countersign(&judgement, call.request, Verdict::Released, accesses, tally).await?;
        Ok(())
    }

    async fn seal_key(
        &self,
        bearer: &Bearer,
        caller: Service,
        purpose: SealPurpose,
    ) -> Result<SealGrant, ServiceFailure> {
        let guard = &self.parts.guard;
        let id = RequestId::new(guard.clock().now(), &*self.parts.entropy);
        let label = match (purpose, caller) {
            (SealPurpose::Cursor, Service::Gateway) => "cursor",
            (SealPurpose::Audit, Service::Gateway) => "audit-gateway",
            (SealPurpose::Audit, Service::Store) => "audit-store",
            (SealPurpose::Audit, Service::Authority) => "audit-authority",
            _ => {
                guard.note_refused_call(&Refusal::Forbidden, None, id, SEAL_KEY).await?;
                return Err(BEYOND);
            }
        };
        let tenant = guard.identify(bearer, id, SEAL_KEY).await?.tenant;
        self.open(tenant).await?;
        let (secret, epoch) = self.parts.keys.seal_secret(tenant, label).map_err(|error| no_key(&error))?;
        Ok(SealGrant { tenant, secret, epoch })
    }

    async fn new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        let judgement = self.judge(call, &[Service::Authority]).await?;
        let Judged::Control(Control::TenantAdd { kms, .. }) = &judgement.judged else {
            return Err(self.refuse(call, &judgement, Refusal::Forbidden).await);
        };
        let kms = kms.clone();
        self.wrap(move |keys, entropy| keys.wrap_new_by(named(kms.as_ref()), entropy, tenant)).await
    }

    async fn destroy_tenant_keys(&self, call: &Call<'_>, tenant: TenantId) -> Result<u64, ServiceFailure> {
        let judgement = self.judge(call, &[Service::Authority]).await?;
        if !is_to_be_erased(&judgement, tenant) {
            return Err(self.refuse(call, &judgement, Refusal::Forbidden).await);
        }
        let keys = Arc::clone(&self.parts.keys);
        let destroyed = tokio::task::spawn_blocking(move || keys.destroy_all(tenant)).await;
        destroyed.map_err(|_| ServiceFailure::Unavailable)?.map_err(|error| no_key(&KeyError::Kms(error)))
    }

    async fn rewrap_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        let judgement = self.judge(call, &[Service::Authority]).await?;
        let Some((asked, anew)) = Anew::of(&judgement) else {
            return Err(self.refuse(call, &judgement, Refusal::Forbidden).await);
        };
        let names = &judgement.state.facts.tenant_names;
        if asked.is_some_and(|name| names.get(name) != Some(&tenant)) {
            return Err(self.refuse(call, &judgement, Refusal::Forbidden).await);
        }
        self.wrap(move |keys, entropy| anew.make(keys, entropy, tenant)).await
    }
}

/// How often keys are looked up again because a rotation came in between.
const RELEASE_ATTEMPTS: usize = 8;

/// What a call for a key of a tenant as such is called in records.
const SEAL_KEY: &str = "seal_key";

/// What the caller is told of a key that can't be had. The operator finds the rest in the log.
const fn no_key(error: &KeyError) -> ServiceFailure {
    match error {
        KeyError::Kms(KmsError::UnknownProvider(_)) => ServiceFailure::Kms(KmsFailure::Unknown),
        KeyError::Kms(_) => ServiceFailure::Kms(KmsFailure::Unavailable),
        KeyError::UnknownTenant | KeyError::UnknownEpoch | KeyError::Set(_) => ServiceFailure::Unavailable,
    }
}
