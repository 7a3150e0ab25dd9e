//! From policies to a plan: Cedar's partial evaluation with the record unknown, folded into row conditions.

use cedar_policy::pst::{Clause, Expr};
use cedar_policy::{EntityTypeName, PartialEntities, PartialEntityUid, PartialRequest, Policy};
use countersign_model::facts::Principal;
use countersign_model::request::Action;
use countersign_model::{Plan, TypeId};

use crate::Policies;
use crate::condition::Condition;
use crate::entities;
use crate::error::PolicyFault;
use crate::fold::{Caller, Folder, Unfoldable};

/// The plan for `caller` over records that belong to the tenant `records_of`.
pub(crate) fn plan(
    policies: &Policies,
    caller: &Principal,
    action: Action,
    type_id: TypeId,
    records_of: &str,
) -> Result<Plan, PolicyFault> {
    let words = policies.vocabulary.words(type_id).ok_or(PolicyFault::UnknownType)?;
    let set = policies.slices.for_records(caller, action, type_id)?;
    let resource_type: EntityTypeName =
        format!("{}::Record", words.namespace).parse().map_err(|_| PolicyFault::Evaluation)?;
    let request = PartialRequest::new(
        PartialEntityUid::from_concrete(entities::caller_uid(caller)?),
        entities::uid(&format!("{}::Action", words.namespace), action.as_str())?,
        PartialEntityUid::new(resource_type, None),
        None,
        &policies.schema,
    )
    .map_err(|_| PolicyFault::Evaluation)?;
    let known = entities::caller(caller, &policies.vocabulary, &policies.schema, [])?;
    let known = PartialEntities::from_concrete(known, &policies.schema).map_err(|_| PolicyFault::Evaluation)?;
    let left = set.tpe(&request, &known, &policies.schema).map_err(|_| PolicyFault::Evaluation)?;

    // INVARIANT deny-on-doubt: Cedar would skip a policy that fails, and with a `forbid` allow what it forbids.
    if left.error_permits().next().is_some() || left.error_forbids().next().is_some() {
        return Err(PolicyFault::Evaluation);
    }
    if left.true_forbids().next().is_some() {
        return Ok(Plan::default());
    }
    let mut permitted = Condition::Constant(left.true_permits().next().is_some());
    let mut not_forbidden = Condition::Constant(true);
    let mut residuals: Vec<Policy> = left.residual_policies().collect();
    // Cedar gives them in an order that differs from run to run; the same caller should get the same plan.
    residuals.sort_by(|a, b| a.id().cmp(b.id()));
    for policy in residuals {
        let permits = policy.effect() == cedar_policy::Effect::Permit;
        let folder = Folder::new(&policies.vocabulary, words, Caller::Known { records_of });
        let folded = residual(&policy).and_then(|expr| match folder.condition(&expr, permits) {
            Ok(condition) => Ok(condition),
            // What can't be expressed permits nothing, or forbids everything.
            Err(Unfoldable::Unusable { .. }) => Ok(Condition::Constant(false)),
            Err(Unfoldable::Fails) => Err(PolicyFault::Evaluation),
        })?;
        if permits {
            permitted = permitted.or(folded);
        } else {
            not_forbidden = not_forbidden.and(folded);
        }
    }
    Ok(permitted.and(not_forbidden).into_plan(words.all))
}

/// What partial evaluation left of a policy: a single condition.
fn residual(policy: &Policy) -> Result<Expr, PolicyFault> {
    let tree = policy.to_pst().map_err(|_| PolicyFault::Evaluation)?;
    match tree.body().clauses().as_slice() {
        [Clause::When(condition)] => Ok(condition.as_ref().clone()),
        _ => Err(PolicyFault::Evaluation),
    }
}
