//! Erasing a principal: what is left is an identifier.

use countersign_guard::Permit;
use countersign_model::Name;
use countersign_model::erasure::{Counts, Erased, Receipt};

use crate::authority::Authority;
use crate::control::Done;
use crate::error::ControlFailure;
use crate::registry::erasure::ErasureFact;

impl Authority {
    /// As removing a user, and for good: all of it in one change.
    pub(super) async fn erase_principal(
        &self,
        permit: &Permit,
        tenant: Option<&Name>,
        name: &Name,
    ) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        let (tenant, _, elsewhere) = self.tenant_of(caller, tenant)?;
        if elsewhere {
            return Err(countersign_guard::Refusal::Forbidden.into());
        }
        let now = self.registry.clock().now();
        let mut change = self.registry.begin().await;
        let facts = change.facts();
        let id = facts.user_names.get(&(tenant, name.clone())).copied();
        let known = id.and_then(|id| Some((id, facts.users.get(&id).cloned()?)));
        let (id, user) = known.ok_or_else(|| ControlFailure::NotFound { what: "user", name: name.to_string() })?;
        let stays = facts.users.values().filter(|other| other.tenant == tenant && other.expires.is_none()).count();
        if user.expires.is_none() && stays <= 1 {
            return Err(ControlFailure::LastPerson);
        }
        change.remove_user(id);
        change.revoke_user(id, now)?;
        let ended = self.end_access_of(&mut change, id, &caller.acting().1.name)?;
        change.forget_names(tenant, id, name)?;
        let receipt = Receipt {
            id: permit.request().id,
            tenant,
            erased: Erased::Principal { user: id },
            by: caller.acting().0,
            begun: now,
            finished: Some(now),
            counts: Counts { users: 1, ..Counts::default() },
        };
        let digest = self.registry.erased_name(tenant, name.as_str());
        change.put_erasure(ErasureFact { name: Some(digest), ..ErasureFact::of(&receipt) })?;
        let epoch = change.commit().await?;
        self.record_ends(ended, epoch).await?;
        let copies = self.copy_receipt(&receipt).await;
        Ok(self.erased(permit, &receipt, copies))
    }
}
