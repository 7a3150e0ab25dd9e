//! The authority's side: from facts to signed snapshots.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use countersign_crypto::jws::{PublicJwk, SigningKey};
use countersign_model::facts::{Facts, Revocations, Tenant, User};
use countersign_model::{Clock, TenantId, UnixMs, UserId};
use parking_lot::Mutex;

use crate::buckets::Buckets;
use crate::contacts::Emails;
use crate::directory::{Directory, ServiceEntry};
use crate::error::PublishError;
use crate::follower::FUTURE_MAX_MS;
use crate::form::{self, Revoked};
use crate::manifest::{Deployment, Manifest};
use crate::part::{Encoded, Index, PartId, PartKind};
use crate::snapshot::{Contents, Snapshot};
use crate::wrapped::WrappedKey;

/// What a snapshot is made of. What is behind an `Arc` that was there the last time isn't looked at again.
#[derive(Clone)]
pub struct Sources {
    /// The facts.
    pub facts: Arc<Facts>,
    /// The public keys by which tokens can be verified now.
    pub token_keys: Vec<PublicJwk>,
    /// The services that run, and those that were removed.
    pub directory: Arc<Directory>,
    /// The tenants' wrapped keys; at least those of the tenants in `facts`.
    pub wrapped: Arc<HashMap<TenantId, Arc<[u8]>>>,
    /// The tenants' e-mail addresses.
    pub contacts: Arc<HashMap<TenantId, Arc<Vec<String>>>>,
}

/// Makes snapshots. Keeps the encoded parts, so that a change costs what changed.
pub struct Publisher {
    deployment: Deployment,
    clock: Arc<dyn Clock>,
    held: Mutex<State>,
}

struct State {
    key: Arc<SigningKey>,
    next_key: Option<PublicJwk>,
    encoded: Parts,
    newest: Option<Arc<Snapshot>>,
}

/// The parts, and what they were encoded from.
#[derive(Default)]
struct Parts {
    sources: Option<Sources>,
    tenants: Buckets<TenantId, Arc<Tenant>>,
    users: Buckets<UserId, Arc<User>>,
    revocations: Buckets<Revoked, Held<UnixMs>>,
    wrapped: Buckets<TenantId, Held<WrappedKey>>,
    contacts: Buckets<TenantId, Held<Emails>>,
    whole: BTreeMap<PartKind, Encoded>,
}

/// Something small that is held like what is behind an `Arc`.
struct Held<T>(T);

impl<T> std::ops::Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Publisher {
    /// A publisher that signs with `key`.
    #[must_use]
    pub fn new(deployment: Deployment, key: Arc<SigningKey>, clock: Arc<dyn Clock>) -> Self {
        let held = State { key, next_key: None, encoded: Parts::default(), newest: None };
        Self { deployment, clock, held: Mutex::new(held) }
    }

    /// A snapshot of these sources, which must be the newest.
    ///
    /// Takes time with the number of users the first time (seconds for 100,000), and little after that.
    ///
    /// # Errors
    /// [`PublishError`]. Followers keep what they have until it is too old.
    pub fn publish(&self, sources: &Sources) -> Result<Arc<Snapshot>, PublishError> {
        let held = &mut *self.held.lock();
        if let Err(error) = held.encoded.update(sources) {
            // What is encoded of it may be half of it: the next time looks at everything.
            held.encoded = Parts::default();
            return Err(error);
        }
        let contents = held.encoded.contents();
        let contents = match &held.newest {
            Some(newest) if newest.contents.index == contents.index => Arc::clone(&newest.contents),
            _ => Arc::new(contents),
        };
        let Facts { epoch, policy_epoch, .. } = *sources.facts;
        self.sign(held, epoch, policy_epoch, contents)
    }

    /// The newest snapshot, signed anew: tells followers that it still is the newest.
    ///
    /// # Errors
    /// [`PublishError::NothingYet`], [`PublishError::Signing`].
    pub fn renew(&self) -> Result<Arc<Snapshot>, PublishError> {
        let held = &mut *self.held.lock();
        let newest = held.newest.clone().ok_or(PublishError::NothingYet)?;
        let Manifest { epoch, policy_epoch, .. } = newest.manifest;
        self.sign(held, epoch, policy_epoch, Arc::clone(&newest.contents))
    }

    /// The keys that a follower has to trust: the one that signs and, if it was announced, the one that will.
    #[must_use]
    pub fn keys(&self) -> Vec<PublicJwk> {
        let held = self.held.lock();
        std::iter::once(held.key.public_jwk().clone()).chain(held.next_key.clone()).collect()
    }

    /// Names the key that will sign next, in every manifest from the next one on. A follower that has seen one of
    /// them accepts that key.
    pub fn announce(&self, next: PublicJwk) {
        self.held.lock().next_key = Some(next);
    }

    /// Signs with this key from now on. It should have been announced for as long as services may be away; one that
    /// missed it has to be told by other means ([`Follower::trust`](crate::Follower::trust)).
    pub fn use_key(&self, key: Arc<SigningKey>) {
        let mut held = self.held.lock();
        held.key = key;
        held.next_key = None;
    }

    fn sign(
        &self,
        held: &mut State,
        epoch: u64,
        policy_epoch: u64,
        contents: Arc<Contents>,
    ) -> Result<Arc<Snapshot>, PublishError> {
        // Each later than the one before, so that followers can tell which is newer; but not in a future that they
        // would refuse, after a clock that was far ahead was put right.
        let now = self.clock.now();
        let after = held.newest.as_ref().map_or(UnixMs(0), |newest| newest.issued().plus_ms(1));
        let issued = if after.since(now) > FUTURE_MAX_MS { now } else { now.max(after) };
        let manifest = Manifest {
            epoch,
            policy_epoch,
            issued,
            index: countersign_crypto::sha256(&contents.index_bytes),
            next_key: held.next_key.clone(),
        };
        let text = manifest.sign(&held.key, &self.deployment).map_err(PublishError::Signing)?;
        let snapshot = Arc::new(Snapshot { manifest, text, contents });
        held.newest = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }
}

/// Whether this is another one than the last time.
fn differs<T>(last: Option<&Arc<T>>, now: &Arc<T>) -> bool {
    last.is_none_or(|last| !Arc::ptr_eq(last, now))
}

impl Parts {
    fn update(&mut self, sources: &Sources) -> Result<(), PublishError> {
        let last = self.sources.take();
        let last_facts = last.as_ref().map(|last| &last.facts);
        let facts = &sources.facts;
        if differs(last_facts.map(|last| &last.types), &facts.types) {
            self.whole.insert(PartKind::Types, form::encode_types(&facts.types)?);
        }
        if differs(last_facts.map(|last| &last.policies), &facts.policies) {
            self.whole.insert(PartKind::Policies, form::encode_policies(&facts.policies)?);
        }
        if differs(last_facts.map(|last| &last.tenants), &facts.tenants) {
            let entries = facts.tenants.iter().map(|(id, tenant)| (*id, Arc::new(tenant.clone())));
            let has = |id: &TenantId| facts.tenants.contains_key(id);
            self.tenants.update(entries, facts.tenants.len(), has, |one, other| one == other)?;
        }
        if differs(last_facts.map(|last| &last.users), &facts.users) {
            let entries = facts.users.iter().map(|(id, user)| (*id, Arc::clone(user)));
            self.users.update(entries, facts.users.len(), |id| facts.users.contains_key(id), Arc::ptr_eq)?;
        }
        if differs(last_facts.map(|last| &last.revocations), &facts.revocations) {
            self.update_revocations(&facts.revocations)?;
        }
        if differs(last.as_ref().map(|last| &last.wrapped), &sources.wrapped) {
            let known = &sources.wrapped;
            let entries = known.iter().map(|(id, key)| (*id, Held(WrappedKey(Arc::clone(key)))));
            self.wrapped.update(
                entries,
                known.len(),
                |id| known.contains_key(id),
                |one, other| one.0.0 == other.0.0,
            )?;
        }
        if differs(last.as_ref().map(|last| &last.contacts), &sources.contacts) {
            let known = &sources.contacts;
            let entries = known.iter().map(|(id, emails)| (*id, Held(Emails(Arc::clone(emails)))));
            let has = |id: &TenantId| known.contains_key(id);
            self.contacts.update(entries, known.len(), has, |one, other| one.0.0 == other.0.0)?;
        }
        if last.as_ref().is_none_or(|last| last.token_keys != sources.token_keys) {
            self.whole.insert(PartKind::TokenKeys, form::encode_token_keys(&sources.token_keys)?);
        }
        if differs(last.as_ref().map(|last| &last.directory), &sources.directory) {
            let mut services: Vec<ServiceEntry> = sources.directory.services.clone();
            services.sort();
            let removed: Vec<String> = sources.directory.removed.iter().cloned().collect();
            self.whole.insert(PartKind::Services, form::encode_services(&services)?);
            self.whole.insert(PartKind::Removed, form::encode_removed(&removed)?);
        }
        self.sources = Some(sources.clone());
        Ok(())
    }

    fn update_revocations(&mut self, revocations: &Revocations) -> Result<(), PublishError> {
        let Revocations { tokens, sessions, users } = revocations;
        let entries = (tokens.iter().map(|((tenant, id), at)| (Revoked::Token(*tenant, *id), Held(*at))))
            .chain(sessions.iter().map(|((tenant, id), at)| (Revoked::Session(*tenant, *id), Held(*at))))
            .chain(users.iter().map(|(id, at)| (Revoked::User(*id), Held(*at))));
        let len = tokens.len().saturating_add(sessions.len()).saturating_add(users.len());
        let has = |key: &Revoked| match key {
            Revoked::Token(tenant, id) => tokens.contains_key(&(*tenant, *id)),
            Revoked::Session(tenant, id) => sessions.contains_key(&(*tenant, *id)),
            Revoked::User(id) => users.contains_key(id),
        };
        self.revocations.update(entries, len, has, |one, other| one.0 == other.0)
    }

    fn contents(&self) -> Contents {
        let (mut index, mut parts) = (Index::default(), BTreeMap::<PartId, Bytes>::new());
        for (kind, encoded) in &self.whole {
            index.put(PartId::whole(*kind), encoded.digest);
            parts.insert(PartId::whole(*kind), encoded.bytes.clone());
        }
        self.tenants.collect::<Tenant>(&mut index, &mut parts);
        self.users.collect::<User>(&mut index, &mut parts);
        self.revocations.collect::<UnixMs>(&mut index, &mut parts);
        self.wrapped.collect::<WrappedKey>(&mut index, &mut parts);
        self.contacts.collect::<Emails>(&mut index, &mut parts);
        Contents { index_bytes: index.encode(), index, parts }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}
