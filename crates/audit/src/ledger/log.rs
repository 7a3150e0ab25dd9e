//! The ledger as a transparency log: anybody can hold its newest state against an older one, and a record against
//! either, without seeing any record.
//!
//! Beside the segments, which hold the records, lie the level files with their hashes (`levels.rs`) and the newest
//! checkpoint, signed. One thread adds to them (`integrate.rs`) what was made durable, so that a caller that appends
//! waits for nothing of it. The same service is a witness to other services' logs (`witness.rs`).

mod checked;
mod intake;
mod integrate;
mod kept;
mod keys;
mod levels;
mod recover;
mod witness;
mod witnessed;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use countersign_model::Clock;
use countersign_tlog::{Hash, Note, Signer, VerifierKey};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::storage::Storage;
use crate::record::Service;

pub(super) use intake::Intake;
pub(super) use integrate::Integrator;
pub(crate) use kept::{KEPT, Kept};
pub(crate) use keys::{KEYS, Keys};
pub(crate) use levels::{Levels, level_name};
pub(super) use recover::LogCheck;
pub use witness::WitnessFailure;
pub use witnessed::{Witnessed, WitnessedLog};

/// The newest checkpoint.
pub(crate) const CHECKPOINT: &str = "log/checkpoint";
/// What the service has seen of other logs.
pub(crate) const WITNESSED: &str = "witnessed";

/// What makes a ledger a log, and its service a witness.
pub struct LogParts {
    /// Signs checkpoints ([`Signer::log`]). Its name is the log's origin.
    pub signer: Signer,
    /// Cosigns other logs' checkpoints ([`Signer::witness`]).
    pub witness: Signer,
    /// The time that cosignatures say.
    pub clock: Arc<dyn Clock>,
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// How many records it covers.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// The signed note, with the cosignatures that came for it.
    pub text: Arc<str>,
    /// How many those are.
    pub cosigned: u64,
}

/// The log of an open ledger.
pub struct Log {
    service: Service,
    storage: Arc<dyn Storage>,
    levels: Levels,
    parts: LogParts,
    intake: Arc<Intake>,
    newest: watch::Sender<Published>,
    /// The newest that a witness has cosigned.
    cosigned: Mutex<Option<Published>>,
    keys: Mutex<Keys>,
    /// Cosignatures came that the file doesn't have.
    unkept: AtomicBool,
    lag_us: AtomicU64,
    lag_max_us: AtomicU64,
    witness: witness::Witness,
}

/// Why a cosignature is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureRefused {
    /// The log's newest checkpoint is another one.
    #[error("the log has no checkpoint of that size that takes cosignatures")]
    OtherSize,
    /// It is not what that key signs, or the key is no witness's.
    #[error("the cosignature is not valid")]
    NotValid,
    /// The log's folder can't be written, or there are too many witnesses.
    #[error("the log can't take it")]
    Unavailable,
}

impl Log {
    /// The name of the log, which its checkpoints begin with.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.parts.signer.name()
    }

    /// The keys that its checkpoints, and its cosignatures as a witness, are verified with.
    #[must_use]
    pub fn verifier_keys(&self) -> [VerifierKey; 2] {
        [self.parts.signer.verifier(), self.parts.witness.verifier()]
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn newest(&self) -> Published {
        self.newest.borrow().clone()
    }

    /// [`Self::newest`] as it changes.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Published> {
        self.newest.subscribe()
    }

    /// The newest checkpoint that a witness has cosigned, as far as is known since the ledger was opened.
    #[must_use]
    pub fn newest_cosigned(&self) -> Option<Published> {
        self.cosigned.lock().clone()
    }

    /// How many records the newest checkpoint covers.
    #[must_use]
    pub fn integrated(&self) -> u64 {
        self.newest.borrow().size
    }

    /// How long the oldest record of the newest checkpoint waited for it after it was durable, and the longest that any
    /// has since the ledger was opened.
    #[must_use]
    pub fn lag(&self) -> (Duration, Duration) {
        let micros = |of: &AtomicU64| Duration::from_micros(of.load(Ordering::Relaxed));
        (micros(&self.lag_us), micros(&self.lag_max_us))
    }

    /// A tile of hashes of the newest checkpoint's tree (C2SP tlog-tiles): `width` hashes, 256 in a full one. `None` if
    /// the tree has no such tile.
    ///
    /// # Errors
    /// What the system says.
    pub fn tile(&self, level: u8, index: u64, width: u16) -> io::Result<Option<Vec<u8>>> {
        self.levels.tile(self.integrated(), level, index, width)
    }

    /// The hashes themselves, for proofs: [`countersign_tlog::inclusion`] of a tree no larger than
    /// [`integrated`](Self::integrated).
    #[must_use]
    pub fn hashes(&self) -> impl countersign_tlog::HashReader<Error = io::Error> + use<> {
        self.levels.clone()
    }

    /// Adds a witness's cosignatures to the checkpoint of that size, if it is still the newest or the newest cosigned.
    /// `key` is the witness's verifier key.
    ///
    /// # Errors
    /// [`CosignatureRefused`]. Nothing was added then.
    pub fn cosigned(&self, size: u64, key: &str, lines: &str) -> Result<(), CosignatureRefused> {
        let key: VerifierKey = key.parse().map_err(|_| CosignatureRefused::NotValid)?;
        let lines = countersign_tlog::signature_lines(lines).map_err(|_| CosignatureRefused::NotValid)?;
        let mut cosigned = self.cosigned.lock();
        let newest = self.newest();
        let of = [Some(&newest), cosigned.as_ref()].into_iter().flatten().find(|one| one.size == size).cloned();
        let Some(mut of) = of else { return Err(CosignatureRefused::OtherSize) };
        let mut note: Note = of.text.parse().map_err(|_| CosignatureRefused::Unavailable)?;
        let good = key.is_witness() && lines.iter().all(|line| key.verify(note.text(), line).is_some());
        // A line is known by its key's name and four bytes, which somebody may try keys for: what looks like another's
        // line, and the log's own above all, would take that one's place.
        if !good || key.name() == self.origin() || self.keys.lock().has_like(&key) {
            return Err(CosignatureRefused::NotValid);
        }
        let in_use = |known: &VerifierKey| {
            let of = [Some(&newest), cosigned.as_ref()].into_iter().flatten();
            of.filter_map(|one| one.text.parse::<Note>().ok())
                .any(|note| note.signatures().iter().any(|one| known.made(one)))
        };
        self.keys.lock().add(&*self.storage, &key, in_use).map_err(|_| CosignatureRefused::Unavailable)?;
        if !lines.into_iter().all(|line| note.add(line)) {
            return Err(CosignatureRefused::Unavailable);
        }
        of.cosigned = cosignatures(&note);
        of.text = note.to_string().into();
        if cosigned.as_ref().is_none_or(|before| before.size <= of.size) {
            *cosigned = Some(of.clone());
        }
        drop(cosigned);
        let is_newest = self.newest.send_if_modified(|newest| {
            let same = newest.size == of.size;
            if same {
                *newest = of;
            }
            same
        });
        if is_newest {
            self.unkept.store(true, Ordering::Release);
            self.intake.nudge();
        }
        Ok(())
    }

    fn publish(&self, newest: Published) {
        self.unkept.store(false, Ordering::Release);
        self.newest.send_replace(newest);
    }

    /// Writes the newest checkpoint with the cosignatures that came since.
    fn keep_cosignatures(&self) -> io::Result<()> {
        if !self.unkept.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let kept = self.storage.replace(CHECKPOINT, self.newest().text.as_bytes());
        if kept.is_err() {
            self.unkept.store(true, Ordering::Release);
        }
        kept
    }

    pub(super) fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.intake)
    }

    /// Signs which records are kept.
    pub(super) fn sign_kept(&self, first: u64) -> String {
        Kept { origin: self.origin().to_owned(), first }.sign(&self.parts.signer)
    }
}

/// How many of a checkpoint's signatures are not the log's own.
fn cosignatures(note: &Note) -> u64 {
    note.signatures().len().saturating_sub(1) as u64
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("origin", &self.origin()).field("size", &self.integrated()).finish_non_exhaustive()
    }
}
