//! Deciding on requests that manage a tenant or the deployment.

use cedar_policy::{Authorizer, Context, Decision, Entity, Request};
use countersign_model::Name;
use countersign_model::control::ControlAction;
use countersign_model::facts::Principal;

use crate::Policies;
use crate::entities;
use crate::error::PolicyFault;

pub(crate) fn control(
    policies: &Policies,
    caller: &Principal,
    action: ControlAction,
    tenant: &Name,
) -> Result<bool, PolicyFault> {
    let set = policies.slices.for_control(caller, action)?;
    let tenant = entities::uid("Tenant", tenant.as_str())?;
    let request = Request::new(
        entities::caller_uid(caller)?,
        entities::uid("Control::Action", action.as_str())?,
        tenant.clone(),
        Context::empty(),
        Some(&policies.schema),
    )
    .map_err(|_| PolicyFault::Evaluation)?;
    let known = entities::caller(caller, &policies.vocabulary, &policies.schema, [Entity::with_uid(tenant)])?;
    let response = Authorizer::new().is_authorized(&request, &set, &known);
    // INVARIANT deny-on-doubt: Cedar would skip a policy that fails, and with a `forbid` allow what it forbids.
    if response.diagnostics().errors().next().is_some() {
        return Err(PolicyFault::Evaluation);
    }
    Ok(response.decision() == Decision::Allow)
}
