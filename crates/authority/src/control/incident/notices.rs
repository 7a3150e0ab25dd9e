//! Notices: drafted for each tenant concerned, given out when an operator says so, read and acknowledged by the tenant.

use countersign_guard::Permit;
use countersign_incident::{Exact, Facts as NoticeFacts, TemplateError};
use countersign_model::facts::Principal;
use countersign_model::{IncidentId, TenantId, UnixMs};
use countersign_services::{Mail, MailFailure};

use super::fact::{IncidentFact, MailFact, NoticeFact};
use super::not_found;
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::control::Done;
use crate::error::ControlFailure;
use crate::time::rfc3339;

impl Authority {
    /// INVARIANT nothing-without-send: without `send` nothing leaves, and no tenant can read what is drafted.
    pub(super) async fn incident_notices(
        &self,
        permit: &Permit,
        id: IncidentId,
        send: bool,
    ) -> Result<Done, ControlFailure> {
        let fact = self.incident_of(id)?;
        let concerned: Vec<TenantId> =
            self.of_subscribers(&fact).filter(|(_, told)| told.is_concerned()).map(|(tenant, _)| tenant).collect();
        let now = self.registry.clock().now();
        let mut notices = fact.notices.clone();
        for tenant in &concerned {
            // What was given out stays as it was given.
            if notices.get(tenant).is_some_and(|notice| notice.given.is_some()) {
                continue;
            }
            notices.insert(*tenant, self.draft(id, &fact, *tenant, now)?);
        }
        let mut given = Vec::new();
        if send {
            for tenant in &concerned {
                let Some(notice) = notices.get_mut(tenant) else { continue };
                let mailed = notice.mails.iter().any(|mail| mail.failed.is_none());
                if notice.given.is_some() && (mailed || notice.delivered.is_some()) {
                    continue;
                }
                // It can be read from now on, whatever becomes of the mail.
                notice.given.get_or_insert(now);
                let mail = self.mail(id, &fact, *tenant, now).await?;
                notice.mails.push(mail);
                given.push(*tenant);
            }
        }
        let fact = self.update_incident(id, |fact| merge(&mut fact.notices, notices)).await?;
        for tenant in &concerned {
            let said = match (send, given.contains(tenant)) {
                (false, _) => format!("notice of incident {id} drafted"),
                (true, true) => format!("notice of incident {id} given"),
                (true, false) => continue,
            };
            self.record_elsewhere(permit, *tenant, said, now).await?;
        }
        let detail = match send {
            true => format!("send notices of incident {id}: {} given", given.len()),
            false => format!("draft notices of incident {id}: {}", concerned.len()),
        };
        let answer = ControlAnswer::Incident(Box::new(self.incident_view(id, &fact)));
        Ok(Done {
            answer,
            affected: Some(concerned.len() as u64),
            detail: Some(detail),
            made: None,
            accesses: Vec::new(),
        })
    }

    fn draft(
        &self,
        id: IncidentId,
        fact: &IncidentFact,
        tenant: TenantId,
        now: UnixMs,
    ) -> Result<NoticeFact, ControlFailure> {
        let language = self.registry.contacts(tenant).map_or_else(|| "en".to_owned(), |one| one.language.clone());
        let text = self.with_facts(id, fact, tenant, now, |facts| self.breach.templates.notice(&language, facts))?;
        Ok(NoticeFact {
            language,
            text,
            drafted: now,
            given: None,
            mails: Vec::new(),
            delivered: None,
            acknowledged: None,
        })
    }

    /// Says by mail that there is a notice, in numbers and a link.
    async fn mail(
        &self,
        id: IncidentId,
        fact: &IncidentFact,
        tenant: TenantId,
        now: UnixMs,
    ) -> Result<MailFact, ControlFailure> {
        let contacts = self.registry.contacts(tenant);
        let to = contacts.as_ref().map(|contacts| contacts.emails.clone()).unwrap_or_default();
        let addresses = to.len() as u64;
        let failed = match &self.breach.mailer {
            _ if to.is_empty() => Some("the tenant has no contacts".to_owned()),
            None => Some(MailFailure::NotConfigured.to_string()),
            Some(mailer) => {
                let language = contacts.as_ref().map_or("en", |contacts| contacts.language.as_str());
                let (subject, text) =
                    self.with_facts(id, fact, tenant, now, |facts| self.breach.templates.mail(language, facts))?;
                let mail = Mail { to, subject, text, attachments: Vec::new() };
                mailer.send(&mail).await.err().map(|failure| failure.to_string())
            }
        };
        Ok(MailFact { at: now, addresses, failed })
    }

    fn with_facts<T>(
        &self,
        id: IncidentId,
        fact: &IncidentFact,
        tenant: TenantId,
        now: UnixMs,
        write: impl FnOnce(&NoticeFacts<'_>) -> Result<T, TemplateError>,
    ) -> Result<T, ControlFailure> {
        let facts = self.facts();
        let name = self.tenant_name(tenant);
        let radius = fact.radius.tenants.get(&tenant).ok_or_else(|| not_found("tenant", &name))?;
        let concerns = |of: Option<TenantId>| of.is_none_or(|of| of == tenant);
        let done = fact.steps.iter().filter(|step| step.failed.is_none() && concerns(step.tenant));
        let steps: Vec<_> = done.map(|step| (step.kind.as_str(), rfc3339(step.at))).collect();
        let operators =
            facts.tenant_names.iter().find(|(name, _)| name.as_str() == countersign_model::facts::OPERATORS);
        let contacts = operators.and_then(|(_, id)| self.registry.contacts(*id));
        let contacts = contacts.map(|contacts| contacts.emails.clone()).unwrap_or_default();
        let written = write(&NoticeFacts {
            incident: id.to_string(),
            tenant: &name,
            culprit: &fact.culprit,
            written: rfc3339(now),
            opened: rfc3339(fact.opened),
            since: rfc3339(fact.since),
            until: rfc3339(fact.until),
            span: radius.first.zip(radius.last).map(|(first, last)| [rfc3339(first), rfc3339(last)]),
            radius,
            types: &facts.types,
            steps: &steps,
            link: format!("{}/v1/notices/{id}", self.signing.issuer()),
            contacts: &contacts,
        });
        // Templates were filled in when they were read, so this is a mistake of ours.
        written.map_err(|_| ControlFailure::Unavailable("template of notices"))
    }

    pub(super) fn notices_received(&self, caller: &Principal) -> Done {
        let all = self.registry.incidents().into_iter();
        let own = all.filter_map(|(id, fact)| {
            let notice = fact.notices.get(&caller.tenant).filter(|notice| notice.given.is_some())?;
            Some(super::view::NoticeEntry::of(id, &fact, notice, None))
        });
        Done::looked(ControlAnswer::Notices(own.collect()))
    }

    /// The notice with the records. The first time counts as delivered.
    pub(super) async fn notice_receive(&self, permit: &Permit, id: IncidentId) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        let (fact, _) = self.notice_of(caller, id)?;
        let exact = match fact.sealed.get(&caller.tenant) {
            Some(sealed) => self.unsealed(id, caller.tenant, sealed.clone()).await,
            None => None,
        };
        let exact = match exact {
            Some(exact) => exact,
            // The tenant's key was not at hand then. It comes with the tenant's own token.
            None => self.exact_again(permit, &fact).await?,
        };
        let (now, by) = (self.registry.clock().now(), by(caller));
        let update = |notice: &mut NoticeFact| notice.delivered = notice.delivered.take().or(Some((now, by)));
        let fact = self.update_notice(caller.tenant, id, update).await?;
        let notice = fact.notices.get(&caller.tenant).ok_or_else(|| not_found("notice", id))?;
        let view = self.notice_view(id, &fact, caller.tenant, notice, &exact);
        Ok(Done::changed(ControlAnswer::Notice(Box::new(view))))
    }

    async fn exact_again(&self, permit: &Permit, fact: &IncidentFact) -> Result<Exact, ControlFailure> {
        // Records that came within a moment after it was looked were counted as well.
        let until = if fact.open_end { fact.until.plus_ms(1) } else { fact.until };
        let mut reached = self.reach(permit, &fact.culprit, fact.since, Some(until)).await?;
        Ok(reached.exact.remove(&permit.principal().tenant).unwrap_or_default())
    }

    pub(super) async fn notice_acknowledge(&self, permit: &Permit, id: IncidentId) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        self.notice_of(caller, id)?;
        let (now, by) = (self.registry.clock().now(), by(caller));
        let update = |notice: &mut NoticeFact| notice.acknowledged = notice.acknowledged.take().or(Some((now, by)));
        let fact = self.update_notice(caller.tenant, id, update).await?;
        let notice = fact.notices.get(&caller.tenant).ok_or_else(|| not_found("notice", id))?;
        let entry = super::view::NoticeEntry::of(id, &fact, notice, None);
        Ok(Done::changed(ControlAnswer::Notices(vec![entry])))
    }

    /// The notice that was given to the caller's tenant.
    fn notice_of(
        &self,
        caller: &Principal,
        id: IncidentId,
    ) -> Result<(std::sync::Arc<IncidentFact>, NoticeFact), ControlFailure> {
        let fact = self.registry.incident(id);
        let given = fact.and_then(|fact| {
            let notice = fact.notices.get(&caller.tenant).filter(|notice| notice.given.is_some()).cloned()?;
            Some((fact, notice))
        });
        given.ok_or_else(|| not_found("notice", id))
    }

    async fn update_notice(
        &self,
        tenant: TenantId,
        id: IncidentId,
        update: impl FnOnce(&mut NoticeFact),
    ) -> Result<IncidentFact, ControlFailure> {
        self.update_incident(id, |fact| {
            if let Some(notice) = fact.notices.get_mut(&tenant) {
                update(notice);
            }
        })
        .await
    }
}

/// What was drafted and given, without losing what tenants did with it meanwhile.
fn merge(
    kept: &mut std::collections::BTreeMap<TenantId, NoticeFact>,
    new: std::collections::BTreeMap<TenantId, NoticeFact>,
) {
    for (tenant, mut notice) in new {
        if let Some(old) = kept.remove(&tenant).filter(|old| old.given.is_some()) {
            notice = NoticeFact { mails: notice.mails, ..old };
        }
        kept.insert(tenant, notice);
    }
}

fn by(caller: &Principal) -> String {
    format!("{}@{}", caller.acting().1.name, caller.tenant_name)
}
