//! Which key seals what, and chunks as they are sealed.

use countersign_crypto::{Aad, SealKey, SecretKey, Tag, TagKey, TenantKey, sha256};
use countersign_model::{Entropy, TenantId};

use crate::CHUNK_MAX;
use crate::error::KeysFailed;
use crate::names::{ChunkName, Digest, RepositoryId, Section};

/// The tenants' own keys: the seal key with the label `backup` of each epoch. May block.
pub trait SectionKeys: Send + Sync {
    /// The newest epoch and its key, for sealing.
    ///
    /// # Errors
    /// [`KeysFailed`].
    fn newest(&self, tenant: TenantId) -> Result<(u32, SecretKey), KeysFailed>;

    /// The key of an epoch, for opening.
    ///
    /// # Errors
    /// [`KeysFailed`].
    fn at(&self, tenant: TenantId, epoch: u32) -> Result<SecretKey, KeysFailed>;
}

/// Keys that come from a repository's backup key.
pub(crate) struct RepositoryKeys {
    pub(crate) header: SealKey,
    pub(crate) manifest: SealKey,
    pub(crate) receipt: SealKey,
    chunk: SealKey,
    root: TenantKey,
}

impl RepositoryKeys {
    pub(crate) fn new(key: &SecretKey) -> Self {
        let root = TenantKey::new(SecretKey::from_bytes(*key.expose()));
        Self {
            header: root.seal_key("backup.header", 0),
            manifest: root.seal_key("backup.manifest", 0),
            receipt: root.seal_key("backup.receipt", 0),
            chunk: root.seal_key("backup.chunk", 0),
            root,
        }
    }
}

/// What seals, opens and names the chunks of one section.
pub(crate) struct SectionSeal {
    repository: RepositoryId,
    section: Vec<u8>,
    name: TagKey,
    name_again: TagKey,
    /// The tenant's own.
    inner: Option<SealKey>,
}

/// A nonce that is made of the chunk's name, so that the same chunk is sealed to the same bytes: who goes on with a backup
/// that was cut off needs to know the digest of what is stored already. Two chunks that are not the same have other names,
/// and so other nonces; and the cipher is one that a nonce that repeats does not break.
struct Named<'a>(&'a ChunkName);

impl Entropy for Named<'_> {
    fn fill(&self, out: &mut [u8]) {
        for (byte, name) in out.iter_mut().zip(self.0.0.iter().cycle()) {
            *byte = *name;
        }
    }
}

impl SectionSeal {
    /// For a section that is no tenant's (`own` is `None`), or for a tenant's with its key of an epoch.
    pub(crate) fn new(
        keys: &RepositoryKeys,
        repository: RepositoryId,
        section: &Section,
        own: Option<(u32, SecretKey)>,
    ) -> Self {
        let encoded = section.encode();
        // Both keys are in the names of a tenant's chunks: with either alone nobody can try what might be in them.
        let by_repository = keys.root.seal_secret("backup.name", 0);
        let (inner, epoch, by_tenant) = match own {
            None => (None, 0, None),
            Some((epoch, secret)) => {
                let own = TenantKey::new(secret);
                (Some(own.seal_key("backup.chunk", epoch)), epoch, Some(own.seal_secret("backup.name", epoch)))
            }
        };
        let context = Aad::new("backup-name.1").part(&repository.0).part(&encoded).part(&epoch.to_be_bytes());
        let mut seed = Vec::from(*by_repository.expose());
        seed.extend(by_tenant.iter().flat_map(|secret| secret.expose()));
        let seed = SecretKey::from_bytes(sha256(&zeroize::Zeroizing::new(seed)));
        let root = TagKey::new(&seed);
        let half = |which: u8| {
            let Tag(high) = root.tag(&[&[which, 0], context.as_bytes()].concat());
            let Tag(low) = root.tag(&[&[which, 1], context.as_bytes()].concat());
            let mut bytes = [0; 32];
            for (to, from) in bytes.iter_mut().zip(high.into_iter().chain(low)) {
                *to = from;
            }
            TagKey::new(&SecretKey::from_bytes(bytes))
        };
        Self { repository, section: encoded, name: half(1), name_again: half(2), inner }
    }

    /// The name of a chunk.
    pub(crate) fn name(&self, plain: &[u8]) -> ChunkName {
        ChunkName(self.name.tag(plain).0)
    }

    fn aad(&self, label: &'static str, name: &ChunkName) -> Aad {
        Aad::new(label).part(&self.repository.0).part(&self.section).part(&name.0)
    }

    /// A chunk as it is stored. The same chunk is always the same bytes.
    pub(crate) fn seal(&self, keys: &RepositoryKeys, name: &ChunkName, plain: &[u8]) -> Vec<u8> {
        let framed = frame(plain);
        let outer = ChunkName(self.name_again.tag(&name.0).0);
        let aad = self.aad("backup-chunk.1", name);
        match &self.inner {
            None => keys.chunk.seal(&Named(&outer), &aad, &framed),
            Some(inner) => {
                let sealed = inner.seal(&Named(name), &self.aad("backup-tenant-chunk.1", name), &framed);
                keys.chunk.seal(&Named(&outer), &aad, &sealed)
            }
        }
    }

    /// What is in a stored chunk, if it is this one.
    pub(crate) fn open(&self, keys: &RepositoryKeys, name: &ChunkName, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut opened = keys.chunk.open(&self.aad("backup-chunk.1", name), sealed).ok()?;
        if let Some(inner) = &self.inner {
            opened = inner.open(&self.aad("backup-tenant-chunk.1", name), &opened).ok()?;
        }
        let plain = unframe(opened)?;
        // What opens was made by whoever has the keys; that it has this name too costs one more hash.
        (self.name(&plain) == *name).then_some(plain)
    }
}

/// How long a chunk of `length` bytes is with its frame: lengths are rounded up, by less than an eighth and for large chunks by
/// less than a thirtieth, so that a stored length says less about what is in it (Padmé; Nikitin and others, PETS 2019).
pub(crate) fn padded(length: usize) -> usize {
    const LEAST: usize = 256;
    let length = length.saturating_add(4).max(LEAST);
    let exponent = length.ilog2();
    let bits = exponent.saturating_sub(exponent.ilog2().saturating_add(1));
    let mask = 1usize.checked_shl(bits).map_or(0, |one| one.saturating_sub(1));
    length.saturating_add(mask) & !mask
}

fn frame(plain: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(padded(plain.len()));
    framed.extend_from_slice(&u32::try_from(plain.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(plain);
    framed.resize(padded(plain.len()), 0);
    framed
}

fn unframe(mut framed: Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_be_bytes(*framed.first_chunk()?)).ok()?;
    if length > CHUNK_MAX || framed.len() != padded(length) {
        return None;
    }
    framed.truncate(length.saturating_add(4));
    framed.drain(..4);
    Some(framed)
}

/// No stored chunk is longer.
pub(crate) const STORED_CHUNK_MAX: usize = CHUNK_MAX + (CHUNK_MAX >> 4);

/// How long the sealed form of a chunk is.
pub(crate) fn sealed_bytes(plain: usize, is_tenant: bool) -> usize {
    let seals: usize = if is_tenant { 2 } else { 1 };
    padded(plain).saturating_add(seals.saturating_mul(SealKey::OVERHEAD_BYTES))
}

pub(crate) fn digest(sealed: &[u8]) -> Digest {
    sha256(sealed)
}

#[cfg(test)]
mod tests;
