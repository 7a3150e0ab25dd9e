//! What can go wrong, by who has to do something about it.

use countersign_model::TenantId;
use countersign_store::StoreError;

use crate::names::{BackupId, RepositoryId, Section};

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Whoever can write to the repository, or the disk under it: it is not what was stored.
    #[error("the repository is damaged: {0}")]
    Damaged(#[from] Damage),
    /// The operator's: the repository can't be reached or used.
    #[error("the repository is not available: {0}")]
    Unreachable(#[from] Unreachable),
    /// The operator's: somebody else is writing to it, or removing from it.
    #[error(
        "the repository is in use by another backup; if that one has died, it is free again within {minutes} minutes"
    )]
    InUse {
        /// At the most.
        minutes: u64,
    },
    /// Somebody else has taken over the repository meanwhile: this process must have stood still for long.
    #[error("the repository was taken over by another backup")]
    TakenOver,
    /// The operator's: there is a repository already.
    #[error("there is a repository already")]
    Exists,
    /// The caller's: there is no repository.
    #[error("there is no repository")]
    NoRepository,
    /// The operator's: keys are missing.
    #[error("the key of {section} is not available: {why}")]
    Keys {
        /// Of what.
        section: Section,
        /// Why.
        why: KeysFailed,
    },
    /// The operator's: the store that is read or written has failed.
    #[error("the store has failed: {0}")]
    Store(#[from] StoreError),
    /// The caller's: it was ended.
    #[error("it was ended before it was done")]
    Cancelled,
    /// Ours: a chunk that is too large, a section twice, a name that is none.
    #[error("a backup was written wrongly: {0}")]
    Misuse(&'static str),
}

/// Why a tenant's keys can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysFailed {
    /// The tenant was erased, or its older keys were destroyed: nobody opens this any more.
    #[error("it was destroyed")]
    Destroyed,
    /// The key management service does not answer, or does not know the tenant.
    #[error("the key management service does not have it")]
    Unavailable,
}

/// Why the place where a repository is can't be used. Servers' own words are not among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// No answer, or errors only, for as long as was tried.
    #[error("it does not answer")]
    NoAnswer,
    /// The credentials are wrong, or may not do this.
    #[error("it refuses these credentials")]
    Refused,
    /// There is no such bucket or folder.
    #[error("there is no such place")]
    NoPlace,
    /// No space is left.
    #[error("no space is left")]
    Full,
    /// It can't do what is needed, such as making an object only if there is none.
    #[error("it lacks a function that is needed: conditional writes")]
    Lacking,
    /// The address, the region or the credentials are not of the right form.
    #[error("its address or its credentials are not of the right form")]
    Settings,
    /// It lists more names than any repository has.
    #[error("it has more objects than a repository can have")]
    TooMany,
}

/// What a repository has that was not stored so. Every one is named by where it is; none shows anything of what is sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file `repository` is not one, or was changed.
    #[error("the repository's header is damaged")]
    Header,
    /// A newer program made it.
    #[error("the repository has format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// The repository's.
        found: u16,
        /// The newest that this program knows.
        known: u16,
    },
    /// The key that was given is not the one that it is sealed under.
    #[error("the repository is sealed under another key")]
    UnknownKey,
    /// It is another repository than the one that was expected.
    #[error("it is the repository {found}, not {expected}")]
    OtherRepository {
        /// The one that was expected.
        expected: RepositoryId,
        /// The one that it is.
        found: RepositoryId,
    },
    /// There is no such backup.
    #[error("backup {0} is missing")]
    ManifestMissing(BackupId),
    /// Its manifest ends early.
    #[error("the manifest of backup {0} is truncated")]
    ManifestTruncated(BackupId),
    /// Its manifest was changed.
    #[error("the manifest of backup {0} is damaged")]
    ManifestDamaged(BackupId),
    /// In its place is another backup's manifest.
    #[error("in place of backup {backup} is the manifest of {found}")]
    ManifestOfAnother {
        /// The one that was asked for.
        backup: BackupId,
        /// The one that is there.
        found: BackupId,
    },
    /// Its manifest is of another repository.
    #[error("the manifest of backup {backup} is of the repository {found}")]
    ManifestOfOtherRepository {
        /// The backup.
        backup: BackupId,
        /// The other repository.
        found: RepositoryId,
    },
    /// Its manifest is whole, but not the one that is on record.
    #[error("backup {0} was swapped: its manifest is not the one on record")]
    ManifestSwapped(BackupId),
    /// There is no such section in the backup.
    #[error("backup {backup} has no {section}")]
    SectionMissing {
        /// The backup.
        backup: BackupId,
        /// The section.
        section: Section,
    },
    /// A chunk is not there.
    #[error("{section}, chunk {place} is missing")]
    ChunkMissing {
        /// Where.
        section: Section,
        /// Counted from 0.
        place: usize,
    },
    /// A chunk ends early.
    #[error("{section}, chunk {place} is truncated")]
    ChunkTruncated {
        /// Where.
        section: Section,
        /// Counted from 0.
        place: usize,
    },
    /// A chunk was changed.
    #[error("{section}, chunk {place} is damaged")]
    ChunkDamaged {
        /// Where.
        section: Section,
        /// Counted from 0.
        place: usize,
    },
    /// In a chunk's place is another chunk of the same section.
    #[error("{section}, chunk {place} is chunk {found}: they were reordered")]
    ChunkReordered {
        /// Where.
        section: Section,
        /// Counted from 0.
        place: usize,
        /// Which one it is.
        found: usize,
    },
    /// In a chunk's place is a chunk of another section: another tenant's, perhaps.
    #[error("{section}, chunk {place} is a chunk of {found}")]
    ChunkOfOtherSection {
        /// Where.
        section: Section,
        /// Counted from 0.
        place: usize,
        /// Whose it is.
        found: Section,
    },
    /// In a chunk's place is one that another backup has.
    #[error("{section}, chunk {place} was swapped for one of backup {found}")]
    ChunkOfOtherBackup {
        /// Where.
        section: Section,
        /// Counted from 0.
        place: usize,
        /// That backup.
        found: BackupId,
    },
    /// A chunk is whole and opens, but what is in it is not of its form.
    #[error("{section} holds what this program does not know")]
    Content {
        /// Where.
        section: Section,
    },
    /// A tenant's part is not that tenant's: it names another.
    #[error("it is the backup of tenant {found}, not of {expected}")]
    OtherTenant {
        /// The one that was expected.
        expected: TenantId,
        /// The one that it is.
        found: TenantId,
    },
    /// A receipt of an erasure was changed.
    #[error("a receipt of an erasure is damaged")]
    Receipt,
    /// A chunk that was just stored or counted on is no longer there.
    #[error("chunks of the backup that was being made are missing")]
    Removed,
}
