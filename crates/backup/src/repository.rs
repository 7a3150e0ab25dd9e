//! Repositories: making, opening, and what is in one.

use std::sync::Arc;

use countersign_crypto::{Aad, SecretKey, SystemEntropy};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy};

use crate::bytes::{Take, put_part};
use crate::error::{BackupError, Damage};
use crate::lock::Held;
use crate::manifest::{Manifest, STORED_MAX};
use crate::names::{BackupId, Digest, RepositoryId};
use crate::place::Place;
use crate::reader::Reader;
use crate::seal::{RepositoryKeys, SectionKeys};
use crate::writer::{Watch, Writer};

const HEADER: &str = "repository";
const MAGIC: [u8; 8] = *b"CSbackup";
const FORMAT: u16 = 1;
/// The longest wrapped key.
const WRAPPED_MAX: usize = 16 << 10;

/// Time and randomness.
#[derive(Clone)]
pub struct Tools {
    /// Says when backups begin, and how long locks are held.
    pub clock: Arc<dyn Clock>,
    /// Makes ids and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// Who writes. A process that takes the place of another has the same and need not wait for its lock, so only one with the
    /// same may run at a time.
    pub owner: [u8; 8],
}

impl Tools {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        let mut owner = [0; 8];
        SystemEntropy.fill(&mut owner);
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), owner }
    }
}

/// What anybody can read of a repository: its id and its key, wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its id.
    pub id: RepositoryId,
    /// Its backup key, as the caller had wrapped it.
    pub wrapped_key: Vec<u8>,
    check: Vec<u8>,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// [`BackupError::NoRepository`], [`Damage::Header`], [`Damage::NewerFormat`].
    pub async fn read(place: &Place) -> Result<Self, BackupError> {
        let bytes = place.get(HEADER, WRAPPED_MAX.saturating_mul(2)).await?.ok_or(BackupError::NoRepository)?;
        Ok(Self::decode(&bytes)?)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut take = Take(bytes);
        if take.array() != Some(MAGIC) {
            return Err(Damage::Header);
        }
        let found = take.u16().ok_or(Damage::Header)?;
        if found != FORMAT {
            return Err(if found > FORMAT { Damage::NewerFormat { found, known: FORMAT } } else { Damage::Header });
        }
        let read = || {
            let id = RepositoryId(take.array()?);
            let wrapped_key = take.part().filter(|key| key.len() <= WRAPPED_MAX)?.to_vec();
            let check = take.part()?.to_vec();
            take.is_empty().then_some(Self { id, wrapped_key, check })
        };
        let mut read = read;
        read().ok_or(Damage::Header)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.id.0);
        put_part(&mut out, &self.wrapped_key);
        put_part(&mut out, &self.check);
        out
    }

    fn aad(id: RepositoryId, wrapped_key: &[u8]) -> Aad {
        Aad::new("backup-header.1").part(&id.0).part(wrapped_key)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A repository that is open. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) place: Place,
    pub(crate) id: RepositoryId,
    pub(crate) keys: RepositoryKeys,
    pub(crate) tools: Tools,
}

/// A backup as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id, which says when it was begun.
    pub id: BackupId,
    /// Its manifest and that one's digest, or what is wrong with it.
    pub manifest: Result<(Manifest, Digest), Damage>,
}

impl Repository {
    /// Makes one where there is none. `key` is its backup key, and `wrapped_key` that key as it can be had again: it stands in
    /// the header, readable to all.
    ///
    /// # Errors
    /// [`BackupError::Exists`]; if the place can't be written.
    pub async fn create(place: Place, key: &SecretKey, wrapped_key: &[u8], tools: Tools) -> Result<Self, BackupError> {
        if wrapped_key.len() > WRAPPED_MAX {
            return Err(BackupError::Misuse("a wrapped key is too long"));
        }
        let id = RepositoryId::new(&*tools.entropy);
        let keys = RepositoryKeys::new(key);
        let check = keys.header.seal(&*tools.entropy, &Header::aad(id, wrapped_key), b"");
        let header = Header { id, wrapped_key: wrapped_key.to_vec(), check };
        if !place.put_new(HEADER, header.encode()).await? {
            return Err(BackupError::Exists);
        }
        Ok(Self { inner: Arc::new(Inner { place, id, keys, tools }) })
    }

    /// Opens one whose header was read from this place, with the key that its wrapped key is.
    ///
    /// # Errors
    /// [`Damage::UnknownKey`].
    pub fn open(place: Place, header: &Header, key: &SecretKey, tools: Tools) -> Result<Self, BackupError> {
        let keys = RepositoryKeys::new(key);
        let aad = Header::aad(header.id, &header.wrapped_key);
        keys.header.open(&aad, &header.check).map_err(|_| Damage::UnknownKey)?;
        Ok(Self { inner: Arc::new(Inner { place, id: header.id, keys, tools }) })
    }

    /// Fails unless it is the repository with this id.
    ///
    /// # Errors
    /// [`Damage::OtherRepository`].
    pub fn expect(&self, expected: RepositoryId) -> Result<(), BackupError> {
        let found = self.id();
        if found == expected { Ok(()) } else { Err(Damage::OtherRepository { expected, found }.into()) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.inner.id
    }

    /// The ids of its backups, oldest first. Names that are no backup's are passed over.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn backups(&self) -> Result<Vec<BackupId>, BackupError> {
        let found = self.inner.place.list("backups").await?;
        Ok(found.iter().filter_map(|(name, _)| BackupId::parse(name)).collect())
    }

    /// Its backups, oldest first, each opened or with what is wrong with it.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let mut listed = Vec::new();
        for id in self.backups().await? {
            match self.manifest(id, None).await {
                Ok(found) => listed.push(Listed { id, manifest: Ok(found) }),
                // It was removed meanwhile.
                Err(BackupError::Damaged(Damage::ManifestMissing(_))) => {}
                Err(BackupError::Damaged(damage)) => listed.push(Listed { id, manifest: Err(damage) }),
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    /// The manifest of a backup and its digest, held against the one that is on record if that is known.
    ///
    /// # Errors
    /// [`Damage`], by name.
    pub async fn manifest(&self, id: BackupId, on_record: Option<Digest>) -> Result<(Manifest, Digest), BackupError> {
        let stored = self.inner.place.get(&manifest_name(id), STORED_MAX).await?.ok_or(Damage::ManifestMissing(id))?;
        let (manifest, digest) = Manifest::open(&self.inner.keys, self.inner.id, id, &stored)?;
        if on_record.is_some_and(|recorded| recorded != digest) {
            return Err(Damage::ManifestSwapped(id).into());
        }
        Ok((manifest, digest))
    }

    /// Begins a backup. One that was cut off before it was done has left its chunks, which this one need not store again.
    ///
    /// # Errors
    /// [`BackupError::InUse`]; if the repository can't be written.
    pub async fn begin(&self, keys: Arc<dyn SectionKeys>, watch: Arc<dyn Watch>) -> Result<Writer, BackupError> {
        let lock = self.lock().await?;
        Writer::begin(self.clone(), lock, keys, watch, false).await
    }

    /// The same, but a chunk that is there already is read before it is counted on, and stored again if it is not what it
    /// should be: what heals a repository in which a trial has found damage.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_checking(
        &self,
        keys: Arc<dyn SectionKeys>,
        watch: Arc<dyn Watch>,
    ) -> Result<Writer, BackupError> {
        let lock = self.lock().await?;
        Writer::begin(self.clone(), lock, keys, watch, true).await
    }

    /// Reads a backup.
    #[must_use]
    pub fn reader(&self, manifest: Manifest, keys: Arc<dyn SectionKeys>, watch: Arc<dyn Watch>) -> Reader {
        Reader::new(self.clone(), manifest, keys, watch)
    }

    pub(crate) async fn lock(&self) -> Result<Held, BackupError> {
        let Tools { clock, entropy, owner } = &self.inner.tools;
        Held::take(&self.inner.place, (self.inner.id, *owner), &**clock, &**entropy).await
    }
}

pub(crate) fn manifest_name(id: BackupId) -> String {
    format!("backups/{id}")
}

pub(crate) fn chunk_name(name: &crate::names::ChunkName) -> String {
    let text = name.to_string();
    format!("chunks/{}/{text}", text.get(..2).unwrap_or("00"))
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("id", &self.inner.id).finish_non_exhaustive()
    }
}
