//! What callers do with their own token: look at it, narrow it, revoke it.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_guard::{Permit, Refusal, State};
use countersign_model::control::ControlAction;
use countersign_model::facts::Principal;
use countersign_model::request::{Action, Narrowing};
use countersign_model::{FieldSet, Name, Predicate, RecordType};

use super::Done;
use crate::answer::{ControlAnswer, May, RevokedAnswer, WhoAmI};
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::time::rfc3339;

impl Authority {
    pub(super) async fn who_am_i(&self, permit: &Permit) -> Result<Done, ControlFailure> {
        let (caller, state) = (permit.principal().clone(), Arc::clone(permit.state()));
        // A plan for every type and action takes long enough to be in the way of others.
        let me = tokio::task::spawn_blocking(move || who_am_i(&caller, &state)).await;
        let me = me.map_err(|_| ControlFailure::Unavailable("policy engine"))??;
        Ok(Done::looked(ControlAnswer::WhoAmI(Box::new(me))))
    }

    pub(super) async fn narrow(
        &self,
        permit: &Permit,
        narrowing: &Narrowing,
        lifetime_ms: Option<u64>,
    ) -> Result<Done, ControlFailure> {
        let minter = self.signing.minter(&self.registry).await?;
        let parent = self.good_token(permit)?;
        let now = self.registry.clock().now();
        let minted = minter.narrow(&parent, narrowing, lifetime_ms, now, self.registry.entropy())?;
        let detail = format!("{}; token {}", super::describe_narrowing(narrowing, lifetime_ms), minted.id());
        let made = Some(minted.id());
        let answer = ControlAnswer::Token(self.new_token(minted, parent.binding().copied()));
        Ok(Done { made, detail: Some(detail), ..Done::looked(answer) })
    }

    pub(super) async fn revoke_own(&self, caller: &Principal, session: bool) -> Result<Done, ControlFailure> {
        let mut change = self.registry.begin().await;
        let now = self.registry.clock().now();
        let (revoked, subject) = if change.is_full_of_revocations(caller.tenant) {
            // More than was asked for rather than less: one entry for the person takes the place of many. Who acts for
            // somebody ends their own logins, and with them this token.
            let (user, facts) = caller.acting();
            change.revoke_user(user, now)?;
            ("person", facts.name.to_string())
        } else if session {
            change.revoke_session(caller.tenant, caller.session, now)?;
            ("session", caller.session.to_string())
        } else {
            change.revoke_token(caller.tenant, caller.token, now)?;
            ("token", caller.token.to_string())
        };
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Revoked(RevokedAnswer { revoked, subject, since: rfc3339(now) })))
    }
}

fn who_am_i(caller: &Principal, state: &State) -> Result<WhoAmI, ControlFailure> {
    let mut records: BTreeMap<Name, BTreeMap<Action, May>> = BTreeMap::new();
    for (id, record_type) in state.facts.types.iter() {
        for action in Action::ALL {
            if !caller.narrowing.admits(action, &record_type.name) {
                continue;
            }
            let plan = state.policies.plan(caller, action, id).map_err(|_| Refusal::PolicyFault)?;
            let plan = plan.narrowed_to(fields_left(&caller.narrowing, record_type));
            if plan.fields().is_empty() {
                continue;
            }
            let everywhere = plan.rules.iter().all(|rule| rule.rows == Predicate::TRUE);
            let permitted = plan.fields();
            let names = record_type.iter().filter(|(field, _)| permitted.contains(*field));
            let may = May {
                fields: names.map(|(_, field)| field.name.clone()).collect(),
                records: if everywhere { "all" } else { "some" },
            };
            records.entry(record_type.name.clone()).or_default().insert(action, may);
        }
    }
    let mut control = Vec::new();
    for action in ControlAction::ALL {
        // The guard lets a limited token manage nothing but itself.
        if caller.narrowing.is_limiting() && action != ControlAction::UseOwnToken {
            continue;
        }
        let permitted = state.policies.control(caller, action, &caller.tenant_name);
        if permitted.map_err(|_| Refusal::PolicyFault)? {
            control.push(action);
        }
    }
    let narrowing = (*caller.narrowing != Narrowing::default()).then(|| (*caller.narrowing).clone());
    Ok(WhoAmI {
        user: caller.facts.name.clone(),
        tenant: caller.tenant_name.clone(),
        roles: caller.facts.roles.clone(),
        actor: caller.actor.as_ref().map(|actor| actor.facts.name.clone()),
        session: caller.session,
        token: caller.token,
        issued: rfc3339(caller.issued),
        expires: rfc3339(caller.expires),
        narrowing,
        records,
        control,
    })
}

fn fields_left(narrowing: &Narrowing, record_type: &RecordType) -> FieldSet {
    match &narrowing.fields {
        None => record_type.all(),
        Some(names) => {
            let left = record_type.iter().filter(|(_, field)| names.contains(&field.name));
            left.map(|(id, _)| id).collect()
        }
    }
}
