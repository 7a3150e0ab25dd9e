//! One writer at a time.
//!
//! The object `lock` names its holder and until when it is held. It is made only if there is none; one whose time is over is
//! removed first. A holder looks at it before it makes anything count (a manifest) or removes anything, and moves the time on;
//! if it is another's then, the holder has stood still for longer than its lease and stops.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_model::{Clock, Entropy, UnixMs};
use parking_lot::Mutex;

use crate::bytes::Take;
use crate::error::BackupError;
use crate::names::RepositoryId;
use crate::place::Place;

const NAME: &str = "lock";
const MAGIC: [u8; 8] = *b"CSlock\x00\x01";
/// For how long a lock is held without being moved on.
const LEASE_MS: u64 = 15 * 60_000;
/// When it is moved on.
const RENEW_MS: u64 = LEASE_MS / 5;
/// How long letting go of one that was dropped may take. After that it lies where it is, as one that its owner has left.
const LETTING_GO: Duration = Duration::from_secs(2);
/// How often it is looked for whether that has come to an end, and for how long at most: longer than that can take.
const LOOKING: (Duration, u32) = (Duration::from_millis(10), 300);

/// Locks that this process holds: what lets it take its own place after a crash must not let it do so while it lives.
static HERE: Mutex<BTreeSet<([u8; 16], [u8; 8])>> = Mutex::new(BTreeSet::new());

/// One of them.
struct Here(([u8; 16], [u8; 8]));

impl Here {
    fn take(repository: RepositoryId, owner: [u8; 8]) -> Option<Self> {
        let key = (repository.0, owner);
        // Made only if it is ours: dropped, it frees the place.
        let is_new = HERE.lock().insert(key);
        is_new.then(|| Self(key))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.lock().remove(&self.0);
    }
}

pub(crate) struct Held {
    here: Option<Here>,
    place: Place,
    id: [u8; 16],
    renewed: Mutex<UnixMs>,
    is_over: AtomicBool,
}

fn encode(id: [u8; 16], until: UnixMs) -> Vec<u8> {
    [MAGIC.as_slice(), &id, &until.0.to_be_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<([u8; 16], UnixMs)> {
    let mut take = Take(bytes);
    (take.array() == Some(MAGIC)).then_some(())?;
    let found = (take.array()?, UnixMs(take.u64()?));
    take.is_empty().then_some(found)
}

impl Held {
    /// The lock. One that `owner` has left needs not be waited for: it was killed, or gave up, and if it stands still it sees
    /// that the lock is another's by now.
    pub(crate) async fn take(
        place: &Place,
        (repository, owner): (RepositoryId, [u8; 8]),
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, BackupError> {
        let mut here = Here::take(repository, owner);
        // One that was dropped is let go in the background.
        for _ in 0..LOOKING.1 {
            if here.is_some() {
                break;
            }
            tokio::time::sleep(LOOKING.0).await;
            here = Here::take(repository, owner);
        }
        let here = here.ok_or(BackupError::InUse { minutes: LEASE_MS / 60_000 })?;
        let mut id = [0; 16];
        entropy.fill(&mut id);
        for (byte, owner) in id.iter_mut().zip(owner) {
            *byte = owner;
        }
        for _ in 0..3 {
            let now = clock.now();
            if place.put_new(NAME, encode(id, now.plus_ms(LEASE_MS))).await? {
                let here = Some(here);
                let held =
                    Self { here, place: place.clone(), id, renewed: Mutex::new(now), is_over: AtomicBool::new(false) };
                // Two may have found the same old one, and one of them removed the other's new one.
                return match held.is_ours().await? {
                    true => Ok(held),
                    false => Err(BackupError::InUse { minutes: LEASE_MS / 60_000 }),
                };
            }
            match place.get(NAME, 64).await?.as_deref().map(decode) {
                None => {}
                // A lease can't end later than one from now: a clock was wrong, or somebody wants it so.
                Some(Some((found, until)))
                    if !found.starts_with(&owner)
                        && until > now
                        && until <= now.plus_ms(LEASE_MS.saturating_mul(2)) =>
                {
                    let minutes = until.since(now).div_ceil(60_000);
                    return Err(BackupError::InUse { minutes });
                }
                Some(_) => place.remove(NAME).await?,
            }
        }
        Err(BackupError::InUse { minutes: LEASE_MS / 60_000 })
    }

    async fn is_ours(&self) -> Result<bool, BackupError> {
        let found = self.place.get(NAME, 64).await?;
        Ok(found.as_deref().and_then(decode).is_some_and(|(id, _)| id == self.id))
    }

    /// Fails if it is somebody else's by now. Moves its time on.
    pub(crate) async fn check(&self, clock: &dyn Clock) -> Result<(), BackupError> {
        if !self.is_ours().await? {
            return Err(BackupError::TakenOver);
        }
        let now = clock.now();
        self.place.put(NAME, encode(self.id, now.plus_ms(LEASE_MS))).await?;
        *self.renewed.lock() = now;
        Ok(())
    }

    /// The same, if it is time for it.
    pub(crate) async fn keep(&self, clock: &dyn Clock) -> Result<(), BackupError> {
        let due = clock.now().since(*self.renewed.lock()) >= RENEW_MS;
        if due { self.check(clock).await } else { Ok(()) }
    }

    /// Lets go of it.
    pub(crate) async fn release(&self) -> Result<(), BackupError> {
        self.is_over.store(true, Ordering::Relaxed);
        if self.is_ours().await? { self.place.remove(NAME).await } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let (place, id, here) = (self.place.clone(), self.id, self.here.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move {
                let letting_go = async {
                    let found = place.get(NAME, 64).await;
                    if found.ok().flatten().as_deref().and_then(decode).is_some_and(|(found, _)| found == id) {
                        let _ = place.remove(NAME).await;
                    }
                };
                // If it does not come to that, the lease ends, or its owner takes it again. A place that is away must not
                // keep that owner out once it is back.
                let _ = tokio::time::timeout(LETTING_GO, letting_go).await;
                drop(here);
            }));
        }
    }
}
