//! A service as a witness (C2SP tlog-witness): it cosigns a checkpoint of another log if that log has only grown since
//! the one it cosigned before, and remembers it durably first.

use countersign_tlog::{AddCheckpoint, Note, Refusal, Seen, VerifierKey, consider};
use parking_lot::Mutex;

use super::witnessed::{Witnessed, WitnessedLog};
use super::{Log, WITNESSED};
use crate::error::LedgerError;
use crate::ledger::storage::{Storage, read_if_there};

/// How many logs are remembered at most.
const LOGS_MAX: usize = 256;

/// Why a checkpoint is not cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WitnessFailure {
    /// Another size was seen than the one named.
    #[error("the log was seen at size {size}")]
    Seen {
        /// The one that was seen.
        size: u64,
    },
    /// The log was rolled back, or is not the one that was seen: the checkpoint is signed and contradicts one before.
    #[error("the checkpoint contradicts one of size {size} that was seen")]
    Contradicts {
        /// What was seen.
        size: u64,
    },
    /// Not a checkpoint that this log's key signed, or the log's key is not the one that was seen first.
    #[error("the checkpoint is not one of that log")]
    NotTaken,
    /// What was seen can't be written down.
    #[error("the file of what was seen can't be written")]
    Unavailable,
}

/// What was seen, and how far that is on disk.
pub(super) struct Witness {
    state: Mutex<State>,
    /// Up to which change the file is written. Held while it is written: who waits for it finds, as a rule, that what it
    /// wants was written along.
    kept: Mutex<u64>,
}

struct State {
    seen: Witnessed,
    changes: u64,
}

impl Witness {
    /// # Errors
    /// [`LedgerError`] if the file is damaged or gone: a witness that forgot would cosign a log that was rolled back.
    pub(super) fn open(storage: &dyn Storage) -> Result<Self, LedgerError> {
        let bytes = read_if_there(storage, WITNESSED)
            .map_err(|source| LedgerError::Io { what: format!("reading the file {WITNESSED}"), source })?;
        let seen = bytes.and_then(|bytes| Witnessed::parse(&bytes));
        let seen = seen.ok_or_else(|| LedgerError::File { file: WITNESSED.to_owned() })?;
        Ok(Self { state: Mutex::new(State { seen, changes: 0 }), kept: Mutex::new(0) })
    }
}

impl Log {
    /// As a witness: cosigns another log's checkpoint, if it is consistent with all that was seen of that log. Gives
    /// signature lines. `key` is the other log's verifier key; the first one that is brought for an origin is kept, and
    /// no other is taken. Writes the disk: in async code call it where blocking is allowed.
    ///
    /// # Errors
    /// [`WitnessFailure`]; nothing was signed then.
    pub fn cosign(&self, key: &str, asked: &AddCheckpoint) -> Result<String, WitnessFailure> {
        let key: VerifierKey = key.parse().map_err(|_| WitnessFailure::NotTaken)?;
        if key.is_witness() || key == self.parts.signer.verifier() {
            return Err(WitnessFailure::NotTaken);
        }
        let mut state = self.witness.state.lock();
        let before = match state.seen.of(key.name()) {
            Some(seen) if seen.key != key => return Err(WitnessFailure::NotTaken),
            Some(seen) => Seen::from(&seen.checkpoint),
            None if state.seen.0.len() >= LOGS_MAX => return Err(WitnessFailure::Unavailable),
            None => Seen::nothing(),
        };
        let size = before.size;
        let (checkpoint, note) = consider(&before, asked, &key).map_err(|refusal| match refusal {
            Refusal::NotSigned => WitnessFailure::NotTaken,
            Refusal::Conflict { size } => WitnessFailure::Seen { size },
            Refusal::Smaller if asked.old_size != size => WitnessFailure::Seen { size },
            Refusal::Smaller | Refusal::Inconsistent => WitnessFailure::Contradicts { size },
        })?;
        let is_new = state.seen.of(key.name()).is_none_or(|seen| seen.checkpoint != checkpoint);
        if is_new {
            let own = note.signatures().iter().find(|signature| key.made(signature)).cloned();
            let note = own.and_then(|own| Note::new(note.text(), own)).ok_or(WitnessFailure::NotTaken)?.to_string();
            state.seen.0.insert(key.name().to_owned(), WitnessedLog { key, checkpoint, note });
            state.changes = state.changes.saturating_add(1);
        }
        let change = state.changes;
        drop(state);
        self.keep_witnessed(change)?;
        let now_s = self.parts.clock.now().0.checked_div(1000).unwrap_or_default();
        Ok(self.parts.witness.sign(note.text(), now_s).to_string())
    }

    /// What was seen of other logs.
    #[must_use]
    pub fn witnessed(&self) -> Witnessed {
        self.witness.state.lock().seen.clone()
    }

    /// Makes durable what was seen up to a change. Many that wait are served by one write.
    fn keep_witnessed(&self, change: u64) -> Result<(), WitnessFailure> {
        let mut kept = self.witness.kept.lock();
        if *kept >= change {
            return Ok(());
        }
        let (text, changes) = {
            let state = self.witness.state.lock();
            (state.seen.to_text(), state.changes)
        };
        self.storage.replace(WITNESSED, text.as_bytes()).map_err(|error| {
            tracing::error!(kind = %error.kind(), "what was witnessed can't be written");
            WitnessFailure::Unavailable
        })?;
        *kept = changes;
        Ok(())
    }
}
