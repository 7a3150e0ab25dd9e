//! Finding the few policies that can matter for one caller and action, among thousands.
//!
//! A policy whose scope names a role, a user, actions or a type can only be satisfied there. Leaving it out
//! elsewhere changes no decision.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};
use countersign_model::TypeId;
use countersign_model::control::ControlAction;
use countersign_model::facts::Principal;
use countersign_model::request::Action;

use crate::entities;
use crate::error::PolicyFault;
use crate::schema::ANY_ACTION;
use crate::vocabulary::Vocabulary;

/// Policies by what their scopes name.
#[derive(Default)]
pub(crate) struct Slices {
    policies: Vec<Policy>,
    records: HashMap<(Action, TypeId), Slice>,
    control: HashMap<ControlAction, Slice>,
}

/// Policies for one action, as places in [`Slices::policies`].
#[derive(Default)]
struct Slice {
    everyone: Vec<usize>,
    by_role_or_user: HashMap<EntityUid, Vec<usize>>,
}

impl Slices {
    pub(crate) fn add(&mut self, policy: Policy, vocabulary: &Vocabulary) {
        let place = self.policies.len();
        let whom = match policy.principal_constraint() {
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                Some(uid)
            }
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
        };
        for (type_id, words) in vocabulary.iter() {
            for action in Action::ALL.into_iter().filter(|action| applies(&policy, *action, &words.namespace)) {
                self.records.entry((action, type_id)).or_default().add(place, whom.as_ref());
            }
        }
        for action in ControlAction::ALL.into_iter().filter(|action| controls(&policy, *action)) {
            self.control.entry(action).or_default().add(place, whom.as_ref());
        }
        self.policies.push(policy);
    }

    /// The policies that can matter when this caller does this to records of this type.
    pub(crate) fn for_records(
        &self,
        caller: &Principal,
        action: Action,
        type_id: TypeId,
    ) -> Result<PolicySet, PolicyFault> {
        self.set(self.records.get(&(action, type_id)), caller)
    }

    /// The policies that can matter when this caller does this.
    pub(crate) fn for_control(&self, caller: &Principal, action: ControlAction) -> Result<PolicySet, PolicyFault> {
        self.set(self.control.get(&action), caller)
    }

    fn set(&self, slice: Option<&Slice>, caller: &Principal) -> Result<PolicySet, PolicyFault> {
        let mut set = PolicySet::new();
        let Some(slice) = slice else { return Ok(set) };
        let mut whom = vec![entities::caller_uid(caller)?];
        for role in &caller.facts.roles {
            let role = entities::uid("Role", role.as_str())?;
            if !whom.contains(&role) {
                whom.push(role);
            }
        }
        let named = whom.iter().filter_map(|uid| slice.by_role_or_user.get(uid)).flatten();
        for policy in slice.everyone.iter().chain(named).filter_map(|place| self.policies.get(*place)) {
            set.add(policy.clone()).map_err(|_| PolicyFault::Evaluation)?;
        }
        Ok(set)
    }
}

impl Slice {
    fn add(&mut self, place: usize, whom: Option<&EntityUid>) {
        match whom {
            Some(uid) => self.by_role_or_user.entry(uid.clone()).or_default().push(place),
            None => self.everyone.push(place),
        }
    }
}

/// Whether a policy's scope leaves room for this action on records of this type.
pub(crate) fn applies(policy: &Policy, action: Action, namespace: &str) -> bool {
    let is_this = |uid: &EntityUid| {
        let (type_name, id) = (uid.type_name().to_string(), uid.id().unescaped());
        (type_name.strip_suffix("::Action") == Some(namespace) && id == action.as_str())
            || (type_name == "Data::Action" && (id == action.as_str() || id == ANY_ACTION))
    };
    let of_action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(uids) => uids.iter().any(is_this),
        ActionConstraint::Eq(uid) => is_this(&uid),
    };
    of_action && of_type(policy, &format!("{namespace}::Record"))
}

fn controls(policy: &Policy, action: ControlAction) -> bool {
    let is_this =
        |uid: &EntityUid| uid.type_name().to_string() == "Control::Action" && uid.id().unescaped() == action.as_str();
    let of_action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(uids) => uids.iter().any(is_this),
        ActionConstraint::Eq(uid) => is_this(&uid),
    };
    of_action && of_type(policy, "Tenant")
}

fn of_type(policy: &Policy, resource_type: &str) -> bool {
    match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(named) | ResourceConstraint::IsIn(named, _) => named.to_string() == resource_type,
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => uid.type_name().to_string() == resource_type,
    }
}
