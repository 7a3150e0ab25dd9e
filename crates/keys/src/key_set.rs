//! What a tenant's wrapped key holds: its keys by epoch, and from when on each counts.
//!
//! A tenant counts *key epochs*, from 1. A rotation, of the tenant's key or of one field, takes the next number. The
//! tenant's key in force from some epoch on is a *generation*; the keys of a field in an epoch are derived from the
//! generation of that epoch. Cells carry their epoch, so everything that is needed to open them is here.
//!
//! ```text
//! epoch        1          2            3          4
//! generation   a ───────────────────── b ──────────────
//! field name   rotated                 (with b)
//! field mail   rotated    rotated      (with b)   rotated
//! ```
//!
//! `oldest` says how far resealing has come: every cell is of what its field's epoch was then, or newer.
//!
//! Encoded (format 5): the byte 5 and postcard. The older forms, a wrapped key by itself, are read as one generation from
//! epoch 1.

use std::fmt;

use countersign_model::{FieldId, Name, TypeId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::kms::KmsError;
use crate::own::{OwnKeyId, own_of};
use crate::set::split;

/// The first byte of the encoding.
const KEY_SET: u8 = 5;
/// The most generations, and the most rotations of fields that are kept.
const GENERATIONS_MAX: usize = 10_000;
const ROTATIONS_MAX: usize = 1_000_000;

/// A key that the key management service has for one generation alone, so that it can be destroyed there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OwnKey {
    /// The named provider that has it; `None` is the deployment's own.
    pub provider: Option<Name>,
    /// Its id there.
    pub id: OwnKeyId,
}

/// One key of a tenant, in force from an epoch on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The first epoch in which it counts.
    pub first_epoch: u32,
    /// When it was made; 0 for one of before that was kept.
    pub made: UnixMs,
    /// The key as a key management service wrapped it. Empty once it is destroyed.
    pub wrapped: Vec<u8>,
    /// Every own key of a key management service under which it was ever wrapped and that was not destroyed since, the
    /// present one last. Whoever has an older wrapped form and the own key of then has the key.
    pub own: Vec<OwnKey>,
}

impl Generation {
    /// Whether its key is gone.
    #[must_use]
    pub const fn is_destroyed(&self) -> bool {
        self.wrapped.is_empty()
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation from epoch {}, made at {}", self.first_epoch, self.made.0)
    }
}

/// That one field got keys of its own epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldRotation {
    /// The type.
    pub record_type: TypeId,
    /// The field.
    pub field: FieldId,
    /// The epoch that began with it.
    pub epoch: u32,
    /// When.
    pub made: UnixMs,
}

/// A tenant's keys by epoch, wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// At least one, by first epoch.
    generations: Vec<Generation>,
    /// By epoch.
    fields: Vec<FieldRotation>,
    oldest: u32,
}

/// Why a key set is not changed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Cells may still be sealed under it.
    #[error("the key is in use: what is sealed under it is sealed anew first")]
    InUse,
    /// No key begins with that epoch, or it is destroyed already.
    #[error("there is no key that begins with this epoch")]
    NoSuchKey,
    /// There were too many rotations.
    #[error("there were too many rotations")]
    Full,
}

impl KeySet {
    /// A set with one key, from epoch 1 on.
    #[must_use]
    pub fn first(made: UnixMs, wrapped: Vec<u8>) -> Self {
        let generation = Generation { first_epoch: 1, made, own: own_of(&wrapped).into_iter().collect(), wrapped };
        Self { generations: vec![generation], fields: Vec::new(), oldest: 1 }
    }

    /// Reads a tenant's wrapped key, of any form.
    ///
    /// # Errors
    /// [`KmsError::NotAuthentic`] for anything else.
    pub fn decode(blob: &[u8]) -> Result<Self, KmsError> {
        let Some(body) = blob.strip_prefix(&[KEY_SET]) else {
            split(blob).filter(|(_, wrapped)| !wrapped.is_empty()).ok_or(KmsError::NotAuthentic)?;
            return Ok(Self::first(UnixMs(0), blob.to_vec()));
        };
        match postcard::take_from_bytes::<Self>(body) {
            Ok((set, [])) if set.is_sound() => Ok(set),
            _ => Err(KmsError::NotAuthentic),
        }
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to a vector doesn't fail, and nothing here has a length that is not known.
        postcard::to_extend(self, vec![KEY_SET]).unwrap_or_default()
    }

    fn is_sound(&self) -> bool {
        let counted = self.generations.len() <= GENERATIONS_MAX && self.fields.len() <= ROTATIONS_MAX;
        let in_force = self.generations.last().is_some_and(|newest| !newest.is_destroyed());
        counted
            && in_force
            && rising(self.generations.iter().map(|one| one.first_epoch))
            && rising(self.fields.iter().map(|one| one.epoch))
            && (1..=self.newest()).contains(&self.oldest)
    }

    /// The newest epoch, of the tenant and all its fields.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.seal_epoch().max(self.fields.last().map_or(0, |last| last.epoch))
    }

    /// The epoch under which what is no cell is sealed (audit records, cursors): the first of the newest key.
    #[must_use]
    pub fn seal_epoch(&self) -> u32 {
        self.generations.last().map_or(0, |newest| newest.first_epoch)
    }

    /// The epoch up to which everything was sealed anew: no cell is older than its field's keys were then.
    #[must_use]
    pub const fn oldest(&self) -> u32 {
        self.oldest
    }

    /// The tenant's keys, oldest first; destroyed ones too.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// The rotations of single fields that may still matter, oldest first.
    #[must_use]
    pub fn fields(&self) -> &[FieldRotation] {
        &self.fields
    }

    /// The epochs in which cells of a field may be, newest first; new ones are sealed under the first. Never empty.
    #[must_use]
    pub fn epochs(&self, record_type: TypeId, field: FieldId) -> Vec<u32> {
        let own = self.fields.iter().filter(|one| (one.record_type, one.field) == (record_type, field));
        let mut epochs: Vec<u32> = self.generations.iter().map(|one| one.first_epoch).collect();
        epochs.extend(own.map(|one| one.epoch));
        epochs.sort_unstable_by(|a, b| b.cmp(a));
        epochs.dedup();
        // Those after what was resealed, and the one that counted then.
        let newer = epochs.iter().take_while(|epoch| **epoch > self.oldest).count();
        epochs.truncate(newer.saturating_add(1));
        epochs
    }

    /// Whether any cell of the tenant may be of another epoch than the one under which its field is sealed now.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.newest() > self.oldest
    }

    /// The key that counts in an epoch, destroyed or not; `None` for an epoch before the first or after the newest.
    #[must_use]
    pub fn generation_of(&self, epoch: u32) -> Option<&Generation> {
        self.generations.iter().rfind(|one| one.first_epoch <= epoch).filter(|_| epoch <= self.newest())
    }

    /// The keys under which cells may be sealed.
    pub fn live(&self) -> impl Iterator<Item = &Generation> {
        let next = self.generations.iter().skip(1).map(|one| one.first_epoch).chain([u32::MAX]);
        self.generations.iter().zip(next).filter(|(_, next)| *next > self.oldest).map(|(one, _)| one)
    }

    /// Every own key of a key management service that was made for this tenant and not destroyed, with the first epoch
    /// of the key that it wraps.
    pub fn own_keys(&self) -> impl Iterator<Item = (u32, &OwnKey)> {
        self.generations.iter().flat_map(|one| one.own.iter().map(|own| (one.first_epoch, own)))
    }

    /// With another key for the whole tenant, from the next epoch on.
    ///
    /// # Errors
    /// [`KeySetError::Full`].
    pub fn with_generation(mut self, made: UnixMs, wrapped: Vec<u8>) -> Result<Self, KeySetError> {
        let first_epoch = self.next()?;
        let own = own_of(&wrapped).into_iter().collect();
        self.generations.push(Generation { first_epoch, made, wrapped, own });
        if self.generations.len() > GENERATIONS_MAX { Err(KeySetError::Full) } else { Ok(self) }
    }

    /// With other keys for one field, from the next epoch on.
    ///
    /// # Errors
    /// [`KeySetError::Full`].
    pub fn with_rotated(mut self, record_type: TypeId, field: FieldId, made: UnixMs) -> Result<Self, KeySetError> {
        let epoch = self.next()?;
        self.fields.push(FieldRotation { record_type, field, epoch, made });
        if self.fields.len() > ROTATIONS_MAX { Err(KeySetError::Full) } else { Ok(self) }
    }

    fn next(&self) -> Result<u32, KeySetError> {
        self.newest().checked_add(1).ok_or(KeySetError::Full)
    }

    /// Once every cell is of what its field's epoch was in `epoch`, or newer: what is older counts no more. An epoch that
    /// is not there yet is taken as the newest.
    #[must_use]
    pub fn resealed(mut self, epoch: u32) -> Self {
        self.oldest = epoch.min(self.newest()).max(self.oldest);
        let all = std::mem::take(&mut self.fields);
        self.fields = all.clone();
        // A field's newest rotation stays, for its age.
        let later = |one: &FieldRotation| {
            let same = |other: &&FieldRotation| (other.record_type, other.field) == (one.record_type, one.field);
            all.iter().filter(same).any(|other| other.epoch > one.epoch && other.epoch <= self.oldest)
        };
        self.fields.retain(|one| !later(one));
        self
    }

    /// Without the key that begins with `first_epoch`, and without its own keys.
    ///
    /// # Errors
    /// [`KeySetError::InUse`] while cells may be sealed under it, [`KeySetError::NoSuchKey`].
    pub fn without(mut self, first_epoch: u32) -> Result<Self, KeySetError> {
        if self.live().any(|one| one.first_epoch == first_epoch) {
            return Err(KeySetError::InUse);
        }
        let gone = self.generations.iter_mut().find(|one| one.first_epoch == first_epoch && !one.is_destroyed());
        let gone = gone.ok_or(KeySetError::NoSuchKey)?;
        gone.wrapped = Vec::new();
        gone.own = Vec::new();
        Ok(self)
    }

    /// With the wrapped form of one key replaced. The own keys of the earlier forms stay on the list.
    pub(crate) fn rewrapped(&mut self, first_epoch: u32, wrapped: Vec<u8>) {
        if let Some(one) = self.generations.iter_mut().find(|one| one.first_epoch == first_epoch) {
            one.own.extend(own_of(&wrapped));
            one.wrapped = wrapped;
        }
    }

    /// With no own key on the list but those that are in use: once the others are destroyed.
    #[must_use]
    pub fn without_former_own(mut self) -> Self {
        for one in &mut self.generations {
            let present = own_of(&one.wrapped);
            one.own.retain(|own| Some(own) == present.as_ref());
        }
        self
    }

    /// The own keys that wrapped an earlier form of some key, and are not needed any more.
    pub fn former_own(&self) -> impl Iterator<Item = &OwnKey> {
        self.generations.iter().flat_map(|one| {
            let present = own_of(&one.wrapped);
            one.own.iter().filter(move |own| Some(*own) != present.as_ref())
        })
    }
}

fn rising(mut epochs: impl Iterator<Item = u32>) -> bool {
    let mut last = 0;
    epochs.all(|epoch| std::mem::replace(&mut last, epoch) < epoch)
}

#[cfg(test)]
mod tests;
