//! A backup that is being made.
//!
//! Chunks are named, sealed and stored by tasks, a few at a time, while the caller reads on; so reading, sealing and storing
//! go on beside one another, and what is in memory is bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_model::UnixMs;
use countersign_model::beside::{Beside, Served};
use tokio::task::JoinHandle;

use crate::error::{BackupError, Damage};
use crate::lock::Held;
use crate::manifest::{ChunkEntry, Manifest, NOTE_MAX, SectionEntry};
use crate::names::{BackupId, ChunkName, Digest, Section};
use crate::repository::{Repository, chunk_name, manifest_name};
use crate::seal::{STORED_CHUNK_MAX, SectionKeys, SectionSeal, digest, sealed_bytes};
use crate::{CHUNK_MAX, CHUNK_USUAL};

/// So many chunks are under way at a time.
const UNDER_WAY: usize = 4;

/// Hears how far work has come, and says whether it shall go on.
pub trait Watch: Send + Sync {
    /// So many more bytes of what is backed up or read were done, of which `stored` were new to the repository.
    fn reached(&self, bytes: u64, stored: u64) {
        let _ = (bytes, stored);
    }

    /// Whether somebody wants it to end.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// For how long requests have been served, which go first: see [`Beside`].
    fn served(&self) -> Duration {
        Duration::ZERO
    }
}

impl Watch for () {}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What it is made of.
    pub manifest: Manifest,
    /// The manifest's digest, for the record.
    pub digest: Digest,
    /// Chunks that were not there before.
    pub new_chunks: u64,
    /// Bytes that were stored, the manifest included.
    pub stored_bytes: u64,
}

/// What is there already: digests of chunks that the newest backup has, and sizes of all.
struct There {
    sizes: HashMap<ChunkName, u64>,
    digests: HashMap<(Section, ChunkName), (u32, Digest)>,
    /// Whether what is there is read before it is counted on.
    is_checked: bool,
}

/// A backup that is being made. Dropped, it leaves chunks that the next one finds, and nothing else.
pub struct Writer {
    repository: Repository,
    lock: Held,
    keys: Arc<dyn SectionKeys>,
    watch: Arc<dyn Watch>,
    id: BackupId,
    at: UnixMs,
    there: Arc<There>,
    sections: Vec<SectionEntry>,
    seal: Option<Arc<SectionSeal>>,
    /// Bytes of a section that is cut at fixed sizes.
    pending: Vec<u8>,
    under_way: VecDeque<JoinHandle<Result<Done, BackupError>>>,
    piece: Beside,
    new_chunks: u64,
    stored_bytes: u64,
}

struct Done {
    entry: ChunkEntry,
    /// How many bytes were stored; 0 if it was there.
    stored: u64,
}

impl Writer {
    pub(crate) async fn begin(
        repository: Repository,
        lock: Held,
        keys: Arc<dyn SectionKeys>,
        watch: Arc<dyn Watch>,
        is_checked: bool,
    ) -> Result<Self, BackupError> {
        let sizes = sizes(&repository).await?;
        let mut digests = HashMap::new();
        // What the newest backup says need not be sealed again to be known. One that is damaged says nothing.
        for id in repository.backups().await?.into_iter().rev() {
            let Ok((manifest, _)) = repository.manifest(id, None).await else { continue };
            for section in &manifest.sections {
                let known = |chunk: &ChunkEntry| ((section.section.clone(), chunk.name), (chunk.bytes, chunk.digest));
                digests.extend(section.chunks.iter().map(known));
            }
            break;
        }
        let tools = repository.inner.tools.clone();
        let piece = Beside::begin(&served(&watch), Instant::now());
        let at = tools.clock.now();
        let id = BackupId::new(at, &*tools.entropy);
        Ok(Self {
            repository,
            lock,
            keys,
            watch,
            id,
            at,
            there: Arc::new(There { sizes, digests, is_checked }),
            sections: Vec::new(),
            seal: None,
            pending: Vec::new(),
            under_way: VecDeque::new(),
            piece,
            new_chunks: 0,
            stored_bytes: 0,
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> BackupId {
        self.id
    }

    /// When it was begun.
    #[must_use]
    pub const fn at(&self) -> UnixMs {
        self.at
    }

    /// Ends the section before, and begins one. Each can be there once.
    ///
    /// # Errors
    /// [`BackupError::Keys`] if a tenant's key can't be had: the section is not begun then, and another can be.
    pub async fn section(&mut self, section: Section) -> Result<(), BackupError> {
        self.end_section().await?;
        if !section.is_valid() || self.sections.iter().any(|entry| entry.section == section) {
            return Err(BackupError::Misuse("a section twice, or with a name that is none"));
        }
        let (keys, repository, of) = (Arc::clone(&self.keys), self.repository.clone(), section.clone());
        let made = blocking(move || {
            let own = match &of {
                Section::Tenant(tenant) => {
                    Some(keys.newest(*tenant).map_err(|why| BackupError::Keys { section: of.clone(), why })?)
                }
                _ => None,
            };
            let epoch = own.as_ref().map_or(0, |(epoch, _)| *epoch);
            if matches!(of, Section::Tenant(_)) && epoch == 0 {
                return Err(BackupError::Misuse("an epoch of 0"));
            }
            Ok((epoch, SectionSeal::new(&repository.inner.keys, repository.inner.id, &of, own)))
        });
        let (epoch, seal) = made.await?;
        self.seal = Some(Arc::new(seal));
        self.sections.push(SectionEntry { section, epoch, note: Vec::new(), chunks: Vec::new() });
        Ok(())
    }

    /// Says what is to be known of the section that is being written; it stands in the manifest. At most 64 MiB.
    ///
    /// # Errors
    /// [`BackupError::Misuse`] if no section was begun.
    pub fn note(&mut self, note: Vec<u8>) -> Result<(), BackupError> {
        if note.len() > NOTE_MAX {
            return Err(BackupError::Misuse("a note is too long"));
        }
        let section = self.sections.last_mut().ok_or(BackupError::Misuse("no section was begun"))?;
        section.note = note;
        Ok(())
    }

    /// One more chunk of the section, as it is cut: at most [`CHUNK_MAX`] bytes, not none.
    ///
    /// # Errors
    /// [`BackupError::Cancelled`]; what the repository may meet, perhaps of a chunk before this.
    pub async fn chunk(&mut self, plain: Vec<u8>) -> Result<(), BackupError> {
        if !self.pending.is_empty() {
            return Err(BackupError::Misuse("chunks and bytes in one section"));
        }
        self.push(plain).await
    }

    /// More bytes of a section that is a stream: it is cut at fixed sizes, so one that only grows stays as it is but for its
    /// end.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            let room = CHUNK_USUAL.saturating_sub(self.pending.len());
            let (front, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.pending.extend_from_slice(front);
            bytes = rest;
            if self.pending.len() >= CHUNK_USUAL {
                let full = std::mem::take(&mut self.pending);
                self.push(full).await?;
            }
        }
        Ok(())
    }

    async fn push(&mut self, plain: Vec<u8>) -> Result<(), BackupError> {
        if plain.is_empty() || plain.len() > CHUNK_MAX {
            return Err(BackupError::Misuse("a chunk is empty or too large"));
        }
        if self.watch.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        while self.under_way.len() >= UNDER_WAY {
            self.settle_one().await?;
        }
        self.lock.keep(&*self.repository.inner.tools.clock).await?;
        let seal = self.seal.clone().ok_or(BackupError::Misuse("no section was begun"))?;
        let section = self.sections.last().map(|entry| (entry.section.clone(), entry.epoch > 0));
        let (section, is_tenant) = section.ok_or(BackupError::Misuse("no section was begun"))?;
        let (repository, there) = (self.repository.clone(), Arc::clone(&self.there));
        self.under_way.push_back(tokio::spawn(async move {
            let stored = sealed_bytes(plain.len(), is_tenant) as u64;
            let sealing = repository.clone();
            let is_checked = there.is_checked;
            let (entry, is_there, sealed) = blocking(move || {
                let name = seal.name(&plain);
                let bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
                let is_there = there.sizes.get(&name) == Some(&stored);
                if let Some(&(known, digest)) = there.digests.get(&(section, name))
                    && is_there
                    && !is_checked
                    && known == bytes
                {
                    return Ok((ChunkEntry { name, bytes, digest }, true, Vec::new()));
                }
                let sealed = seal.seal(&sealing.inner.keys, &name, &plain);
                Ok((ChunkEntry { name, bytes, digest: digest(&sealed) }, is_there, sealed))
            })
            .await?;
            let (place, path) = (&repository.inner.place, chunk_name(&entry.name));
            let is_good = match is_there && is_checked {
                true => place.get(&path, STORED_CHUNK_MAX).await?.is_some_and(|found| *found == *sealed),
                false => is_there,
            };
            if is_good {
                return Ok(Done { entry, stored: 0 });
            }
            place.put(&path, sealed).await?;
            Ok(Done { entry, stored })
        }));
        self.rest().await
    }

    /// What is under way is a part of what is rested from.
    async fn rest(&mut self) -> Result<(), BackupError> {
        if !self.piece.rest(Instant::now()).is_zero() {
            self.settle().await?;
            tokio::time::sleep(self.piece.rest(Instant::now())).await;
        }
        self.piece = Beside::begin(&served(&self.watch), Instant::now());
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), BackupError> {
        while !self.under_way.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), BackupError> {
        let Some(task) = self.under_way.pop_front() else { return Ok(()) };
        let done = task.await.map_err(|_| BackupError::Cancelled)??;
        let section = self.sections.last_mut().ok_or(BackupError::Misuse("no section was begun"))?;
        section.chunks.push(done.entry);
        self.new_chunks = self.new_chunks.saturating_add(u64::from(done.stored > 0));
        self.stored_bytes = self.stored_bytes.saturating_add(done.stored);
        self.watch.reached(u64::from(done.entry.bytes), done.stored);
        Ok(())
    }

    async fn end_section(&mut self) -> Result<(), BackupError> {
        if !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            self.push(rest).await?;
        }
        self.settle().await
    }

    /// Takes back the section that is being written, as when its tenant was erased meanwhile.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn drop_section(&mut self) -> Result<(), BackupError> {
        self.pending.clear();
        self.end_section().await?;
        self.sections.pop();
        self.seal = None;
        Ok(())
    }

    /// Ends the backup: it counts from now on. `note` is what is to be known of it as a whole.
    ///
    /// # Errors
    /// [`BackupError::TakenOver`], [`Damage::Removed`]; what the repository may meet.
    pub async fn finish(mut self, note: Vec<u8>) -> Result<Finished, BackupError> {
        if note.len() > NOTE_MAX {
            return Err(BackupError::Misuse("a note is too long"));
        }
        self.end_section().await?;
        if self.watch.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        let inner = Arc::clone(&self.repository.inner);
        let sections = std::mem::take(&mut self.sections);
        let manifest = Manifest { repository: inner.id, id: self.id, at: self.at, note, sections };
        self.lock.check(&*inner.tools.clock).await?;
        // What was counted on may have been removed by somebody who knew nothing of this one.
        let sizes = sizes(&self.repository).await?;
        for section in &manifest.sections {
            let is_there = |chunk: &ChunkEntry| sizes.get(&chunk.name) == Some(&(section.stored_bytes(chunk) as u64));
            if !section.chunks.iter().all(is_there) {
                return Err(Damage::Removed.into());
            }
        }
        let sealing = (manifest, Arc::clone(&inner));
        let (manifest, sealed) = blocking(move || {
            let (manifest, inner) = sealing;
            let sealed = manifest.seal(&inner.keys, &*inner.tools.entropy);
            Ok((manifest, sealed))
        })
        .await?;
        let (digest, bytes) = (digest(&sealed), sealed.len() as u64);
        if !inner.place.put_new(&manifest_name(self.id), sealed).await? {
            // Our own, sent again after its answer was lost, is as good.
            let (_, found) = self.repository.manifest(self.id, None).await?;
            if found != digest {
                return Err(Damage::ManifestSwapped(self.id).into());
            }
        }
        let (new_chunks, stored_bytes) = (self.new_chunks, self.stored_bytes.saturating_add(bytes));
        // A lock that stays ends by itself.
        let _ = self.lock.release().await;
        Ok(Finished { manifest, digest, new_chunks, stored_bytes })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.under_way.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What somebody who watches knows of requests.
pub(crate) fn served(watch: &Arc<dyn Watch>) -> Served {
    let watch = Arc::clone(watch);
    Arc::new(move || watch.served())
}

/// All chunks that are stored, with their sizes.
pub(crate) async fn sizes(repository: &Repository) -> Result<HashMap<ChunkName, u64>, BackupError> {
    let found = repository.inner.place.list("chunks").await?;
    Ok(found.into_iter().filter_map(|(name, size)| Some((ChunkName::parse(&name)?, size))).collect())
}

/// The chunks that backups have.
pub(crate) fn names(manifests: &[Manifest]) -> HashSet<ChunkName> {
    let sections = manifests.iter().flat_map(|manifest| &manifest.sections);
    sections.flat_map(|section| &section.chunks).map(|chunk| chunk.name).collect()
}

/// Work on a thread where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BackupError::Cancelled)?
}
