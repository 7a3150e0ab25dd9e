//! The people of a tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_crypto::ssh;
use countersign_guard::{Permit, Refusal, State};
use countersign_model::control::NewUser;
use countersign_model::facts::{Principal, User};
use countersign_model::{Name, RecordTypes, TenantId, UnixMs, UserId, Value};

use super::Done;
use crate::answer::{ControlAnswer, UserEntry, UserIdentity, UserKey};
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::time::rfc3339;

/// The most keys that one person logs in with.
const KEYS_MAX: usize = 16;

/// The most roles that one person has.
const ROLES_MAX: usize = 64;

impl Authority {
    pub(super) fn user_list(&self, caller: &Principal, tenant: Option<&Name>) -> Result<Done, ControlFailure> {
        let (tenant, tenant_name, _) = self.tenant_of(caller, tenant)?;
        let state = self.registry.latest();
        let of_tenant = state.facts.users.iter().filter(|(_, user)| user.tenant == tenant);
        let mut entries: Vec<_> = of_tenant.map(|(id, user)| entry(*id, user, &tenant_name, &state)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Done::looked(ControlAnswer::Users(entries)))
    }

    /// An operator may make the first person of a tenant, who then looks after the others. From then on only the
    /// tenant's own people may.
    pub(super) async fn user_put(
        &self,
        permit: &Permit,
        tenant: Option<&Name>,
        new: NewUser,
    ) -> Result<Done, ControlFailure> {
        let (tenant, tenant_name, elsewhere) = self.tenant_of(permit.principal(), tenant)?;
        let mut change = self.registry.begin().await;
        let now = self.registry.clock().now();
        if elsewhere && change.facts().users.values().any(|user| user.tenant == tenant) {
            return Err(Refusal::Forbidden.into());
        }
        let mut user = checked(new, tenant, &change.facts().types, now)?;
        let known = change.facts().user_names.get(&(tenant, user.name.clone())).copied();
        let before = known.and_then(|id| change.facts().users.get(&id).cloned());
        if before.as_ref().is_some_and(|before| before.expires.is_some()) {
            return Err(invalid("name", "one that is not an operator's, whose access has an end"));
        }
        if let Some(external) = before.as_ref().and_then(|before| before.external.clone()) {
            if !user.ssh_keys.is_empty() {
                return Err(invalid("SSH keys", format!("none, as {} logs in with the tenant's provider", user.name)));
            }
            user.external = Some(external);
        }
        let id = known.unwrap_or_else(|| UserId::new(now, self.registry.entropy()));
        // Tokens don't say which key their login was made with. When a key is taken away, all of the person's
        // tokens go: the key may be in the wrong hands, and the person logs in again with one that is left.
        let loses_key = |before: &Arc<User>| before.ssh_keys.iter().any(|key| !is_among(key, &user.ssh_keys));
        let loses_key = before.as_ref().is_some_and(loses_key);
        if loses_key {
            change.revoke_user(id, now)?;
        }
        // In tenants an operator logs in with the keys from when access was given.
        let is_operator = user.roles.iter().any(|role| role.as_str() == crate::OPERATOR_ROLE);
        let by = &permit.principal().acting().1.name;
        let ended = if loses_key || !is_operator { self.end_access_of(&mut change, id, by)? } else { Vec::new() };
        let name = user.name.clone();
        change.put_user(id, user)?;
        let epoch = change.commit().await?;
        self.record_ends(ended, epoch).await?;
        if elsewhere {
            self.record_elsewhere(permit, tenant, format!("put {name}@{tenant_name}"), now).await?;
        }
        let state = self.registry.latest();
        let user = state.facts.users.get(&id).map(Arc::clone);
        let user = user.ok_or(ControlFailure::Unavailable("control database"))?;
        Ok(Done::changed(ControlAnswer::User(entry(id, &user, &tenant_name, &state))))
    }

    pub(super) async fn user_remove(
        &self,
        caller: &Principal,
        tenant: Option<&Name>,
        name: &Name,
    ) -> Result<Done, ControlFailure> {
        let (tenant, tenant_name, elsewhere) = self.tenant_of(caller, tenant)?;
        if elsewhere {
            return Err(Refusal::Forbidden.into());
        }
        let mut change = self.registry.begin().await;
        let facts = change.facts();
        let id = facts.user_names.get(&(tenant, name.clone())).copied();
        let known = id.and_then(|id| Some((id, facts.users.get(&id).cloned()?)));
        let (id, user) = known.ok_or_else(|| ControlFailure::NotFound { what: "user", name: name.to_string() })?;
        // A tenant with nobody in it is one that an operator may put somebody into.
        let stays = |other: &&Arc<User>| other.tenant == tenant && other.expires.is_none();
        if user.expires.is_none() && facts.users.values().filter(stays).count() <= 1 {
            return Err(ControlFailure::LastPerson);
        }
        change.remove_user(id);
        // Nor is an operator who has gone anywhere else any more.
        let ended = self.end_access_of(&mut change, id, &caller.acting().1.name)?;
        let epoch = change.commit().await?;
        self.record_ends(ended, epoch).await?;
        Ok(Done::changed(ControlAnswer::User(entry(id, &user, &tenant_name, &self.registry.latest()))))
    }
}

fn is_among(line: &str, lines: &[String]) -> bool {
    let Ok(key) = ssh::PublicKey::parse(line) else { return false };
    lines.iter().any(|other| ssh::PublicKey::parse(other).is_ok_and(|other| other == key))
}

fn invalid(field: impl Into<String>, expected: impl Into<String>) -> ControlFailure {
    ControlFailure::Invalid { field: field.into(), expected: expected.into() }
}

/// The user as it will be kept: keys parsed, attributes of the kinds that the types file declares, nothing twice.
fn checked(new: NewUser, tenant: TenantId, types: &RecordTypes, now: UnixMs) -> Result<User, ControlFailure> {
    let NewUser { name, mut roles, attributes, ssh_keys, kind } = new;
    if roles.len() > ROLES_MAX {
        return Err(invalid("roles", format!("at most {ROLES_MAX}")));
    }
    roles.sort();
    roles.dedup();
    let mut typed = BTreeMap::new();
    for (name, text) in attributes {
        let kind = *types.principal.get(&name).ok_or_else(|| {
            let declared = types.principal.keys().map(Name::as_str).collect::<Vec<_>>().join(", ");
            let expected = match declared.as_str() {
                "" => "none, as the types file declares no attributes of principals".to_owned(),
                _ => format!("one of the attributes that the types file declares: {declared}"),
            };
            invalid(format!("attribute '{name}'"), expected)
        })?;
        let value =
            Value::parse(kind, &text).map_err(|_| invalid(format!("attribute '{name}'"), kind.expectation()))?;
        typed.insert(name, value);
    }
    let mut keys: Vec<ssh::PublicKey> = Vec::new();
    for (index, line) in ssh_keys.iter().enumerate() {
        let place = || format!("SSH key {}", index.saturating_add(1));
        let key = ssh::PublicKey::parse(line).map_err(|error| invalid(place(), expected_key(error)))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.len() > KEYS_MAX {
        return Err(invalid("SSH keys", format!("at most {KEYS_MAX}")));
    }
    let ssh_keys = keys.iter().map(ssh::PublicKey::to_line).collect();
    Ok(User { tenant, name, roles, attributes: typed, ssh_keys, changed: now, kind, external: None, expires: None })
}

const fn expected_key(error: ssh::SshError) -> &'static str {
    match error {
        ssh::SshError::Unsupported => "a key of kind ssh-ed25519, ecdsa-sha2-nistp256/384/521 or RSA from 2048 bits",
        _ => "a line such as `ssh-ed25519 AAAA… comment`, as in ~/.ssh/id_ed25519.pub",
    }
}

fn entry(id: UserId, user: &User, tenant: &Name, state: &State) -> UserEntry {
    let key = |line: &String| {
        let key = ssh::PublicKey::parse(line).ok()?;
        Some(UserKey { fingerprint: key.fingerprint(), kind: key.algorithm(), comment: key.comment().to_owned() })
    };
    let known = state.policies.roles();
    let is_unknown = |role: &&Name| !known.contains(*role) && role.as_str() != crate::OPERATOR_ROLE;
    UserEntry {
        id,
        name: user.name.clone(),
        tenant: tenant.clone(),
        roles: user.roles.clone(),
        unknown_roles: user.roles.iter().filter(is_unknown).cloned().collect(),
        attributes: user.attributes.clone(),
        ssh_keys: user.ssh_keys.iter().filter_map(key).collect(),
        kind: user.kind,
        external: user
            .external
            .as_ref()
            .map(|external| UserIdentity { issuer: external.issuer.clone(), subject: external.subject.clone() }),
        changed: rfc3339(user.changed),
    }
}
