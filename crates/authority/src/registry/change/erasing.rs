//! What goes for good, and the receipts of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_model::incident::Culprit;
use countersign_model::{GrantId, IncidentId, Name, RequestId, TenantId, UserId};

use super::{Change, scoped};
use crate::control::incident::fact::IncidentFact;
use crate::control::incident::names::{Names, names_key};
use crate::error::RegistryError;
use crate::registry::erasure::ErasureFact;
use crate::registry::fact::{GrantFact, GrantState, Kind, Write};

/// In the place of the name of a principal that was erased.
const ERASED: &str = "erased";

impl Change {
    /// Keeps a receipt of what was erased, or of what is being erased; `None` if it was not.
    pub(in crate::registry) fn keep_erasure(
        &mut self,
        id: RequestId,
        fact: Option<ErasureFact>,
    ) -> Result<(), RegistryError> {
        match &fact {
            Some(fact) => self.put(Kind::Erasure, id.as_bytes(), fact)?,
            None => self.writes.push(Write::delete(Kind::Erasure, id.as_bytes())),
        }
        self.erasures.push((id, fact));
        Ok(())
    }

    /// Puts what is no name in the place of a principal's name, where other facts have it.
    pub(crate) fn forget_names(&mut self, tenant: TenantId, user: UserId, name: &Name) -> Result<(), RegistryError> {
        let gone = user.to_string();
        let nobody = || Name::new(ERASED).map_err(|_| RegistryError::Missing("name"));
        let tenant_name = self.facts.tenants.get(&tenant).map(|tenant| tenant.name.clone());
        let full = tenant_name.as_ref().map(|tenant| format!("{name}@{tenant}")).unwrap_or_default();
        let is_name = |text: &str| text == name.as_str() || text == full;
        let mut grants: BTreeMap<GrantId, Arc<GrantFact>> = self.registry.grants().into_iter().collect();
        for (id, grant) in &self.grants {
            match grant {
                Some(grant) => drop(grants.insert(*id, Arc::clone(grant))),
                None => drop(grants.remove(id)),
            }
        }
        for (id, grant) in grants {
            let mut new = (*grant).clone();
            if new.operator == user {
                new.operator_name = nobody()?;
            }
            match &mut new.state {
                GrantState::Given { by, .. }
                | GrantState::Refused { by, .. }
                | GrantState::Closed { by: Some(by), .. }
                    if grant.tenant == tenant && is_name(by) =>
                {
                    by.clone_from(&gone);
                }
                _ => {}
            }
            if new != *grant {
                self.put_grant(id, new)?;
            }
        }
        for (id, incident) in self.known_incidents() {
            let mut new = (*incident).clone();
            let mut is_changed = false;
            if let Culprit::Principal { tenant: of, name: culprit } = &new.culprit
                && Some(of) == tenant_name.as_ref()
                && culprit == name
            {
                new.culprit = Culprit::Erased(tenant);
                is_changed = true;
            }
            let steps = new.steps.iter_mut().filter(|step| step.tenant == Some(tenant)).map(|step| &mut step.subject);
            let notices = new.notices.values_mut();
            let said = notices.flat_map(|one| one.delivered.iter_mut().chain(&mut one.acknowledged)).map(|(_, by)| by);
            for text in steps.chain(said).chain([&mut new.by]).filter(|text| is_name(text)) {
                text.clone_from(&gone);
                is_changed = true;
            }
            // A notice names nobody but what was in the wrong hands.
            for notice in new.notices.values_mut().filter(|notice| !full.is_empty() && notice.text.contains(&full)) {
                notice.text = notice.text.replace(&full, &gone);
                is_changed = true;
            }
            if is_changed {
                self.put_incident(id, new)?;
            }
        }
        Ok(())
    }

    /// As this change leaves them.
    fn known_incidents(&self) -> BTreeMap<IncidentId, Arc<IncidentFact>> {
        let changed = self.incidents.iter().map(|(id, incident)| (*id, Arc::clone(incident)));
        self.registry.incidents().into_iter().chain(changed).collect()
    }

    /// Takes a tenant out of the facts, with everybody and everything of it.
    pub(crate) fn erase_tenant(&mut self, id: TenantId) -> Result<(), RegistryError> {
        let Some(tenant) = Arc::make_mut(&mut self.facts.tenants).remove(&id) else { return Ok(()) };
        Arc::make_mut(&mut self.facts.tenant_names).remove(&tenant.name);
        let of_tenant = self.facts.users.iter().filter(|(_, user)| user.tenant == id);
        let users: Vec<UserId> = of_tenant.map(|(user, _)| *user).collect();
        for user in users {
            self.remove_user(user);
            self.writes.push(Write::delete(Kind::RevokedUser, user.as_bytes()));
            Arc::make_mut(&mut self.facts.revocations).users.remove(&user);
        }
        let known = Arc::clone(&self.facts.revocations);
        for (_, token) in known.tokens.keys().filter(|(owner, _)| *owner == id) {
            self.writes.push(Write::delete(Kind::RevokedToken, &scoped(id, token.as_bytes())));
        }
        for (_, session) in known.sessions.keys().filter(|(owner, _)| *owner == id) {
            self.writes.push(Write::delete(Kind::RevokedSession, &scoped(id, session.as_bytes())));
        }
        let revocations = Arc::make_mut(&mut self.facts.revocations);
        revocations.tokens.retain(|(owner, _), _| *owner != id);
        revocations.sessions.retain(|(owner, _), _| *owner != id);
        for (grant, _) in self.registry.grants().into_iter().filter(|(_, grant)| grant.tenant == id) {
            self.forget_grant(grant);
        }
        for (incident, known) in self.known_incidents() {
            let mut new = (*known).clone();
            let names = new.take_names(id, Some(&tenant.name));
            let is_named = names != Names::default();
            let had = [new.hands.remove(&id).is_some(), new.sealed.remove(&id).is_some()];
            if is_named || had.contains(&true) {
                self.writes.push(Write::delete(Kind::IncidentNames, &names_key(incident, id)));
                self.put_incident(incident, new)?;
            }
        }
        for kind in [Kind::Tenant, Kind::Provider, Kind::Contacts, Kind::TenantFactsKey] {
            self.writes.push(Write::delete(kind, id.as_bytes()));
        }
        self.erased_tenants.push(id);
        self.facts_changed = true;
        Ok(())
    }
}
