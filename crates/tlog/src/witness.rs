//! What a log asks of a witness, and what the witness makes of it (C2SP tlog-witness, `add-checkpoint`).

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::proof::{MAX_PROOF, ProofError, verify_consistency};

/// The longest request: as many hashes as there may be, and a note.
const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + 64 * (MAX_PROOF + 2);

/// Why a text is no request of a log to a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a request to add a checkpoint")]
pub struct RequestError;

/// The body of `POST /add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is thought to have seen.
    pub old_size: u64,
    /// The consistency proof from there; at most [`MAX_PROOF`].
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// The longest body that is read.
    pub const MAX_BYTES: usize = MAX_REQUEST_BYTES;

    /// The body.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            text.push_str(&hash.to_string());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads what [`Self::to_text`] wrote. That the checkpoint is a signed note is seen to, not by whom.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn from_text(text: &str) -> Result<Self, RequestError> {
        Self::read(text).ok_or(RequestError)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_REQUEST_BYTES {
            return None;
        }
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old_size = crate::count(lines.next()?.strip_prefix("old ")?)?;
        let proof: Vec<Hash> = lines.take(MAX_PROOF.saturating_add(1)).map(Hash::parse).collect::<Option<_>>()?;
        checkpoint.parse::<Note>().ok()?;
        (proof.len() <= MAX_PROOF).then(|| Self { old_size, proof, checkpoint: checkpoint.to_owned() })
    }
}

/// What a witness last saw of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The tree's size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

impl Seen {
    /// Of a log that was never seen: any tree is consistent with the empty one.
    #[must_use]
    pub fn nothing() -> Self {
        Self { size: 0, root: Hash::empty() }
    }
}

impl From<&Checkpoint> for Seen {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self { size: checkpoint.size, root: checkpoint.root }
    }
}

/// Why a witness doesn't cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The checkpoint is smaller than the size it is said to follow.
    #[error("the checkpoint is smaller than the size it is said to follow")]
    Smaller,
    /// Not signed with the log's key, or another log's, or no checkpoint.
    #[error("the checkpoint is not signed with the log's key")]
    NotSigned,
    /// The witness has seen another size than the one named.
    #[error("the witness has seen the log at size {size}")]
    Conflict {
        /// What it has seen.
        size: u64,
    },
    /// The proof doesn't lead from what was seen to the checkpoint. If proof and size come from tiles that can be trusted,
    /// the log has two histories.
    #[error("the checkpoint is not shown to be consistent with what was seen")]
    Inconsistent,
}

impl Refusal {
    /// The HTTP status that C2SP tlog-witness gives it. `Conflict`'s body is the size and a newline, its content type
    /// `text/x.tlog.size`. A log that isn't known at all is 404, a body that can't be read 400.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Smaller => 400,
            Self::NotSigned => 403,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

/// Whether a witness that saw `seen` of the log with this key may cosign: if so, gives what it then has seen, to be kept
/// durably before the cosignature leaves. It never moves back.
///
/// # Errors
/// [`Refusal`].
pub fn consider(seen: &Seen, asked: &AddCheckpoint, key: &VerifierKey) -> Result<(Checkpoint, Note), Refusal> {
    let (checkpoint, note) = Checkpoint::open(&asked.checkpoint, key).map_err(|_| Refusal::NotSigned)?;
    if checkpoint.size < asked.old_size {
        return Err(Refusal::Smaller);
    }
    if asked.old_size != seen.size {
        return Err(Refusal::Conflict { size: seen.size });
    }
    let verified = verify_consistency(seen.size, &seen.root, checkpoint.size, &checkpoint.root, &asked.proof);
    verified.map_err(|_: ProofError| Refusal::Inconsistent)?;
    Ok((checkpoint, note))
}
