//! What a witness has seen, in one file of mode 0600 that is replaced whole.
//!
//! INVARIANT never-back: what is kept of a log is a checkpoint that the log and this witness have signed, and is only ever
//! replaced by one that was shown to continue it. It is on disk before the cosignature leaves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use countersign_crypto::{SecretKey, sha256};
use countersign_model::Entropy;
use countersign_tlog::{Checkpoint, Hash, Note, Seen, Signer, VerifierKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::alarm::Alarm;

/// The form of the file.
const VERSION: u32 = 1;

/// The longest file that is read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The most logs that are kept.
pub const MAX_LOGS: usize = 64;

/// Why the state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It can't be read or written.
    #[error("can't {doing} {path}: {error}")]
    Io {
        /// Which.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another witness has it open.
    #[error("{0} is open in another process")]
    Busy(PathBuf),
    /// It is not what this program has written. It is never made anew by itself: what it has seen would be gone.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part.
        what: &'static str,
    },
    /// The name is none that a key can have, or the state has another.
    #[error("the witness can't have that name: a name has no spaces and no +, and stays what it was at first")]
    Name,
    /// As many logs as are kept.
    #[error("{MAX_LOGS} logs are followed already")]
    Full,
}

/// What is kept of one log.
#[derive(Debug, Clone)]
pub struct Kept {
    key: VerifierKey,
    /// Signed by the log and by this witness.
    note: Option<Note>,
    seen: Seen,
    alarm: Option<Alarm>,
}

impl Kept {
    /// The log's key, pinned.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The newest size and root.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        self.seen
    }

    /// The newest checkpoint, with the cosignature.
    #[must_use]
    pub const fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Why it is refused.
    #[must_use]
    pub const fn alarm(&self) -> Option<&Alarm> {
        self.alarm.as_ref()
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// The witness's private key, in text form.
    key: String,
    logs: BTreeMap<String, WrittenLog>,
    /// SHA-256 of the parts above: against accidents, not against whoever can write the file.
    digest: String,
}

impl Written {
    fn digest_of(&self) -> Option<String> {
        let parts = Zeroizing::new(serde_json::to_vec(&(self.version, &self.key, &self.logs)).ok()?);
        Some(Hash(sha256(&parts)).to_string())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLog {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<Alarm>,
}

/// The state of a witness, open in this process alone.
pub struct State {
    path: PathBuf,
    signer: Signer,
    private: Zeroizing<String>,
    logs: BTreeMap<String, Kept>,
    /// Held as long as the state is open. Not the file itself, which is replaced.
    _lock: File,
}

impl State {
    pub(super) fn open(path: &Path, name: Option<&str>, entropy: &dyn Entropy) -> Result<Self, StateError> {
        let lock = lock(path)?;
        let damaged = |what| StateError::Damaged { path: path.to_owned(), what };
        let text = match read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Self::create(path, lock, name, entropy);
            }
            other => other.map_err(io("read", path))?.ok_or_else(|| damaged("it is too long or not text"))?,
        };
        let mut written: Written = serde_json::from_str(&text).map_err(|_| damaged("not a witness's state"))?;
        if written.version != VERSION {
            return Err(damaged("written by another version"));
        }
        if written.digest_of().as_ref() != Some(&written.digest) {
            return Err(damaged("its digest is not that of its content"));
        }
        let signer = Signer::read(&written.key).map_err(|_| damaged("the witness's key"))?;
        if !signer.verifier().is_witness() {
            return Err(damaged("the witness's key"));
        }
        if name.is_some_and(|name| name != signer.name()) {
            return Err(StateError::Name);
        }
        let own = signer.verifier();
        let logs = std::mem::take(&mut written.logs).into_iter().map(|(name, log)| {
            let kept = log.verified(&own).ok_or_else(|| damaged("a log's key or checkpoint"))?;
            Ok((name, kept))
        });
        let logs = logs.collect::<Result<_, StateError>>()?;
        Ok(Self { path: path.to_owned(), signer, private: Zeroizing::new(written.key.clone()), logs, _lock: lock })
    }

    fn create(path: &Path, lock: File, name: Option<&str>, entropy: &dyn Entropy) -> Result<Self, StateError> {
        let seed = SecretKey::generate(entropy);
        let own;
        let name = match name {
            Some(name) => name,
            None => {
                // A name of its own that nobody has to think of: the beginning of the public key's digest.
                let (probe, _) = Signer::new_witness("witness", &seed).map_err(|_| StateError::Name)?;
                let [a, b, c, d] = probe.verifier().id();
                own = format!("witness/{a:02x}{b:02x}{c:02x}{d:02x}");
                &own
            }
        };
        let (signer, private) = Signer::new_witness(name, &seed).map_err(|_| StateError::Name)?;
        let state = Self { path: path.to_owned(), signer, private, logs: BTreeMap::new(), _lock: lock };
        state.write(&state.logs)?;
        Ok(state)
    }

    pub(super) const fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) fn kept(&self, name: &str) -> Option<&Kept> {
        self.logs.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.logs.iter()
    }

    /// Takes what was verified as what was seen.
    pub(super) fn take(&mut self, name: &str, key: &VerifierKey, note: &Note) -> Result<(), StateError> {
        let damaged = || StateError::Damaged { path: self.path.clone(), what: "a log's key or checkpoint" };
        let seen = Seen::from(&Checkpoint::from_text(note.text()).map_err(|_| damaged())?);
        let mut logs = self.logs.clone();
        if !logs.contains_key(name) && logs.len() >= MAX_LOGS {
            return Err(StateError::Full);
        }
        logs.insert(name.to_owned(), Kept { key: key.clone(), note: Some(note.clone()), seen, alarm: None });
        self.write(&logs)?;
        self.logs = logs;
        Ok(())
    }

    pub(super) fn raise(&mut self, name: &str, alarm: Alarm) -> Result<(), StateError> {
        let Some(kept) = self.logs.get_mut(name) else { return Ok(()) };
        if kept.alarm.is_some() {
            return Ok(());
        }
        // Refused in this process even if it can't be written.
        kept.alarm = Some(alarm);
        self.write(&self.logs)
    }

    pub(super) fn forget(&mut self, name: &str) -> Result<bool, StateError> {
        let mut logs = self.logs.clone();
        let was_there = logs.remove(name).is_some();
        if was_there {
            self.write(&logs)?;
            self.logs = logs;
        }
        Ok(was_there)
    }

    fn write(&self, logs: &BTreeMap<String, Kept>) -> Result<(), StateError> {
        let log = |kept: &Kept| WrittenLog {
            key: kept.key.to_string(),
            checkpoint: kept.note.as_ref().map(ToString::to_string),
            alarm: kept.alarm.clone(),
        };
        let logs = logs.iter().map(|(name, kept)| (name.clone(), log(kept))).collect();
        let mut written = Written { version: VERSION, key: (*self.private).clone(), logs, digest: String::new() };
        written.digest = written.digest_of().unwrap_or_default();
        let text = serde_json::to_vec_pretty(&written).map(Zeroizing::new);
        let text = text.map_err(|error| io("write", &self.path)(error.into()))?;
        replace(&self.path, &text).map_err(io("write", &self.path))
    }
}

impl WrittenLog {
    /// What is kept is believed only as far as it is signed: by the log, and by this witness.
    fn verified(self, own: &VerifierKey) -> Option<Kept> {
        let key: VerifierKey = self.key.parse().ok()?;
        let (note, seen) = match self.checkpoint {
            Some(text) => {
                let (checkpoint, note) = Checkpoint::open(&text, &key).ok()?;
                note.verify(own).ok()?;
                (Some(note), Seen::from(&checkpoint))
            }
            None => return None,
        };
        Some(Kept { key, note, seen, alarm: self.alarm })
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Io { doing, path, error }
}

/// The text; none if it is too long or not UTF-8.
fn read(path: &Path) -> std::io::Result<Option<Zeroizing<String>>> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Ok(None);
    }
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        other => other.map(|text| Some(Zeroizing::new(text))),
    }
}

/// The name with something after it.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<File, StateError> {
    let beside = beside(path, ".lock");
    let file = private_file(&beside, false).map_err(io("open", &beside))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StateError::Busy(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(io("lock", &beside)(error)),
    }
}

fn private_file(path: &Path, truncate: bool) -> std::io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(truncate);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whole or not at all, also when the machine stops in the middle.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let new = beside(path, ".new");
    drop(fs::remove_file(&new));
    let mut file = private_file(&new, true)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
