//! Names of things as Cedar entities, and the caller as one.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema};
use countersign_model::facts::Principal;
use countersign_model::{Kind, Value};

use crate::error::PolicyFault;
use crate::vocabulary::{CALLER_NAME, CALLER_TENANT, Vocabulary};

/// The entity `type_name::"id"`.
pub(crate) fn uid(type_name: &str, id: &str) -> Result<EntityUid, PolicyFault> {
    let type_name: EntityTypeName = type_name.parse().map_err(|_| PolicyFault::Evaluation)?;
    Ok(EntityUid::from_type_name_and_id(type_name, EntityId::new(id)))
}

/// The caller, `User::"name@tenant"`.
pub(crate) fn caller_uid(caller: &Principal) -> Result<EntityUid, PolicyFault> {
    uid("User", &format!("{}@{}", caller.facts.name, caller.tenant_name))
}

/// The caller and what it belongs to, as the schema declares it.
pub(crate) fn caller(
    caller: &Principal,
    vocabulary: &Vocabulary,
    schema: &Schema,
    more: impl IntoIterator<Item = Entity>,
) -> Result<Entities, PolicyFault> {
    let tenant = uid("Tenant", caller.tenant_name.as_str())?;
    let mut attributes = HashMap::from([
        (CALLER_TENANT.to_owned(), RestrictedExpression::new_entity_uid(tenant.clone())),
        (CALLER_NAME.to_owned(), RestrictedExpression::new_string(caller.facts.name.to_string())),
    ]);
    for (name, kind) in &vocabulary.caller {
        let held = caller.facts.attributes.get(name.as_str()).unwrap_or(&Value::Null);
        if let Some(value) = attribute(held, *kind)? {
            attributes.insert(name.clone(), value);
        }
    }
    let roles = caller.facts.roles.iter().map(|role| uid("Role", role.as_str()));
    let roles: HashSet<EntityUid> = roles.collect::<Result<_, _>>()?;
    let mut all: Vec<Entity> = roles.iter().map(|role| Entity::with_uid(role.clone())).collect();
    all.push(Entity::with_uid(tenant));
    all.push(Entity::new(caller_uid(caller)?, attributes, roles).map_err(|_| PolicyFault::Evaluation)?);
    for entity in more {
        if !all.iter().any(|known| known.uid() == entity.uid()) {
            all.push(entity);
        }
    }
    Entities::from_entities(all, Some(schema)).map_err(|_| PolicyFault::Caller)
}

/// A value as Cedar holds it; `None` for an absent one.
fn attribute(value: &Value, kind: Kind) -> Result<Option<RestrictedExpression>, PolicyFault> {
    Ok(Some(match (value, kind) {
        (Value::Null, _) => return Ok(None),
        (Value::Text(text), Kind::Text) => RestrictedExpression::new_string(text.clone()),
        (Value::Integer(number), Kind::Integer) => RestrictedExpression::new_long(*number),
        (Value::Boolean(flag), Kind::Boolean) => RestrictedExpression::new_bool(*flag),
        _ => return Err(PolicyFault::Caller),
    }))
}
