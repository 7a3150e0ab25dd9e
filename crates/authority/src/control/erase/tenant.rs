//! Erasing a tenant: its keys first, so that whatever comes after only tidies up.

use std::sync::Arc;

use countersign_guard::{Permit, Refusal};
use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::facts::OPERATORS;
use countersign_model::{Name, Service};
use countersign_services::Call;
use countersign_store::Store;

use super::{Finding, counts};
use crate::authority::Authority;
use crate::control::{Done, called};
use crate::error::ControlFailure;
use crate::registry::erasure::ErasureFact;

impl Authority {
    pub(super) async fn erase_tenant(&self, permit: &Permit, name: &Name) -> Result<Done, ControlFailure> {
        let (tenant, _, _) = self.tenant_of(permit.principal(), Some(name))?;
        if name.as_str() == OPERATORS || tenant == permit.principal().tenant {
            return Err(Refusal::Forbidden.into());
        }
        let call = Call::of(permit, Service::Authority);
        let users = self.facts().users.values().filter(|user| user.tenant == tenant).count() as u64;
        let receipt = Receipt {
            id: permit.request().id,
            tenant,
            erased: Erased::Tenant,
            by: permit.principal().acting().0,
            begun: self.registry.clock().now(),
            finished: None,
            counts: Counts { users, ..Counts::default() },
        };
        let mut fact = ErasureFact::of(&receipt);
        self.registry.gather_keys(&mut fact);
        self.intend(&fact).await?;
        self.gather_keys(&mut fact).await?;
        // From here on it is done whatever happens: what is cut off is finished at the next start.
        self.keys.destroy_tenant_keys(&call, tenant).await.map_err(called("key service"))?;
        let keys = self.destroy_keys(&fact).await?;
        let traces = self.records.erase_tenant(&call, tenant).await.map_err(called("store"))?;
        fact.receipt.counts = Counts { users, keys, ..counts(&traces) };
        self.forget_tenant(&mut fact).await?;
        let copies = self.copy_receipt(&fact.receipt).await;
        Ok(self.erased(permit, &fact.receipt, copies))
    }

    /// The tenant gets no new key once it is known that it is erased. One that it got just before is to be destroyed, too, and
    /// that has to be known before the key of the facts is gone.
    async fn gather_keys(&self, fact: &mut ErasureFact) -> Result<(), ControlFailure> {
        let known = fact.keys.len();
        self.registry.gather_keys(fact);
        if fact.keys.len() > known { self.intend(fact).await } else { Ok(()) }
    }

    /// What the key service has destroyed already, and the key of the facts.
    async fn destroy_keys(&self, fact: &ErasureFact) -> Result<u64, ControlFailure> {
        let (registry, tenant, keys) = (Arc::clone(&self.registry), fact.receipt.tenant, fact.keys.clone());
        let destroyed = tokio::task::spawn_blocking(move || registry.destroy_keys(tenant, &keys)).await;
        Ok(destroyed.map_err(|_| ControlFailure::Unavailable("key management service"))??)
    }

    /// Facts of a tenant whose keys and records are gone: out of memory and out of the control data.
    async fn forget_tenant(&self, fact: &mut ErasureFact) -> Result<(), ControlFailure> {
        fact.receipt.finished = Some(self.registry.clock().now());
        let mut change = self.registry.begin().await;
        change.erase_tenant(fact.receipt.tenant)?;
        change.put_erasure(fact.clone())?;
        change.commit().await?;
        Ok(())
    }

    /// The same after a crash, without anybody who asks.
    pub(super) async fn finish_tenant(&self, store: &dyn Store, mut fact: ErasureFact) -> Option<()> {
        self.gather_keys(&mut fact).await.ok()?;
        let keys = self.destroy_keys(&fact).await.ok()?;
        let traces = store.erasing()?.remove_tenant(fact.receipt.tenant).await.ok()?;
        let users = fact.receipt.counts.users;
        fact.receipt.counts = Counts { users, keys, ..counts(&traces) };
        self.forget_tenant(&mut fact).await.ok()?;
        self.copy_receipt(&fact.receipt).await;
        Some(())
    }

    /// Whether a key management service has any key of its own of an erased tenant.
    pub(super) async fn look_for_own_keys(&self, receipt: &Receipt) -> Vec<Finding> {
        let place = "key management service: own keys";
        let Some(fact) = self.registry.erasure(receipt.id) else { return vec![Finding::unknown(place, "no receipt")] };
        let (registry, keys) = (Arc::clone(&self.registry), fact.keys);
        let own = match tokio::task::spawn_blocking(move || registry.keys_left(&keys)).await {
            Ok(Ok(left)) => Finding::count(place, left, "keys that are still there: erase the tenant again"),
            _ => Finding::unknown(place, "it doesn't answer"),
        };
        let says = "keys that were wrapped by a key which other tenants have too: old copies open with it until it is rotated \
                    and its old versions are removed from the key management service";
        vec![own, Finding::count("key management service: shared keys", fact.shared, says)]
    }
}
