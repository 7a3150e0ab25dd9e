//! Requests about data at rest as a whole.

use countersign_model::custody::{BackupControl, EraseControl, KeyControl, KeyScope};
use countersign_model::{Kind, Name, UnixMs, Value};
use serde::Deserialize;

use super::{Incoming, Parameters, path_id, typed};
use crate::problem::{Part, Problem};
use crate::routes::Target;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    repository: Name,
    #[serde(default)]
    tenant: Option<Name>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    repository: Name,
    #[serde(default)]
    backup: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    repository: Name,
    #[serde(default)]
    backup: Option<String>,
    #[serde(default)]
    forget: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    tenant: Name,
    #[serde(default)]
    repository: Option<Name>,
    #[serde(default)]
    backup: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

pub(super) fn backup(incoming: Incoming<'_>, parameters: &mut Parameters<'_>) -> Result<BackupControl, Problem> {
    Ok(match incoming.target {
        Target::BackupCreate => {
            let Create { repository, tenant } = typed(incoming, "repository, and perhaps tenant")?;
            BackupControl::Create { repository, tenant }
        }
        Target::BackupVerify => {
            let Verify { repository, backup } = typed(incoming, "repository, and perhaps backup")?;
            BackupControl::Verify { repository, backup }
        }
        Target::BackupRemove => {
            let expected = "repository and backup; or repository and forget, and perhaps backup";
            let Remove { repository, backup, forget } = typed(incoming, expected)?;
            if backup.is_none() && !forget {
                return Err(Problem::Syntax { part: Part::Body, line: 1, column: 1, expected });
            }
            BackupControl::Remove { repository, backup, forget }
        }
        Target::BackupRestore => {
            let expected = "tenant, and repository with backup, or to, or all of them";
            let Restore { tenant, repository, backup, to } = typed(incoming, expected)?;
            let wrong = Problem::Syntax { part: Part::Body, line: 1, column: 1, expected };
            let from = match (repository, backup) {
                (Some(repository), Some(backup)) => Some((repository, backup)),
                (None, None) if to.is_some() => None,
                _ => return Err(wrong),
            };
            BackupControl::Restore { tenant, from, to: to.map(|to| moment(&to)).transpose()? }
        }
        Target::JobList => BackupControl::Jobs,
        Target::JobRead => BackupControl::Job { job: path_id(incoming.segment)? },
        Target::JobCancel => BackupControl::Cancel { job: path_id(incoming.segment)? },
        _ => {
            let expected = "repository= and the name of one";
            let missing = Problem::Syntax { part: Part::Query, line: 1, column: 1, expected };
            BackupControl::List { repository: parameters.name("repository")?.ok_or(missing)? }
        }
    })
}

fn moment(text: &str) -> Result<UnixMs, Problem> {
    let expected = "to, a timestamp such as 2026-07-01T09:30:00Z";
    match Value::parse(Kind::Timestamp, text) {
        Ok(Value::Timestamp(moment)) => {
            let ms = moment.unix_timestamp_nanos().div_euclid(1_000_000);
            Ok(UnixMs(u64::try_from(ms).unwrap_or(0)))
        }
        _ => Err(Problem::Syntax { part: Part::Body, line: 1, column: 1, expected }),
    }
}

/// Nothing is the deployment's own key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    tenant: Option<Name>,
    #[serde(rename = "type", default)]
    record_type: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destroy {
    tenant: Name,
    epoch: u32,
}

pub(super) fn keys(incoming: Incoming<'_>, parameters: &mut Parameters<'_>) -> Result<KeyControl, Problem> {
    Ok(match incoming.target {
        Target::KeyRotate => {
            let expected = "tenant; or tenant, type and field; or nothing, for the deployment's own key";
            let Rotate { tenant, record_type, field } = typed(incoming, expected)?;
            let scope = match (tenant, record_type, field) {
                (None, None, None) => KeyScope::Deployment,
                (Some(tenant), None, None) => KeyScope::Tenant(tenant),
                (Some(tenant), Some(record_type), Some(field)) => KeyScope::Field { tenant, record_type, field },
                _ => return Err(Problem::Syntax { part: Part::Body, line: 1, column: 1, expected }),
            };
            KeyControl::Rotate { scope }
        }
        Target::KeyDestroy => {
            let Destroy { tenant, epoch } = typed(incoming, "tenant and epoch")?;
            KeyControl::Destroy { tenant, epoch }
        }
        _ => KeyControl::List { tenant: parameters.name("tenant")? },
    })
}

/// One of three: a tenant, named twice; a user, perhaps of a tenant; a record by its type and key. A tenant is named twice so
/// that no request about a user whose name is missing is one about a whole tenant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Erase {
    #[serde(default)]
    tenant: Option<Name>,
    #[serde(default)]
    user: Option<Name>,
    #[serde(rename = "type", default)]
    record_type: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    confirm: Option<Name>,
}

pub(super) fn erase(incoming: Incoming<'_>, parameters: &mut Parameters<'_>) -> Result<EraseControl, Problem> {
    Ok(match incoming.target {
        Target::ErasureCreate => {
            let expected = "type and key, or user, or tenant and the same name again as confirm";
            let Erase { tenant, user, record_type, key, confirm } = typed(incoming, expected)?;
            match (tenant, user, record_type, key, confirm) {
                (None, None, Some(record_type), Some(key), None) => EraseControl::Record { record_type, key },
                (tenant, Some(user), None, None, None) => EraseControl::Principal { tenant, user },
                (Some(tenant), None, None, None, Some(confirm)) if tenant == confirm => EraseControl::Tenant { tenant },
                _ => return Err(Problem::Syntax { part: Part::Body, line: 1, column: 1, expected }),
            }
        }
        Target::ErasureProve => EraseControl::Prove { receipt: path_id(incoming.segment)? },
        _ => EraseControl::Receipts { tenant: parameters.name("tenant")? },
    })
}
