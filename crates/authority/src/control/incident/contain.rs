//! Ending what was in the wrong hands. Every step is kept with what came of it; whoever asks again has those done that
//! failed.

use countersign_guard::Permit;
use countersign_model::facts::User;
use countersign_model::incident::Culprit;
use countersign_model::{IncidentId, Service, TenantId, UserId};

use super::fact::{Hands, IncidentFact, StepFact, StepKind};
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::control::Done;
use crate::error::ControlFailure;

/// What is to be done.
struct Step {
    kind: StepKind,
    tenant: Option<TenantId>,
    subject: String,
    act: Act,
}

enum Act {
    Token(countersign_model::TokenId),
    Session(countersign_model::SessionId),
    Principal(UserId),
    /// Every login of these, who keep their keys.
    Logins(Vec<UserId>),
    Service(String, Option<String>),
    Rewrap(TenantId),
    SigningKey,
}

impl Authority {
    pub(super) async fn incident_contain(&self, permit: &Permit, id: IncidentId) -> Result<Done, ControlFailure> {
        let fact = self.incident_of(id)?;
        let mut done = Vec::new();
        for step in self.steps(&fact) {
            self.do_step(permit, &fact, step, &mut done).await;
        }
        // What was done between the opening and now counts too, and so do tokens that were made meanwhile. A service that
        // was shut out can't be asked any more.
        let again = match &fact.culprit {
            Culprit::Service { .. } => None,
            culprit => Some(self.reach(permit, culprit, fact.since, (!fact.open_end).then_some(fact.until)).await?),
        };
        let mut looked = None;
        if let Some(reached) = again {
            for session in reached.suspects.logins_of_made() {
                let of = reached.hands.iter().find(|(_, hands)| hands.sessions.contains(&session));
                if let Some((tenant, _)) = of {
                    let (kind, tenant) = (StepKind::EndedSession, Some(*tenant));
                    let step = Step { kind, tenant, subject: session.to_string(), act: Act::Session(session) };
                    self.do_step(permit, &fact, step, &mut done).await;
                }
            }
            let sealed = self.sealed(id, &reached.radius, reached.exact).await;
            looked = Some((reached.radius, reached.hands, sealed));
        }
        let now = self.registry.clock().now();
        let fact = self
            .update_incident(id, |fact| {
                if let Some((radius, hands, sealed)) = looked {
                    (fact.radius, fact.hands, fact.sealed) = (radius, hands, sealed);
                    if fact.open_end {
                        fact.until = now;
                    }
                }
                for step in done {
                    fact.steps.retain(|old| !(old.kind == step.kind && old.subject == step.subject));
                    fact.steps.push(step);
                }
                let whole = !fact.steps.is_empty() && fact.steps.iter().all(|step| step.failed.is_none());
                fact.contained = fact.contained.or(whole.then_some(now));
            })
            .await?;
        for (tenant, _) in self.of_subscribers(&fact) {
            let of = fact.steps.iter().filter(|step| step.tenant == Some(tenant));
            let said: Vec<_> = of.map(|step| format!("{} {}", step.kind.as_str(), step.subject)).collect();
            let said = if said.is_empty() { "nothing of this tenant".to_owned() } else { said.join(", ") };
            self.record_elsewhere(permit, tenant, format!("contained incident {id}: {said}"), now).await?;
        }
        // Last, since nobody's token is good after it.
        let mut fact = fact;
        if is_authority(&fact.culprit) && !fact.steps.iter().any(|step| step.kind == StepKind::NewSigningKey) {
            let step = Step {
                kind: StepKind::NewSigningKey,
                tenant: None,
                subject: "every token".to_owned(),
                act: Act::SigningKey,
            };
            let mut done = Vec::new();
            self.do_step(permit, &fact, step, &mut done).await;
            fact = self.update_incident(id, |fact| fact.steps.extend(done)).await?;
        }
        let steps = fact.steps.iter().map(|step| {
            let failed = step.failed.as_ref().map(|failed| format!(" failed: {failed}")).unwrap_or_default();
            // Operators' records stay when a tenant is erased: whom it was done to is said by the identifier.
            let stopped = Some(step).filter(|step| step.kind == StepKind::StoppedPrincipal);
            let subject = stopped.map(|_| self.principal_of(&fact.culprit).unwrap_or_else(|| "user".to_owned()));
            format!("{} {}{failed}", step.kind.as_str(), subject.as_ref().unwrap_or(&step.subject))
        });
        let detail = Some(crate::control::describe::shortened(format!(
            "contain incident {id}: {}",
            steps.collect::<Vec<_>>().join("; ")
        )));
        let answer = ControlAnswer::Incident(Box::new(self.incident_view(id, &fact)));
        Ok(Done { answer, affected: Some(fact.steps.len() as u64), detail, made: None, accesses: Vec::new() })
    }

    fn principal_of(&self, culprit: &Culprit) -> Option<String> {
        let (facts, Culprit::Principal { tenant, name }) = (self.facts(), culprit) else { return None };
        let tenant = *facts.tenant_names.get(tenant)?;
        facts.user_names.get(&(tenant, name.clone())).map(ToString::to_string)
    }

    /// What is to be done about what the incident names.
    fn steps(&self, fact: &IncidentFact) -> Vec<Step> {
        let facts = self.facts();
        let of_hands = || fact.hands.iter().map(|(tenant, hands)| (*tenant, hands));
        let step = |kind, tenant, subject: String, act| Step { kind, tenant, subject, act };
        match &fact.culprit {
            Culprit::Token(token) => {
                let whose = of_hands().filter(|(_, hands)| hands.tokens.contains(token));
                whose
                    .flat_map(|(tenant, hands)| hands.tokens.iter().map(move |token| (tenant, *token)))
                    .map(|(tenant, token)| {
                        step(StepKind::RevokedToken, Some(tenant), token.to_string(), Act::Token(token))
                    })
                    .collect()
            }
            Culprit::Session(session) => of_hands()
                .filter(|(_, hands)| hands.sessions.contains(session))
                .map(|(tenant, _)| {
                    step(StepKind::EndedSession, Some(tenant), session.to_string(), Act::Session(*session))
                })
                .collect(),
            Culprit::Principal { tenant, name } => {
                let found = facts.tenant_names.get(tenant).map(|id| (*id, name.clone()));
                let user = found.and_then(|key| Some((key.0, *facts.user_names.get(&key)?)));
                user.map(|(id, user)| {
                    step(StepKind::StoppedPrincipal, Some(id), format!("{name}@{tenant}"), Act::Principal(user))
                })
                .into_iter()
                .collect()
            }
            Culprit::Service { role, name } => {
                let subject = name.as_ref().map_or_else(|| role.to_string(), |name| format!("{role}/{name}"));
                let act = Act::Service(role.to_string(), name.as_ref().map(ToString::to_string));
                let mut steps = vec![step(StepKind::RemovedService, None, subject, act)];
                // It saw the tokens of everybody whose requests it took part in.
                for (tenant, Hands { users, .. }) in of_hands() {
                    let subject = format!("every login of {} users of {}", users.len(), self.tenant_name(tenant));
                    let act = Act::Logins(users.iter().copied().collect());
                    steps.push(step(StepKind::EndedSession, Some(tenant), subject, act));
                }
                if role.as_str() == Service::Keys.as_str() {
                    for (tenant, _) in self.of_subscribers(fact) {
                        steps.push(self.rewrap_step(tenant));
                    }
                }
                steps
            }
            Culprit::TenantKey(name) => {
                facts.tenant_names.get(name).map(|tenant| self.rewrap_step(*tenant)).into_iter().collect()
            }
            Culprit::Erased(_) => Vec::new(),
        }
    }

    fn rewrap_step(&self, tenant: TenantId) -> Step {
        let subject = format!("key of {}", self.tenant_name(tenant));
        Step { kind: StepKind::RewrappedKey, tenant: Some(tenant), subject, act: Act::Rewrap(tenant) }
    }

    /// Does one step, unless it was done before.
    async fn do_step(&self, permit: &Permit, fact: &IncidentFact, step: Step, done: &mut Vec<StepFact>) {
        let Step { kind, tenant, subject, act } = step;
        let same = |old: &&StepFact| old.kind == kind && old.subject == subject && old.failed.is_none();
        if fact.steps.iter().chain(done.iter()).any(|old| same(&old)) {
            return;
        }
        let failed = self.act(permit, tenant, act).await.err().map(|failure| failure.to_string());
        done.push(StepFact { kind, tenant, subject, at: self.registry.clock().now(), failed });
    }

    async fn act(&self, permit: &Permit, tenant: Option<TenantId>, act: Act) -> Result<(), ControlFailure> {
        let (now, by) = (self.registry.clock().now(), &permit.principal().acting().1.name);
        match act {
            Act::Token(_) | Act::Session(_) => {
                let mut change = self.registry.begin().await;
                let tenant = tenant.ok_or_else(|| super::not_found("tenant", ""))?;
                match act {
                    Act::Token(token) => change.revoke_token(tenant, token, now)?,
                    Act::Session(session) => change.revoke_session(tenant, session, now)?,
                    _ => {}
                }
                change.commit().await?;
            }
            Act::Logins(users) => {
                let mut change = self.registry.begin().await;
                let mut ended = Vec::new();
                for user in users {
                    change.revoke_user(user, now)?;
                    ended.extend(self.end_access_of(&mut change, user, by)?);
                }
                let epoch = change.commit().await?;
                self.record_ends(ended, epoch).await?;
            }
            Act::Principal(id) => {
                let mut change = self.registry.begin().await;
                let user = change.facts().users.get(&id).cloned();
                let user = user.ok_or_else(|| super::not_found("user", id))?;
                change.revoke_user(id, now)?;
                // Whoever has a key of theirs would be back at once. A new one comes from the tenant's admin.
                change.put_user(id, User { ssh_keys: Vec::new(), changed: now, ..(*user).clone() })?;
                let ended = self.end_access_of(&mut change, id, by)?;
                let epoch = change.commit().await?;
                self.record_ends(ended, epoch).await?;
                if user.external.is_some() {
                    let expected = "that the tenant ends the account at its identity provider as well: logins from there \
                                    are still taken";
                    return Err(super::invalid("principal", expected));
                }
            }
            Act::Service(role, Some(name)) => {
                let known = self.registry.roster().services.get(&(role.clone(), name.clone())).cloned();
                if known.is_some_and(|service| service.removed.is_some()) {
                    return Ok(());
                }
                self.service_remove(&role, &name).await?;
            }
            Act::Service(_, None) => {
                let expected = "ROLE/NAME of a service that runs apart; one process can't be shut out of itself: stop it, \
                                and open another from a copy of the folder that you trust";
                return Err(super::invalid("service", expected));
            }
            Act::Rewrap(tenant) => {
                self.changed_keys(permit, tenant).await?;
            }
            Act::SigningKey => self.signing.replace(&self.registry).await?,
        }
        Ok(())
    }
}

fn is_authority(culprit: &Culprit) -> bool {
    matches!(culprit, Culprit::Service { role, .. } if role.as_str() == Service::Authority.as_str())
}
