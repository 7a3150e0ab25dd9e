//! Tenants.

use std::collections::HashMap;

use countersign_guard::Permit;
use countersign_model::facts::Tenant;
use countersign_model::{Name, Service, TenantId};
use countersign_services::Call;

use super::{Done, called};
use crate::answer::{ControlAnswer, TenantEntry};
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
        let entry = |(id, tenant): (&TenantId, &Tenant)| entry(*id, tenant, users.get(id).copied().unwrap_or_default());
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
        let wrapped = self.keys.new_tenant_key(&call, id).await.map_err(called("key service"))?;
        // Room in the store first: what a crash in between leaves is an empty file that nothing refers to, and
        // never a tenant without room.
        self.records.create_tenant(&call, id).await.map_err(called("store"))?;
        let tenant = Tenant { name, created: now };
        let entry = entry(id, &tenant, 0);
        change.add_tenant(id, tenant, wrapped)?;
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Tenant(entry)))
    }
}

fn entry(id: TenantId, tenant: &Tenant, users: usize) -> TenantEntry {
    TenantEntry { id, name: tenant.name.clone(), created: rfc3339(tenant.created), users }
}
