//! Manifests: what a backup is made of.

use countersign_crypto::{Aad, SealKey};
use countersign_model::{Entropy, UnixMs};

use crate::CHUNK_MAX;
use crate::bytes::{Take, put_part};
use crate::error::Damage;
use crate::names::{BackupId, ChunkName, Digest, RepositoryId, Section};
use crate::seal::{RepositoryKeys, digest, sealed_bytes};

/// The longest manifest, stored. Some eight million chunks.
pub(crate) const STORED_MAX: usize = 512 << 20;
/// The longest note of a section or a backup.
pub(crate) const NOTE_MAX: usize = 64 << 20;
const MAGIC: [u8; 8] = *b"CSmanif\x01";
const VERSION: u8 = 1;
/// Magic, repository, backup, length of the sealed part.
const HEAD_BYTES: usize = 8 + 16 + 16 + 8;
/// Name, plain length, digest.
const ENTRY_BYTES: usize = 16 + 4 + 32;

/// What a backup is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The repository that it is in.
    pub repository: RepositoryId,
    /// The backup.
    pub id: BackupId,
    /// When it was begun.
    pub at: UnixMs,
    /// What the caller has to know of the backup as a whole. At most 64 MiB.
    pub note: Vec<u8>,
    /// Its sections, in the order in which they were written.
    pub sections: Vec<SectionEntry>,
}

/// One section.
#[derive(Clone, PartialEq, Eq)]
pub struct SectionEntry {
    /// Which.
    pub section: Section,
    /// The epoch of the tenant's key that its chunks are sealed under; 0 if it is no tenant's.
    pub epoch: u32,
    /// What the caller has to know of it. At most 64 MiB.
    pub note: Vec<u8>,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkEntry>,
}

/// One chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Its name.
    pub name: ChunkName,
    /// How many bytes are in it.
    pub bytes: u32,
    /// Of the bytes that are stored.
    pub digest: Digest,
}

impl Manifest {
    /// A section of it.
    #[must_use]
    pub fn section(&self, section: &Section) -> Option<&SectionEntry> {
        self.sections.iter().find(|entry| entry.section == *section)
    }

    /// How many bytes are in all chunks together, before sealing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sections.iter().map(SectionEntry::bytes).fold(0, u64::saturating_add)
    }

    /// How many chunks all sections have together.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.sections.iter().fold(0, |sum, section| sum.saturating_add(section.chunks.len() as u64))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.at.0.to_be_bytes());
        put_part(&mut out, &self.note);
        out.extend_from_slice(&u32::try_from(self.sections.len()).unwrap_or(u32::MAX).to_be_bytes());
        for section in &self.sections {
            put_part(&mut out, &section.section.encode());
            out.extend_from_slice(&section.epoch.to_be_bytes());
            put_part(&mut out, &section.note);
            out.extend_from_slice(&u32::try_from(section.chunks.len()).unwrap_or(u32::MAX).to_be_bytes());
            for chunk in &section.chunks {
                out.extend_from_slice(&chunk.name.0);
                out.extend_from_slice(&chunk.bytes.to_be_bytes());
                out.extend_from_slice(&chunk.digest);
            }
        }
        out
    }

    /// Reads the form that was sealed. `None` if it is not exactly one.
    fn decode(repository: RepositoryId, id: BackupId, plain: &[u8]) -> Option<Self> {
        let mut take = Take(plain);
        if take.u8()? != VERSION {
            return None;
        }
        let at = UnixMs(take.u64()?);
        let note = read_note(&mut take)?;
        let count = take.u32()?;
        let mut sections: Vec<SectionEntry> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for _ in 0..count {
            let section = Section::decode(take.part()?)?;
            let epoch = take.u32()?;
            if !known.insert(section.clone()) || matches!(section, Section::Tenant(_)) != (epoch > 0) {
                return None;
            }
            let note = read_note(&mut take)?;
            let count = usize::try_from(take.u32()?).ok()?;
            let mut entries = Take(take.bytes(count.checked_mul(ENTRY_BYTES)?)?);
            let mut chunks = Vec::with_capacity(count);
            while !entries.is_empty() {
                let entry =
                    ChunkEntry { name: ChunkName(entries.array()?), bytes: entries.u32()?, digest: entries.array()? };
                if entry.bytes as usize > CHUNK_MAX {
                    return None;
                }
                chunks.push(entry);
            }
            sections.push(SectionEntry { section, epoch, note, chunks });
        }
        take.is_empty().then_some(Self { repository, id, at, note, sections })
    }

    /// As it is stored.
    pub(crate) fn seal(&self, keys: &RepositoryKeys, entropy: &dyn Entropy) -> Vec<u8> {
        let plain = zeroize::Zeroizing::new(self.encode());
        let sealed = keys.manifest.seal(entropy, &aad(self.repository, self.id), &plain);
        let mut out = Vec::with_capacity(HEAD_BYTES.saturating_add(sealed.len()));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.repository.0);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&(sealed.len() as u64).to_be_bytes());
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what is stored as the manifest of backup `id`, and gives its digest too.
    pub(crate) fn open(
        keys: &RepositoryKeys,
        repository: RepositoryId,
        id: BackupId,
        stored: &[u8],
    ) -> Result<(Self, Digest), Damage> {
        let damaged = || Damage::ManifestDamaged(id);
        let mut take = Take(stored);
        if stored.len() < HEAD_BYTES.saturating_add(SealKey::OVERHEAD_BYTES) {
            return Err(Damage::ManifestTruncated(id));
        }
        if take.array() != Some(MAGIC) {
            return Err(damaged());
        }
        let of = RepositoryId(take.array().ok_or_else(damaged)?);
        let named = BackupId(take.array().ok_or_else(damaged)?);
        let length = take.u64().ok_or_else(damaged)?;
        let opens_as = |of, named| keys.manifest.open(&aad(of, named), take.0).ok();
        let opened = opens_as(of, named);
        if opened.is_none() && (take.0.len() as u64) < length {
            return Err(Damage::ManifestTruncated(id));
        }
        if of != repository {
            // It says so itself, and nobody else can have sealed it: or what it says was changed.
            return Err(match opens_as(repository, id) {
                Some(_) => damaged(),
                None => Damage::ManifestOfOtherRepository { backup: id, found: of },
            });
        }
        let plain = zeroize::Zeroizing::new(opened.ok_or_else(damaged)?);
        if named != id {
            return Err(Damage::ManifestOfAnother { backup: id, found: named });
        }
        if take.0.len() as u64 != length {
            return Err(damaged());
        }
        let manifest = Self::decode(repository, id, &plain).ok_or_else(damaged)?;
        Ok((manifest, digest(stored)))
    }
}

impl SectionEntry {
    /// How many bytes are in its chunks together, before sealing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(u64::from(chunk.bytes)))
    }

    pub(crate) fn stored_bytes(&self, chunk: &ChunkEntry) -> usize {
        sealed_bytes(chunk.bytes as usize, self.epoch > 0)
    }
}

fn read_note(take: &mut Take<'_>) -> Option<Vec<u8>> {
    take.part().filter(|note| note.len() <= NOTE_MAX).map(<[u8]>::to_vec)
}

fn aad(repository: RepositoryId, id: BackupId) -> Aad {
    Aad::new("backup-manifest.1").part(&repository.0).part(&id.0)
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manifest")
            .field("id", &self.id)
            .field("sections", &self.sections.len())
            .field("chunks", &self.chunks())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SectionEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SectionEntry")
            .field("section", &self.section)
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ChunkEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkEntry of {} bytes", self.bytes)
    }
}

/// Reads the form of a manifest that was opened, and writes it again: for fuzzing. `None` if it is none.
#[must_use]
pub fn parse_manifest_for_tests(plain: &[u8]) -> Option<(Manifest, Vec<u8>)> {
    let manifest = Manifest::decode(RepositoryId([1; 16]), BackupId([2; 16]), plain)?;
    let encoded = manifest.encode();
    Some((manifest, encoded))
}
