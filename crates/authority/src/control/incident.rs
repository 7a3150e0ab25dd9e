//! Breaches: what one came to, what is done about it, and who is told.
//!
//! INVARIANT exact-is-the-tenants: which records a breach came to is sealed under the key of the tenant whose they are, and
//! is given to nobody but a principal of that tenant. Operators get types, fields and numbers.

mod clock;
mod contacts;
mod contain;
pub(crate) mod fact;
pub(crate) mod names;
mod notices;
mod reach;
pub(crate) mod view;

use countersign_guard::{Permit, Refusal};
use countersign_incident::{Clocks, Templates};
use countersign_model::facts::OPERATORS;
use countersign_model::incident::{Culprit, IncidentControl};
use countersign_model::{IncidentId, TenantId, UnixMs};
use countersign_services::Mailer;
use std::collections::BTreeMap;
use std::sync::Arc;

use self::fact::IncidentFact;
use self::reach::Reached;
use super::{Done, is_operator};
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::error::{ControlFailure, RegistryError};

/// By what a deployment answers breaches.
pub struct BreachRules {
    /// The texts of notices.
    pub templates: Templates,
    /// Until when somebody has to be told.
    pub clocks: Clocks,
    /// What sends mail; `None` is a deployment that sends none.
    pub mailer: Option<Arc<dyn Mailer>>,
}

impl BreachRules {
    /// Those that come with the program, without mail.
    ///
    /// # Errors
    /// [`RegistryError::Missing`] for a mistake of ours.
    pub fn embedded() -> Result<Self, RegistryError> {
        Ok(Self {
            templates: Templates::embedded().map_err(|_| RegistryError::Missing("template of notices"))?,
            clocks: Clocks::embedded().map_err(|_| RegistryError::Missing("list of clocks"))?,
            mailer: None,
        })
    }
}

impl Authority {
    /// The same authority, which answers breaches by these rules.
    #[must_use]
    pub fn with_breach_rules(mut self, rules: BreachRules) -> Self {
        self.breach = rules;
        self
    }

    pub(super) async fn incident(&self, permit: &Permit, control: IncidentControl) -> Result<Done, ControlFailure> {
        let manages = !matches!(
            control,
            IncidentControl::Received | IncidentControl::Receive { .. } | IncidentControl::Acknowledge { .. }
        );
        if manages && !is_operator(permit.principal()) {
            return Err(Refusal::Forbidden.into());
        }
        match control {
            IncidentControl::Open { culprit, since, until } => self.incident_open(permit, culprit, since, until).await,
            IncidentControl::List => {
                let all = self.registry.incidents();
                let entries = all.iter().map(|(id, fact)| self.incident_entry(*id, fact));
                Ok(Done::looked(ControlAnswer::Incidents(entries.collect())))
            }
            IncidentControl::Show { incident } => {
                let fact = self.incident_of(incident)?;
                Ok(Done::looked(ControlAnswer::Incident(Box::new(self.incident_view(incident, &fact)))))
            }
            IncidentControl::Contain { incident } => self.incident_contain(permit, incident).await,
            IncidentControl::Notices { incident, send } => self.incident_notices(permit, incident, send).await,
            IncidentControl::Received => Ok(self.notices_received(permit.principal())),
            IncidentControl::Receive { incident } => self.notice_receive(permit, incident).await,
            IncidentControl::Acknowledge { incident } => self.notice_acknowledge(permit, incident).await,
        }
    }

    async fn incident_open(
        &self,
        permit: &Permit,
        culprit: Culprit,
        since: UnixMs,
        until: Option<UnixMs>,
    ) -> Result<Done, ControlFailure> {
        let opened = self.registry.clock().now();
        if since > opened || until.is_some_and(|until| until <= since) {
            return Err(invalid("since", "a moment that has been, and before `until`"));
        }
        let Reached { radius, exact, hands, .. } = self.reach(permit, &culprit, since, until).await?;
        let id = IncidentId::new(opened, self.registry.entropy());
        let sealed = self.sealed(id, &radius, exact).await;
        let caller = permit.principal();
        let fact = IncidentFact {
            culprit,
            since,
            until: until.unwrap_or(opened),
            open_end: until.is_none(),
            opened,
            by: format!("{}@{}", caller.acting().1.name, caller.tenant_name),
            radius,
            hands,
            sealed,
            steps: Vec::new(),
            contained: None,
            notices: BTreeMap::new(),
            reminded: Default::default(),
        };
        let mut change = self.registry.begin().await;
        change.put_incident(id, fact.clone())?;
        change.commit().await?;
        for (tenant, told) in self.of_subscribers(&fact) {
            let said = format!("looked into incident {id}: {} requests, {} records", told.requests, told.records());
            self.record_elsewhere(permit, tenant, said, opened).await?;
        }
        let detail =
            format!("incident {id}: {} tenants, {} requests", self.of_subscribers(&fact).count(), fact.radius.requests);
        let answer = ControlAnswer::Incident(Box::new(self.incident_view(id, &fact)));
        let asked = super::describe::describe(&asked(&fact, until));
        let detail = asked.into_iter().chain([detail]).collect::<Vec<_>>().join("; ");
        Ok(Done { answer, affected: Some(1), detail: Some(detail), made: None, accesses: Vec::new() })
    }

    fn incident_of(&self, id: IncidentId) -> Result<Arc<IncidentFact>, ControlFailure> {
        self.registry.incident(id).ok_or_else(|| not_found("incident", id))
    }

    /// Changes what is kept of an incident, from what is kept now.
    async fn update_incident(
        &self,
        id: IncidentId,
        update: impl FnOnce(&mut IncidentFact),
    ) -> Result<IncidentFact, ControlFailure> {
        let mut change = self.registry.begin().await;
        let mut fact = (*self.incident_of(id)?).clone();
        update(&mut fact);
        change.put_incident(id, fact.clone())?;
        change.commit().await?;
        Ok(fact)
    }

    /// What it came to for each tenant, the operators' own left out.
    fn of_subscribers<'f>(
        &self,
        fact: &'f IncidentFact,
    ) -> impl Iterator<Item = (TenantId, &'f countersign_incident::TenantRadius)> + use<'f> {
        let operators =
            self.facts().tenant_names.iter().find(|(name, _)| name.as_str() == OPERATORS).map(|(_, id)| *id);
        fact.radius.tenants.iter().filter(move |(id, _)| Some(**id) != operators).map(|(id, told)| (*id, told))
    }

    fn tenant_name(&self, id: TenantId) -> String {
        self.facts().tenants.get(&id).map_or_else(|| id.to_string(), |tenant| tenant.name.to_string())
    }
}

fn asked(fact: &IncidentFact, until: Option<UnixMs>) -> countersign_model::control::Control {
    let (culprit, since) = (fact.culprit.clone(), fact.since);
    countersign_model::control::Control::Incident(IncidentControl::Open { culprit, since, until })
}

fn invalid(field: &str, expected: impl Into<String>) -> ControlFailure {
    ControlFailure::Invalid { field: field.to_owned(), expected: expected.into() }
}

fn not_found(what: &'static str, name: impl ToString) -> ControlFailure {
    ControlFailure::NotFound { what, name: name.to_string() }
}
