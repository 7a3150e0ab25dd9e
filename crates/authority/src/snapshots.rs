//! Telling services that run apart what decisions depend on: signed snapshots of the facts, at each change and often
//! enough that they know that what they have is still the newest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::jws::{JwsError, PublicJwk, SigningKey};
use countersign_facts::{Deployment, Directory, PublishError, Publisher, ServiceEntry, Snapshot, Sources};
use countersign_model::UnixMs;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::error::RegistryError;
use crate::registry::Registry;
use crate::registry::fact::{FactsKeysFact, SecretBytes};
use crate::signing::published;

/// How often a snapshot is signed anew although nothing changed. Services refuse after 30 seconds without one, so
/// several may go missing.
pub const RENEW: Duration = Duration::from_secs(5);

/// How often the clock is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// How long one key signs snapshots. Its successor is announced all that time, so a service may be away for a day
/// before it has to be told the key by other means.
pub(crate) const FACTS_KEY_MS: u64 = 24 * 3600 * 1000;

/// Why there is no snapshot of the facts.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The keys that sign can't be kept.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The snapshot can't be made.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// This process may not act as the authority at this moment: the database has not confirmed for seconds that it is
    /// the authority. It may again once that is done, if nobody else has become it meanwhile.
    #[error("the database does not answer, or too slowly, so this process is not the authority for now")]
    NotHeld,
    /// Another process is the authority.
    #[error("another process is the authority now")]
    Replaced,
    /// The program is ending.
    #[error("it was interrupted")]
    Interrupted,
}

/// The newest snapshot of the facts, and what it takes to keep it the newest.
pub struct Snapshots {
    registry: Arc<Registry>,
    publisher: Publisher,
    fleet: Mutex<Fleet>,
    /// Held until a snapshot is out, so that none is overtaken by an earlier one.
    publishing: Mutex<()>,
    poked: Notify,
    newest: watch::Sender<Arc<Snapshot>>,
    directory: watch::Sender<Arc<Directory>>,
}

/// The services that follow, and what was last said of them.
#[derive(Default)]
struct Fleet {
    present: BTreeMap<String, (u64, ServiceEntry)>,
    count: u64,
    directory: Arc<Directory>,
}

/// The two keys that followers have to know.
struct FactsKeys {
    current: Arc<SigningKey>,
    next: PublicJwk,
}

fn crypto(_: JwsError) -> RegistryError {
    RegistryError::Crypto
}

impl FactsKeys {
    fn of(stored: &FactsKeysFact) -> Result<Self, RegistryError> {
        let key = |private: &SecretBytes| SigningKey::from_pkcs8(&private.0).map_err(crypto);
        Ok(Self { current: Arc::new(key(&stored.current)?), next: key(&stored.next)?.public_jwk().clone() })
    }

    /// The keys for this moment. Makes them if there are none, and puts the next in place of one that signed for
    /// [`FACTS_KEY_MS`]; what follows is durable before it is announced. `None` if nothing has changed.
    async fn renewed(registry: &Arc<Registry>) -> Result<Option<Self>, RegistryError> {
        let is_due = |stored: &Option<FactsKeysFact>, now: UnixMs| {
            stored.as_ref().is_none_or(|stored| now.since(stored.since) >= FACTS_KEY_MS)
        };
        if !is_due(&registry.facts_keys(), registry.clock().now()) {
            return Ok(None);
        }
        let mut change = registry.begin().await;
        let (now, stored) = (registry.clock().now(), registry.facts_keys());
        if !is_due(&stored, now) {
            return Ok(None);
        }
        let new = || -> Result<SecretBytes, RegistryError> {
            Ok(SecretBytes(SigningKey::generate(registry.entropy()).map_err(crypto)?.to_pkcs8()))
        };
        let current = stored.map_or_else(new, |stored| Ok(stored.next))?;
        let keys = FactsKeysFact { since: now, current, next: new()? };
        let usable = Self::of(&keys)?;
        change.set_facts_keys(keys)?;
        change.commit().await?;
        Ok(Some(usable))
    }
}

impl Snapshots {
    /// Makes the first snapshot. `issuer` is the issuer of the deployment's tokens.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn open(registry: Arc<Registry>, issuer: String) -> Result<Arc<Self>, SnapshotError> {
        let keys = match FactsKeys::renewed(&registry).await? {
            Some(keys) => keys,
            None => FactsKeys::of(&registry.facts_keys().ok_or(RegistryError::Crypto)?)?,
        };
        let deployment = Deployment { issuer, trust_domain: registry.trust_domain().as_ref().to_owned() };
        let publisher = Publisher::new(deployment, keys.current, registry.shared_clock());
        publisher.announce(keys.next);
        let mut fleet = Fleet::default();
        let first = publisher.publish(&sources(&registry, &mut fleet))?;
        let (poked, newest) = (Notify::new(), watch::Sender::new(first));
        let directory = watch::Sender::new(Arc::clone(&fleet.directory));
        let (fleet, publishing) = (Mutex::new(fleet), Mutex::default());
        Ok(Arc::new(Self { registry, publisher, fleet, publishing, poked, newest, directory }))
    }

    /// The newest snapshot, and each that follows.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }

    /// The services that follow, and those that were removed, as they come and go.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.subscribe()
    }

    /// The keys that services have to trust for snapshots: the one that signs and the one that will. They are told
    /// when a service gets its certificate.
    #[must_use]
    pub fn keys(&self) -> Vec<PublicJwk> {
        self.publisher.keys()
    }

    /// A service can be reached here until what comes back is dropped. Everybody is told.
    pub fn present(self: &Arc<Self>, entry: ServiceEntry) -> Present {
        let mut fleet = self.fleet.lock();
        fleet.count = fleet.count.wrapping_add(1);
        let (id, count) = (entry.id.clone(), fleet.count);
        fleet.present.insert(id.clone(), (count, entry));
        drop(fleet);
        self.poked.notify_one();
        Present { snapshots: Arc::clone(self), id, count }
    }

    /// Keeps the newest snapshot the newest, for as long as it is polled: at each change, and every [`RENEW`].
    ///
    /// `failed` is told of what went wrong; it is tried again at the next occasion. Services refuse everything when
    /// it doesn't come right before what they have is too old.
    pub async fn run(self: Arc<Self>, failed: impl Fn(&SnapshotError) + Send) {
        let mut changes = self.registry.changes();
        loop {
            changes.mark_unchanged();
            if let Err(error) = Arc::clone(&self).publish().await {
                failed(&error);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.poked.notified() => {}
                () = self.is_old() => {}
            }
        }
    }

    /// Waits until the newest snapshot is [`RENEW`] old: by the machine's timer, or before that by the clock, as after
    /// the machine slept.
    async fn is_old(&self) {
        let clock = self.registry.shared_clock();
        let began = clock.now();
        let by_the_clock = async {
            while u128::from(clock.now().since(began)) < RENEW.as_millis() {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Over before that or not, it is old by now.
        drop(tokio::time::timeout(RENEW, by_the_clock).await);
    }

    /// Makes a snapshot of what is in force now.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn publish(self: Arc<Self>) -> Result<(), SnapshotError> {
        if let Some(keys) = FactsKeys::renewed(&self.registry).await? {
            self.publisher.use_key(keys.current);
            self.publisher.announce(keys.next);
        }
        // Encoding takes a while where much changed.
        let publish = move || {
            let _alone = self.publishing.lock();
            let sources = sources(&self.registry, &mut self.fleet.lock());
            let snapshot = self.publisher.publish(&sources)?;
            // INVARIANT no-stale-authority: asked after it was signed, so that whatever is given out was signed while
            // nobody else could be the authority, however long this process was kept from running meanwhile.
            if !self.registry.is_held() {
                let is_lost = self.registry.losing().is_some_and(|lost| *lost.borrow());
                return Err(if is_lost { SnapshotError::Replaced } else { SnapshotError::NotHeld });
            }
            self.newest.send_replace(snapshot);
            self.directory.send_if_modified(|known| {
                let changed = !Arc::ptr_eq(known, &sources.directory);
                *known = Arc::clone(&sources.directory);
                changed
            });
            Ok(())
        };
        tokio::task::spawn_blocking(publish).await.map_err(|_| SnapshotError::Interrupted)?
    }
}

fn sources(registry: &Registry, fleet: &mut Fleet) -> Sources {
    // Facts first: each of their tenants has its key by then.
    let facts = Arc::clone(&registry.latest().facts);
    let removed = registry.removed_services();
    let here = fleet.present.values().map(|(_, entry)| entry).filter(|entry| !removed.contains(&entry.id));
    let directory = Directory { services: here.cloned().collect(), removed };
    if *fleet.directory != directory {
        fleet.directory = Arc::new(directory);
    }
    Sources {
        facts,
        token_keys: published(&registry.signing_keys(), registry.clock().now()),
        directory: Arc::clone(&fleet.directory),
        wrapped: registry.wrapped_keys(),
        contacts: registry.all_emails(),
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("newest", &self.newest.borrow().epoch()).finish_non_exhaustive()
    }
}

/// A service that can be reached, until this is dropped.
#[must_use = "the service is gone when this is dropped"]
pub struct Present {
    snapshots: Arc<Snapshots>,
    id: String,
    count: u64,
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut fleet = self.snapshots.fleet.lock();
        // Unless it came again meanwhile.
        if fleet.present.get(&self.id).is_some_and(|(count, _)| *count == self.count) {
            fleet.present.remove(&self.id);
            drop(fleet);
            self.snapshots.poked.notify_one();
        }
    }
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Present").field("id", &self.id).finish_non_exhaustive()
    }
}
