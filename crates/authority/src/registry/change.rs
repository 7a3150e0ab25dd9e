//! Changing facts: durable first, then published.

mod erasing;

use std::sync::Arc;

use countersign_guard::State;
use countersign_model::control::{Contacts, PolicyFile};
use countersign_model::facts::{Facts, Tenant, User};
use countersign_model::{GrantId, IncidentId, RecordTypes, RequestId, SessionId, TenantId, TokenId, UnixMs, UserId};
use countersign_policy::Policies;
use countersign_store::Store;
use countersign_token::{CLOCK_SKEW_MS, MAX_LIFETIME_MS};
use tokio::sync::OwnedMutexGuard;

use super::Registry;
use super::backups::KnownBackup;
use super::erasure::{ErasureFact, Erasures};
use super::fact::{
    EpochFact, FactsKeysFact, GrantFact, GrantState, Kind, PoliciesFact, ProviderFact, RevocationFact, SigningKeyFact,
    TenantFact, TypesFact, Write,
};
use crate::control::incident::fact::IncidentFact;
use crate::control::incident::names::names_key;
use crate::error::RegistryError;
use crate::identity::fact::Roster;

/// After this long a revocation speaks only of tokens that have expired.
const REVOCATION_MS: u64 = MAX_LIFETIME_MS.saturating_add(CLOCK_SKEW_MS);

/// The most revoked tokens and sessions of one tenant that are kept at a time. Every request looks into them and
/// every change copies them, and people can revoke their own tokens as fast as they get them.
pub(crate) const REVOCATIONS_MAX: usize = 10_000;

/// A change in the making. Nothing happens before [`Change::commit`].
///
/// It begins from the newest facts and keeps others from changing them meanwhile.
pub(crate) struct Change {
    registry: Arc<Registry>,
    _alone: OwnedMutexGuard<()>,
    facts: Facts,
    policies: Arc<Policies>,
    writes: Vec<Write>,
    wrapped_keys: Vec<(TenantId, Arc<[u8]>)>,
    types_text: Option<Arc<str>>,
    signing: Option<Vec<(Vec<u8>, SigningKeyFact)>>,
    facts_keys: Option<FactsKeysFact>,
    provider: Option<(TenantId, Option<Arc<ProviderFact>>)>,
    grants: Vec<(GrantId, Option<Arc<GrantFact>>)>,
    incidents: Vec<(IncidentId, Arc<IncidentFact>)>,
    contacts: Option<(TenantId, Arc<Contacts>)>,
    erasures: Vec<(RequestId, Option<ErasureFact>)>,
    erased_tenants: Vec<TenantId>,
    backups: Vec<([u8; 16], Option<KnownBackup>)>,
    roster: Option<Roster>,
    store: Option<Arc<dyn Store>>,
    policy_changed: bool,
    facts_changed: bool,
}

impl Registry {
    /// Begins a change from the newest facts.
    pub(crate) async fn begin(self: &Arc<Self>) -> Change {
        let alone = Arc::clone(&self.changing).lock_owned().await;
        let state = self.latest();
        Change {
            registry: Arc::clone(self),
            _alone: alone,
            facts: (*state.facts).clone(),
            policies: Arc::clone(&state.policies),
            writes: Vec::new(),
            wrapped_keys: Vec::new(),
            types_text: None,
            signing: None,
            facts_keys: None,
            provider: None,
            grants: Vec::new(),
            incidents: Vec::new(),
            contacts: None,
            erasures: Vec::new(),
            erased_tenants: Vec::new(),
            backups: Vec::new(),
            roster: None,
            store: None,
            policy_changed: false,
            facts_changed: false,
        }
    }
}

impl Change {
    /// The facts as this change leaves them.
    pub(crate) const fn facts(&self) -> &Facts {
        &self.facts
    }

    fn put(&mut self, kind: Kind, id: &[u8], stored: &impl serde::Serialize) -> Result<(), RegistryError> {
        self.writes.push(Write::put(kind, id, stored)?);
        Ok(())
    }

    fn put_of(
        &mut self,
        owner: TenantId,
        kind: Kind,
        id: &[u8],
        stored: &impl serde::Serialize,
    ) -> Result<(), RegistryError> {
        self.writes.push(Write::put_of(owner, kind, id, stored)?);
        Ok(())
    }

    pub(crate) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// The services and invitations as this change leaves them.
    pub(crate) fn roster_mut(&mut self) -> &mut Roster {
        self.roster.get_or_insert_with(|| (*self.registry.roster()).clone())
    }

    /// Publishes a new epoch although no fact is another: of what is told with the facts, something changed.
    pub(crate) const fn tell_everybody(&mut self) {
        self.facts_changed = true;
    }

    pub(crate) fn add_tenant(&mut self, id: TenantId, tenant: Tenant, key: Vec<u8>) -> Result<(), RegistryError> {
        let stored = TenantFact { tenant: tenant.clone(), wrapped_key: key.clone() };
        self.put_of(id, Kind::Tenant, id.as_bytes(), &stored)?;
        Arc::make_mut(&mut self.facts.tenant_names).insert(tenant.name.clone(), id);
        Arc::make_mut(&mut self.facts.tenants).insert(id, tenant);
        self.wrapped_keys.push((id, key.into()));
        self.facts_changed = true;
        Ok(())
    }

    /// A tenant's key, wrapped again. The key is the same.
    pub(crate) fn rewrap_tenant(&mut self, id: TenantId, key: Vec<u8>) -> Result<(), RegistryError> {
        let Some(tenant) = self.facts.tenants.get(&id).cloned() else { return Ok(()) };
        if self.registry.receipts().is_tenant_erased(id) {
            // Which keys go with it was written down when that began.
            return Ok(());
        }
        self.put_of(id, Kind::Tenant, id.as_bytes(), &TenantFact { tenant, wrapped_key: key.clone() })?;
        self.wrapped_keys.push((id, key.into()));
        self.facts_changed = true;
        Ok(())
    }

    pub(crate) fn put_user(&mut self, id: UserId, user: User) -> Result<(), RegistryError> {
        self.put_of(user.tenant, Kind::User, id.as_bytes(), &user)?;
        Arc::make_mut(&mut self.facts.user_names).insert((user.tenant, user.name.clone()), id);
        Arc::make_mut(&mut self.facts.users).insert(id, Arc::new(user));
        self.facts_changed = true;
        Ok(())
    }

    /// Takes the user out of the facts: every token of theirs names nobody from then on.
    pub(crate) fn remove_user(&mut self, id: UserId) {
        if let Some(user) = Arc::make_mut(&mut self.facts.users).remove(&id) {
            Arc::make_mut(&mut self.facts.user_names).remove(&(user.tenant, user.name.clone()));
        }
        self.writes.push(Write::delete(Kind::User, id.as_bytes()));
        self.facts_changed = true;
    }

    /// Replaces types and what was compiled from them; `store` is brought up to date before they are published.
    pub(crate) fn set_types(
        &mut self,
        text: String,
        types: RecordTypes,
        policies: Policies,
        store: Option<Arc<dyn Store>>,
    ) -> Result<(), RegistryError> {
        let stored = TypesFact { text, types };
        self.put(Kind::Types, &[], &stored)?;
        self.types_text = Some(stored.text.into());
        self.facts.types = Arc::new(stored.types);
        self.policies = Arc::new(policies);
        self.store = store;
        self.policy_changed = true;
        Ok(())
    }

    pub(crate) fn set_policies(&mut self, files: Vec<PolicyFile>, policies: Policies) -> Result<(), RegistryError> {
        let stored = PoliciesFact { files };
        self.put(Kind::Policies, &[], &stored)?;
        self.facts.policies = Arc::new(stored.files);
        self.policies = Arc::new(policies);
        self.policy_changed = true;
        Ok(())
    }

    pub(crate) fn revoke_token(&mut self, tenant: TenantId, token: TokenId, at: UnixMs) -> Result<(), RegistryError> {
        self.revoke(Kind::RevokedToken, &scoped(tenant, token.as_bytes()), at)?;
        Arc::make_mut(&mut self.facts.revocations).tokens.insert((tenant, token), at);
        Ok(())
    }

    pub(crate) fn revoke_session(
        &mut self,
        tenant: TenantId,
        session: SessionId,
        at: UnixMs,
    ) -> Result<(), RegistryError> {
        self.revoke(Kind::RevokedSession, &scoped(tenant, session.as_bytes()), at)?;
        Arc::make_mut(&mut self.facts.revocations).sessions.insert((tenant, session), at);
        Ok(())
    }

    pub(crate) fn revoke_user(&mut self, user: UserId, at: UnixMs) -> Result<(), RegistryError> {
        self.revoke(Kind::RevokedUser, user.as_bytes(), at)?;
        Arc::make_mut(&mut self.facts.revocations).users.insert(user, at);
        Ok(())
    }

    /// Whether the tenant has as many revoked tokens and sessions as it may. People can be revoked all the same.
    pub(crate) fn is_full_of_revocations(&self, tenant: TenantId) -> bool {
        let now = self.registry.clock.now();
        let counts = |owner: &TenantId, at: &UnixMs| *owner == tenant && !is_old(*at, now);
        let known = &self.facts.revocations;
        let tokens = known.tokens.iter().filter(|((owner, _), at)| counts(owner, at)).count();
        let sessions = known.sessions.iter().filter(|((owner, _), at)| counts(owner, at)).count();
        tokens.saturating_add(sessions) >= REVOCATIONS_MAX
    }

    fn revoke(&mut self, kind: Kind, id: &[u8], at: UnixMs) -> Result<(), RegistryError> {
        self.facts_changed = true;
        self.put(kind, id, &RevocationFact { at })
    }

    fn drop_old_revocations(&mut self, now: UnixMs) {
        let known = Arc::clone(&self.facts.revocations);
        let tokens =
            known.tokens.iter().map(|((tenant, id), at)| (Kind::RevokedToken, scoped(*tenant, id.as_bytes()), at));
        let sessions =
            known.sessions.iter().map(|((tenant, id), at)| (Kind::RevokedSession, scoped(*tenant, id.as_bytes()), at));
        let users = known.users.iter().map(|(id, at)| (Kind::RevokedUser, id.as_bytes().to_vec(), at));
        let old = tokens.chain(sessions).chain(users).filter(|(_, _, at)| is_old(**at, now));
        let deletes: Vec<Write> = old.map(|(kind, id, _)| Write::delete(kind, &id)).collect();
        if deletes.is_empty() {
            return;
        }
        // Before the change's own writes, so that what it revokes anew stays.
        self.writes.splice(..0, deletes);
        let revocations = Arc::make_mut(&mut self.facts.revocations);
        revocations.tokens.retain(|_, at| !is_old(*at, now));
        revocations.sessions.retain(|_, at| !is_old(*at, now));
        revocations.users.retain(|_, at| !is_old(*at, now));
    }

    /// Replaces the signing keys that are kept by these. Changes no fact that decisions depend on.
    pub(crate) fn set_signing_keys(&mut self, keys: Vec<(Vec<u8>, SigningKeyFact)>) -> Result<(), RegistryError> {
        for (id, _) in self.registry.signing_keys() {
            if !keys.iter().any(|(kept, _)| *kept == id) {
                self.writes.push(Write::delete(Kind::SigningKey, &id));
            }
        }
        for (id, key) in &keys {
            self.writes.push(Write::put(Kind::SigningKey, id, key)?);
        }
        self.signing = Some(keys);
        Ok(())
    }

    /// Replaces the keys that sign snapshots of the facts. No fact is another by that.
    pub(crate) fn set_facts_keys(&mut self, keys: FactsKeysFact) -> Result<(), RegistryError> {
        self.put(Kind::FactsKeys, &[], &keys)?;
        self.facts_keys = Some(keys);
        Ok(())
    }

    /// The tenant's identity provider from now on. Only the authority needs it, so it is not among the facts.
    pub(crate) fn set_provider(
        &mut self,
        tenant: TenantId,
        provider: Option<ProviderFact>,
    ) -> Result<(), RegistryError> {
        match &provider {
            Some(provider) => self.put_of(tenant, Kind::Provider, tenant.as_bytes(), provider)?,
            None => self.writes.push(Write::delete(Kind::Provider, tenant.as_bytes())),
        }
        self.provider = Some((tenant, provider.map(Arc::new)));
        Ok(())
    }

    /// Keeps an incident as it now is: what it says of tenants by names apart, under the key of each.
    pub(crate) fn put_incident(&mut self, id: IncidentId, incident: IncidentFact) -> Result<(), RegistryError> {
        let mut stored = incident.clone();
        for tenant in incident.named(|name| self.facts.tenant_names.get(name).copied()) {
            let name = self.facts.tenants.get(&tenant).map(|tenant| tenant.name.clone());
            let names = stored.take_names(tenant, name.as_ref());
            if name.is_some() {
                self.put_of(tenant, Kind::IncidentNames, &names_key(id, tenant), &names)?;
            }
        }
        self.put(Kind::Incident, id.as_bytes(), &stored)?;
        self.incidents.push((id, Arc::new(incident)));
        Ok(())
    }

    /// Whom a tenant is told by from now on. No decision depends on it.
    pub(crate) fn set_contacts(&mut self, tenant: TenantId, contacts: Contacts) -> Result<(), RegistryError> {
        self.put_of(tenant, Kind::Contacts, tenant.as_bytes(), &contacts)?;
        self.contacts = Some((tenant, Arc::new(contacts)));
        Ok(())
    }

    /// Keeps what is known of a backup, or forgets it.
    pub(crate) fn put_backup(&mut self, id: [u8; 16], backup: Option<KnownBackup>) -> Result<(), RegistryError> {
        match &backup {
            Some(known) => self.put(Kind::Backup, &id, known)?,
            None => self.writes.push(Write::delete(Kind::Backup, &id)),
        }
        self.backups.push((id, backup));
        Ok(())
    }

    /// Keeps a grant as it now is.
    pub(crate) fn put_grant(&mut self, id: GrantId, grant: GrantFact) -> Result<(), RegistryError> {
        self.put_of(grant.tenant, Kind::Grant, id.as_bytes(), &grant)?;
        self.grants.push((id, Some(Arc::new(grant))));
        Ok(())
    }

    /// Takes away what a grant gave, if it is not over.
    pub(crate) fn end_grant(
        &mut self,
        id: GrantId,
        by: &impl std::fmt::Display,
        at: UnixMs,
    ) -> Result<(), RegistryError> {
        let Some(grant) = self.registry.grant(id) else { return Ok(()) };
        let by = by.to_string();
        let state = match &grant.state {
            GrantState::Given { user, .. } => {
                self.remove_user(*user);
                GrantState::Closed { by: Some(by), at }
            }
            GrantState::Asked => GrantState::Refused { by, at },
            GrantState::Refused { .. } | GrantState::Closed { .. } => return Ok(()),
        };
        self.put_grant(id, GrantFact { state, ..(*grant).clone() })
    }

    /// Keeps a grant no longer.
    pub(crate) fn forget_grant(&mut self, id: GrantId) {
        self.writes.push(Write::delete(Kind::Grant, id.as_bytes()));
        self.grants.push((id, None));
    }

    /// Makes the change durable, then publishes it as a new epoch, and gives that epoch.
    ///
    /// Runs to its end even if the caller stops waiting: what is durable is always published.
    ///
    /// # Errors
    /// [`RegistryError`] if it could not be made durable; nothing was changed then. If only the store could not
    /// take new record types, the change is in force and the store takes them when it is next opened.
    pub(crate) async fn commit(self) -> Result<u64, RegistryError> {
        let interrupted = |_| RegistryError::Storage("it was interrupted");
        tokio::spawn(self.commit_whole()).await.map_err(interrupted)?
    }

    async fn commit_whole(mut self) -> Result<u64, RegistryError> {
        if self.policy_changed || self.facts_changed {
            self.drop_old_revocations(self.registry.clock.now());
            self.facts.epoch = self.facts.epoch.saturating_add(1);
            if self.policy_changed {
                self.facts.policy_epoch = self.facts.epoch;
            }
            let Facts { epoch, policy_epoch, .. } = self.facts;
            self.put(Kind::Epoch, &[], &EpochFact { epoch, policy_epoch })?;
        }
        let (registry, writes) = (Arc::clone(&self.registry), std::mem::take(&mut self.writes));
        let write = move || registry.db.lock().write(&*registry.entropy, &writes);
        tokio::task::spawn_blocking(write).await.map_err(|_| RegistryError::Storage("it was interrupted"))??;
        let brought_up = match &self.store {
            Some(store) => store.apply_types(&self.facts.types).await,
            None => Ok(()),
        };
        let epoch = self.facts.epoch;
        self.publish();
        brought_up.map(|()| epoch).map_err(|_| RegistryError::StoreBehind)
    }

    fn publish(self) {
        let registry = &self.registry;
        if !self.wrapped_keys.is_empty() {
            Arc::make_mut(&mut registry.wrapped.0.write()).extend(self.wrapped_keys.iter().cloned());
            // Whoever took the tenant's key elsewhere can take it away from now on.
            self.wrapped_keys.iter().for_each(|(tenant, _)| registry.tenant_keys.forget(*tenant));
        }
        if let Some(text) = self.types_text {
            *registry.types_text.lock() = text;
        }
        if let Some(keys) = self.signing {
            *registry.signing.lock() = keys;
        }
        if let Some(keys) = self.facts_keys {
            *registry.facts_keys.lock() = Some(keys);
        }
        if let Some(roster) = self.roster {
            registry.set_roster(roster);
        }
        for (id, grant) in self.grants {
            match grant {
                Some(grant) => drop(registry.grants.write().insert(id, grant)),
                None => drop(registry.grants.write().remove(&id)),
            }
        }
        registry.incidents.write().extend(self.incidents);
        registry.contacts.write().extend(self.contacts);
        if !self.erasures.is_empty() {
            let mut erasures = registry.erasures.write();
            let mut facts = std::mem::take(&mut erasures.facts);
            for (id, fact) in self.erasures {
                match fact {
                    Some(fact) => drop(facts.insert(id, fact)),
                    None => drop(facts.remove(&id)),
                }
            }
            *erasures = Erasures::new(facts);
        }
        for tenant in &self.erased_tenants {
            Arc::make_mut(&mut registry.wrapped.0.write()).remove(tenant);
            registry.tenant_keys.forget(*tenant);
            registry.db.lock().own(*tenant, None);
            registry.contacts.write().remove(tenant);
            registry.providers.write().remove(tenant);
        }
        for (id, backup) in self.backups {
            match backup {
                Some(known) => drop(registry.backups.write().insert(id, known)),
                None => drop(registry.backups.write().remove(&id)),
            }
        }
        match self.provider {
            Some((tenant, Some(provider))) => drop(registry.providers.write().insert(tenant, provider)),
            Some((tenant, None)) => drop(registry.providers.write().remove(&tenant)),
            None => {}
        }
        if self.policy_changed || self.facts_changed {
            let state = State { facts: Arc::new(self.facts), policies: self.policies };
            registry.facts.publish(state, registry.clock.now());
        }
        registry.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Revoked tokens and sessions are stored with the tenant that revoked them.
fn scoped(tenant: TenantId, subject: &[u8; 16]) -> Vec<u8> {
    [*tenant.as_bytes(), *subject].concat()
}

/// Whether a revocation speaks only of tokens that have expired anyway.
const fn is_old(at: UnixMs, now: UnixMs) -> bool {
    now.since(at) > REVOCATION_MS
}
