//! Executing control requests that a guard has admitted.
//!
//! What changes something is recorded twice: the intent before, the outcome after, so that no change is ever
//! without a record. What only looks is recorded once, before the answer leaves.

mod access;
mod audit;
mod backup;
mod describe;
pub(crate) mod erase;
pub(crate) mod incident;
mod keys;
mod own;
mod policies;
mod revoke;
mod tenants;
mod types;
mod users;
mod watch;

use countersign_audit::{Access, Body, Record, Service, Verdict};
use countersign_guard::{Permit, Refusal, Settlement};
use countersign_model::TenantId;
use countersign_model::access::AccessControl;
use countersign_model::control::Control;
use countersign_model::facts::{Facts, OPERATORS, Principal, User};
use countersign_model::query::Judged;
use countersign_model::{Name, TokenId, UnixMs};
use countersign_services::{KmsFailure, ServiceFailure};

use self::describe::describe;
pub(crate) use self::describe::describe_narrowing;
use crate::OPERATOR_ROLE;
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::error::ControlFailure;

/// What came of a request: the answer, and how many things were changed.
pub(crate) struct Done {
    pub answer: ControlAnswer,
    /// `None` if the request only looked, or was a dry run.
    pub affected: Option<u64>,
    /// What to record in place of what was asked, where the outcome says more.
    pub detail: Option<String>,
    /// The token that was made from the caller's, if one was.
    pub made: Option<TokenId>,
    /// The records that it was done to.
    pub accesses: Vec<Access>,
}

impl Done {
    pub(crate) const fn looked(answer: ControlAnswer) -> Self {
        Self { answer, affected: None, detail: None, made: None, accesses: Vec::new() }
    }

    pub(crate) const fn changed(answer: ControlAnswer) -> Self {
        Self { answer, affected: Some(1), detail: None, made: None, accesses: Vec::new() }
    }
}

impl Authority {
    /// Executes an admitted control request. Its record is durable before this returns.
    ///
    /// # Errors
    /// [`ControlFailure`]. Where the failure is that the record can't be written, a change may have been made; its
    /// intent is on record.
    pub async fn execute(&self, permit: Permit) -> Result<ControlAnswer, ControlFailure> {
        let Judged::Control(control) = permit.judged() else { return Err(ControlFailure::NotControl) };
        let control = control.clone();
        let is_operators = permit.principal().tenant_name.as_str() == OPERATORS;
        let facts = &permit.state().facts;
        let said_of = control.clone();
        let in_ids = |said: String, facts: &Facts| match is_operators {
            true => describe::in_ids(&said, &said_of, facts),
            false => said,
        };
        let asked = describe(&control).map(|said| in_ids(said, facts));
        if is_change(&control) {
            permit.intend(Vec::new(), asked.clone()).await?;
        }
        let outcome = self.run(&permit, control).await;
        let settlement = match &outcome {
            Ok(done) => Settlement {
                affected: done.affected,
                detail: done.detail.clone().map(|said| in_ids(said, &self.facts())).or(asked),
                made: done.made,
                accesses: done.accesses.clone(),
                ..Settlement::default()
            },
            Err(failure) => Settlement { failed: Some(failure.reason()), detail: asked, ..Settlement::default() },
        };
        permit.settle(settlement).await?;
        outcome.map(|done| done.answer)
    }

    async fn run(&self, permit: &Permit, control: Control) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        match control {
            Control::WhoAmI => self.who_am_i(permit).await,
            Control::Narrow { narrowing, lifetime_ms } => self.narrow(permit, &narrowing, lifetime_ms).await,
            Control::RevokeOwn { session } => self.revoke_own(caller, session).await,
            Control::Revoke(revoke) => self.revoke(caller, revoke).await,
            Control::TenantList => Ok(self.tenant_list()),
            Control::TenantAdd { name, .. } => self.tenant_add(permit, name).await,
            Control::TenantRewrap { tenant, kms } => self.tenant_rewrap(permit, tenant, kms).await,
            Control::ServiceList => Ok(self.service_list()),
            Control::ServiceInvite { role, name } => {
                self.service_invite(role.as_str(), name.as_ref().map(Name::as_str)).await
            }
            Control::ServiceRemove { role, name } => self.service_remove(role.as_str(), name.as_str()).await,
            Control::UserList { tenant } => self.user_list(caller, tenant.as_ref()),
            Control::UserPut { tenant, user } => self.user_put(permit, tenant.as_ref(), user).await,
            Control::UserRemove { tenant, user } => self.user_remove(caller, tenant.as_ref(), &user).await,
            Control::ProviderRead => Ok(self.provider_read(caller)),
            Control::ProviderPut(provider) => self.provider_put(caller, *provider).await,
            Control::ProviderRemove => self.provider_remove(caller).await,
            // Asked through `Authority::introspect` only, which has the token.
            Control::Introspect => Err(ControlFailure::NotControl),
            Control::TypesRead => Ok(self.types_read()),
            Control::TypesApply { text, dry_run } => self.types_apply(permit, text, dry_run).await,
            Control::PoliciesRead => Ok(self.policies_read()),
            Control::PoliciesApply { files, dry_run } => self.policies_apply(files, dry_run).await,
            Control::AuditRead(query) => self.audit_read(permit, query).await,
            Control::Receipt { request } => self.receipt(permit, request).await,
            Control::Prove { request } => self.prove(permit, request).await,
            Control::ContactsRead => Ok(self.contacts_read(caller)),
            Control::ContactsPut(contacts) => self.contacts_put(caller, contacts).await,
            Control::Access(access) => self.access(permit, access).await,
            Control::Watch(watch) => self.watch(permit, watch.is_change()).await,
            Control::Incident(incident) => self.incident(permit, incident).await,
            Control::Keys(keys) => self.keys(permit, keys).await,
            Control::Backup(backup) => self.backup(permit, backup).await,
            Control::Erase(erase) => self.erase(permit, erase).await,
        }
    }

    /// The tenant that a request is about, and whether that is another than the caller's own.
    fn tenant_of(&self, caller: &Principal, named: Option<&Name>) -> Result<(TenantId, Name, bool), ControlFailure> {
        let Some(name) = named else { return Ok((caller.tenant, caller.tenant_name.clone(), false)) };
        let facts = self.facts();
        let tenant = facts.tenant_names.get(name).copied().ok_or(Refusal::Forbidden)?;
        if tenant != caller.tenant && !is_operator(caller) {
            return Err(Refusal::Forbidden.into());
        }
        Ok((tenant, name.clone(), tenant != caller.tenant))
    }

    /// Tells another tenant, in its own audit log, what an operator did there.
    async fn record_elsewhere(
        &self,
        permit: &Permit,
        tenant: TenantId,
        detail: String,
        now: UnixMs,
    ) -> Result<(), ControlFailure> {
        let (caller, request) = (permit.principal(), permit.request());
        let record = Record {
            time: now,
            request: request.id,
            service: Service::Authority,
            door: Some(request.door),
            verdict: Verdict::Changed,
            tenant: Some(tenant),
            tally: None,
            body: Body {
                user_name: Some(format!("{}@{}", caller.acting().1.name, caller.tenant_name)),
                action: request.operation.action().to_owned(),
                epoch: permit.state().facts.epoch,
                affected: Some(1),
                detail: Some(detail),
                ..Body::default()
            },
        };
        self.audit.append(record).await.map_err(|_| Refusal::AuditUnavailable)?;
        Ok(())
    }
}

/// What it means for the caller that another service did not do what it was called for.
pub(crate) fn called(service: &'static str) -> impl FnOnce(ServiceFailure) -> ControlFailure {
    move |failure| match failure {
        ServiceFailure::Refused(refusal) => ControlFailure::Refused(refusal),
        ServiceFailure::Kms(KmsFailure::Unavailable) => ControlFailure::Unavailable("key management service"),
        ServiceFailure::Kms(error @ KmsFailure::Unknown) => {
            ControlFailure::Invalid { field: "kms".to_owned(), expected: format!("a configured name: {error}") }
        }
        ServiceFailure::Unavailable | ServiceFailure::Unknown | ServiceFailure::Damaged => {
            ControlFailure::Unavailable(service)
        }
    }
}

fn is_operator(caller: &Principal) -> bool {
    let has_role = |user: &User| user.roles.iter().any(|role| role.as_str() == OPERATOR_ROLE);
    caller.tenant_name.as_str() == OPERATORS && has_role(&caller.facts) && has_role(caller.acting().1)
}

const fn is_change(control: &Control) -> bool {
    match control {
        Control::WhoAmI
        | Control::Narrow { .. }
        | Control::TenantList
        | Control::ServiceList
        | Control::UserList { .. }
        | Control::ProviderRead
        | Control::Introspect
        | Control::TypesRead
        | Control::PoliciesRead
        | Control::AuditRead(_)
        | Control::Receipt { .. }
        | Control::Prove { .. }
        | Control::ContactsRead
        | Control::Access(AccessControl::List) => false,
        Control::Watch(watch) => watch.is_change(),
        Control::Incident(incident) => incident.is_change(),
        Control::Keys(keys) => keys.is_change(),
        Control::Backup(backup) => backup.is_change(),
        Control::Erase(erase) => erase.is_change(),
        Control::TypesApply { dry_run, .. } | Control::PoliciesApply { dry_run, .. } => !*dry_run,
        Control::RevokeOwn { .. }
        | Control::Revoke(_)
        | Control::TenantAdd { .. }
        | Control::TenantRewrap { .. }
        | Control::ServiceInvite { .. }
        | Control::ServiceRemove { .. }
        | Control::UserPut { .. }
        | Control::UserRemove { .. }
        | Control::ProviderPut(_)
        | Control::ProviderRemove
        | Control::ContactsPut(_)
        | Control::Access(_) => true,
    }
}
