//! Requests about operators' access to tenants.

use countersign_model::Name;
use countersign_model::access::AccessControl;
use serde::Deserialize;

use super::{Incoming, Parameters, path_id, typed};
use crate::problem::{Part, Problem};
use crate::routes::Target;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    tenant: Name,
    role: Name,
    reason: String,
    lifetime_ms: u64,
    #[serde(default)]
    break_glass: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    approve: bool,
    #[serde(default)]
    role: Option<Name>,
}

pub(super) fn lower(incoming: Incoming<'_>, parameters: &mut Parameters<'_>) -> Result<AccessControl, Problem> {
    Ok(match incoming.target {
        Target::AccessRequest => {
            let expected = "tenant, role, reason and lifetime_ms of the access that is asked for, and break_glass";
            let Wanted { tenant, role, reason, lifetime_ms, break_glass } = typed(incoming, expected)?;
            AccessControl::Request { tenant, role, reason, lifetime_ms, break_glass }
        }
        Target::AccessConfirm => AccessControl::Confirm { grant: path_id(incoming.segment)? },
        Target::AccessDecide => {
            let Decision { approve, role } = typed(incoming, "approve, true or false, and perhaps another role")?;
            AccessControl::Decide { grant: path_id(incoming.segment)?, approve, role }
        }
        Target::AccessClose => {
            let as_tenant = match parameters.take("as").as_deref() {
                Some("tenant") => true,
                None | Some("operator") => false,
                Some(_) => {
                    let expected = "as=tenant or as=operator";
                    return Err(Problem::Syntax { part: Part::Query, line: 1, column: 1, expected });
                }
            };
            AccessControl::Close { grant: path_id(incoming.segment)?, as_tenant }
        }
        _ => AccessControl::List,
    })
}
