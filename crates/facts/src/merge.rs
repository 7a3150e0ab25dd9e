//! New facts out of those that are in force and the parts that changed.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use countersign_model::facts::{Facts, Revocations, Tenant, User};
use countersign_model::{Name, TenantId, UnixMs, UserId};

use crate::contacts::{ContactsMap, Emails};
use crate::error::ApplyError;
use crate::form::{Entry, Key, Revoked, decode_bucket};
use crate::part::PartKind;
use crate::wrapped::{WrappedKey, WrappedMap};

/// The new contents of the buckets of one kind that changed; of a bucket that is gone, none.
pub(crate) struct Changed<E: Entry>(BTreeMap<u8, Vec<(E::Key, E)>>);

impl<E: Entry> Default for Changed<E> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<E: Entry> Changed<E> {
    /// `bytes` of the bucket as they are now, `None` if it is gone.
    pub(crate) fn bucket(&mut self, bucket: u8, bytes: Option<&[u8]>) -> Result<(), ApplyError> {
        let entries = bytes.map(|bytes| decode_bucket::<E>(bucket, bytes)).transpose()?;
        self.0.insert(bucket, entries.unwrap_or_default());
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn mask(&self) -> [bool; 256] {
        std::array::from_fn(|bucket| u8::try_from(bucket).is_ok_and(|bucket| self.0.contains_key(&bucket)))
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).fold(0, usize::saturating_add)
    }

    fn into_entries(self) -> impl Iterator<Item = (E::Key, E)> {
        self.0.into_values().flatten()
    }
}

fn concerns(mask: &[bool; 256], key: &impl Key) -> bool {
    mask.get(usize::from(key.bucket())).copied().unwrap_or(false)
}

/// A copy of `old` without the entries of the buckets that changed, with room for `more`.
fn kept<K: Key + Hash, V: Clone>(old: &HashMap<K, V>, mask: &[bool; 256], more: usize) -> HashMap<K, V> {
    let mut new = old.clone();
    new.retain(|key, _| !concerns(mask, key));
    new.reserve(more);
    new
}

/// The tenants. To be called before [`users`].
pub(crate) fn tenants(facts: &mut Facts, changed: Changed<Tenant>) -> Result<(), ApplyError> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut new = kept(&facts.tenants, &changed.mask(), changed.len());
    new.extend(changed.into_entries());
    let names: HashMap<Name, TenantId> = new.iter().map(|(id, tenant)| (tenant.name.clone(), *id)).collect();
    if names.len() != new.len() {
        return Err(ApplyError::Contradiction(PartKind::Tenants));
    }
    facts.tenants = Arc::new(new);
    facts.tenant_names = Arc::new(names);
    Ok(())
}

/// The users. Those that are the same as before keep their place in memory: guards keep plans by it.
pub(crate) fn users(facts: &mut Facts, changed: Changed<User>) -> Result<(), ApplyError> {
    if changed.is_empty() {
        return Ok(());
    }
    let mask = changed.mask();
    let before: HashMap<UserId, Arc<User>> =
        (facts.users.iter()).filter(|(id, _)| concerns(&mask, *id)).map(|(id, user)| (*id, Arc::clone(user))).collect();
    let mut new = kept(&facts.users, &mask, changed.len());
    let mut after = Vec::with_capacity(changed.len());
    for (id, user) in changed.into_entries() {
        if !facts.tenants.contains_key(&user.tenant) {
            return Err(ApplyError::Contradiction(PartKind::Users));
        }
        let user = match before.get(&id) {
            Some(known) if **known == user => Arc::clone(known),
            _ => Arc::new(user),
        };
        after.push((id, Arc::clone(&user)));
        new.insert(id, user);
    }
    let called = |one: &User, other: &User| one.tenant == other.tenant && one.name == other.name;
    let same_names = before.len() == after.len()
        && after.iter().all(|(id, user)| before.get(id).is_some_and(|known| called(known, user)));
    if !same_names {
        let mut names = (*facts.user_names).clone();
        for user in before.values() {
            names.remove(&(user.tenant, user.name.clone()));
        }
        for (id, user) in &after {
            if names.insert((user.tenant, user.name.clone()), *id).is_some() {
                return Err(ApplyError::Contradiction(PartKind::Users));
            }
        }
        facts.user_names = Arc::new(names);
    }
    facts.users = Arc::new(new);
    Ok(())
}

/// Whether every user's tenant exists still. [`users`] looks only at those that changed.
pub(crate) fn all_users_have_tenants(facts: &Facts) -> Result<(), ApplyError> {
    let known = |user: &Arc<User>| facts.tenants.contains_key(&user.tenant);
    if facts.users.values().all(known) { Ok(()) } else { Err(ApplyError::Contradiction(PartKind::Users)) }
}

/// The revocations.
pub(crate) fn revocations(facts: &mut Facts, changed: Changed<UnixMs>) {
    if changed.is_empty() {
        return;
    }
    let mask = changed.mask();
    let Revocations { mut tokens, mut sessions, mut users } = (*facts.revocations).clone();
    tokens.retain(|(tenant, id), _| !concerns(&mask, &Revoked::Token(*tenant, *id)));
    sessions.retain(|(tenant, id), _| !concerns(&mask, &Revoked::Session(*tenant, *id)));
    users.retain(|id, _| !concerns(&mask, &Revoked::User(*id)));
    for (revoked, at) in changed.into_entries() {
        match revoked {
            Revoked::Token(tenant, id) => tokens.insert((tenant, id), at),
            Revoked::Session(tenant, id) => sessions.insert((tenant, id), at),
            Revoked::User(id) => users.insert(id, at),
        };
    }
    facts.revocations = Arc::new(Revocations { tokens, sessions, users });
}

/// The tenants' addresses.
pub(crate) fn contacts(known: &Arc<ContactsMap>, changed: Changed<Emails>) -> Arc<ContactsMap> {
    if changed.is_empty() {
        return Arc::clone(known);
    }
    let mut new = kept(known, &changed.mask(), changed.len());
    new.extend(changed.into_entries().map(|(tenant, Emails(emails))| (tenant, emails)));
    Arc::new(new)
}

/// The wrapped keys, and the tenants whose key is another now or gone.
pub(crate) fn wrapped(known: &Arc<WrappedMap>, changed: Changed<WrappedKey>) -> (Arc<WrappedMap>, Vec<TenantId>) {
    if changed.is_empty() {
        return (Arc::clone(known), Vec::new());
    }
    let mut new = kept(known, &changed.mask(), changed.len());
    new.extend(changed.into_entries().map(|(tenant, WrappedKey(key))| (tenant, key)));
    let replaced = known.iter().filter(|(tenant, key)| new.get(*tenant) != Some(*key)).map(|(tenant, _)| *tenant);
    let replaced = replaced.collect();
    (Arc::new(new), replaced)
}
