//! Plans are computed once and kept: policy is evaluated per caller, action and type, never per request or row.

use std::sync::Arc;

use countersign_model::facts::{Principal, User};
use countersign_model::request::Action;
use countersign_model::{FieldSet, Plan, RecordType, TokenId, TypeId};
use quick_cache::sync::Cache;

use crate::refusal::Refusal;
use crate::state::State;

/// What one caller may do with one type, kept as long as the facts it was computed from are the newest.
pub(crate) struct Plans {
    of_users: Cache<UserKey, Kept>,
    of_narrowed_tokens: Cache<(TokenId, UserKey), Kept>,
}

/// The user, and whoever acts for them, are keyed by the address of their facts, which `Kept` keeps alive, so that any
/// change of roles or attributes is another key. Tenants can't share a key: a user belongs to one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct UserKey {
    policy_epoch: u64,
    user: usize,
    actor: Option<usize>,
    action: Action,
    record_type: TypeId,
}

#[derive(Clone)]
struct Kept {
    plan: Arc<Plan>,
    _user: Arc<User>,
    _actor: Option<Arc<User>>,
}

impl Kept {
    fn of(caller: &Principal, plan: &Arc<Plan>) -> Self {
        let actor = caller.actor.as_ref().map(|actor| Arc::clone(&actor.facts));
        Self { plan: Arc::clone(plan), _user: Arc::clone(&caller.facts), _actor: actor }
    }
}

impl Plans {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { of_users: Cache::new(capacity), of_narrowed_tokens: Cache::new(capacity) }
    }

    pub(crate) fn plan(
        &self,
        state: &State,
        caller: &Principal,
        action: Action,
        type_id: TypeId,
        record_type: &RecordType,
    ) -> Result<Arc<Plan>, Refusal> {
        let key = UserKey {
            policy_epoch: state.facts.policy_epoch,
            user: Arc::as_ptr(&caller.facts) as usize,
            actor: caller.actor.as_ref().map(|actor| Arc::as_ptr(&actor.facts) as usize),
            action,
            record_type: type_id,
        };
        let narrowed = caller.narrowing.is_limiting();
        if narrowed && let Some(kept) = self.of_narrowed_tokens.get(&(caller.token, key)) {
            return Ok(kept.plan);
        }
        let whole = self.plan_of_user(state, caller, key)?;
        if !narrowed {
            return Ok(whole);
        }
        let plan = Arc::new(narrow(&whole, caller, action, record_type));
        self.of_narrowed_tokens.insert((caller.token, key), Kept::of(caller, &plan));
        Ok(plan)
    }

    fn plan_of_user(&self, state: &State, caller: &Principal, key: UserKey) -> Result<Arc<Plan>, Refusal> {
        if let Some(kept) = self.of_users.get(&key) {
            return Ok(kept.plan);
        }
        let plan = state.policies.plan(caller, key.action, key.record_type).map_err(|_| Refusal::PolicyFault)?;
        let plan = Arc::new(plan);
        self.of_users.insert(key, Kept::of(caller, &plan));
        Ok(plan)
    }
}

fn narrow(whole: &Plan, caller: &Principal, action: Action, record_type: &RecordType) -> Plan {
    if !caller.narrowing.admits(action, &record_type.name) {
        return Plan::default();
    }
    match &caller.narrowing.fields {
        None => whole.clone(),
        Some(names) => {
            let kept = record_type.iter().filter(|(_, field)| names.contains(&field.name)).map(|(id, _)| id);
            whole.narrowed_to(kept.collect::<FieldSet>())
        }
    }
}
