//! Tenants.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use countersign_guard::Permit;
use countersign_keys::{wrapped_by, wrapped_version};
use countersign_model::control::DEFAULT_KMS;
use countersign_model::facts::Tenant;
use countersign_model::{Name, Service, TenantId};
use countersign_services::{Call, ServiceFailure};

use super::{Done, called};
use crate::answer::{ControlAnswer, RewrappedAnswer, RewrappedKey, TenantEntry};
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::time::rfc3339;

impl Authority {
    pub(super) fn tenant_list(&self) -> Done {
        let facts = self.facts();
        let mut users: HashMap<TenantId, usize> = HashMap::new();
        for user in facts.users.values() {
            let count = users.entry(user.tenant).or_default();
            *count = count.saturating_add(1);
        }
        let wrapped = self.registry.wrapped_keys();
        let entry = |(id, tenant): (&TenantId, &Tenant)| {
            let kms = wrapped.get(id).and_then(|key| wrapped_by(key));
            entry(*id, tenant, users.get(id).copied().unwrap_or_default(), kms)
        };
        let mut entries: Vec<_> = facts.tenants.iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Done::looked(ControlAnswer::Tenants(entries))
    }

    pub(super) async fn tenant_add(&self, permit: &Permit, name: Name) -> Result<Done, ControlFailure> {
        let mut change = self.registry.begin().await;
        if change.facts().tenant_names.contains_key(&name) {
            return Err(ControlFailure::Exists { what: "tenant", name: name.to_string() });
        }
        let (now, entropy) = (self.registry.clock().now(), self.registry.entropy());
        let id = TenantId::new(now, entropy);
        let call = Call::of(permit, Service::Authority);
        let registry = Arc::clone(&self.registry);
        let facts_key = tokio::task::spawn_blocking(move || registry.new_facts_key(id)).await;
        let facts_key = facts_key.map_err(|_| ControlFailure::Unavailable("key management service"))??;
        let wrapped = self.keys.new_tenant_key(&call, id).await.map_err(called("key service"))?;
        // Room in the store first: what a crash in between leaves is an empty file that nothing refers to, and
        // never a tenant without room.
        self.records.create_tenant(&call, id).await.map_err(called("store"))?;
        let tenant = Tenant { name, created: now };
        let by = wrapped_by(&wrapped).map(|kms| format!("; key wrapped by {kms}")).unwrap_or_default();
        let entry = entry(id, &tenant, 0, wrapped_by(&wrapped));
        change.add_facts_key(facts_key);
        change.add_tenant(id, tenant, wrapped)?;
        change.commit().await?;
        let done = Done::changed(ControlAnswer::Tenant(entry));
        Ok(Done { detail: Some(format!("add tenant {id}{by}")), ..done })
    }

    /// Has the key service wrap keys again, and stores what it gives. One tenant whose key management service doesn't
    /// answer keeps no other from it.
    pub(super) async fn tenant_rewrap(
        &self,
        permit: &Permit,
        named: Option<Name>,
        kms: Option<Name>,
    ) -> Result<Done, ControlFailure> {
        let facts = self.facts();
        let tenants: BTreeMap<Name, TenantId> = match &named {
            Some(name) => std::iter::once((name.clone(), self.tenant_of(permit.principal(), Some(name))?.0)).collect(),
            None if kms.is_some() => {
                let expected = "the tenant whose key moves to another key management service".to_owned();
                return Err(ControlFailure::Invalid { field: "tenant".to_owned(), expected });
            }
            None => facts.tenant_names.iter().map(|(name, id)| (name.clone(), *id)).collect(),
        };
        let call = Call::of(permit, Service::Authority);
        let (mut keys, mut answer) = (Vec::new(), RewrappedAnswer { rewrapped: Vec::new(), failed: Vec::new() });
        for (name, id) in tenants {
            let is_own = kms.is_none() && id == permit.principal().tenant;
            let before = self.registry.wrapped_key(id);
            let own = if is_own { self.rewrapped_here(id).await } else { None };
            let wrapped = match own {
                Some(wrapped) => Ok(wrapped),
                None => self.keys.rewrap_tenant_key(&call, id).await,
            };
            match wrapped {
                Ok(wrapped) => {
                    let version = wrapped_version(&wrapped).map_or(0, |version| version.0);
                    answer.rewrapped.push(RewrappedKey { tenant: name, kms: wrapped_by(&wrapped), version });
                    keys.push((id, before, wrapped));
                }
                Err(ServiceFailure::Kms(_)) if named.is_none() => answer.failed.push(name),
                Err(failure) => return Err(called("key service")(failure)),
            }
        }
        let mut change = self.registry.begin().await;
        for (id, before, wrapped) in &keys {
            // INVARIANT key-succession: one that was rotated meanwhile has a key that is not in here.
            if self.registry.wrapped_key(*id) != *before {
                return Err(ControlFailure::Unavailable("key service"));
            }
            change.rewrap_tenant(*id, wrapped.clone())?;
        }
        if !keys.is_empty() {
            change.commit().await?;
        }
        let now = self.registry.clock().now();
        for (id, _, wrapped) in keys.iter().filter(|(id, ..)| *id != permit.principal().tenant) {
            let by = wrapped_by(wrapped).map_or_else(|| DEFAULT_KMS.to_owned(), |name| name.to_string());
            self.record_elsewhere(permit, *id, format!("key wrapped by {by}"), now).await?;
        }
        let mut done = Done::changed(ControlAnswer::Rewrapped(answer));
        done.affected = u64::try_from(keys.len()).ok();
        Ok(done)
    }

    /// The key of the operators' tenant is as old as the deployment. Where services run apart, the authority's own key
    /// management service wraps it and not the key service's.
    async fn rewrapped_here(&self, tenant: TenantId) -> Option<Vec<u8>> {
        let registry = Arc::clone(&self.registry);
        let rewrap = move || registry.tenant_keys().rewrap(registry.entropy(), tenant);
        tokio::task::spawn_blocking(rewrap).await.ok()?.ok()
    }
}

fn entry(id: TenantId, tenant: &Tenant, users: usize, kms: Option<Name>) -> TenantEntry {
    TenantEntry { id, name: tenant.name.clone(), created: rfc3339(tenant.created), users, kms }
}
