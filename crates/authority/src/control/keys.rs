//! Keys of data at rest: what there is, new ones in place of old ones, and the end of old ones.

mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_guard::Permit;
use countersign_keys::{KeySet, KeySetError};
use countersign_model::custody::{KeyControl, KeyScope};
use countersign_model::facts::OPERATORS;
use countersign_model::{Name, Service, TenantId};
use countersign_services::Call;
use serde_json::json;

use super::{Done, called};
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::error::ControlFailure;

/// How often a change is made again because another came in between.
const TRIES: usize = 8;

impl Authority {
    pub(super) async fn keys(&self, permit: &Permit, keys: KeyControl) -> Result<Done, ControlFailure> {
        match keys {
            KeyControl::List { tenant } => self.key_list(permit, tenant.as_ref()).await,
            KeyControl::Rotate { scope: KeyScope::Deployment } => self.key_rewrap().await,
            KeyControl::Rotate { scope: KeyScope::Tenant(tenant) } => self.key_rotate(permit, &tenant, None).await,
            KeyControl::Rotate { scope: KeyScope::Field { tenant, record_type, field } } => {
                self.key_rotate(permit, &tenant, Some((&record_type, &field))).await
            }
            KeyControl::Destroy { tenant, epoch } => self.key_destroy(permit, &tenant, epoch).await,
        }
    }

    async fn key_list(&self, permit: &Permit, named: Option<&Name>) -> Result<Done, ControlFailure> {
        let facts = self.facts();
        let tenants: BTreeMap<Name, TenantId> = match named {
            Some(name) => std::iter::once((name.clone(), self.tenant_of(permit.principal(), Some(name))?.0)).collect(),
            None => facts.tenant_names.iter().map(|(name, id)| (name.clone(), *id)).collect(),
        };
        let lives =
            view::Lives { now: self.registry.clock().now(), types: &facts.types, periods: view::periods(&facts) };
        let mut rows = Vec::new();
        if named.is_none() {
            // Of the key that wraps it; the first is as old as the operators' tenant.
            let made = facts.tenant_names.iter().find(|(name, _)| name.as_str() == OPERATORS);
            let made = made.and_then(|(_, id)| facts.tenants.get(id)).map(|tenant| tenant.created);
            let since = self.registry.wrapping_since().or(made);
            rows.push(lives.deployment(since.unwrap_or_default(), &self.registry.wrapped_own_key()));
        }
        for (name, id) in tenants {
            let Some(set) = self.registry.wrapped_key(id).and_then(|blob| KeySet::decode(&blob).ok()) else { continue };
            let created = facts.tenants.get(&id).map(|tenant| tenant.created).unwrap_or_default();
            let (counts, work) = match &self.keeper {
                Some(keeper) => (keeper.counts(id).await, (keeper.progress(id), keeper.left(id))),
                None => (None, (None, 0)),
            };
            lives.tenant(&mut rows, &name, created, &set, counts.as_deref(), work);
        }
        Ok(Done::looked(ControlAnswer::Custody(rows.into())))
    }

    /// The deployment's own key. Nothing that is sealed under it changes.
    async fn key_rewrap(&self) -> Result<Done, ControlFailure> {
        self.registry.rewrap_own().await?;
        let version =
            countersign_keys::wrapped_version(&self.registry.wrapped_own_key()).map_or(0, |version| version.0);
        let answer = json!({ "key": "deployment", "version": version, "state": "current" });
        Ok(Done::changed(ControlAnswer::Custody(answer)))
    }

    async fn key_rotate(
        &self,
        permit: &Permit,
        tenant: &Name,
        field: Option<(&str, &str)>,
    ) -> Result<Done, ControlFailure> {
        let (id, name, _) = self.tenant_of(permit.principal(), Some(tenant))?;
        let Some(keeper) = self.keeper.clone() else {
            let expected = "a process that is all services, to seal records again under new keys; where services run \
                            apart, only the deployment's own key is wrapped anew";
            return Err(invalid("deployment", expected));
        };
        if let Some((record_type, field)) = field {
            let types = Arc::clone(&self.facts().types);
            let (_, known) = types.find(record_type).ok_or_else(|| not_found("record type", record_type))?;
            known.find(field).ok_or_else(|| not_found("field", field))?;
        }
        let set = self.changed_keys(permit, id).await?;
        let epoch = set.newest();
        let what = field.map_or_else(|| "key".to_owned(), |(of, field)| format!("keys of {of}.{field}"));
        let said = format!("{what} rotated: epoch {epoch} from now on; what is sealed is sealed again under it");
        self.tell(permit, id, said.clone()).await?;
        keeper.wake();
        let key = field.map_or_else(|| "tenant".to_owned(), |(of, field)| format!("{of}.{field}"));
        let answer =
            json!({ "tenant": name, "key": key, "epoch": epoch, "oldest": set.oldest(), "state": "resealing" });
        Ok(Done { detail: Some(format!("tenant {id}: {said}")), ..Done::changed(ControlAnswer::Custody(answer)) })
    }

    async fn key_destroy(&self, permit: &Permit, tenant: &Name, epoch: u32) -> Result<Done, ControlFailure> {
        let (id, name, _) = self.tenant_of(permit.principal(), Some(tenant))?;
        let blob = self.registry.wrapped_key(id).ok_or_else(|| not_found("tenant", tenant.as_str()))?;
        let set = KeySet::decode(&blob).map_err(|_| ControlFailure::Unavailable("key service"))?;
        match set.without(epoch) {
            Err(KeySetError::InUse) => {
                let expected = "a key that was rotated away, and under which nothing is sealed any more; this one is in \
                                use (see countersign keys status)";
                return Err(invalid("epoch", expected));
            }
            Err(_) => return Err(not_found("key with the first epoch", &epoch.to_string())),
            Ok(_) => {}
        }
        self.changed_keys(permit, id).await?;
        let lost = "audit records of the tenant, and backups, that were made before it was rotated away";
        let said = format!("key from epoch {epoch} destroyed: {lost} can't be opened any more");
        self.tell(permit, id, said.clone()).await?;
        let answer = json!({ "tenant": name, "key": "tenant", "epoch": epoch, "state": "destroyed", "lost": lost });
        Ok(Done { detail: Some(format!("tenant {id}: {said}")), ..Done::changed(ControlAnswer::Custody(answer)) })
    }

    /// Has the key service make a tenant's keys as the request asks, and puts them in force.
    pub(super) async fn changed_keys(&self, permit: &Permit, tenant: TenantId) -> Result<KeySet, ControlFailure> {
        let call = Call::of(permit, Service::Authority);
        for _ in 0..TRIES {
            let before = self.registry.wrapped_key(tenant);
            let made = self.keys.rewrap_tenant_key(&call, tenant).await.map_err(called("key service"))?;
            let set = KeySet::decode(&made).map_err(|_| ControlFailure::Unavailable("key service"))?;
            if self.registry.replace_key(tenant, before.as_deref(), made).await? {
                return Ok(set);
            }
        }
        Err(ControlFailure::Unavailable("key service"))
    }

    /// Says it in the tenant's own audit log, where that is not the caller's.
    async fn tell(&self, permit: &Permit, tenant: TenantId, said: String) -> Result<(), ControlFailure> {
        if tenant == permit.principal().tenant {
            return Ok(());
        }
        self.record_elsewhere(permit, tenant, said, self.registry.clock().now()).await
    }
}

fn invalid(field: &str, expected: &str) -> ControlFailure {
    ControlFailure::Invalid { field: field.to_owned(), expected: expected.to_owned() }
}

fn not_found(what: &'static str, name: &str) -> ControlFailure {
    ControlFailure::NotFound { what, name: name.to_owned() }
}
