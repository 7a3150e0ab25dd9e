//! Operators' access to tenants: asked for, given by the tenant, over by itself.
//!
//! INVARIANT no-standing-access: what a grant gives is a user of the tenant that the guard knows only until its end and
//! that may do nothing but read and change records in one of the tenant's roles.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{Body, Record, Service, Verdict};
use countersign_guard::{Permit, Refusal};
use countersign_model::access::{AccessControl, GRANT_MAX_MS};
use countersign_model::facts::{OPERATORS, Principal, User, UserKind};
use countersign_model::{GrantId, Name, RequestId, TenantId, UnixMs, UserId};

use super::{Done, is_operator};
use crate::OPERATOR_ROLE;
use crate::answer::{ControlAnswer, GrantEntry};
use crate::authority::Authority;
use crate::error::{ControlFailure, RegistryError};
use crate::registry::change::Change;
use crate::registry::fact::{GrantFact, GrantState};
use crate::time::rfc3339;

/// How often is looked for access that is over. It has had no effect since its end.
const LOOK: Duration = Duration::from_secs(15);
const LIFETIME_MIN_MS: u64 = 60_000;
const REASON_MAX_BYTES: usize = 256;
/// After this long without an answer, a request for access is refused by itself.
const ASKED_MS: u64 = 24 * 3_600_000;
/// Within this long a second operator confirms that the glass is broken.
const CONFIRM_MS: u64 = 15 * 60_000;
/// How long grants that are over are still listed.
const KEPT_MS: u64 = 90 * 24 * 3_600_000;
/// The most grants of one operator that wait or are in force.
const OPEN_MAX: usize = 32;

impl Authority {
    pub(super) async fn access(&self, permit: &Permit, control: AccessControl) -> Result<Done, ControlFailure> {
        self.end_access().await?;
        match control {
            AccessControl::Request { tenant, role, reason, lifetime_ms, break_glass } => {
                let asked = Asked { role, reason, lifetime_ms, break_glass };
                self.access_request(permit, &tenant, asked).await
            }
            AccessControl::Confirm { grant } => self.access_confirm(permit, grant).await,
            AccessControl::Decide { grant, approve, role } => self.access_decide(permit, grant, approve, role).await,
            AccessControl::Close { grant, as_tenant } => self.access_close(permit, grant, as_tenant).await,
            AccessControl::List => Ok(self.access_list(permit.principal())),
        }
    }

    async fn access_request(&self, permit: &Permit, tenant: &Name, asked: Asked) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        let (operator, operator_facts) = own_operator(caller)?;
        let asked = asked.checked()?;
        let state = self.registry.latest();
        if !state.policies.roles().contains(&asked.role) || asked.role.as_str() == OPERATOR_ROLE {
            return Err(invalid("role", "a role that policies give something to"));
        }
        let tenant_id = state.facts.tenant_names.get(tenant).copied().filter(|_| tenant.as_str() != OPERATORS);
        let tenant_id = tenant_id.ok_or_else(|| not_found("tenant", tenant))?;
        let mut change = self.registry.begin().await;
        let is_open = |grant: &GrantFact| matches!(grant.state, GrantState::Asked | GrantState::Given { .. });
        let own = self.registry.grants().into_iter().filter(|(_, grant)| grant.operator == operator && is_open(grant));
        if own.count() >= OPEN_MAX {
            return Err(invalid("access", format!("at most {OPEN_MAX} requests of one operator at a time")));
        }
        let now = self.registry.clock().now();
        let id = GrantId::new(now, self.registry.entropy());
        let Asked { role, reason, lifetime_ms, break_glass } = asked;
        let grant = GrantFact {
            operator,
            operator_name: operator_facts.name.clone(),
            tenant: tenant_id,
            role,
            reason,
            lifetime_ms,
            break_glass,
            asked: now,
            state: GrantState::Asked,
        };
        change.put_grant(id, grant.clone())?;
        change.commit().await?;
        let said = format!("asked for access {id} as {} for {} s: {}", grant.role, lifetime_ms / 1000, grant.reason);
        self.record_elsewhere(permit, tenant_id, said, now).await?;
        Ok(Done::changed(ControlAnswer::Grant(self.grant_entry(id, &grant))))
    }

    /// The second operator.
    async fn access_confirm(&self, permit: &Permit, id: GrantId) -> Result<Done, ControlFailure> {
        let (operator, facts) = own_operator(permit.principal())?;
        let change = self.registry.begin().await;
        let grant = self.registry.grant(id).filter(|grant| grant.break_glass);
        let grant = grant.ok_or_else(|| not_found("breaking of the glass", id))?;
        let now = self.registry.clock().now();
        if grant.operator == operator {
            return Err(invalid("operator", "another operator than the one who asked"));
        }
        if grant.state != GrantState::Asked || now.since(grant.asked) > CONFIRM_MS {
            return Err(invalid("access", "one that was asked for within the last 15 minutes and not confirmed yet"));
        }
        let by = format!("{}@{OPERATORS}", facts.name);
        self.give(permit, change, id, &grant, by, now).await
    }

    async fn access_decide(
        &self,
        permit: &Permit,
        id: GrantId,
        approve: bool,
        role: Option<Name>,
    ) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        let mut change = self.registry.begin().await;
        let grant = self.registry.grant(id).filter(|grant| grant.tenant == caller.tenant && !grant.break_glass);
        let grant = grant.ok_or_else(|| not_found("request for access", id))?;
        if grant.state != GrantState::Asked {
            return Err(invalid("access", "a request that was not answered yet"));
        }
        let now = self.registry.clock().now();
        let by = format!("{}@{}", caller.acting().1.name, caller.tenant_name);
        let mut grant = (*grant).clone();
        if approve {
            if let Some(role) = role {
                if !self.registry.latest().policies.roles().contains(&role) || role.as_str() == OPERATOR_ROLE {
                    return Err(invalid("role", "a role that policies give something to"));
                }
                grant.role = role;
            }
            return self.give(permit, change, id, &grant, by, now).await;
        }
        grant.state = GrantState::Refused { by, at: now };
        change.put_grant(id, grant.clone())?;
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Grant(self.grant_entry(id, &grant))))
    }

    /// Makes the user that the operator is from now on, until the end.
    async fn give(
        &self,
        permit: &Permit,
        mut change: Change,
        id: GrantId,
        grant: &GrantFact,
        by: String,
        now: UnixMs,
    ) -> Result<Done, ControlFailure> {
        let operator = change.facts().users.get(&grant.operator).cloned();
        let is_one = |user: &Arc<User>| user.roles.iter().any(|role| role.as_str() == OPERATOR_ROLE);
        let operator = operator.filter(is_one).ok_or_else(|| not_found("operator", &grant.operator_name))?;
        let login = login_name(&grant.operator_name, id)?;
        let (user, until) = (UserId::new(now, self.registry.entropy()), now.plus_ms(grant.lifetime_ms));
        change.put_user(
            user,
            User {
                tenant: grant.tenant,
                name: login.clone(),
                roles: vec![grant.role.clone()],
                attributes: Default::default(),
                ssh_keys: operator.ssh_keys.clone(),
                changed: now,
                kind: UserKind::Person,
                external: None,
                expires: Some(until),
            },
        )?;
        let state = GrantState::Given { by: by.clone(), at: now, until, user, login: login.clone() };
        let given = GrantFact { state, ..grant.clone() };
        change.put_grant(id, given.clone())?;
        change.commit().await?;
        if permit.principal().tenant != grant.tenant {
            let said =
                format!("access {id} as {} until {} given to {login}, confirmed by {by}", grant.role, rfc3339(until));
            self.record_elsewhere(permit, grant.tenant, said, now).await?;
        }
        Ok(Done::changed(ControlAnswer::Grant(self.grant_entry(id, &given))))
    }

    async fn access_close(&self, permit: &Permit, id: GrantId, as_tenant: bool) -> Result<Done, ControlFailure> {
        let caller = permit.principal();
        let mut change = self.registry.begin().await;
        let may = |grant: &Arc<GrantFact>| match as_tenant {
            true => grant.tenant == caller.tenant,
            false => is_operator(caller),
        };
        let grant = self.registry.grant(id).filter(may).ok_or_else(|| not_found("access", id))?;
        let now = self.registry.clock().now();
        if matches!(grant.state, GrantState::Refused { .. } | GrantState::Closed { .. }) {
            return Err(invalid("access", "one that is not over"));
        }
        change.end_grant(id, &caller.acting().1.name, now)?;
        change.commit().await?;
        if !as_tenant {
            self.record_elsewhere(permit, grant.tenant, format!("ended access {id}"), now).await?;
        }
        let closed = self.registry.grant(id).ok_or_else(|| not_found("access", id))?;
        Ok(Done::changed(ControlAnswer::Grant(self.grant_entry(id, &closed))))
    }

    fn access_list(&self, caller: &Principal) -> Done {
        let grants = self.registry.grants().into_iter();
        let seen = grants.filter(|(_, grant)| is_operator(caller) || grant.tenant == caller.tenant);
        Done::looked(ControlAnswer::Grants(seen.map(|(id, grant)| self.grant_entry(id, &grant)).collect()))
    }

    /// Ends access as its time comes, for as long as it is polled. What fails is tried again.
    pub async fn look_after_access(self: Arc<Self>, failed: impl Fn(ControlFailure) + Send) {
        loop {
            if let Err(error) = self.end_access().await {
                failed(error);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes away what is past its end, and forgets what has long been over. The guards have refused it already: this
    /// is for the lists, and puts the end on the tenant's record.
    ///
    /// # Errors
    /// [`ControlFailure`] if the facts or the records can't be written.
    pub async fn end_access(&self) -> Result<(), ControlFailure> {
        let now = self.registry.clock().now();
        if !self.registry.grants().iter().any(|(_, grant)| next(grant, now).is_some()) {
            return Ok(());
        }
        let mut change = self.registry.begin().await;
        let mut ended = Vec::new();
        for (id, grant) in self.registry.grants() {
            match next(&grant, now) {
                None => {}
                Some(Next::Forget) => change.forget_grant(id),
                Some(Next::Lapse) => {
                    let state = GrantState::Refused { by: "nobody".to_owned(), at: now };
                    change.put_grant(id, GrantFact { state, ..(*grant).clone() })?;
                }
                Some(Next::Close(user)) => {
                    if change.facts().users.contains_key(&user) {
                        change.remove_user(user);
                    }
                    let state = GrantState::Closed { by: None, at: now };
                    change.put_grant(id, GrantFact { state, ..(*grant).clone() })?;
                    ended.push((id, grant));
                }
            }
        }
        let epoch = change.commit().await?;
        for (id, grant) in ended {
            self.record_end(id, grant.tenant, epoch, now).await?;
        }
        Ok(())
    }

    /// Ends everything that one operator has asked for or was given: whoever takes away what makes somebody an operator
    /// takes that away too. Afterwards the tenants are [told](Self::record_ends).
    pub(super) fn end_access_of(
        &self,
        change: &mut Change,
        operator: UserId,
        by: &Name,
    ) -> Result<Vec<(GrantId, TenantId)>, RegistryError> {
        let is_over = |grant: &GrantFact| matches!(grant.state, GrantState::Refused { .. } | GrantState::Closed { .. });
        let mut ended = Vec::new();
        for (id, grant) in self.registry.grants() {
            if grant.operator == operator && !is_over(&grant) {
                change.end_grant(id, by, self.registry.clock().now())?;
                ended.push((id, grant.tenant));
            }
        }
        Ok(ended)
    }

    pub(super) async fn record_ends(&self, ended: Vec<(GrantId, TenantId)>, epoch: u64) -> Result<(), ControlFailure> {
        for (id, tenant) in ended {
            self.record_end(id, tenant, epoch, self.registry.clock().now()).await?;
        }
        Ok(())
    }

    async fn record_end(&self, id: GrantId, tenant: TenantId, epoch: u64, now: UnixMs) -> Result<(), ControlFailure> {
        let record = Record {
            time: now,
            request: RequestId::new(now, self.registry.entropy()),
            service: Service::Authority,
            door: None,
            verdict: Verdict::Changed,
            tenant: Some(tenant),
            tally: None,
            body: Body {
                action: "end_access".to_owned(),
                epoch,
                affected: Some(1),
                detail: Some(format!("access {id} is over")),
                ..Body::default()
            },
        };
        self.audit.append(record).await.map_err(|_| Refusal::AuditUnavailable)?;
        Ok(())
    }

    fn grant_entry(&self, id: GrantId, grant: &GrantFact) -> GrantEntry {
        let facts = self.facts();
        let tenant =
            facts.tenants.get(&grant.tenant).map_or_else(|| grant.tenant.to_string(), |one| one.name.to_string());
        let (state, by, until, login) = match &grant.state {
            GrantState::Asked => ("asked", None, None, None),
            GrantState::Given { by, until, login, .. } => {
                ("given", Some(by.clone()), Some(rfc3339(*until)), Some(format!("{login}@{tenant}")))
            }
            GrantState::Refused { by, .. } => ("refused", Some(by.clone()), None, None),
            GrantState::Closed { by, .. } => ("closed", by.clone(), None, None),
        };
        GrantEntry {
            id,
            operator: grant.operator_name.clone(),
            tenant,
            role: grant.role.clone(),
            reason: grant.reason.clone(),
            lifetime_ms: grant.lifetime_ms,
            break_glass: grant.break_glass,
            asked: rfc3339(grant.asked),
            state,
            by,
            until,
            login,
        }
    }
}

/// What time does to a grant.
enum Next {
    Lapse,
    Close(UserId),
    Forget,
}

fn next(grant: &GrantFact, now: UnixMs) -> Option<Next> {
    let patience = if grant.break_glass { CONFIRM_MS } else { ASKED_MS };
    match &grant.state {
        GrantState::Asked => (now.since(grant.asked) > patience).then_some(Next::Lapse),
        GrantState::Given { until, user, .. } => (now >= *until).then_some(Next::Close(*user)),
        GrantState::Refused { at, .. } | GrantState::Closed { at, .. } => {
            (now.since(*at) > KEPT_MS).then_some(Next::Forget)
        }
    }
}

/// What is asked for, before it is checked.
struct Asked {
    role: Name,
    reason: String,
    lifetime_ms: u64,
    break_glass: bool,
}

impl Asked {
    fn checked(self) -> Result<Self, ControlFailure> {
        if !(LIFETIME_MIN_MS..=GRANT_MAX_MS).contains(&self.lifetime_ms) {
            return Err(invalid("lifetime_ms", "one minute to twelve hours"));
        }
        let reason = self.reason.trim();
        if reason.is_empty() || reason.len() > REASON_MAX_BYTES || reason.chars().any(char::is_control) {
            return Err(invalid("reason", format!("one line of at most {REASON_MAX_BYTES} bytes that says what for")));
        }
        Ok(Self { reason: reason.to_owned(), ..self })
    }
}

/// The operator who asks in person: not somebody who acts for one.
fn own_operator(caller: &Principal) -> Result<(UserId, Arc<User>), ControlFailure> {
    if !is_operator(caller) || caller.actor.is_some() {
        return Err(Refusal::Forbidden.into());
    }
    Ok((caller.user, Arc::clone(&caller.facts)))
}

/// Nobody has such a name by chance, and each grant has another.
fn login_name(operator: &Name, id: GrantId) -> Result<Name, ControlFailure> {
    let id = id.to_string();
    let end = id.rsplit('-').next().unwrap_or_default();
    let fits = operator.as_str().get(..operator.as_str().len().min(Name::MAX_BYTES.saturating_sub(24)));
    Name::new(&format!("operator-{}-{end}", fits.unwrap_or_default())).map_err(|_| ControlFailure::Unavailable("names"))
}

fn invalid(field: &str, expected: impl Into<String>) -> ControlFailure {
    ControlFailure::Invalid { field: field.to_owned(), expected: expected.into() }
}

fn not_found(what: &'static str, name: impl ToString) -> ControlFailure {
    ControlFailure::NotFound { what, name: name.to_string() }
}
