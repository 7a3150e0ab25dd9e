//! What a control request asks for, in the words of its audit record.

use countersign_model::Name;
use countersign_model::access::AccessControl;
use countersign_model::control::{Control, Revoke};
use countersign_model::custody::{BackupControl, EraseControl, KeyControl, KeyScope};
use countersign_model::facts::{Facts, OPERATORS};
use countersign_model::incident::{Culprit, IncidentControl};
use countersign_model::request::Narrowing;
use countersign_model::watch::WatchControl;

use crate::time::rfc3339;

/// A request's arguments for its audit record: names and identifiers, never a value.
pub(super) fn describe(control: &Control) -> Option<String> {
    let at = |tenant: &Option<Name>| tenant.as_ref().map(|name| format!("@{name}")).unwrap_or_default();
    Some(match control {
        Control::WhoAmI
        | Control::TenantList
        | Control::ServiceList
        | Control::ProviderRead
        | Control::Introspect
        | Control::TypesRead
        | Control::PoliciesRead
        | Control::ContactsRead => return None,
        Control::Narrow { narrowing, lifetime_ms } => describe_narrowing(narrowing, *lifetime_ms),
        Control::RevokeOwn { session: false } => "own token".to_owned(),
        Control::RevokeOwn { session: true } => "own session".to_owned(),
        Control::Revoke(Revoke::Token(token)) => format!("token {token}"),
        Control::Revoke(Revoke::Session(session)) => format!("session {session}"),
        Control::Revoke(Revoke::Person(name)) => format!("person {name}"),
        // Its id is on record with what came of it.
        Control::TenantAdd { kms: None, .. } => "add tenant".to_owned(),
        Control::TenantAdd { kms: Some(kms), .. } => format!("add tenant; key wrapped by {kms}"),
        Control::TenantRewrap { tenant, kms } => {
            let which =
                tenant.as_ref().map_or_else(|| "every tenant's key".to_owned(), |name| format!("key of {name}"));
            let by = kms.as_ref().map(|kms| format!(" by {kms}")).unwrap_or_default();
            format!("rewrap {which}{by}")
        }
        Control::ServiceInvite { role, name } => match name {
            Some(name) => format!("invite {role} {name}"),
            None => format!("invite {role}"),
        },
        Control::ServiceRemove { role, name } => format!("remove {role} {name}"),
        Control::UserList { tenant } => format!("users{}", at(tenant)),
        Control::UserPut { tenant, user } => {
            let roles = list(user.roles.iter().map(Name::as_str));
            let attributes = list(user.attributes.keys().map(Name::as_str));
            let keys = user.ssh_keys.len();
            shortened(format!("put {}{}: roles {roles}; attributes {attributes}; {keys} keys", user.name, at(tenant)))
        }
        Control::UserRemove { tenant, user } => format!("remove {user}{}", at(tenant)),
        Control::ProviderPut(provider) => shortened(format!(
            "put provider {}; client {}; roles {}",
            provider.issuer,
            provider.client_id,
            list(provider.roles.values().map(Name::as_str))
        )),
        Control::ProviderRemove => "remove provider".to_owned(),
        Control::TypesApply { text, dry_run } => format!("types file of {} bytes{}", text.len(), dry(*dry_run)),
        Control::PoliciesApply { files, dry_run } => {
            let bytes: usize = files.iter().map(|file| file.text.len()).fold(0, usize::saturating_add);
            format!("{} policy files of {bytes} bytes{}", files.len(), dry(*dry_run))
        }
        Control::AuditRead(query) => match (&query.record, query.request) {
            // The key is a value. The type is a name only if there is such a type.
            (Some((record_type, _)), _) => match Name::new(record_type) {
                Ok(name) => format!("records about one {name}"),
                Err(_) => "records about one record".to_owned(),
            },
            (None, Some(request)) => format!("records of request {request}"),
            (None, None) => return None,
        },
        Control::Receipt { request } => format!("receipt of request {request}"),
        Control::Prove { request } => format!("proof of request {request}"),
        Control::ContactsPut(contacts) => {
            shortened(format!("{} contacts; language {}", contacts.emails.len(), contacts.language))
        }
        Control::Access(access) => shortened(describe_access(access)),
        Control::Watch(watch) => shortened(describe_watch(watch)),
        Control::Incident(incident) => shortened(describe_incident(incident)),
        Control::Keys(keys) => shortened(describe_keys(keys)),
        Control::Backup(backup) => shortened(describe_backup(backup)),
        Control::Erase(erase) => shortened(describe_erase(erase)),
    })
}

/// The same with identifiers in place of the names of tenants and of their users, for what operators do: their records stay
/// when a tenant is erased. Views show the names, as long as there are any.
pub(super) fn in_ids(said: &str, control: &Control, facts: &Facts) -> String {
    let user = match control {
        Control::UserPut { tenant: Some(tenant), user } => Some((tenant, &user.name)),
        Control::UserRemove { tenant: Some(tenant), user } => Some((tenant, user)),
        Control::Incident(IncidentControl::Open { culprit: Culprit::Principal { tenant, name }, .. }) => {
            Some((tenant, name))
        }
        _ => None,
    };
    let user = user.filter(|(tenant, _)| tenant.as_str() != OPERATORS);
    replaced(said, |word| {
        if let Some((tenant, _)) = user.filter(|(_, name)| name.as_str() == word) {
            let known =
                facts.tenant_names.get(tenant).and_then(|id| facts.user_names.get(&(*id, Name::new(word).ok()?)));
            return Some(known.map_or_else(|| "user".to_owned(), ToString::to_string));
        }
        let name = Name::new(word).ok().filter(|name| name.as_str() != OPERATORS)?;
        facts.tenant_names.get(&name).map(ToString::to_string)
    })
}

/// A text with other words in place of some: of those that could be names or identifiers.
pub(super) fn replaced(text: &str, mut by: impl FnMut(&str) -> Option<String>) -> String {
    let is_part = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_' || one == '-';
    let (mut said, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|one| is_part(one) != is_part(first)).unwrap_or(rest.len());
        let (word, left) = rest.split_at(end);
        match Some(word).filter(|_| is_part(first)).and_then(&mut by) {
            Some(other) => said.push_str(&other),
            None => said.push_str(word),
        }
        rest = left;
    }
    said
}

fn describe_access(access: &AccessControl) -> String {
    match access {
        AccessControl::Request { tenant, role, reason, lifetime_ms, break_glass } => {
            let how = if *break_glass { "breaking the glass" } else { "asking" };
            format!("{how} for access to {tenant} as {role} for {} s: {reason}", lifetime_ms / 1000)
        }
        AccessControl::Confirm { grant } => format!("confirm {grant}"),
        AccessControl::Decide { grant, approve: true, role: Some(role) } => format!("approve {grant} as {role}"),
        AccessControl::Decide { grant, approve: true, role: None } => format!("approve {grant}"),
        AccessControl::Decide { grant, approve: false, .. } => format!("refuse {grant}"),
        AccessControl::Close { grant, .. } => format!("close {grant}"),
        AccessControl::List => "operators' access".to_owned(),
    }
}

fn describe_watch(watch: &WatchControl) -> String {
    match watch {
        WatchControl::Alerts { .. } => "alerts".to_owned(),
        WatchControl::Alert { alert } => format!("alert {alert}"),
        WatchControl::Test => "test of the alert sinks".to_owned(),
        WatchControl::Acknowledge { alert, note } => format!("acknowledge {alert}: {note}"),
        WatchControl::Silence { rule, about, for_ms, reason } => {
            let about = about.as_ref().map(|about| format!(" about {about}")).unwrap_or_default();
            format!("silence {rule}{about} for {} s: {reason}", for_ms / 1000)
        }
        WatchControl::Silences => "silences".to_owned(),
        WatchControl::Unsilence { silence } => format!("end silence {silence}"),
        WatchControl::Metrics => "metrics".to_owned(),
    }
}

fn describe_incident(incident: &IncidentControl) -> String {
    match incident {
        IncidentControl::Open { culprit, since, until } => {
            let what = match culprit {
                Culprit::Token(token) => format!("token {token}"),
                Culprit::Session(session) => format!("session {session}"),
                Culprit::Principal { tenant, name } => format!("principal {name}@{tenant}"),
                Culprit::Service { role, name: Some(name) } => format!("service {role} {name}"),
                Culprit::Service { role, name: None } => format!("service {role}"),
                Culprit::TenantKey(tenant) => format!("key of {tenant}"),
                Culprit::Erased(tenant) => format!("erased {tenant}"),
            };
            let until = until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
            format!("open incident: {what} since {}{until}", rfc3339(*since))
        }
        IncidentControl::List => "incidents".to_owned(),
        IncidentControl::Show { incident } => format!("incident {incident}"),
        IncidentControl::Contain { incident } => format!("contain incident {incident}"),
        IncidentControl::Notices { incident, send: true } => format!("send notices of incident {incident}"),
        IncidentControl::Notices { incident, send: false } => format!("draft notices of incident {incident}"),
        IncidentControl::Received => "notices".to_owned(),
        IncidentControl::Receive { incident } => format!("notice of incident {incident}"),
        IncidentControl::Acknowledge { incident } => format!("acknowledge notice of incident {incident}"),
    }
}

pub(crate) fn describe_narrowing(narrowing: &Narrowing, lifetime_ms: Option<u64>) -> String {
    let mut said = Vec::new();
    if let Some(actions) = &narrowing.actions {
        said.push(format!("actions {}", list(actions.iter().map(|action| action.as_str()))));
    }
    if let Some(types) = &narrowing.types {
        said.push(format!("types {}", list(types.iter().map(Name::as_str))));
    }
    if let Some(fields) = &narrowing.fields {
        said.push(format!("fields {}", list(fields.iter().map(Name::as_str))));
    }
    if let Some(ms) = lifetime_ms {
        said.push(format!("for {} s", ms / 1000));
    }
    shortened(format!("narrow: {}", said.join("; ")))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(",")
}

/// The longest detail of an audit record, in bytes; a record has 64 KiB.
const SHOWN_MAX_BYTES: usize = 8 * 1024;

pub(super) fn shortened(mut said: String) -> String {
    let end = (0..=SHOWN_MAX_BYTES.min(said.len())).rev().find(|end| said.is_char_boundary(*end));
    said.truncate(end.unwrap_or_default());
    said
}

pub(super) const fn dry(dry_run: bool) -> &'static str {
    if dry_run { ", dry run" } else { "" }
}

fn describe_keys(keys: &KeyControl) -> String {
    match keys {
        KeyControl::List { tenant: None } => "keys".to_owned(),
        KeyControl::List { tenant: Some(tenant) } => format!("keys of {tenant}"),
        KeyControl::Rotate { scope: KeyScope::Deployment } => "rotate the deployment's key".to_owned(),
        KeyControl::Rotate { scope: KeyScope::Tenant(tenant) } => format!("rotate the key of {tenant}"),
        KeyControl::Rotate { scope: KeyScope::Field { tenant, record_type, field } } => {
            format!("rotate {record_type}.{field} of {tenant}")
        }
        KeyControl::Destroy { tenant, epoch } => format!("destroy the key of {tenant} that begins with epoch {epoch}"),
    }
}

pub(super) fn describe_backup(backup: &BackupControl) -> String {
    match backup {
        BackupControl::Create { repository, tenant: None } => format!("back up to {repository}"),
        BackupControl::Create { repository, tenant: Some(tenant) } => format!("back {tenant} up to {repository}"),
        BackupControl::List { repository } => format!("backups in {repository}"),
        BackupControl::Verify { repository, backup } => {
            format!("verify {} in {repository}", backup.as_deref().unwrap_or("the newest backup"))
        }
        BackupControl::Remove { repository, backup, forget } => {
            let how = if *forget { "forget" } else { "remove" };
            format!("{how} {} in {repository}", backup.as_deref().unwrap_or("every backup"))
        }
        BackupControl::Restore { tenant, from, to } => {
            let from = from.as_ref().map_or_else(
                || "its history".to_owned(),
                |(repository, backup)| format!("backup {backup} in {repository}"),
            );
            let to = to.map(|to| format!(" to {}", rfc3339(to))).unwrap_or_default();
            format!("restore {tenant} from {from}{to}")
        }
        BackupControl::Jobs => "jobs".to_owned(),
        BackupControl::Job { job } => format!("job {job}"),
        BackupControl::Cancel { job } => format!("cancel job {job}"),
    }
}

/// A record's key is a value, so it is not in here; the record's id is on record with what came of it.
fn describe_erase(erase: &EraseControl) -> String {
    match erase {
        EraseControl::Tenant { tenant } => format!("erase tenant {tenant}"),
        EraseControl::Record { record_type, .. } => format!("erase a {record_type}"),
        EraseControl::Principal { .. } => "erase a principal".to_owned(),
        EraseControl::Receipts { .. } => "receipts of what was erased".to_owned(),
        EraseControl::Prove { receipt } => format!("prove {receipt}"),
    }
}
