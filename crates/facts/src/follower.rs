//! A service's side: from snapshots to the state that its guard decides by.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use countersign_crypto::jws::{PublicJwk, VerifyingKeys};
use countersign_crypto::sha256;
use countersign_guard::{FactsCell, State};
use countersign_model::facts::{Facts, Tenant, User};
use countersign_model::{Clock, RecordTypes, Service, TenantId, UnixMs};
use countersign_policy::{Policies, PolicyError};
use countersign_token::Verifier;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::contacts::{Emails, SnapshotContacts};
use crate::directory::Directory;
use crate::error::ApplyError;
use crate::form;
use crate::manifest::{Deployment, Manifest};
use crate::merge::{self, Changed};
use crate::part::{Index, PART_BYTES_MAX, Part, PartId, PartKind};
use crate::snapshot::Update;
use crate::wrapped::{SnapshotKeys, WrappedKey};

/// How far ahead the authority's clock may be.
pub const FUTURE_MAX_MS: u64 = 5_000;

/// What a service that has heard nothing yet holds: nobody, and no record type. Its guard refuses everything.
///
/// # Errors
/// [`PolicyError`] never: the policies that every deployment has are valid.
pub fn nothing_known() -> Result<State, PolicyError> {
    let policies = Policies::compile(&RecordTypes::default(), &[])?;
    Ok(State { facts: Arc::default(), policies: Arc::new(policies) })
}

/// What a [`Follower`] is made of.
pub struct FollowerParts {
    /// Whose snapshots it takes.
    pub deployment: Deployment,
    /// The service that it is in.
    pub service: Service,
    /// The keys that sign snapshots, as the authority named them when the service got its certificate.
    pub keys: Vec<PublicJwk>,
    /// Where the state goes.
    pub facts: Arc<FactsCell>,
    /// What is given new token keys.
    pub verifier: Arc<Verifier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told of new record types before anybody decides by them: what a store needs. The update is not put in force
    /// unless this succeeds.
    pub prepare: Option<Prepare>,
}

/// Takes new record types, or fails to.
pub type Prepare = Box<dyn Fn(&RecordTypes) -> Result<(), NotPrepared> + Send + Sync>;

/// The service could not take new record types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service can't take the new record types")]
pub struct NotPrepared;

/// Verifies snapshots and puts them in force. Lives as long as its service, through all reconnections: what it has
/// seen can't be taken back by sending something older.
pub struct Follower {
    parts: FollowerParts,
    /// One update at a time. `held` is locked only for a moment, so that whoever asks need not wait for policies to
    /// be compiled.
    applying: Mutex<()>,
    held: Mutex<Held>,
    refused: Mutex<Option<ApplyError>>,
    wrapped: Arc<SnapshotKeys>,
    contacts: Arc<SnapshotContacts>,
    directory: watch::Sender<Arc<Directory>>,
}

#[derive(Clone)]
struct Held {
    keys: Vec<PublicJwk>,
    manifest: Option<(String, Manifest)>,
    /// As it was signed, with the parts that are not for this service.
    index: Index,
    facts: Arc<Facts>,
    policies: Arc<Policies>,
    directory: Arc<Directory>,
}

/// What came of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The epoch in force.
    pub epoch: u64,
    /// When the authority signed what is in force.
    pub issued: UnixMs,
    /// How many parts changed.
    pub parts: usize,
    /// Whether policies were compiled.
    pub compiled: bool,
    /// Tenants whose wrapped key is another now, or gone: what was unwrapped of theirs has to be forgotten.
    pub rewrapped: Vec<TenantId>,
}

/// What is to take the place of what is in force.
struct Next {
    facts: Facts,
    policies: Option<Policies>,
    token_keys: Option<VerifyingKeys>,
    directory: Option<Directory>,
    wrapped: Changed<WrappedKey>,
    contacts: Changed<Emails>,
}

impl Follower {
    /// A follower that has nothing yet.
    #[must_use]
    pub fn new(parts: FollowerParts) -> Self {
        let held = Held {
            keys: parts.keys.clone(),
            manifest: None,
            index: Index::default(),
            facts: Arc::default(),
            policies: Arc::clone(&parts.facts.load().policies),
            directory: Arc::default(),
        };
        let (wrapped, directory) = (Arc::default(), watch::Sender::default());
        Self {
            parts,
            applying: Mutex::default(),
            held: Mutex::new(held),
            refused: Mutex::default(),
            wrapped,
            contacts: Arc::default(),
            directory,
        }
    }

    /// The index of what is in force, empty at first: what to tell the authority so that it sends only what differs.
    #[must_use]
    pub fn index(&self) -> Index {
        self.held.lock().index.clone()
    }

    /// The keys that the next snapshot may be signed with: the last signer, and the one that it announced.
    #[must_use]
    pub fn trusted(&self) -> Vec<PublicJwk> {
        self.held.lock().keys.clone()
    }

    /// Trusts these keys instead, as the authority named them over a connection that was verified by other means.
    ///
    /// Waits for an update that is being applied.
    pub fn trust(&self, keys: Vec<PublicJwk>) {
        let _alone = self.applying.lock();
        self.held.lock().keys = keys;
    }

    /// The tenants' e-mail addresses: empty unless this is a monitor.
    #[must_use]
    pub fn contacts(&self) -> Arc<SnapshotContacts> {
        Arc::clone(&self.contacts)
    }

    /// The tenants' wrapped keys: empty unless this is a key service.
    #[must_use]
    pub fn wrapped(&self) -> Arc<SnapshotKeys> {
        Arc::clone(&self.wrapped)
    }

    /// The services of the deployment, as they come and go.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.subscribe()
    }

    /// Verifies an update and puts it in force as a whole.
    ///
    /// Takes milliseconds, and where policies changed as long as compiling them takes: call it where blocking is
    /// allowed. One that is running keeps the next waiting.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has changed then.
    pub fn apply(&self, update: &Update) -> Result<Applied, ApplyError> {
        let _alone = self.applying.lock();
        let applied = self.apply_alone(update);
        *self.refused.lock() = applied.as_ref().err().copied();
        applied
    }

    /// Why the last update was refused, if it was.
    #[must_use]
    pub fn refused(&self) -> Option<ApplyError> {
        *self.refused.lock()
    }

    fn apply_alone(&self, update: &Update) -> Result<Applied, ApplyError> {
        let held = &self.held.lock().clone();
        if let Some((text, manifest)) = &held.manifest
            && *text == update.manifest
        {
            return Ok(Applied {
                epoch: manifest.epoch,
                issued: manifest.issued,
                parts: 0,
                compiled: false,
                rewrapped: Vec::new(),
            });
        }
        let (manifest, keys) = self.check_manifest(held, &update.manifest)?;
        let index = Self::check_index(held, &manifest, update)?;
        let own = |index: &Index| index.of_service(self.parts.service);
        let changes = check_parts(&own(&held.index), &own(&index), &update.parts)?;
        check_epochs(held, &manifest, &changes)?;
        let next = next(held, &manifest, &changes)?;
        if let Some(prepare) = &self.parts.prepare
            && (held.manifest.is_none() || next.facts.types != held.facts.types)
        {
            prepare(&next.facts.types)?;
        }
        Ok(self.put_in_force(Accepted { text: &update.manifest, manifest, keys, index }, changes.len(), next))
    }

    /// The manifest, and the keys that are trusted once it is in force.
    fn check_manifest(&self, held: &Held, text: &str) -> Result<(Manifest, Vec<PublicJwk>), ApplyError> {
        let (manifest, signer) = Manifest::verify(text, &held.keys, &self.parts.deployment)?;
        if manifest.issued.since(self.parts.clock.now()) > FUTURE_MAX_MS {
            return Err(ApplyError::Future);
        }
        if held.manifest.as_ref().is_some_and(|(_, known)| known.issued >= manifest.issued) {
            return Err(ApplyError::Replayed);
        }
        let announced = manifest.next_key.iter().filter(|next| *next != signer).cloned();
        let keys = std::iter::once(signer.clone()).chain(announced).collect();
        Ok((manifest, keys))
    }

    /// The index that was signed.
    fn check_index(held: &Held, manifest: &Manifest, update: &Update) -> Result<Index, ApplyError> {
        let bytes = match &update.index {
            Some(bytes) => bytes,
            None if held.manifest.as_ref().is_some_and(|(_, known)| known.index == manifest.index) => {
                return Ok(held.index.clone());
            }
            None => return Err(ApplyError::Index),
        };
        if bytes.len() > Index::BYTES_MAX || sha256(bytes) != manifest.index {
            return Err(ApplyError::Index);
        }
        let index = Index::decode(bytes)?;
        let always = PartKind::ALL.into_iter().filter(|kind| !kind.is_split());
        if let Some(kind) = always.into_iter().find(|kind| index.digest(PartId::whole(*kind)).is_none()) {
            return Err(ApplyError::Missing(kind));
        }
        Ok(index)
    }

    fn put_in_force(&self, accepted: Accepted<'_>, parts: usize, next: Next) -> Applied {
        let held = &mut *self.held.lock();
        let Accepted { text, manifest, keys, index } = accepted;
        let compiled = next.policies.is_some();
        let now = self.parts.clock.now();
        // Keys first: a state may name tenants and tokens that only they open.
        let (wrapped, rewrapped) = merge::wrapped(&self.wrapped.load(), next.wrapped);
        self.wrapped.replace(wrapped);
        self.contacts.replace(merge::contacts(&self.contacts.load(), next.contacts));
        if let Some(keys) = next.token_keys {
            self.parts.verifier.replace_keys(keys);
        }
        let is_first = held.manifest.is_none();
        if is_first || next.facts.epoch != held.facts.epoch {
            held.facts = Arc::new(next.facts);
            if let Some(policies) = next.policies {
                held.policies = Arc::new(policies);
            }
            let state = State { facts: Arc::clone(&held.facts), policies: Arc::clone(&held.policies) };
            self.parts.facts.publish(state, now);
        }
        // A clock that is ahead must not make anything good for longer.
        self.parts.facts.heard(manifest.issued.min(now));
        if let Some(directory) = next.directory {
            held.directory = Arc::new(directory);
            self.directory.send_replace(Arc::clone(&held.directory));
        }
        let applied = Applied { epoch: manifest.epoch, issued: manifest.issued, parts, compiled, rewrapped };
        held.manifest = Some((text.to_owned(), manifest));
        held.keys = keys;
        held.index = index;
        applied
    }
}

/// The parts that change: their new bytes, `None` for a bucket that is empty now.
type Changes<'u> = BTreeMap<PartId, Option<&'u [u8]>>;

struct Accepted<'u> {
    text: &'u str,
    manifest: Manifest,
    keys: Vec<PublicJwk>,
    index: Index,
}

/// What has to change to come from the parts in `old` to those in `new`. Every part that came must be one that
/// was signed, and every one that is needed must have come.
fn check_parts<'u>(old: &Index, new: &Index, came: &'u [Part]) -> Result<Changes<'u>, ApplyError> {
    let mut changes = Changes::new();
    for part in came {
        let kind = part.id.kind();
        let digest = new.digest(part.id).ok_or(ApplyError::Unasked(kind))?;
        if part.bytes.len() > PART_BYTES_MAX {
            return Err(ApplyError::TooLarge);
        }
        if changes.contains_key(&part.id) {
            return Err(ApplyError::Unasked(kind));
        }
        if sha256(&part.bytes) != *digest {
            return Err(ApplyError::Altered(kind));
        }
        if old.digest(part.id) != Some(digest) {
            changes.insert(part.id, Some(&part.bytes));
        }
    }
    for (id, digest) in new.iter() {
        if old.digest(id) != Some(digest) && !changes.contains_key(&id) {
            return Err(ApplyError::Missing(id.kind()));
        }
    }
    changes.extend(old.iter().filter(|(id, _)| new.digest(*id).is_none()).map(|(id, _)| (id, None)));
    Ok(changes)
}

/// INVARIANT one-epoch-one-state: what decisions depend on changes only together with the epoch, what policies are
/// compiled from only together with the policy epoch, and neither ever goes back.
fn check_epochs(held: &Held, manifest: &Manifest, changes: &Changes<'_>) -> Result<(), ApplyError> {
    let Facts { epoch, policy_epoch, .. } = *held.facts;
    if manifest.epoch < epoch || manifest.policy_epoch < policy_epoch || manifest.policy_epoch > manifest.epoch {
        return Err(ApplyError::Rollback);
    }
    let decisive = changes.keys().any(|id| id.kind().is_decisive());
    let policy = changes.keys().any(|id| matches!(id.kind(), PartKind::Types | PartKind::Policies));
    if decisive && manifest.epoch == epoch || policy && manifest.policy_epoch == policy_epoch {
        return Err(ApplyError::SameEpoch);
    }
    Ok(())
}

fn next(held: &Held, manifest: &Manifest, changes: &Changes<'_>) -> Result<Next, ApplyError> {
    let mut facts = Facts { epoch: manifest.epoch, policy_epoch: manifest.policy_epoch, ..(*held.facts).clone() };
    let (mut tenants, mut users) = (Changed::<Tenant>::default(), Changed::<User>::default());
    let (mut revocations, mut wrapped) = (Changed::<UnixMs>::default(), Changed::<WrappedKey>::default());
    let mut contacts = Changed::<Emails>::default();
    let (mut token_keys, mut services, mut removed) = (None, None, None);
    for (id, bytes) in changes {
        let whole = || bytes.ok_or(ApplyError::Missing(id.kind()));
        match id.kind() {
            PartKind::Types => facts.types = Arc::new(form::decode_types(whole()?)?),
            PartKind::Policies => facts.policies = Arc::new(form::decode_policies(whole()?)?),
            PartKind::Tenants => tenants.bucket(id.bucket(), *bytes)?,
            PartKind::Users => users.bucket(id.bucket(), *bytes)?,
            PartKind::Revocations => revocations.bucket(id.bucket(), *bytes)?,
            PartKind::Wrapped => wrapped.bucket(id.bucket(), *bytes)?,
            PartKind::Contacts => contacts.bucket(id.bucket(), *bytes)?,
            PartKind::TokenKeys => {
                let keys = form::decode_token_keys(whole()?)?;
                let keys = VerifyingKeys::new(keys).map_err(|_| ApplyError::Malformed(PartKind::TokenKeys))?;
                token_keys = Some(keys);
            }
            PartKind::Services => services = Some(form::decode_services(whole()?)?),
            PartKind::Removed => removed = Some(form::decode_removed(whole()?)?),
        }
    }
    let tenants_changed = !tenants.is_empty();
    merge::tenants(&mut facts, tenants)?;
    merge::users(&mut facts, users)?;
    merge::revocations(&mut facts, revocations);
    if tenants_changed {
        merge::all_users_have_tenants(&facts)?;
    }
    let compile_anew = changes.keys().any(|id| matches!(id.kind(), PartKind::Types | PartKind::Policies));
    let policies = compile_anew.then(|| Policies::compile(&facts.types, &facts.policies));
    let policies = policies.transpose().map_err(|_| ApplyError::Policies)?;
    let directory = (services.is_some() || removed.is_some()).then(|| Directory {
        services: services.unwrap_or_else(|| held.directory.services.clone()),
        removed: removed.map_or_else(|| held.directory.removed.clone(), |removed| removed.into_iter().collect()),
    });
    Ok(Next { facts, policies, token_keys, directory, wrapped, contacts })
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("service", &self.parts.service).finish_non_exhaustive()
    }
}
