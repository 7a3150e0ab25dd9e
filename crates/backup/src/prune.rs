//! Removing backups, and chunks that no backup has any more.

use std::collections::HashSet;

use crate::error::{BackupError, Damage};
use crate::lock::Held;
use crate::names::BackupId;
use crate::repository::{Repository, chunk_name, manifest_name};
use crate::writer::{names, sizes};

/// After so many, it is looked again whether the lock is still held.
const AT_ONCE: usize = 64;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Backups.
    pub backups: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl Repository {
    /// Removes one backup, also one that does not open. Its chunks stay until [`Self::prune`].
    ///
    /// # Errors
    /// [`BackupError::InUse`]; if the repository can't be written.
    pub async fn remove(&self, id: BackupId) -> Result<(), BackupError> {
        let lock = self.lock().await?;
        lock.check(&*self.inner.tools.clock).await?;
        self.inner.place.remove(&manifest_name(id)).await?;
        lock.release().await
    }

    /// How many chunks there are that no backup has: what was cut off has left, or what is just being made has stored.
    ///
    /// # Errors
    /// [`Damage`] if a manifest does not open.
    pub async fn unlisted(&self) -> Result<u64, BackupError> {
        // Chunks first: what a backup stores after this look is in no count.
        let chunks = sizes(self).await?;
        let mut listed = HashSet::new();
        for id in self.backups().await? {
            listed.extend(names(&[self.manifest(id, None).await?.0]));
        }
        Ok(chunks.keys().filter(|name| !listed.contains(*name)).count() as u64)
    }

    /// Removes all backups but those in `keep`, and then the chunks that no backup has. No backup can be made meanwhile.
    /// Cut off, it leaves chunks that nobody needs, and the next one removes them.
    ///
    /// # Errors
    /// [`BackupError::InUse`]; [`Damage`] if the manifest of a backup that is to stay does not open: nothing is removed then,
    /// as nobody knows which chunks it has.
    pub async fn prune(&self, keep: &[BackupId]) -> Result<Pruned, BackupError> {
        let lock = self.lock().await?;
        let all = self.backups().await?;
        if let Some(missing) = keep.iter().find(|id| !all.contains(id)) {
            return Err(Damage::ManifestMissing(*missing).into());
        }
        let (kept, gone) = all.into_iter().partition(|id| keep.contains(id));
        self.keep_only(&lock, kept, gone).await
    }

    /// Removes these backups, and the chunks that no other has; with none, chunks that no backup has. What somebody else has
    /// made meanwhile stays.
    ///
    /// # Errors
    /// As [`Self::prune`].
    pub async fn discard(&self, these: &[BackupId]) -> Result<Pruned, BackupError> {
        let lock = self.lock().await?;
        let (gone, kept) = self.backups().await?.into_iter().partition(|id| these.contains(id));
        self.keep_only(&lock, kept, gone).await
    }

    async fn keep_only(&self, lock: &Held, kept: Vec<BackupId>, gone: Vec<BackupId>) -> Result<Pruned, BackupError> {
        let clock = &*self.inner.tools.clock;
        let mut needed = HashSet::new();
        for id in kept {
            needed.extend(names(&[self.manifest(id, None).await?.0]));
        }
        let mut pruned = Pruned::default();
        lock.check(clock).await?;
        for id in &gone {
            lock.keep(clock).await?;
            self.inner.place.remove(&manifest_name(*id)).await?;
            pruned.backups = pruned.backups.saturating_add(1);
        }
        let chunks = sizes(self).await?;
        let gone = chunks.iter().filter(|(name, _)| !needed.contains(name));
        for (place, (name, size)) in gone.enumerate() {
            if place.is_multiple_of(AT_ONCE) {
                lock.check(clock).await?;
            }
            self.inner.place.remove(&chunk_name(name)).await?;
            pruned.chunks = pruned.chunks.saturating_add(1);
            pruned.bytes = pruned.bytes.saturating_add(*size);
        }
        lock.release().await?;
        Ok(pruned)
    }
}
