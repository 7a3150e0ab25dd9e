//! A witness of a deployment's logs that is not part of the deployment: a subscriber's (C2SP tlog-witness).
//!
//! It follows the logs that the gateway shows, verifies that each only ever grows, cosigns what it has verified and gives the
//! cosignature back. What it has seen is in one file (`state`), which never moves back: a log that is behind it, contradicts
//! it or comes with another key is refused, and goes on being refused until somebody takes it out of the file.
//!
//! What this is not: it sees no records, needs no token, and takes nothing from the gateway on trust but, at first sight, which
//! key a log has. `--key` takes even that away.

mod alarm;
mod follow;
mod serve;
mod state;
mod tell;

use std::path::Path;
use std::sync::Arc;

use countersign_audit::ledger::log::Witnessed;
use countersign_model::{Clock, Entropy};
use countersign_tlog::{AddCheckpoint, Checkpoint, Refusal, Seen, VerifierKey, consider};
use parking_lot::Mutex;

pub use alarm::{Alarm, Kind};
pub use follow::{Outcome, Report, Source, Wanted};
pub use serve::Service;
pub use state::{Kept, State, StateError};
pub use tell::Webhook;

/// The witness: its key and what it has seen.
pub struct Witness {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    /// No log with that origin is known.
    #[error("no log of that origin is known")]
    Unknown,
    /// The log has been refused, now or before.
    #[error("the log is refused: {0}")]
    Alarm(Kind),
    /// This checkpoint is not cosigned, which says nothing of the log.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was seen can't be kept, so nothing is signed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Witness {
    /// Opens the state in `path`, or makes one with a new key under `name` (or one made of the key).
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(
        path: &Path,
        name: Option<&str>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, StateError> {
        Ok(Self { state: Mutex::new(State::open(path, name, entropy)?), clock })
    }

    /// The public half of its key, for the deployment's operator and for whoever checks proofs.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.state.lock().signer().verifier()
    }

    /// What is kept of a log, by its name.
    #[must_use]
    pub fn kept(&self, name: &str) -> Option<Kept> {
        self.state.lock().kept(name).cloned()
    }

    /// Everything that is refused, by the log's name.
    #[must_use]
    pub fn alarms(&self) -> Vec<(String, Alarm)> {
        let state = self.state.lock();
        state.all().filter_map(|(name, kept)| Some((name.clone(), kept.alarm().cloned()?))).collect()
    }

    /// What was seen, without anything secret: as `countersign audit verify --witnessed` reads it.
    #[must_use]
    pub fn seen(&self) -> Witnessed {
        let state = self.state.lock();
        Witnessed::from_seen(state.all().filter_map(|(_, kept)| Some((kept.key(), kept.note()?))))
    }

    /// Takes a log out of the state: pin, checkpoint and alarm. Says whether it was there.
    ///
    /// # Errors
    /// [`StateError`] if that can't be kept.
    pub fn forget(&self, name: &str) -> Result<bool, StateError> {
        self.state.lock().forget(name)
    }

    /// Refuses a log from now on. The first reason stays.
    ///
    /// # Errors
    /// [`StateError`] if that can't be kept; the log is refused by this process all the same.
    pub fn raise(&self, name: &str, kind: Kind, evidence: &str) -> Result<Option<Alarm>, StateError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.raise(name, Alarm::new(now, kind, evidence))?;
        Ok(state.kept(name).and_then(Kept::alarm).cloned())
    }

    /// Cosigns a checkpoint of the log called `name`, whose key is `key`, if it is consistent with what was seen; pins the key
    /// if the log is new. What was seen is kept durably before anything is signed. Gives the signature line.
    ///
    /// # Errors
    /// [`NotCosigned`].
    pub fn cosign(&self, name: &str, key: &VerifierKey, asked: &AddCheckpoint) -> Result<String, NotCosigned> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let kept = state.kept(name);
        if let Some(alarm) = kept.and_then(Kept::alarm) {
            return Err(NotCosigned::Alarm(alarm.kind));
        }
        if kept.is_some_and(|kept| kept.key() != key) {
            return Err(NotCosigned::Alarm(Kind::ChangedKey));
        }
        let seen = kept.map_or_else(Seen::nothing, Kept::seen);
        match consider(&seen, asked, key) {
            Ok((_, mut note)) => {
                let line = state.signer().sign(note.text(), now.seconds());
                if !note.add(line.clone()) {
                    return Err(Refusal::NotSigned.into());
                }
                state.take(name, key, &note)?;
                Ok(line.to_string())
            }
            // Two roots of one size, both signed: no proof is needed to see that these are two histories.
            Err(Refusal::Inconsistent) if contradicts(&seen, &asked.checkpoint, key) => {
                state.raise(name, Alarm::new(now, Kind::Fork, &asked.checkpoint))?;
                Err(NotCosigned::Alarm(Kind::Fork))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The name and key of the log with that origin.
    fn of_origin(&self, origin: &str) -> Option<(String, VerifierKey)> {
        let state = self.state.lock();
        let found = state.all().find(|(_, kept)| kept.key().name() == origin);
        found.map(|(name, kept)| (name.clone(), kept.key().clone()))
    }
}

/// Whether a checkpoint that the log has signed has another root than the one seen, at the same size.
fn contradicts(seen: &Seen, note: &str, key: &VerifierKey) -> bool {
    Checkpoint::open(note, key).is_ok_and(|(other, _)| other.size == seen.size && other.root != seen.root)
}

#[cfg(test)]
mod tests;
