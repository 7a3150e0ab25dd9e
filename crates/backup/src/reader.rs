//! A backup that is read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_model::TenantId;
use countersign_model::beside::Beside;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::error::{BackupError, Damage, KeysFailed};
use crate::manifest::{ChunkEntry, Manifest, SectionEntry};
use crate::names::{Digest, Section};
use crate::repository::{Repository, chunk_name};
use crate::seal::{STORED_CHUNK_MAX, SectionKeys, SectionSeal, digest};
use crate::writer::{Watch, blocking, served};

/// So many chunks are fetched ahead.
const AHEAD: usize = 3;

/// Reads one backup. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    repository: Repository,
    manifest: Manifest,
    keys: Arc<dyn SectionKeys>,
    watch: Arc<dyn Watch>,
    /// Where each stored chunk belongs, made when something is wrong.
    belongs: Mutex<Option<Belongs>>,
}

/// Section and chunk, by the digest of what is stored.
type Belongs = HashMap<Digest, (usize, usize)>;

/// What was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chunks.
    pub chunks: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Tenants whose keys were destroyed: their chunks are what was stored, and nobody opens them.
    pub destroyed: Vec<TenantId>,
}

impl Reader {
    pub(crate) fn new(
        repository: Repository,
        manifest: Manifest,
        keys: Arc<dyn SectionKeys>,
        watch: Arc<dyn Watch>,
    ) -> Self {
        Self { inner: Arc::new(Inner { repository, manifest, keys, watch, belongs: Mutex::default() }) }
    }

    /// What the backup is made of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// Reads every chunk and checks it: that it is there, whole, what was stored, in its place, and that it opens.
    ///
    /// # Errors
    /// [`Damage`] by name; [`BackupError::Keys`] if a tenant's keys can't be had, other than by being destroyed.
    pub async fn verify_all(&self) -> Result<Verified, BackupError> {
        let sections: Vec<Section> = self.inner.manifest.sections.iter().map(|one| one.section.clone()).collect();
        self.verify(&sections).await
    }

    /// The same for some sections alone.
    ///
    /// # Errors
    /// As [`Self::verify_all`], and [`Damage::SectionMissing`].
    pub async fn verify(&self, sections: &[Section]) -> Result<Verified, BackupError> {
        let mut verified = Verified::default();
        for section in sections {
            let place = self.place(section)?;
            let (seal, destroyed) = match self.seal(place).await {
                Ok(seal) => (Some(seal), None),
                Err(BackupError::Keys { section: Section::Tenant(tenant), why: KeysFailed::Destroyed }) => {
                    (None, Some(tenant))
                }
                Err(error) => return Err(error),
            };
            verified.destroyed.extend(destroyed);
            let mut chunks = Chunks::new(self.clone(), place, seal);
            while let Some(chunk) = chunks.next().await? {
                verified.chunks = verified.chunks.saturating_add(1);
                verified.bytes = verified.bytes.saturating_add(chunk.len() as u64);
            }
        }
        Ok(verified)
    }

    /// The chunks of a section, in order, each checked before it is given.
    ///
    /// # Errors
    /// [`Damage::SectionMissing`]; [`BackupError::Keys`].
    pub async fn section(&self, section: &Section) -> Result<SectionReader, BackupError> {
        let place = self.place(section)?;
        let seal = self.seal(place).await?;
        Ok(SectionReader { section: section.clone(), chunks: Chunks::new(self.clone(), place, Some(seal)) })
    }

    fn place(&self, section: &Section) -> Result<usize, BackupError> {
        let manifest = &self.inner.manifest;
        let found = manifest.sections.iter().position(|entry| entry.section == *section);
        Ok(found.ok_or_else(|| Damage::SectionMissing { backup: manifest.id, section: section.clone() })?)
    }

    fn entry(&self, place: usize) -> Result<&SectionEntry, BackupError> {
        self.inner.manifest.sections.get(place).ok_or(BackupError::Misuse("a section that is not there"))
    }

    async fn seal(&self, place: usize) -> Result<Arc<SectionSeal>, BackupError> {
        let entry = self.entry(place)?;
        let (section, epoch) = (entry.section.clone(), entry.epoch);
        let (keys, repository) = (Arc::clone(&self.inner.keys), self.inner.repository.clone());
        blocking(move || {
            let own = match &section {
                Section::Tenant(tenant) => {
                    let key = keys.at(*tenant, epoch);
                    Some((epoch, key.map_err(|why| BackupError::Keys { section: section.clone(), why })?))
                }
                _ => None,
            };
            Ok(Arc::new(SectionSeal::new(&repository.inner.keys, repository.inner.id, &section, own)))
        })
        .await
    }

    /// One chunk, checked; as it is stored if it can't be opened any more.
    async fn chunk(
        &self,
        (place, number): (usize, usize),
        seal: Option<Arc<SectionSeal>>,
    ) -> Result<Vec<u8>, BackupError> {
        let entry = self.entry(place)?;
        let chunk = *entry.chunks.get(number).ok_or(BackupError::Misuse("a chunk that is not there"))?;
        let expected = entry.stored_bytes(&chunk);
        let at = (entry.section.clone(), number);
        let stored = self.inner.repository.inner.place.get(&chunk_name(&chunk.name), STORED_CHUNK_MAX).await?;
        let Some(stored) = stored else {
            return Err(Damage::ChunkMissing { section: at.0, place: number }.into());
        };
        let repository = self.inner.repository.clone();
        let length = stored.len();
        let checked = blocking(move || {
            let found = digest(&stored);
            if found != chunk.digest {
                return Ok(Err(found));
            }
            let Some(seal) = seal else { return Ok(Ok(Some(stored.to_vec()))) };
            Ok(Ok(seal.open(&repository.inner.keys, &chunk.name, &stored)))
        });
        match checked.await? {
            Ok(Some(plain)) if plain.len() == chunk.bytes as usize || length == plain.len() => Ok(plain),
            // It is what was stored, so what is wrong is the key.
            Ok(_) if entry.epoch > 0 => Err(BackupError::Keys { section: at.0, why: KeysFailed::Unavailable }),
            Ok(_) => Err(Damage::ChunkDamaged { section: at.0, place: number }.into()),
            Err(found) => Err(self.named(found, at, length < expected).await?.into()),
        }
    }

    /// What a chunk is that is not the one that belongs there.
    async fn named(
        &self,
        found: Digest,
        (section, place): (Section, usize),
        is_short: bool,
    ) -> Result<Damage, BackupError> {
        if let Some((other, number)) = self.belonging(&found) {
            let of = self.entry(other)?.section.clone();
            return Ok(match of == section {
                true => Damage::ChunkReordered { section, place, found: number },
                false => Damage::ChunkOfOtherSection { section, place, found: of },
            });
        }
        for id in self.inner.repository.backups().await?.into_iter().rev() {
            let Ok((other, _)) = self.inner.repository.manifest(id, None).await else { continue };
            let mut chunks = other.sections.iter().flat_map(|one| one.chunks.iter().map(move |chunk| (one, chunk)));
            if let Some((one, _)) = chunks.find(|(_, chunk)| chunk.digest == found) {
                return Ok(match one.section == section {
                    true => Damage::ChunkOfOtherBackup { section, place, found: id },
                    false => Damage::ChunkOfOtherSection { section, place, found: one.section.clone() },
                });
            }
        }
        Ok(match is_short {
            true => Damage::ChunkTruncated { section, place },
            false => Damage::ChunkDamaged { section, place },
        })
    }

    fn belonging(&self, found: &Digest) -> Option<(usize, usize)> {
        let mut belongs = self.inner.belongs.lock();
        let map = belongs.get_or_insert_with(|| {
            let sections = self.inner.manifest.sections.iter().enumerate();
            let all = sections.flat_map(|(place, section)| {
                let chunks = section.chunks.iter().enumerate();
                chunks.map(move |(number, chunk): (usize, &ChunkEntry)| (chunk.digest, (place, number)))
            });
            all.collect()
        });
        map.get(found).copied()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("manifest", &self.inner.manifest).finish_non_exhaustive()
    }
}

/// Chunks one after the other, some fetched ahead.
struct Chunks {
    reader: Reader,
    place: usize,
    seal: Option<Arc<SectionSeal>>,
    next: usize,
    ahead: VecDeque<JoinHandle<Result<Vec<u8>, BackupError>>>,
    piece: Option<Beside>,
    failed: bool,
}

impl Chunks {
    const fn new(reader: Reader, place: usize, seal: Option<Arc<SectionSeal>>) -> Self {
        Self { reader, place, seal, next: 0, ahead: VecDeque::new(), piece: None, failed: false }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        if self.failed || self.reader.inner.watch.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        let ahead = if self.rest().await { 1 } else { AHEAD };
        let count = self.reader.entry(self.place)?.chunks.len();
        while self.next < count && self.ahead.len() < ahead {
            let (reader, seal, at) = (self.reader.clone(), self.seal.clone(), (self.place, self.next));
            self.ahead.push_back(tokio::spawn(async move { reader.chunk(at, seal).await }));
            self.next = self.next.saturating_add(1);
        }
        let Some(task) = self.ahead.pop_front() else { return Ok(None) };
        let chunk = task.await.map_err(|_| BackupError::Cancelled).and_then(|chunk| chunk);
        match &chunk {
            Ok(chunk) => self.reader.inner.watch.reached(chunk.len() as u64, 0),
            // Nothing after it is given: a part of a section is no section.
            Err(_) => self.failed = true,
        }
        chunk.map(Some)
    }

    /// Rests after the last chunk and what was done with it, if requests want that; nothing is fetched ahead then.
    async fn rest(&mut self) -> bool {
        let rest = self.piece.as_ref().map_or(Duration::ZERO, |piece| piece.rest(Instant::now()));
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        self.piece = Some(Beside::begin(&served(&self.reader.inner.watch), Instant::now()));
        !rest.is_zero()
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.ahead.iter().for_each(JoinHandle::abort);
    }
}

/// Gives the chunks of one section.
pub struct SectionReader {
    section: Section,
    chunks: Chunks,
}

impl SectionReader {
    /// Which.
    #[must_use]
    pub const fn section(&self) -> &Section {
        &self.section
    }

    /// The next chunk; `None` after the last.
    ///
    /// # Errors
    /// [`Damage`] by name. Nothing is given after that.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        self.chunks.next().await
    }
}

impl std::fmt::Debug for SectionReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SectionReader").field("section", &self.section).finish_non_exhaustive()
    }
}
